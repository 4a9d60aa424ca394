"""Patching: features given to a twin are those of a plain hook, planted ones are found, and verdicts follow by rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from harness_patching import measure
from harness_patching.arms import make_controls, of_dictionary, of_directions, of_random
from harness_patching.asking import ask, slope_at
from harness_patching.behaviours import FOLDER, Encoded, draw_items, encode, read_behaviour, take_items
from harness_patching.page import describe
from harness_patching.reliability import ITEMS, open_area
from harness_patching.result import Difference, Result, is_testable, judge

import harness
from harness import Score, Site, Tokens

SITE, LATER = Site(kind="resid_post", layer=1), Site(kind="resid_post", layer=2)
WEIGHTS = Path(__file__).parents[1] / "plugins/harness_minigemma/weights"

MINE = """
summary: A word after another one.
right: " {after[0]}"
wrong: " {after[1]}"
templates:
  - {prompt: "{who} saw the {place} and {what[0]}", twin: "{who} saw the {place} and {what[1]}"}
  - {prompt: "In the {place} of {who} {what[0]}", twin: "In the {place} of {who} {what[1]}"}
slots: {who: people, place: places, what: things, after: answers}
lists:
  people: [Mary, Tom, David, Paul, we, they, he, she]
  places: [city, house, country, church, world, city]
  things:
    - [man, men]
    - [woman, women]
    - [friend, friends]
    - [child, children]
    - [word, words]
    - [person, people]
    - [student, students]
    - [teacher, teachers]
    - [player, players]
    - [animal, animals]
    - [tree, trees]
    - [film, films]
  answers:
    - [is, are]
"""

SECOND = '  - {prompt: "In the {place} of {who} {what[0]}", twin: "In the {place} of {who} {what[1]}"}\n'


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A behaviour whose words the embedded models have as single tokens."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, "utf-8")
    return path


# ── behaviours ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_halves_share_no_template_and_no_word_that_matters(name: str) -> None:
    behaviour = read_behaviour(name)
    items = [list(draw_items(behaviour, half)) for half in (0, 1)]
    assert min(map(len, items)) >= 100
    prompts = [{text for item in half for text in (item.prompt, item.twin)} for half in items]
    assert not prompts[0] & prompts[1]
    assert all(item.prompt != item.twin and item.right != item.wrong for half in items for item in half)
    # In either half each answer is as often right as wrong.
    for half in items:
        rights = [item.right for item in half]
        assert abs(rights.count(half[0].right) - rights.count(half[0].wrong)) <= max(10, len(half) // 10)
    assert items[0] == list(draw_items(behaviour, 0))


def test_items_are_those_whose_answers_are_one_token_and_whose_twin_is_as_long(mine: Path) -> None:
    model = harness.open(device="cpu").open_model("minigemma-s").model
    items = list(draw_items(read_behaviour(str(mine)), 0))
    found = encode(items, model)
    assert found
    for one in found:
        assert len(one.prompt.ids) == len(one.twin.ids) and one.right != one.wrong
        assert not (one.prompt.ids == one.twin.ids).all()
    by_hand = 0
    for item in items:
        ids = [model.tokenize([text])[0].ids for text in (item.prompt, item.twin)]
        longer = [
            model.tokenize([text + answer])[0].ids
            for text in (item.prompt, item.twin)
            for answer in (item.right, item.wrong)
        ]
        by_hand += len({len(one) for one in ids}) == 1 and {len(one) for one in longer} == {len(ids[0]) + 1}
    assert len(found) == by_hand
    taken, left_out = take_items(read_behaviour(str(mine)), model, 10, 0)
    assert len(taken) == 10 and left_out >= 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("who: people, ", ""), "has the slot 'who', which is not in slots"),
        (("who: people", "who: persons"), "slot 'who' is filled from 'persons', which is no list there"),
        (("summary:", "summry:"), "did you mean 'summary'"),
        ((SECOND, ""), "templates are 1, and at least 2 are needed"),
        (("what[1]}", "what[2]}"), "has a brace that opens no slot"),
        (("what[1]}", "what}"), "cannot be filled with ('"),
        (("people: [Mary, Tom, David, Paul, we, they, he, she]", "people: []"), "has 0 words, for 1 slots"),
    ],
)
def test_a_fault_in_a_behaviour_is_one_sentence(change: tuple[str, str], said: str, mine: Path) -> None:
    mine.write_text(MINE.replace(*change), "utf-8")
    with pytest.raises(harness.UsageError, match=re.escape(said)) as refused:
        list(draw_items(read_behaviour(str(mine)), 0))
    assert len(str(refused.value).splitlines()) == 1


# ── patches ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def asked() -> Callable[[], Any]:
    """A model, its dictionary and its answers to items at one site."""
    session = harness.open(device="cpu")
    opened = session.open_model("minigemma-s", str(SITE))
    choice = session.registry.choose("representations", "minigemma-scope")
    placed = harness.locate(choice, opened, SITE, session.registry)
    dictionary = harness.load_decoder(placed, "minigemma-scope", SITE, "cpu")
    whole = opened.model.load_whole(SITE, "cpu")  # type: ignore[attr-defined]  # it is a LanguageModel
    texts = ["The man in the city", "The men in the city", "A woman of the house", "A child of the house"]
    tokens = opened.model.tokenize(texts)
    items = [
        Encoded(prompt=tokens[0], twin=tokens[1], right=30, wrong=40, group="a"),
        Encoded(prompt=tokens[2], twin=tokens[3], right=50, wrong=60, group="b"),
    ]
    assert len({len(one.ids) for one in tokens[:2]}) == len({len(one.ids) for one in tokens[2:]}) == 1
    answers = [ask(whole, items, [SITE])]
    weights = np.ones((3, 2), int)
    return measure._Found(whole=whole, answers=answers, weights=weights), dictionary, items


def plain_log_probabilities(tokens: Tokens, hook: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Log-probabilities of the next token from plain transformers, with activations replaced after the second block."""
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS / "minigemma-s", dtype=torch.float32)

    def replace(module: Any, inputs: Any, output: Any) -> Any:
        value = (output[0] if isinstance(output, tuple) else output).clone()
        value[0, torch.from_numpy(tokens.content)] = hook(value[0, torch.from_numpy(tokens.content)])
        return (value, *output[1:]) if isinstance(output, tuple) else value

    model.model.layers[1].register_forward_hook(replace)
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(tokens.ids)[None]).logits[0, -1]
    return logits.float().log_softmax(-1)


