"""Explanations of features: scores equal numpy's, planted words are found, other explanations score chance, and what a
service has answered is asked once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_autointerp import prompts, rules
from harness_autointerp.asked_model import AskedModel
from harness_autointerp.endpoint import LONGEST_WAIT_S, Endpoint, OpenEndpoint
from harness_autointerp.fragments import Draw, Feature, Half, draw_fragments, read_halves
from harness_autointerp.measure import Setting, score, score_planted
from harness_autointerp.page import describe, write
from harness_autointerp.result import Arm, Compared, Result, judge
from harness_autointerp.scores import CHANCE, average, balance, correlate, rank, subtract
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

import harness
from harness import Fragment, LanguageModel, Passage, PredictingModel, Score, UnavailableError, UsageError

WORDS = ("river", "engine", "music", "winter", "garden", "doctor", "market", "silver", "window", "letter")
FILLER = tuple(f" w{number}" for number in range(40))


def make_half(n: int = 200, length: int = 16, seed: int = 0) -> Half:
    """Fragments of filler, in some of which one of the words stands once."""
    draw = np.random.default_rng(seed)
    words = []
    for number in range(n):
        tokens = [FILLER[place] for place in draw.integers(len(FILLER), size=length)]
        tokens[int(draw.integers(1, length))] = f" {WORDS[number % len(WORDS)]}"
        words.append(tuple(tokens))
    return Half(words=tuple(words), activations=torch.zeros(n, length, 1))


def plant(half: Half, word: str, seed: int = 0) -> Feature:
    activations = np.array([[3.0 * (token == word) for token in words] for words in half.words])
    return Feature(
        half=half, activations=activations, draw=draw_fragments(activations.max(axis=1), 5, 5, seed)
    )


def setting(scorer: Any, **changed: Any) -> Setting:
    given = {"n_features": 10, "top": 5, "random": 5, "device": "cpu", "tell": print, **changed}
    return Setting(explainer=scorer, scorer=scorer, **given)


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────


def test_simulation_is_the_correlation_over_all_tokens_of_all_fragments() -> None:
    draw = np.random.default_rng(0)
    true, simulated = ([draw.random(7) for _ in range(4)] for _ in range(2))
    wanted = np.corrcoef(np.concatenate(true), np.concatenate(simulated))[0, 1]
    assert correlate(true, simulated) == pytest.approx(wanted, abs=1e-12)
    assert correlate(true, [np.ones(7)] * 4) == 0.0


def test_judgements_are_scored_as_scikit_learn_does() -> None:
    draw = np.random.default_rng(1)
    truth, answers = draw.random(30) < 0.3, np.round(draw.random(30), 1)
    assert balance(answers, truth) == pytest.approx(balanced_accuracy_score(truth, answers >= 0.5), abs=1e-12)
    assert rank(answers, truth) == pytest.approx(roc_auc_score(truth, answers), abs=1e-12)


def test_intervals_are_over_features() -> None:
    values = np.random.default_rng(2).normal(0.4, 0.2, size=100)
    found = average(values)
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 10, rel=0.15)
    lead = subtract(values + 1, values)
    assert lead.value == pytest.approx(1.0)
    assert lead.low is not None and lead.high is not None
    assert (lead.high - lead.low) / 2 == pytest.approx(1.96 * values.std() / 10 * 2**0.5, rel=0.15)


class Scripted:
    """Scorer that expects the length of each token, and judges by whether marks or a word are there."""

    def explain(self, fragments: Sequence[Fragment]) -> str:
        return "x"

    def simulate(self, explanation: str, passages: Sequence[Passage]) -> list[Any]:
        return [np.array([float(len(token)) for token in one.tokens]) for one in passages]

    def judge(self, explanation: str, passages: Sequence[Passage]) -> Any:
        return np.array([len("".join(one.tokens)) % 7 / 7 for one in passages])


def test_a_feature_is_scored_on_the_fragments_that_are_named() -> None:
    draw = np.random.default_rng(3)
    words = tuple(tuple("a" * int(n) for n in draw.integers(1, 9, size=6)) for _ in range(20))
    half = Half(words=words, activations=torch.zeros(20, 6, 1))
    feature = Feature(
        half=half, activations=draw.random((20, 6)), draw=Draw(top=(3, 1), random=(9, 4), quiet=(2, 0))
    )
    found = score(Scripted(), "x", feature, 0)
    rows = [3, 1, 9, 4]
    true = feature.activations[rows].ravel()
    expected = [len(token) for row in rows for token in words[row]]
    assert found["simulation"] == pytest.approx(np.corrcoef(true, expected)[0, 1])
    answers = [len("".join(words[row])) % 7 / 7 for row in (3, 1, 2, 0)]
    assert found["detection AUROC"] == pytest.approx(roc_auc_score([1, 1, 0, 0], answers))
    assert found["fuzzing AUROC"] == 0.5  # the words are the same, whatever is marked


def test_marks_are_right_or_wrong_and_as_many() -> None:
    feature = plant(make_half(), " music")
    passages, is_right = feature.mark(0)
    assert is_right.sum() * 2 == len(passages) == 10
    for one, right in zip(passages, is_right, strict=True):
        assert one.marked is not None
        assert len(one.marked) == 1
        assert (one.tokens[one.marked[0]] == " music") == right


def test_random_and_quiet_fragments_are_none_of_the_top() -> None:
    maxima = np.random.default_rng(4).random(50)
    draw = draw_fragments(maxima, 5, 8, 0)
    assert sorted(maxima)[-5:] == sorted(maxima[list(draw.top)])
    assert not set(draw.top) & {*draw.random, *draw.quiet}
    assert (maxima[list(draw.quiet)] <= np.median(maxima)).all()
    assert (len(draw.random), len(draw.quiet)) == (8, 5)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_planted_word_is_found_by_rules_and_scores_one() -> None:
    shown, hidden = make_half(seed=0), make_half(seed=1)
    scorer = rules.Rules(n=8)
    explanations = [scorer.explain(plant(shown, f" {word}").show()) for word in WORDS]
    assert [text.split(" (")[0] for text in explanations] == [f'on " {word}"' for word in WORDS]
    found = setting(scorer).compare(explanations, [plant(hidden, f" {word}") for word in WORDS]).summarize()
    assert list(found) == list(CHANCE)
    for name, one in found.items():
        assert one.own.value == pytest.approx(1.0), name
        # Explanations of other features score chance, by their interval.
        assert one.shuffled.low is not None and one.shuffled.high is not None
        assert one.shuffled.low <= CHANCE[name] and one.shuffled.high >= CHANCE[name] - 0.05, name


def test_rules_tell_a_pair_from_its_parts() -> None:
    texts = ("I like New York and you", "New cars and old York town", "a New York day", "York is New to me")
    fragments = []
    for text in texts * 3:
        tokens = tuple(text.split())
        pairs = [False, *(pair == ("New", "York") for pair in pairwise(tokens))]
        fragments.append(Fragment(tokens=tokens, activations=np.array(pairs) * 10.0))
    found = rules.find_rules(fragments, 3)
    assert next(iter(found)) == ("York", "New")
    assert rules.expect(found, ("old", "York")).max() < rules.expect(found, ("New", "York")).max()


def test_rules_are_read_as_they_are_written() -> None:
    found = {(' "x', None): 9, (None, "\n"): 4, ("é;", " on"): 2}
    assert rules.parse(rules.spell(found)) == found
    assert rules.parse(rules.NOTHING) == {}
    other = rules.parse('It fires on "Cats" and the word “dog house”.')
    assert {(" cats", None), (" Dog", None), ("house", None)} <= set(other)
    assert rules.parse("It fires on animals.") == {}


def test_a_rule_that_never_applies_says_nothing() -> None:
    scorer = rules.Rules(n=8)
    feature = plant(make_half(), " music")
    found = score(scorer, rules.NOTHING, feature, 0)
    assert found == CHANCE


def test_planted_features_try_a_scorer_first() -> None:
    half = make_half()
    able = score_planted(setting(rules.Rules(n=8)), half)
    assert able["detection"].own.value == pytest.approx(1.0)
    assert able["detection"].n == len(WORDS)
    deaf = score_planted(setting(Scripted()), half)
    assert deaf["detection"].gain.value == 0.0  # it never reads an explanation
    few = Half(words=(("a", "b"),) * 30, activations=torch.zeros(30, 2, 1))
    with pytest.raises(UnavailableError, match="no two words"):
        score_planted(setting(rules.Rules(n=8)), few)


# ── fragments of a task ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def texts(write: Callable[[str, str], Path]) -> Path:
    """A task whose texts are long enough for fragments of eight tokens."""
    draw = np.random.default_rng(0)
    words = [
        "the",
        "man",
        "saw",
        "a",
        "house",
        "in",
        "city",
        "and",
        "went",
        "home",
        "with",
        "his",
        "friend",
        "to",
        "read",
        "some",
        "new",
        "books",
        "about",
        "old",
        "war",
    ]
    rows = [
        {"text": " ".join(draw.choice(words, size=30)) + ".", "label": "ab"[row % 2], "group": str(row // 2)}
        for row in range(80)
    ]
    write("long.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    return write(
        "long.yaml",
        "name: long_texts\nversion: 1\nsummary: long\nlicence: CC0-1.0\ncitation: none\nlanguages: [en]\n"
        "source: {file: long.jsonl}\ncolumns: {group: group}\n",
    )


def test_no_text_has_fragments_in_both_halves_and_spelling_is_whole(texts: Path) -> None:
    session = harness.open(include=[texts])
    task = session.load_task("long_texts", model="minigemma-s", site="resid_post.1")
    halves = read_halves(task, length=8, fragments=1000, device="cpu")
    assert min(map(len, halves)) > 20
    whole = ["".join(words) for half in halves for words in half.words]
    sides: list[set[str]] = [set(), set()]
    for example, group in zip(task.examples.inputs, task.groups.tolist(), strict=True):
        for side, half in enumerate(halves):
            if any("".join(words).strip() in str(example) for words in half.words):
                sides[side].add(str(group))
    assert not sides[0] & sides[1]
    assert all(any(text.strip() in str(one) for one in task.examples.inputs) for text in whole)
    # Activations are those of the model on the fragment by itself, after its BOS.
    first = "".join(halves[0].words[0])
    tokens = task.model.model.tokenize([first.strip() if not first.startswith(" ") else first])[0]
    read = task.model.model.load([task.site], "cpu").forward([tokens])[task.site].float()
    if read.shape[0] == 8:  # it is tokenized alone as it was inside its text
        torch.testing.assert_close(halves[0].activations[0], read, atol=1e-4, rtol=1e-4)
    with pytest.raises(UnavailableError, match="too few texts of 500 tokens"):
        read_halves(task, length=500, fragments=10, device="cpu")


def test_the_command_compares_arms_and_leaves_a_result(
    harness_command: Any, texts: Path, tmp_path: Path
) -> None:
    told = harness_command(
        "autointerp", "long_texts", "--include", texts, "-m", "minigemma-s",
        "--site", "resid_post.1", "-r", "minigemma-scope", "-r", "pca[n=16]", "-r", "pca[n=4096]", "-n", 12,
        "--length", 8, "--top", 4, "--random", 4, "-o", tmp_path / "out",
    )  # fmt: skip
    assert told.code == 0, told.err
    (path,) = (tmp_path / "out").glob("autointerp-*.json")
    result = Result.model_validate_json(path.read_text())
    assert [arm.name for arm in result.arms] == ["minigemma-scope", "pca[n=16]", "pca[n=4096]"]
    own, other, refused = result.arms
    assert own.scores["simulation"].n == 12 and own.examples[0].explanation
    assert other.lead["simulation"].value == pytest.approx(
        own.scores["simulation"].own.value - other.scores["simulation"].own.value
    )
    assert refused.note and not refused.scores
    assert result.scorer_scores["detection"].own.value == pytest.approx(1.0)
    page = describe([path])
    assert page.markdown.startswith("# ") and len(page.claims) == 2
    assert page.claims[1].verdict == "undecided"
    again = harness_command(
        "autointerp", "long_texts", "--include", texts, "-m", "minigemma-s",
        "--site", "resid_post.1", "-r", "hidden", "--length", 8, "--top", 90,
    )  # fmt: skip
    assert again.code == 3
    assert "give a smaller --length" in again.err


def test_explainers_are_listed_and_an_unknown_one_is_named(harness_command: Any, texts: Path) -> None:
    told = harness_command("ls", "explainers")
    assert [line.split()[0] for line in told.out.splitlines()] == ["endpoint", "model", "rules"]
    told = harness_command(
        "autointerp", "long_texts", "--include", texts, "-m", "minigemma-s",
        "--site", "resid_post.1", "-r", "pca", "--scorer", "rule",
    )  # fmt: skip
    assert told.code == 2
    assert "there is no explainer 'rule'" in told.err


# ── a model as scorer ────────────────────────────────────────────────────────────────────────────────────


def test_a_model_judges_by_its_next_token() -> None:
    session = harness.open()
    opened = AskedModel(ref="minigemma-m", dtype=None, template=None).open(session)
    passages = [Passage(tokens=(" a", " cat"), marked=mark) for mark in (None, (1,))]
    found = opened.judge('on " cat" (10)', passages)
    texts = [
        '...Fires: on " cat" (10)\nText: a cat\nAnswer:',
        '...Fires: on " cat" (10)\nText: a<< cat>>\nAnswer:',
    ]
    asked = [opened.write('on " cat" (10)', one) for one in passages]
    assert all(one.endswith(text[3:]) for one, text in zip(asked, texts, strict=True))
    model = session.open_model("minigemma-m").model
    assert isinstance(model, LanguageModel)
    loaded = model.load_whole(harness.Site(kind="resid_post", layer=0), "cpu")
    assert isinstance(loaded, PredictingModel)
    yes, no = (int(one.ids[-1]) for one in model.tokenize(["Answer: yes", "Answer: no"]))
    with torch.no_grad():
        logits = torch.cat([loaded.next_logits(model.tokenize([one])) for one in asked])[:, [yes, no]]
    assert found == pytest.approx(torch.softmax(logits, dim=1)[:, 0].numpy(), abs=1e-5)
    said = opened.explain([Fragment(tokens=(" a", " cat"), activations=np.array([0.0, 9.0]))])
    assert len(said.splitlines()) == 1


def test_a_model_that_reads_images_is_no_scorer() -> None:
    with pytest.raises(UsageError, match="model 'miniclip' cannot be asked: "):
        AskedModel(ref="miniclip", dtype=None, template=None).open(harness.open())


# ── a service ────────────────────────────────────────────────────────────────────────────────────────────


class Service:
    """Stand-in for a service: `replies` are functions that answer one request each, the last of them all others."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        self.replies: list[Callable[[Any], None]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append((body, self.headers["Authorization"]))
                reply = service.replies.pop(0) if len(service.replies) > 1 else service.replies[0]
                reply(self)

            def log_message(self, *given: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def open(self, **changed: Any) -> OpenEndpoint:
        given = {"url": self.url, "model": "m", "key": "MY_KEY", "timeout_s": 5.0, "retries": 2, **changed}
        opened = Endpoint(**given).open(harness.open())
        self.waits: list[float] = []
        opened.wait = self.waits.append
        return opened


def say(text: Any) -> Callable[[Any], None]:
    return send(200, json.dumps({"choices": [{"message": {"content": text}}]}))


def send(status: int, body: str = "", **headers: str) -> Callable[[Any], None]:
    def reply(handler: Any) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return reply


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "*")
    found = Service()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


