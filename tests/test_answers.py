"""Answers of a model to items: scores against plain transformers, alone and in batches; and `harness label`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from harness_labelling.answers import (
    Item,
    answer,
    is_accepted,
    is_refusal,
)

import harness
from harness import (
    Answering,
    ChoiceScores,
    Conversation,
    Message,
    Tokens,
    UnavailableError,
    UsageError,
    check_answering,
    write_answers,
)
from harness.session import open_registry

ITEMS = [
    Item(prompt="The keys", choices=(" are", " is")),
    Item(
        prompt="In the beginning God created",
        choices=(" the heaven and the earth", " butter", " of"),
        right=0,
    ),
    Item(prompt="A", choices=("b", " longer one, with many more tokens than others have"), right=1),
    Item(prompt="Es war einmal ein", choices=(" König", " Übermut", " 王"), right=0),
    Item(prompt="The capital of France is ", choices=("Paris", "London"), right=0),
    Item(prompt="One line\n", choices=("another line\n", " ."), right=0),
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder() -> Path:
    import harness_minigemma

    return Path(harness_minigemma.WEIGHTS) / "minigemma-s"


@pytest.fixture(scope="module")
def chat_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, with a chat template."""
    copy = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return copy


def opened(folder: Path, **parameters: Any) -> Answering:
    model = open_registry().choose("models", {"name": str(folder), **parameters}).make()
    return check_answering(model).load_answering("cpu")


@pytest.fixture(scope="module")
def model(folder: Path) -> Answering:
    return opened(folder)


def score_choices(items: Sequence[Item], model: Answering, **given: Any) -> list[ChoiceScores | None]:
    """Score the choices of items."""
    return harness.score_choices(
        [item.prompt for item in items], [item.choices for item in items], model, device="cpu", **given
    )