def test_a_patch_is_that_of_a_hook_of_plain_transformers_with_numpys_dictionary(asked: Any) -> None:
    found, _, items = asked
    (path,) = (WEIGHTS / "minigemma-s-scope" / "layer_1" / "width_512").glob("*/params.npz")
    with np.load(path) as arrays:
        W_enc, b_enc, threshold, W_dec = (arrays[name] for name in ("W_enc", "b_enc", "threshold", "W_dec"))

    def encode_plain(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        pre = x @ W_enc + b_enc
        return np.where(pre > threshold, pre, 0)

    arm = of_dictionary(asked[1])
    chosen = torch.arange(0, 512, 3)
    followed = found._follow(SITE, measure._patching(arm, SITE, chosen))
    for number, item in enumerate(items):
        seen: list[torch.Tensor] = []
        prompts = plain_log_probabilities(
            item.prompt, lambda rows, seen=seen: (seen.append(rows.clone()), rows)[1]
        )

        def patched(rows: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            change = encode_plain(seen[0].numpy()) - encode_plain(rows.numpy())
            return rows + torch.from_numpy(change[:, ::3] @ W_dec[::3]).float()

        wanted = plain_log_probabilities(item.twin, patched)
        gap = float(wanted[item.right] - wanted[item.wrong])
        kl = float((prompts.exp() * (prompts - wanted)).sum())
        assert followed.gap[0][number] == pytest.approx(gap, abs=1e-5 * max(1, abs(gap)))
        assert followed.kl[0][number] == pytest.approx(kl, abs=1e-5)


def test_everything_patched_is_the_prompt_and_nothing_is_the_twin(asked: Any) -> None:
    found, dictionary, _ = asked
    nodes = {node.name: node for node in found.nodes(dictionary, SITE)}
    whole = nodes["all features and error node"]
    assert whole.kl.value == pytest.approx(1, abs=1e-5) and whole.logits.value == pytest.approx(1, abs=1e-4)
    assert nodes["all features"].kl.value < 1
    nothing = found._recovered(found._follow(SITE, lambda one, rows: rows))
    assert nothing[0][0] == pytest.approx(0, abs=1e-6) and nothing[1][0] == pytest.approx(0, abs=1e-6)
    (one,) = found.answers
    sample = torch.cat([one.prompt_rows[SITE], one.twin_rows[SITE]])
    for arm in make_controls(sample, dictionary)[:3]:
        every = found._recovered(found._follow(SITE, measure._patching(arm, SITE, torch.arange(64))))
        assert every[0][0] == pytest.approx(1, abs=1e-3), arm.name


def test_a_random_dictionary_is_as_wide_and_as_sparse_as_the_dictionary_and_no_more_than_that(
    asked: Any,
) -> None:
    found, dictionary, _ = asked
    (one,) = found.answers
    sample = torch.cat([one.prompt_rows[SITE], one.twin_rows[SITE]])
    arm = of_random(dictionary, sample)
    assert arm.writes.shape == dictionary.W_dec.shape
    np.testing.assert_allclose(arm.writes.norm(dim=1), 1, rtol=1e-5)
    x, directions = sample.double().numpy(), arm.writes.double().numpy()
    active = round(float((dictionary.encode(sample) != 0).sum(1).double().mean()))
    pre = (x - x.mean(0)) @ directions.T
    kept = np.argsort(-pre, axis=1)[:, :active]
    expected = np.zeros_like(pre)
    np.put_along_axis(expected, kept, np.maximum(np.take_along_axis(pre, kept, 1), 0), 1)
    np.testing.assert_allclose(arm.code(sample), expected, atol=1e-3 * pre.max())
    assert torch.equal(arm.code(sample), of_random(dictionary, sample).code(sample))


def test_a_placebo_differs_as_much_between_prompts_and_twins_and_is_none_of_the_chosen(asked: Any) -> None:
    found, dictionary, _ = asked
    (one,) = found.answers
    arm = of_dictionary(dictionary)
    differences = arm.code(one.prompt_rows[SITE]) - arm.code(one.twin_rows[SITE])
    means = differences.abs().mean(0).double().numpy()
    chosen = torch.from_numpy(np.argsort(-means)[2:5].copy())
    placebos = measure.find_placebos(arm, chosen, found.answers, SITE)
    assert len(set(placebos)) == 3 and not set(placebos) & set(chosen.tolist())
    others = np.flatnonzero(means > 0)
    for number, placebo in zip(chosen.tolist(), placebos, strict=True):
        nearer = np.abs(means[others] - means[number]) < abs(means[placebo] - means[number])
        assert means[placebo] > 0 and nearer.sum() <= 25
    every = torch.from_numpy(np.flatnonzero(means > 0))
    assert measure.find_placebos(arm, every, found.answers, SITE) == []  # there is no other that differs


class Planted:
    """Model whose answer depends on one direction of its activations, which are those of its last token."""

    def __init__(self, activations: torch.Tensor, direction: torch.Tensor) -> None:
        self.activations, self.direction = activations, direction

    def losses(self, batch: Sequence[Tokens], splice: Any = None) -> torch.Tensor:
        raise NotImplementedError  # patching asks for predictions alone

    def next_logits(self, batch: Sequence[Tokens], splices: Mapping[Site, Any] | None = None) -> torch.Tensor:
        rows = self.activations[torch.tensor([int(one.ids[-1]) for one in batch])]
        for splice in (splices or {}).values():
            rows = splice(rows)
        answer = rows @ self.direction
        return torch.stack([answer, -answer, torch.zeros_like(answer)], 1)


def test_a_planted_feature_is_the_first_and_carries_all_of_it() -> None:
    draw = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 16, generator=draw)).Q
    values = torch.rand(40, 16, generator=draw)
    values[:20, 5], values[20:, 5] = 3.0, 0.0
    model = Planted(values @ directions, directions[5])
    one = np.ones(1, bool)
    items = [
        Encoded(
            prompt=Tokens(ids=np.array([n]), content=one),
            twin=Tokens(ids=np.array([n + 20]), content=one),
            right=0,
            wrong=1,
            group=str(n),
        )
        for n in range(20)
    ]
    own = harness.Dictionary(
        name="planted", width=16, activation="relu", W_enc=directions.T.contiguous(),
        b_enc=torch.zeros(16), W_dec=directions,
    )  # fmt: skip
    asked = [ask(model, items, [SITE])]
    arms = measure.make_arms(asked, SITE, own)
    ranked = list(zip(arms, measure.rank(model, asked, SITE, arms), strict=True))
    assert int(ranked[0][1][0]) == 5
    weights = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=50)
    found = measure._Found(whole=model, answers=asked, weights=weights)
    curves = {arm.name: found.curve(arm, order, SITE, [1, 2, 4]) for arm, order in ranked}
    assert curves["dictionary"].points[0].kl.value == pytest.approx(1, abs=1e-4)
    assert curves["dictionary"].points[0].logits.value == pytest.approx(1, abs=1e-4)
    assert curves["random directions"].points[0].kl.value < 0.9
    verdict, _ = judge(tuple(d for d in found.differences() if d.against != "pca"))
    assert verdict == "holds"