SHOWN = [Fragment(tokens=(" a", " cat"), activations=np.array([0.0, 10.0]))]
CATS = [Passage(tokens=(" a", " cat")), Passage(tokens=(" a", " dog"))]


def test_a_service_explains_simulates_and_judges_and_its_key_is_kept_nowhere(
    service: Service, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    service.replies = [say(" It fires\non cats. "), say("Sure: [0, 10]"), say("[0, 0]"), say("[1, 0]")]
    opened = service.open()
    assert opened.explain(SHOWN) == "It fires on cats."
    assert [one.tolist() for one in opened.simulate("cats", CATS)] == [[0, 10], [0, 0]]
    assert opened.judge("cats", CATS).tolist() == [1, 0]
    assert {key for _, key in service.asked} == {"Bearer sk-secret"}
    assert "a<< cat>>" in service.asked[0][0]["messages"][0]["content"]
    assert "sk-secret" not in repr(opened)
    kept = [path for path in own_cache.rglob("*") if path.is_file()]
    assert len([path for path in kept if path.parent == opened.folder]) == 5  # four answers and the mark
    assert not any(b"sk-secret" in path.read_bytes() for path in kept)
    # Nothing is asked again: not by another process, which opens it anew, and not where the service is gone.
    service.replies = [send(500)]
    assert service.open().explain(SHOWN) == "It fires on cats."
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (send(200, "<html>"), "is no chat completion, '<html>'"),
        (send(200, '{"choices": []}'), "is no chat completion"),
        (say(None), "is no chat completion"),
        (say(7), "is no chat completion"),
        (send(401), r"status 401 \(its key is read from MY_KEY\)"),
        (send(302, Location="http://127.0.0.1:9/"), "status 302"),
    ],
)
def test_an_answer_of_the_wrong_form_is_one_sentence_and_nothing_is_lost(
    service: Service, reply: Callable[[Any], None], sentence: str
) -> None:
    service.replies = [say("cats"), reply]
    opened = service.open()
    opened.explain(SHOWN)
    with pytest.raises(UnavailableError, match=sentence) as raised:
        opened.judge("cats", CATS)
    assert str(raised.value).endswith("1 answer is kept, and the same command goes on from there")
    assert len(str(raised.value).splitlines()) == 1
    assert len(service.asked) == 2