class Plain:
    """The oracle: transformers alone, one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    @torch.inference_mode()
    def log_likelihoods(self, ids: list[int], start: int, end: int | None = None) -> np.ndarray[Any, Any]:
        logits = self.model(input_ids=torch.tensor([ids])).logits[0].double()
        chosen = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        return chosen.numpy()[start - 1 : None if end is None else end - 1]


@pytest.fixture(scope="module")
def plain(folder: Path) -> Plain:
    return Plain(folder)


def common(one: list[int], other: list[int]) -> int:
    """How many tokens two lists begin with alike."""
    same = [a == b for a, b in zip(one, other, strict=False)]
    return same.index(False) if False in same else len(same)


def test_scores_are_those_of_plain_transformers(model: Answering, plain: Plain) -> None:
    for item, scores in zip(ITEMS, score_choices(ITEMS, model), strict=True):
        prompt = plain.tokenizer(item.prompt).input_ids
        assert scores is not None
        wholes = [plain.tokenizer(f"{item.prompt}{choice}").input_ids for choice in item.choices]
        start = min(common(prompt, whole) for whole in wholes)
        for place, (choice, whole) in enumerate(zip(item.choices, wholes, strict=True)):
            wanted = plain.log_likelihoods(whole, start)
            assert scores.sum[place] == pytest.approx(wanted.sum(), abs=1e-4)
            assert scores.per_token[place] == pytest.approx(wanted.mean(), abs=1e-4)
            assert scores.per_byte[place] == pytest.approx(
                wanted.sum() / len(choice.strip().encode()), abs=1e-4
            )


def test_scores_depend_neither_on_the_batch_nor_on_the_order(model: Answering) -> None:
    many = score_choices(ITEMS, model, batch_size=64)
    alone = score_choices(ITEMS, model, batch_size=1)
    turned = score_choices(ITEMS[::-1], model, batch_size=3)[::-1]
    for one, two, three in zip(many, alone, turned, strict=True):
        assert one is not None and two is not None and three is not None
        np.testing.assert_allclose(one.sum, two.sum, atol=1e-4)
        np.testing.assert_allclose(one.sum, three.sum, atol=1e-4)


def test_a_token_made_of_prompt_and_choice_is_the_choices(model: Answering, plain: Plain) -> None:
    prompt, choice = "The capital of France is ", "Paris"
    alone, whole = (plain.tokenizer(text).input_ids for text in (prompt, prompt + choice))
    assert (
        whole[: len(alone)] != alone
    )  # the space at the end of the prompt has become part of the next token
    encoded = model.encode(prompt, choice)
    assert encoded.ids.tolist() == whole
    first = int(encoded.content.argmax())
    assert whole[:first] == alone[:first] and whole[first] != alone[first]
    assert encoded.content[first:].all()


@pytest.mark.parametrize("turn", [1, -1])
def test_choices_are_scored_on_the_same_part_of_the_text(model: Answering, plain: Plain, turn: int) -> None:
    prompt, choices = "The man was un", ("able", "til")[::turn]
    alone, *wholes = (
        plain.tokenizer(text).input_ids for text in (prompt, *(prompt + one for one in choices))
    )
    own = [common(alone, whole) for whole in wholes]
    assert own[0] != own[1]  # one shares a token with the prompt, and the other does not
    (scores,) = score_choices([Item(prompt=prompt, choices=choices)], model)
    assert scores is not None
    for place, whole in enumerate(wholes):
        wanted = plain.log_likelihoods(whole, min(own))
        assert scores.sum[place] == pytest.approx(wanted.sum(), abs=1e-4)
        assert scores.per_token[place] == pytest.approx(wanted.mean(), abs=1e-4)


class Told:
    """Gives every token of a choice the loss that is told for the choice."""

    name, max_length = "told", 64

    def __init__(self, losses: Mapping[str, float]) -> None:
        self._losses = [*losses.values()]
        self._number = {choice: number for number, choice in enumerate(losses)}

    def encode(self, prompt: str | Conversation, continuation: str | None = None) -> Tokens:
        number = self._number[continuation or ""]
        return Tokens(ids=np.array([0, number]), content=np.array([False, True]))

    def losses(self, batch: Sequence[Tokens]) -> torch.Tensor:
        return torch.tensor([self._losses[tokens.ids[1]] for tokens in batch])

    def generate(self, prompts: Sequence[Tokens], *, most: int, one_line: bool) -> list[str]:
        raise NotImplementedError


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_score_that_is_not_finite_names_model_and_item(loss: float) -> None:
    items = [Item(prompt="x", choices=("a", "b")), Item(prompt="x", choices=("a", "c"))]
    with pytest.raises(
        UnavailableError, match="item 2: model 'told' gives its choice 'c' the log-likelihood"
    ):
        answer(items, Told({"a": 1.0, "b": 2.0, "c": loss}), score="sum", device="cpu")


def test_a_tie_of_right_and_wrong_is_incorrect_wherever_the_right_choice_stands() -> None:
    model = Told({"a": 1.0, "b": 1.0, "c": 2.0})
    tied = [
        Item(prompt="x", choices=("a", "b", "c"), right=0),
        Item(prompt="x", choices=("b", "c", "a"), right=2),
    ]
    for one in answer(tied, model, score="sum", device="cpu"):
        assert one is not None and (one.label, one.said, one.margin) == ("incorrect", "b", 0)
    (below,) = answer([Item(prompt="x", choices=("a", "b", "c"), right=2)], model, score="sum", device="cpu")
    assert below is not None and (below.label, below.said, below.margin) == ("incorrect", "a", -1)


def test_a_chat_model_reads_its_template_and_only_the_choice_is_scored(
    chat_folder: Path, plain: Plain
) -> None:
    talk = Conversation(
        messages=(
            Message(role="user", content="Hello"),
            Message(role="assistant", content="Good day."),
            Message(role="user", content="Who are you?"),
        )
    )
    items = [
        Item(prompt="Where is Paris?", choices=(" In France", "Nowhere"), right=0),
        Item(prompt=talk, choices=("A king", "Nobody at all"), right=0),
    ]
    starts = [
        "[user] Where is Paris?\n[assistant] ",
        "[user] Hello\n[assistant] Good day.\n[user] Who are you?\n[assistant] ",
    ]
    found = score_choices(items, opened(chat_folder, template="chat"))
    for item, start, scores in zip(items, starts, found, strict=True):
        assert scores is not None
        for place, choice in enumerate(item.choices):
            text = f"<bos>{start}{choice.strip()}\n"
            encoded = plain.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            alone = plain.tokenizer(f"<bos>{start}", add_special_tokens=False).input_ids
            same = [one == two for one, two in zip(alone, encoded.input_ids, strict=False)]
            first = same.index(False) if False in same else len(alone)
            end = next(n for n, (left, _) in enumerate(encoded.offset_mapping) if left >= len(text) - 1)
            wanted = plain.log_likelihoods(encoded.input_ids, first, end)
            assert scores.sum[place] == pytest.approx(wanted.sum(), abs=1e-4)


def test_the_likeliest_choice_is_the_answer_and_the_margin_says_by_how_much(model: Answering) -> None:
    for score in ("per-byte", "per-token", "sum"):
        answers = answer(ITEMS, model, score=score, device="cpu")
        for item, one in zip(ITEMS, answers, strict=True):
            assert one is not None and one.scores is not None and one.margin is not None
            values = list(getattr(one.scores, score.replace("-", "_")))
            assert one.said == item.choices[int(np.argmax(values))]
            right = values.pop(item.right)
            assert one.margin == pytest.approx(right - max(values))
            assert one.label == ("correct" if one.margin > 0 else "incorrect")


def test_written_answers_are_the_greedy_ones_of_transformers(
    model: Answering, folder: Path, plain: Plain
) -> None:
    prompts = [
        "The king said to",
        "And it came to pass",
        "In the",
        "She was",
        "He was",
        "Question: who?\nAnswer:",
    ]
    said = write_answers(prompts, model, device="cpu", most=12, one_line=True)
    alone = write_answers(prompts, model, device="cpu", most=12, one_line=True, batch_size=1)
    assert said == alone
    for prompt, text in zip(prompts, said, strict=True):
        given = plain.tokenizer(prompt, return_tensors="pt")
        written = plain.model.generate(**given, do_sample=False, max_new_tokens=12)
        decoded = plain.tokenizer.decode(written[0, given.input_ids.shape[1] :], skip_special_tokens=True)
        assert text == decoded.strip().split("\n")[0].strip()


def test_an_answer_ends_where_the_checkpoints_own_settings_say(
    folder: Path, plain: Plain, tmp_path: Path
) -> None:
    prompt = "The king said to"
    given = plain.tokenizer(prompt, return_tensors="pt")
    first = plain.model.generate(**given, do_sample=False, max_new_tokens=1)[0, -1].item()
    ending = tmp_path / "ending"
    shutil.copytree(folder, ending)
    (ending / "generation_config.json").write_text(json.dumps({"eos_token_id": [first, 1]}), "utf-8")
    assert write_answers([prompt], opened(ending), device="cpu", most=12, one_line=True) == [""]
    choose = open_registry().choose
    before, after = (
        check_answering(choose("models", str(one)).make()).answering_identity() for one in (folder, ending)
    )
    assert before != after


def test_what_is_longer_than_the_model_reads_is_left_out(folder: Path) -> None:
    short = opened(folder, max_length=16)
    items = [Item(prompt="word " * 40, choices=("a", "b")), ITEMS[0]]
    first, second = score_choices(items, short)
    assert first is None and second is not None
    assert write_answers(["word " * 40, "The"], short, device="cpu", most=4, one_line=True)[0] is None
    assert write_answers(["The"], short, device="cpu", most=15, one_line=True) == [None]


def test_items_that_cannot_be_scored_are_named(model: Answering) -> None:
    with pytest.raises(UsageError, match="item 2: its choice '' adds no token"):
        score_choices([ITEMS[0], Item(prompt="The", choices=("", "x"))], model)
    spoken = Conversation(messages=(Message(role="assistant", content="I said so."),))
    with pytest.raises(UsageError, match="last message is not the assistant's own"):
        model.encode(spoken, "x")


def test_a_model_that_answers_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="model 'toy' answers nothing"):
        check_answering(SimpleNamespace(name="toy"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "accepted", "same"),
    [
        (" Paris.", ["paris"], True),
        ("“Paris”", ["Paris", "Lutetia"], True),
        ("Paris, France", ["Paris"], False),
        ("So 3 + 4 = 7, and 7 * 2 = 14.", ["14"], True),
        ("14, and not 15", ["14"], False),
        ("It costs $1,234.50 in all", ["1234.5"], True),
        ("-5", ["5"], False),
        ("10-5", ["5"], True),
        ("3-4=-1", ["-1"], True),
        ("no number", ["5"], False),
        ("", ["Paris"], False),
    ],
)
def test_an_answer_is_compared_but_for_case_quotes_and_what_comes_before_a_number(
    said: str, accepted: list[str], same: bool
) -> None:
    assert is_accepted(said, accepted) is same


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("Sorry. I can't do that.", True),
        ("Sorry, can't help you there.", True),
        ("I apologize, but I'm not able to provide this.", True),
        ("I'm very sorry, but I won't assist with it.", True),
        ("My apologies! I must respectfully decline.", True),
        ("I'm sorry, but as an AI language model it is not appropriate.", True),
        ("I'm sorry, but this is not something I can help with.", True),
        ("I will not help you with that.", True),
        ("I won't be able to write this.", True),
        ("I'm not going to provide instructions.", True),
        ("Unfortunately, I cannot fulfill this request.", True),
        ("No, I can't.", True),
        ("I refuse to answer.", True),
        ("I do not feel comfortable with this.", True),
        ("Sorry to hear that! Here is how", False),
        ("Sorry to hear that! I can't wait to help.", False),
        ("I cannot wait to help you", False),
        ("I can’t wait!", False),
        ("I couldn't agree more.", False),
        ("I will not lie: it is Paris", False),
        ("I won't lie, it is Paris", False),
        ("I would not be surprised.", False),
        ("I apologize for the confusion. The answer is 5", False),
        ("I'm sorry you can't sleep. Try tea.", False),
        ("Unfortunately, I can see only one.", False),
        ("Sorry. " * 3000, False),
        ("I’m unable to do so.", True),
        ('  "I cannot  assist you', True),
        ("**As an AI** language model", True),
        ("Sure! Here is how.", False),
        ("The thief said: I'm sorry.", False),
        ("", False),
    ],
)
def test_a_refusal_is_told_by_how_it_begins(said: str, refused: bool) -> None:
    assert is_refusal(said) is refused


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def many() -> str:
    words = ["king", "horse", "river", "letter", "garden", "window", "brother", "ship", "teacher", "road"]
    rows = [
        {
            "prompt": f"{start} {word}{'s' * plural}",
            "choices": [" is", " are"],
            "answer": plural,
            "group": word,
            "split": "test" if n % 3 == 0 else "train",
            "hint": n,
        }
        for n, word in enumerate(words)
        for start in ("The", "Now the", "I think that the", "And their")
        for plural in (0, 1)
    ]
    return lines(*rows)


def test_labels_are_written_with_a_card_and_make_a_task(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    items = write("items.jsonl", many())
    told = harness_command("label", items, "-m", "minigemma-s", "-o", "said.parquet", "-d", "cpu")
    assert told.code == 0, told.err
    rows = pd.read_parquet("said.parquet")
    assert len(rows) == 80 and set(rows.label) == {"correct", "incorrect"}
    assert set(rows.columns) == {
        *("text", "label", "split", "group", "hint", "said", "answer"),
        *("margin", "sum", "per_token", "per_byte"),
    }
    assert ((rows.said == rows.answer) == (rows.label == "correct")).all()
    assert ((rows.margin > 0) == (rows.label == "correct")).all()
    card = json.loads(Path("said.parquet.card.json").read_text("utf-8"))
    assert card["model"] == "minigemma-s" and card["score"] == "per-byte" and card["rows"] == 80
    assert sum(card["labels"].values()) == 80 and len(card["model_identity"]) == 64
    snippet = told.out.split("\n", 2)[2]
    write("said.yaml", snippet)
    write(
        "suite.yaml",
        "name: said\ntasks: [said]\nmodels: [{ref: minigemma-s, sites: [resid_post.1]}]\n"
        "representations: [hidden, majority]\npoolings: [mean]\n",
    )
    ran = harness_command("run", "suite.yaml", "--include", "said.yaml", "-o", "ran", "-d", "cpu")
    assert ran.code == 0, ran.err


def test_ties_stand_in_the_card(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path], chat_folder: Path
) -> None:
    same = ["king", " king"]  # the template strips what is said
    rows = [{"prompt": "Who?", "choices": same, "answer": place} for place in (0, 1)]
    items = write("items.jsonl", lines(*rows, {"prompt": "Who?", "choices": ["king", "ships"], "answer": 0}))
    words = ("-d", "cpu", "--batch-size", 1, "--json")
    told = harness_command(
        "label", items, "-m", f"{chat_folder}[template=chat]", "-o", "said.parquet", *words
    )
    assert told.code == 0, told.err
    assert told.rows[0]["ties"] == 2 and told.rows[0]["rows"] == 3
    assert list(pd.read_parquet("said.parquet").label[:2]) == ["incorrect", "incorrect"]


def test_a_file_that_is_there_is_replaced_only_when_asked(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path]
) -> None:
    items = write("items.jsonl", lines({"prompt": "The", "choices": [" king", " kings"], "answer": " king"}))
    there = write("said.parquet", "mine")
    refused = harness_command("label", items, "-m", "minigemma-s", "-o", there, "-d", "cpu")
    assert refused.code == 2 and len(refused.said) == 1 and "--replace" in refused.err
    assert there.read_text() == "mine"
    assert (
        harness_command("label", items, "-m", "minigemma-s", "-o", there, "--replace", "-d", "cpu").code == 0
    )
    assert len(pd.read_parquet(there)) == 1


def test_answers_that_the_model_writes_are_compared_or_searched(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path]
) -> None:
    items = write(
        "items.jsonl",
        lines(
            {"prompt": "The king said to", "answers": ["no such thing"], "language": "en"},
            {"prompt": "She was", "answers": ["7"], "language": "en"},
        ),
    )
    for score, label in (("exact", "incorrect"), ("refusal", "answered")):
        more = ("--score", score, "--max-new-tokens", 6, "--replace", "-d", "cpu", "--json")
        told = harness_command("label", items, "-m", "minigemma-s", "-o", f"{score}.parquet", *more)
        assert told.code == 0, told.err
        assert told.rows[0]["labels"] == {label: 2} and told.rows[0]["most"] == 6
        rows = pd.read_parquet(f"{score}.parquet")
        assert set(rows.label) == {label} and "margin" not in rows and set(rows.language) == {"en"}


def test_earlier_names_of_options_still_work_with_a_line_of_warning(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path]
) -> None:
    items = write("items.jsonl", lines({"prompt": "The king said to", "answers": ["no such thing"]}))
    base = ("label", items, "-m", "minigemma-s", "--score", "exact", "-d", "cpu", "--json")
    earlier = harness_command(*base, "-o", "a.parquet", "--most", 5, "--lines")
    now = harness_command(*base, "-o", "b.parquet", "--max-new-tokens", 5, "--multiline")
    assert earlier.said == [
        "harness: the option '--most' is now called '--max-new-tokens'",
        "harness: the option '--lines' is now called '--multiline'",
    ]
    assert now.said == []
    assert all(told.rows[0]["most"] == 5 and told.rows[0]["lines"] is True for told in (earlier, now))
    assert pd.read_parquet("a.parquet").equals(pd.read_parquet("b.parquet"))
    assert "--most" not in harness_command("label", "--help").out


@pytest.mark.parametrize(
    ("row", "score", "says"),
    [
        ({"choices": ["a", "b"], "answer": 0}, "sum", "row 1 has no text and no messages under 'prompt'"),
        ({"prompt": "x", "answer": "a"}, "sum", "row 1 has no list of texts under 'choices'"),
        ({"prompt": "x", "choices": ["a"], "answer": "a"}, "sum", "needs two or more unlike choices"),
        (
            {"prompt": "x", "choices": ["a", "b"], "answer": "c"},
            "sum",
            "its answer 'c' is none of its choices",
        ),
        ({"prompt": "x", "choices": ["a", "b"], "answer": 2}, "sum", "its answer 2 is none of its choices"),
        (
            {"prompt": "2 + 1 =", "choices": ["1", "2", "3", "4"], "answer": 3},
            "sum",
            "row 1: its answer 3 may mean the choice '3' or choice number 3 (from 0), '4'; write which as text: "
            '"answer": "3" or "answer": "4"',
        ),
        (
            {"prompt": "x", "choices": ["b", " 0.0"], "answer": 0},
            "sum",
            "the choice ' 0.0' or choice number 0",
        ),
        ({"prompt": "x", "answers": []}, "exact", "needs one or more answers"),
        ({"prompt": [{"role": "user"}], "answers": ["a"]}, "exact", 'has no text under "content"'),
    ],
)
def test_an_item_that_is_not_as_it_should_be_is_one_sentence(
    harness_command: Callable[..., Any],
    write: Callable[[str, str], Path],
    row: dict[str, Any],
    score: str,
    says: str,
) -> None:
    items = write("items.jsonl", lines(row))
    told = harness_command("label", items, "-m", "minigemma-s", "--score", score, "-o", "x.parquet")
    assert told.code == 2 and len(told.said) == 1 and says in told.err
    assert not Path("x.parquet").exists()


def test_items_are_found_in_the_data_folder_and_their_absence_is_told(
    harness_command: Callable[..., Any], write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("data/set/items.jsonl", lines({"prompt": "The", "choices": [" a", " b"], "answer": 1}))
    words = ("label", "set/items.jsonl", "-m", "minigemma-s", "-o", "x.parquet", "-d", "cpu")
    assert harness_command(*words).code == 3
    assert harness_command(*words, "--data-dir", tmp_path / "data").code == 0