def test_a_model_without_gradients_is_told_what_it_lacks() -> None:
    class Frozen(Planted):
        @torch.no_grad()
        def next_logits(self, batch: Sequence[Tokens], splices: Any = None) -> torch.Tensor:
            return super().next_logits(batch, splices)

    model = Frozen(torch.eye(2), torch.ones(2))
    prompt, twin = (Tokens(ids=np.array([number]), content=np.ones(1, bool)) for number in (0, 1))
    asked = ask(model, [Encoded(prompt=prompt, twin=twin, right=0, wrong=1, group="a")], [SITE])
    with pytest.raises(harness.UnavailableError, match="predictions have no gradients"):
        slope_at(model, asked, SITE)


class PlantedTwice(Planted):
    """Model with a second site, whose activations are those of the first times `weights`."""

    def __init__(self, activations: torch.Tensor, weights: torch.Tensor, direction: torch.Tensor) -> None:
        super().__init__(activations, direction)
        self.weights = weights

    def next_logits(self, batch: Sequence[Tokens], splices: Mapping[Site, Any] | None = None) -> torch.Tensor:
        rows = self.activations[torch.tensor([int(one.ids[-1]) for one in batch])]
        given = splices or {}
        rows = given.get(SITE, lambda rows: rows)(rows) @ self.weights
        answer = given.get(LATER, lambda rows: rows)(rows) @ self.direction
        return torch.stack([answer, -answer, torch.zeros_like(answer)], 1)