def test_a_service_with_a_limit_is_waited_for_as_long_as_it_asks_within_bounds(service: Service) -> None:
    limit = send(429, Retry_After="7")
    service.replies = [limit, send(503, Retry_After="9999"), say("cats")]
    assert service.open().explain(SHOWN) == "cats"
    assert service.waits == [7.0, LONGEST_WAIT_S]
    service.replies = [send(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")]
    with pytest.raises(UnavailableError, match="status 429, 3 times; 1 answer is kept"):
        service.open().judge("cats", CATS)
    assert service.waits == [1.0, 2.0]


def test_a_slow_service_and_one_that_sends_drops_are_given_up(service: Service) -> None:
    release = threading.Event()

    def drops(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not release.is_set():
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.01)

    def silence(handler: Any) -> None:
        release.wait(5)

    for reply in (silence, drops):
        service.replies = [reply]
        with pytest.raises(
            UnavailableError, match=r"does not answer within 0.2 s, 2 times; 0 answers are kept"
        ):
            service.open(timeout_s=0.2, retries=1).explain(SHOWN)
    release.set()


def test_a_service_that_is_down_is_one_sentence(service: Service) -> None:
    with pytest.raises(
        UnavailableError, match=r"cannot be reached .*, 3 times; 0 answers are kept"
    ) as raised:
        service.open(url="http://127.0.0.1:1/v1").explain(SHOWN)
    assert len(str(raised.value).splitlines()) == 1


def test_a_command_goes_on_where_a_service_failed(
    service: Service, harness_command: Any, texts: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    def call() -> Any:
        return harness_command(
            "autointerp", "long_texts", "--include", texts, "-m", "minigemma-s",
            "--site", "resid_post.1", "-r", "minigemma-scope", "-r", "pca[n=16]", "-n", 10, "--length", 8,
            "--top", 4, "--random", 4, "--explainer", f"endpoint[url={service.url},model=m,key=MY_KEY,retries=0]",
            "--scorer", "rules", "-o", "out",
        )  # fmt: skip

    monkeypatch.setenv("MY_KEY", "sk-secret")
    service.replies = [say('on " house" (9)')] * 7 + [send(404)]
    told = call()
    assert told.code == 3
    assert told.err.splitlines()[-1].endswith(
        "refuses a question with status 404; 7 answers are kept, and the same command goes on from there"
    )
    service.asked.clear()
    service.replies = [say('on " house" (9)')]
    told = call()
    assert told.code == 0, told.err
    assert len(service.asked) == 20 - 7
    (path,) = Path("out").glob("autointerp-*.json")
    text = path.read_text()
    assert "sk-secret" not in text + told.out + told.err
    result = Result.model_validate_json(text)
    assert result.arms[0].examples[0].explanation == 'on " house" (9)'
    # All explanations are the same, so those of other features do as well.
    assert result.arms[0].scores["simulation"].gain.value == 0.0
    assert judge(result, result.arms[1])[0] == "undecided"


def test_answers_that_cannot_be_read_count_until_most_are_so(service: Service) -> None:
    service.replies = [say("[1, 0]"), say("I think so.")]
    opened = service.open()
    assert opened.judge("cats", CATS).tolist() == [1, 0]
    assert np.isnan(opened.judge("dogs", CATS)).all()
    with pytest.raises(UnavailableError, match=r"of 6 answers of 'm' are not of the form .* 'I think so.'"):
        for number in range(9):
            opened.judge(str(number), CATS)


@pytest.mark.parametrize(
    "text",
    ["[1]", "[1, 2, 3]", "[true, 0]", '["1", "0"]', "[1, -1]", "[1, NaN]", "1, 0", "[[1, 0", "[1, 1e999]"],
)
def test_lists_of_another_form_are_not_read(text: str) -> None:
    assert prompts.read_numbers(text, 2, 1) is None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"url": "ftp://x/v1"}, "not of the form"),
        ({"url": "https://me:secret@x/v1"}, "holds no names, keys"),
        ({"url": "https://x/v1?key=secret"}, "holds no names, keys"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"retries": 100}, "retries"),
        ({"url": "http://example.com/v1"}, "unencrypted"),
    ],
)
def test_a_service_is_not_asked_in_a_way_that_gives_its_key_away(
    service: Service, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with pytest.raises(UsageError, match=sentence) as raised:
        service.open(**changed)
    assert "secret" not in str(raised.value)


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────


def compared(own: float, shuffled: float = 0.0, n: int = 50) -> Compared:
    def around(value: float) -> Score:
        return Score(value=value, low=value - 0.1, high=value + 0.1)

    return Compared(own=around(own), shuffled=around(shuffled), gain=around(own - shuffled), n=n)


def verdict(
    ours: Compared, theirs: Compared, lead: float, planted: Compared | None = None
) -> tuple[str, str]:
    arms = [
        Arm(name=name, width=9, alive=9, scores={"simulation": one}, lead={}, examples=())
        for name, one in (("dictionary", ours), ("pca", theirs))
    ]
    leads = {"simulation": Score(value=lead, low=lead - 0.1, high=lead + 0.1)}
    against = arms[1].model_copy(update={"lead": leads})
    result = Result(
        task="t", model="m", site="resid_post.1", explainer="rules", scorer="rules", length=64,
        fragments_explained=100, fragments_scored=100, top=10, random=10,
        scorer_scores={"simulation": planted or compared(1.0)}, arms=(arms[0], against), cpu_minutes=1.0, device="cpu",
    )  # fmt: skip
    return judge(result, against)


def test_verdicts_follow_by_rule() -> None:
    assert verdict(compared(0.8), compared(0.4), 0.4)[0] == "holds"
    assert verdict(compared(0.4), compared(0.8), -0.4)[0] == "does not hold"
    assert verdict(compared(0.5), compared(0.45), 0.05)[0] == "undecided"
    assert verdict(compared(0.8, n=9), compared(0.4), 0.4) == (
        "undecided", "only 9 and 50 features could be scored",
    )  # fmt: skip
    assert verdict(compared(0.8, shuffled=0.75), compared(0.4), 0.4)[0] == "undecided"
    assert "of other features score above chance" in verdict(compared(0.8, 0.3), compared(0.4), 0.4)[1]
    found, why = verdict(compared(0.8), compared(0.4), 0.4, planted=compared(0.05))
    assert found == "not testable on this model" and "planted" in why


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    arm = Arm(name="a", width=9, alive=9, scores={}, lead={}, examples=(), note="nothing")
    result = Result(
        task="t", model="m", site="resid_post.1", explainer="rules", scorer="model[ref=x]", length=64,
        fragments_explained=100, fragments_scored=100, top=10, random=10, scorer_scores={}, arms=(arm, arm),
        cpu_minutes=1.0, device="cpu",
    )  # fmt: skip
    path = write(result, tmp_path)
    (claim,) = describe([path]).claims
    assert (claim.verdict, claim.measured) == ("not testable on this model", None)
    path.write_text("{}")
    with pytest.raises(UnavailableError, match="no result of harness autointerp"):
        describe([path])


def test_fragments_in_which_a_feature_fires_alike_are_drawn_from_all_texts() -> None:
    maxima = np.repeat([1.0, 0.0], 500)
    draws = [draw_fragments(maxima, 10, 10, seed) for seed in (0, 1)]
    assert draws[0].top != draws[1].top and all(max(one.top) > 100 for one in draws)
    assert all((maxima[list(one.top)] == 1).all() for one in draws)
    assert not set(draws[0].top) & set(draws[0].random)
    maxima[7] = 2.0
    assert draw_fragments(maxima, 10, 10, 0).top[0] == 7