def test_an_edge_is_what_goes_from_one_feature_through_another() -> None:
    values = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, -1.0], [0.0, 0.0, 0.3]])
    direction = torch.tensor([1.0, -2.0, 0.5])
    one = np.ones(1, bool)
    prompts, twins = ([Tokens(ids=np.array([n + start]), content=one) for n in range(6)] for start in (0, 6))
    items = [
        Encoded(prompt=prompt, twin=twin, right=0, wrong=1, group="a")
        for prompt, twin in zip(prompts, twins, strict=True)
    ]
    model = PlantedTwice(values, weights, direction)
    answers = [ask(model, items, [SITE, LATER])]
    found = measure._Found(whole=model, answers=answers, weights=np.ones((3, 6), int))
    arm = of_directions("own", torch.eye(3))
    ends = (arm, torch.tensor([0, 1])), (arm, torch.tensor([2, 0]))
    edges = list(found.edges(*ends, [1], sites=[SITE, LATER]))
    effects = {(edge.earlier, edge.later): edge.effect.value for edge in edges}
    change = (values[:6] - values[6:]).sum(0)
    whole = float(change @ weights @ direction)
    for (earlier, later), effect in effects.items():
        by_hand = float(change[earlier] * weights[earlier, later] * direction[later]) / whole
        assert effect == pytest.approx(by_hand, abs=1e-5)
    assert len(effects) == 4 and effects[1, 0] == pytest.approx(0, abs=1e-6)
    for edge in edges:
        through = weights[edge.earlier] * direction  # by way of each of the three
        alone = float(change[edge.earlier] * through.sum()) / whole
        assert edge.alone and edge.alone.value == pytest.approx(alone, abs=1e-5)
        if edge.later == 0:  # one placebo was found, for the first
            assert edge.placebo is edge.placebo_effect is edge.lead is None
            continue
        placebo = float(change[edge.earlier] * through[1]) / whole
        assert edge.placebo == 1 and edge.placebo_effect and edge.lead
        assert edge.placebo_effect.value == pytest.approx(placebo, abs=1e-5)
        assert edge.lead.value == pytest.approx(edge.effect.value - placebo, abs=1e-5)


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────


def differing(**intervals: tuple[float, float]) -> tuple[Difference, ...]:
    return tuple(
        Difference(against=name, kl=Score(value=(low + high) / 2, low=low, high=high), logits=Score(value=0))
        for name, (low, high) in intervals.items()
    )


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ({"pca": (0.1, 0.2), "neurons": (0.01, 0.3)}, "holds"),
        ({"pca": (0.1, 0.2), "neurons": (-0.3, -0.01)}, "does not hold"),
        ({"pca": (-0.1, 0.2), "neurons": (0.01, 0.3)}, "undecided"),
        ({"pca": (-0.1, 0.2), "neurons": (-0.3, -0.1)}, "does not hold"),
    ],
)
def test_a_verdict_follows_from_the_intervals(
    intervals: dict[str, tuple[float, float]], verdict: str
) -> None:
    assert judge(differing(**intervals))[0] == verdict


def test_a_behaviour_is_testable_where_accuracy_is_above_chance_by_its_interval() -> None:
    assert is_testable(Score(value=0.6, low=0.51, high=0.7))
    assert not is_testable(Score(value=0.6, low=0.5, high=0.7))
    assert not is_testable(Score(value=0.5, low=0.5, high=0.5))  # one answer to prompt and twin alike


def test_accuracy_that_no_resample_changes_has_an_interval_nonetheless() -> None:
    weights = measure.draw_weights(["a"] * 4 + ["b"] * 4)
    same = measure.score_accuracy(np.ones(8), weights, 2)
    assert (same.value, same.high) == (1, 1) and same.low == pytest.approx(wilson_low(2, 2))
    assert not is_testable(same) and is_testable(measure.score_accuracy(np.ones(8), weights, 5))
    assert not is_testable(measure.score_accuracy(np.full(8, 0.5), weights, 20))
    mixed = measure.score_accuracy(np.array([1.0, 1, 1, 1, 0, 1, 1, 1]), weights, 2)
    assert (mixed.low, mixed.high) == (0.75, 1)


def wilson_low(successes: int, n: int) -> float:
    """Lower end of Wilson's interval at 95 %, by its formula."""
    z, share = 1.959964, successes / n
    spread = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return (share + z**2 / (2 * n) - spread) / (1 + z**2 / n)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def run(harness_command: Any, behaviour: str | Path, *more: str) -> Any:
    given = ("-m", "minigemma-s", "--site", "resid_post.1", "-r", "minigemma-scope", "-n", "20", "-d", "cpu")
    return harness_command("patch", behaviour, *given, *more)


def test_a_model_that_does_not_show_the_behaviour_is_not_testable_and_no_claim_stands(
    mine: Path, harness_command: Any, tmp_path: Path
) -> None:
    mine.write_text(
        MINE.replace("[is, are]", "[house, city]"), "utf-8"
    )  # answers that have to do with nothing
    done = run(harness_command, mine, "-k", "1", "-o", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    result = Result.model_validate_json(done.out)
    (path,) = (tmp_path / "out").glob("patching-mine-*.json")
    assert json.loads(path.read_text("utf-8")) == json.loads(done.out)
    (claim,) = describe([path]).claims
    assert (result.verdict, claim.verdict) == ("not testable on this model",) * 2
    assert result.curves == () and claim.measured is None and "guessing gives 0.5" in claim.reason


def test_curves_nodes_and_edges_of_a_model_that_shows_the_behaviour(
    mine: Path, harness_command: Any, tmp_path: Path
) -> None:
    more = (
        "-k",
        "1",
        "-k",
        "4",
        "--edges",
        "resid_post.2",
        "--n-edges",
        "2",
        "-o",
        str(tmp_path / "out"),
        "--json",
    )
    done = run(harness_command, mine, *more)
    assert done.code == 0, done.err
    result = Result.model_validate_json(done.out)
    names = ["dictionary", "pca", "neurons", "random directions", "random dictionary"]
    assert [curve.name for curve in result.curves] == names
    assert all([point.patched for point in curve.points] == [1, 4] for curve in result.curves)
    assert len(result.edges) == 4 and len({edge.earlier for edge in result.edges}) == 2
    others = [curve for curve in result.curves if curve.name != "dictionary"]
    nearest = max(others, key=lambda curve: curve.kl_area.value)
    assert result.find_nearest() == nearest
    (claim,) = describe([*(tmp_path / "out").glob("*.json")]).claims
    assert claim.control_value == nearest.kl_area and claim.control.startswith("as many ")
    assert len(result.differences) == 4 and result.later_site == "resid_post.2"
    built = harness_command("leaderboard", "build", tmp_path / "out")
    assert built.code == 0
    page = (tmp_path / "out/patching.md").read_text("utf-8")
    assert (
        "| KL recovered | 1 | 4 | area |" in page and "Edges of the dictionary from features at resid" in page
    )
    assert "Cunningham et al. 2023" in (tmp_path / "out/claims.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("behaviour", "more", "code", "said"),
    [
        (
            "agreemnt",
            (),
            2,
            "there is no behaviour 'agreemnt'; known are: agreement, gendered-pronoun, indirect-object",
        ),
        ("agreement", ("-r", "hidden"), 3, "representation 'hidden' has no decoder"),
        ("indirect-object", ("-k", "4096"), 2, "4096 features are to be patched at once, and there are 64"),
        ("indirect-object", ("--n-edges", "2"), 2, "with --edges SITE only"),
        ("indirect-object", ("--edges", "resid_post.0"), 2, "is none"),
        ("indirect-object", ("--edges", "resid_post.1"), 2, "and 'resid_post.1' is none"),
        ("indirect-object", ("--site", "resid_post.9"), 2, "model 'minigemma-s' has no site 'resid_post.9'"),
    ],
)
def test_bad_input_is_one_sentence(
    behaviour: str, more: tuple[str, ...], code: int, said: str, harness_command: Any, tmp_path: Path
) -> None:
    done = run(harness_command, behaviour, *more, "-o", str(tmp_path / "out"))
    assert done.code == code, done.err
    assert said in done.said[-1] and done.said[-1].startswith("harness: ")
    assert not (tmp_path / "out").exists()


def test_a_model_that_can_be_asked_too_few_items_is_told_why(
    mine: Path, harness_command: Any, tmp_path: Path
) -> None:
    mine.write_text(MINE.replace("[is, are]", "[Constantinople, are]"), "utf-8")
    done = run(harness_command, mine, "-k", "1", "-o", str(tmp_path / "out"), "--json")
    result = Result.model_validate_json(done.out)
    assert done.code == 0 and result.verdict == "not testable on this model" and result.accuracy is None
    assert "it can be asked 0 items of a half" in result.reason and "each answer one token" in result.reason
    (claim,) = describe(list((tmp_path / "out").glob("*.json"))).claims
    assert claim.measured is None and claim.n == 0


def test_intervals_are_over_the_words_that_decide(mine: Path, harness_command: Any, tmp_path: Path) -> None:
    weights = measure.draw_weights(["b", "a", "b", "c"])
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] != weights[:, 1]).any()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    few = MINE[: MINE.index("    - [word, words]")] + MINE[MINE.index("  answers:") :]
    mine.write_text(few, "utf-8")
    done = run(harness_command, mine, "-k", "1", "-o", str(tmp_path / "out"), "--json")
    result = Result.model_validate_json(done.out)
    assert result.verdict == "not testable on this model" and "decided by 2 different words" in result.reason


def test_the_area_as_a_score_is_that_of_the_dictionary_alone(mine: Path, harness_command: Any) -> None:
    done = run(harness_command, mine, "-k", "1", "-k", "4", "-k", "16", "-n", str(ITEMS), "--json")
    task = harness.open(device="cpu").load_task(
        "quickstart_tone", model="minigemma-s", site="resid_post.1", limit=30
    )
    measure_area = open_area(str(mine), task)
    assert done.code == 0, done.err
    curve = Result.model_validate_json(done.out).find("dictionary")
    assert curve is not None and measure_area("minigemma-scope", 0) == curve.kl_area.value
    assert measure_area("minigemma-scope", 1) != measure_area("minigemma-scope", 2)  # items are drawn anew
    with pytest.raises(harness.NotTestableError, match=r"accuracy|asked"):
        open_area("agreement", task)("minigemma-scope", 0)


@pytest.mark.parametrize("text", ["{", '{"version": 2}', "[]", '{"behaviour": "a", "behaviour": "b"}'])
def test_a_file_that_is_no_result_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "patching-broken.json"
    path.write_text(text, "utf-8")
    with pytest.raises(harness.UnavailableError, match="is no result of harness patch"):
        describe([path])
