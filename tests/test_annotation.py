"""Prompts annotated by features: a made-up model whose gain is known, statistics against oracles, and the command."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import annotation_toy as toy
import numpy as np
import pandas as pd
import pytest
import torch
from harness_annotation import chances
from harness_annotation.answering import Asking, answer, choose_shots, is_right, write_prompt
from harness_annotation.command import read_explanations
from harness_annotation.items import WORDS, Item, find_distractors, find_templates, mask, read_items
from harness_annotation.measure import Bench, halve, measure
from harness_annotation.notes import Note, draw_notes, explain
from harness_annotation.page import describe, write
from harness_annotation.result import (
    NOT_TESTABLE,
    Comparison,
    Result,
    Threshold,
    judge_ability,
    judge_claim,
    judge_power,
    judge_room,
)

import harness
from harness import Score, Tokens, UnavailableError, UsageError
from harness.stats.bootstrap import exact_mcnemar
from harness.stats.power import detectable_difference

SITE = "resid_post.0"


def make_items(rows: int = 400) -> list[Item]:
    """Make items of which nearly a third hold a word that the toy misreads; two of each template."""
    generator = random.Random(0)
    items = []
    for row in range(rows):
        clue = generator.choice(("north", "south"))
        trap = [generator.choice(toy.TRAPS)] if generator.random() < 0.3 else []
        words = [*generator.sample(toy.FILLERS, 4), clue, *trap]
        generator.shuffle(words)
        items.append(
            Item(
                text=f"the way is {' '.join(words)}",
                choices=("yes", "no"),
                right=int(clue == "south"),
                template=f"{row // 2}",
                hint=" ".join(trap),
            )
        )
    return items


def rerun(kind: str, **given: Any) -> Result:
    """Annotate the prompts of a made-up model."""
    choice = {"ref": f"annotation_toy[kind={kind}]"}

    def start(*include: Path) -> harness.Session:
        return harness.open(plugins=("annotation_toy",), device="cpu", include=include)

    return measure(
        given.pop("items", None) or make_items(),
        name="made-up",
        opened=start().open_model(choice),
        site=SITE,
        load=lambda path: start(path).load_task("annotation_answers", model=choice, site=SITE),
        representation="hidden",
        size=16,
        device="cpu",
        askings=[
            Asking(way=way, form="question", calibrated=False)
            for way in given.pop("ways", ("likelihood", "generation"))
        ],
        **given,
    )


@pytest.fixture(scope="module")
def helped() -> Result:
    return rerun("helps")


# ── a made-up model whose gain is known ──────────────────────────────────────────────────────────────────


def test_a_planted_gain_is_found_and_holds_in_both_ways(helped: Result) -> None:
    items = make_items()
    _, second = halve(items)
    trapped = np.mean([bool(items[row].hint) for row in second])
    for way in helped.ways:
        arms = {arm.name: arm for arm in way.arms}
        assert way.n == len(second) and way.accuracy.value == pytest.approx(1 - trapped)
        assert arms["features"].gain is not None and arms["features"].gain.value == pytest.approx(trapped)
        assert arms["oracle"].accuracy.value == 1 and arms["plain"].gain is None
        assert way.verdict == "holds" and way.detectable_gain is not None and way.detectable_gain < 0.1
        assert {one.against: one.judgement for one in way.comparisons} == {
            "plain": "better",
            "random": "better",
            "placebo": "better",
            "tfidf": "no better",
        }
        assert "TF-IDF rule is not shown to do worse" in way.reason


def test_the_planted_misreadings_are_the_features_found_and_are_explained_by_their_words(
    helped: Result,
) -> None:
    strongest = helped.ways[0].features[:3]
    assert {word for feature in strongest for word in feature.explanation} == set(toy.TRAPS)
    assert {feature.speaks_for for feature in strongest} == {"wrong"}
    auroc = helped.ways[0].probe_auroc
    assert auroc is not None and auroc.value == 1


@pytest.mark.parametrize(("kind", "against"), [("ignores", "plain"), ("any", "random")])
def test_no_claim_holds_where_notes_do_nothing_or_any_note_does_as_much(kind: str, against: str) -> None:
    (way,) = rerun(kind, ways=("likelihood",)).ways
    judged = {one.against: one.judgement for one in way.comparisons}
    assert way.verdict == "does not hold" and f"against {against}" in way.reason
    assert judged["placebo"] == "no better" and judged["plain"] == (
        "better" if kind == "any" else "no better"
    )


def test_a_model_that_guesses_is_not_testable_and_shows_its_arms_only_if_asked() -> None:
    (way,) = rerun("guesses", ways=("likelihood",)).ways
    assert way.verdict == NOT_TESTABLE and "not above chance" in way.reason
    assert [arm.name for arm in way.arms] == ["plain"] and not way.comparisons
    (way,) = rerun("guesses", ways=("likelihood",), always=True, items=make_items(160)).ways
    assert way.verdict == NOT_TESTABLE and "not above chance" in way.reason
    assert {arm.name for arm in way.arms} == {"plain", "random", "placebo", "features", "tfidf", "oracle"}


def test_a_model_without_wrong_answers_is_not_testable() -> None:
    items = [item for item in make_items() if not item.hint]
    (way,) = rerun("helps", ways=("generation",), items=items).ways
    assert way.verdict == NOT_TESTABLE and "are wrong" in way.reason and way.accuracy.value == 1


def test_given_explanations_stand_in_place_of_the_rule() -> None:
    given = dict.fromkeys(range(toy.WIDTH), "a gloss")
    result = rerun("ignores", ways=("likelihood",), explanations=given, items=make_items(160))
    assert result.explanations == f"given for {toy.WIDTH} features, else words on which a feature is largest"
    assert {feature.explanation for feature in result.ways[0].features} == {("a gloss",)}


@pytest.mark.parametrize(
    "written",
    [
        {"3": "red", "5": ""},
        {"arms": [{"examples": [{"feature": 3, "explanation": "red"}]}, {"examples": []}]},
    ],
)
def test_explanations_come_from_numbers_or_from_a_result_of_autointerp(tmp_path: Path, written: Any) -> None:
    (tmp_path / "given.json").write_text(json.dumps(written), "utf-8")
    assert read_explanations(tmp_path / "given.json") == {3: "red"}


# ── halves and items ─────────────────────────────────────────────────────────────────────────────────────


def test_halves_share_no_template() -> None:
    items = make_items()
    first, second = halve(items)
    assert sorted([*first, *second]) == list(range(len(items)))
    assert not {items[row].template for row in first} & {items[row].template for row in second}
    one = [Item(text="a", choices=("b", "c"), right=0, template="t")] * 4
    with pytest.raises(UsageError, match="all of one template"):
        halve(one)


def test_problems_that_differ_in_numbers_and_names_are_of_one_template() -> None:
    texts = [
        "Dan had 3 apples and ate 1. How many apples are left?",
        "Olivia had 25 apples and ate 14. How many apples are left?",
        "A train of 12 coaches leaves at noon. How long is it?",
    ]
    assert (
        mask(texts)[:2] == ["@ had # apples and ate # how many apples are left"] * 2
        or mask(texts)[0] == mask(texts)[1]
    )
    first, second, third = find_templates(texts)
    assert first == second != third


def test_distractors_are_what_other_operations_give_and_never_the_right_answer() -> None:
    found = find_distractors("Dan had 8 apples and ate 2.", "6", seed=1)
    assert len(found) == 3 and "6" not in found and set(found) <= {"10", "16", "4"}
    assert len(find_distractors("No numbers.", "7", seed=1)) == 3


@pytest.mark.parametrize("name", WORDS)
def test_own_items_are_balanced_and_each_word_is_a_template(name: str) -> None:
    items = read_items(name, None, None)
    assert len({item.text for item in items}) == len(items) == 360
    for template in {item.template for item in items}:
        same = [item for item in items if item.template == template]
        assert sorted(item.right for item in same) == [0, 0, 1, 1]
        assert len({(item.choices, item.question, item.cloze) for item in same}) == 1
        assert all(f'"{template}"' in item.question and f'"{template}"' in item.cloze for item in same)
        assert {item.hint for item in same if item.right} != {item.hint for item in same if not item.right}
    # No answer is given away by its own words.
    assert not [item for item in items if {*item.choices} & {*re.findall(r"\w+", item.text.casefold())}]


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": ["a"]}, "two or more unlike choices"),
        ({"choices": ["a", "a"]}, "two or more unlike choices"),
        ({"answer": "c"}, "none of its choices"),
        ({"text": " "}, "has no text"),
        ({"choices": "a, b"}, "no list in JSON"),
    ],
)
def test_a_row_that_is_no_item_is_refused_by_its_number(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = write_lines(
        tmp_path / "items.jsonl", {"text": "t", "choices": ["a", "b"], "answer": "a", **change}
    )
    with pytest.raises(UsageError, match=f"row 1.*{said}"):
        read_items(str(path), None, None)


def test_unknown_and_absent_items_say_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="svamp"):
        read_items("swamp", None, None)
    with pytest.raises(UnavailableError, match="--data-dir"):
        read_items("svamp", tmp_path, None)
    with pytest.raises(UnavailableError, match="there is no file"):
        read_items(str(tmp_path / "none.jsonl"), None, None)


def test_a_limit_draws_the_same_items_each_time() -> None:
    some = read_items("senses", None, 40)
    assert len(some) == 40 and some == read_items("senses", None, 40)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────

NUMBER = Item(text="2 + 2?", choices=("3", "4"), right=1, template="")
WORD = Item(text="Red or blue?", choices=("red", "red blue"), right=1, template="")


@pytest.mark.parametrize(
    ("item", "said", "right"),
    [
        (NUMBER, "2 + 2 = 4", True),
        (NUMBER, "4.0", True),
        (NUMBER, "4 or 3", False),
        (NUMBER, "four", False),
        (WORD, "Red blue, I think", True),
        (WORD, "red", False),
        (WORD, "redder", False),
    ],
)
def test_written_answers_are_judged_by_their_last_number_or_first_choice(
    item: Item, said: str, right: bool
) -> None:
    assert is_right(item, said) == right


def test_choices_stand_in_the_prompt_except_numbers() -> None:
    asked = write_prompt(WORD, "Note: x.", form="question")
    assert asked == "Red or blue?\nOptions: red, red blue.\nNote: x.\nAnswer:"
    assert write_prompt(NUMBER, form="question") == "2 + 2?\nAnswer:"
    assert write_prompt(NUMBER, form="question", blind=True) == "Answer:"


def test_a_cloze_is_ended_by_a_choice_and_keeps_its_beginning_without_the_text() -> None:
    item = replace(WORD, text="It is the sky.", question="Which colour?", cloze="Its colour is")
    assert write_prompt(item, "Note: x.", form="cloze") == "It is the sky.\nNote: x.\nIts colour is"
    assert write_prompt(item, form="cloze", blind=True) == "Its colour is"
    assert write_prompt(item, form="question", blind=True).startswith("Which colour?\nOptions:")
    assert write_prompt(NUMBER, form="cloze") == "2 + 2?\nThe answer is"


def test_calibration_takes_out_what_the_model_says_without_the_text() -> None:
    """A made-up model likes `yes` better by 2 nats, and the right choice of a text by 1."""
    item = Item(text="north", choices=("yes", "nay"), right=1, template="")
    bench = make_bench([item, replace(item, text="south", right=0)])
    for calibrated, wanted in ((False, [0, 1]), (True, [1, 1])):
        asking = Asking(way="likelihood", form="question", calibrated=calibrated)
        assert bench.answer([0, 1], ["", ""], asking).tolist() == wanted
    assert bench.answer_blind([0, 1], asking).tolist() == [0, 1]


class Leaning:
    """Model whose losses are given: each answer alone, and less by 1 nat after a text that it fits."""

    name, max_length = "leaning", 99

    def encode(self, prompt: str, continuation: str | None = None) -> Tokens:
        fits = {"north": " nay", "south": " yes"}.get(prompt.split("\n")[0]) == continuation
        ids = np.array([0, {" yes": 0, " nay": 2}[str(continuation)] - fits])
        return Tokens(ids=ids, content=np.array([False, True]))

    def losses(self, batch: Sequence[Tokens]) -> torch.Tensor:
        return torch.tensor([float(one.ids[1]) + 9 for one in batch])


def make_bench(items: list[Item]) -> Bench:
    given: dict[str, Any] = {"load": None, "explanations": None, "tell": print, "representation": "hidden"}
    return Bench(
        items=items, answering=cast(Any, Leaning()), size=1, level=0.05, always=False, device="cpu", **given
    )


def test_solved_items_are_of_unlike_templates_with_each_answer_alike() -> None:
    items = read_items("metaphor", None, None)
    shown = [items[row] for row in choose_shots(items, range(len(items)), 6)]
    assert len({item.template for item in shown}) == 6
    assert [item.answer for item in shown].count("literal") == 3
    assert choose_shots(items, range(4), 2) == [0]  # of one template


def test_solved_items_are_of_the_first_half_and_are_not_asked() -> None:
    asking = Asking(way="likelihood", form="question", calibrated=False, shots=[NUMBER])
    assert asking.write(WORD).startswith("2 + 2?\nAnswer: 4\n\nRed or blue?\n")
    (way,) = rerun("guesses", ways=("likelihood",), shots=10).ways
    assert way.n == len(halve(make_items())[1])
    with pytest.raises(UsageError, match="solved items"):
        rerun("guesses", items=make_items(8), shots=2)
    with pytest.raises(UsageError, match="--shots"):
        rerun("guesses", ways=("generation",), shots=40)


def test_prompts_that_no_note_fits_into_are_told_and_nothing_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plainly = Bench.answer

    def too_long_with_a_note(self: Bench, rows: Sequence[int], notes: Sequence[str], asking: Asking) -> Any:
        return np.full(len(rows), np.nan) if any(notes) else plainly(self, rows, notes, asking)

    monkeypatch.setattr(Bench, "answer", too_long_with_a_note)
    (way,) = rerun("helps", ways=("likelihood",)).ways
    assert (way.verdict, len(way.arms)) == ("not testable on this model", 1)
    assert "with notes fewer than two of its prompts" in way.reason


def test_a_tie_is_wrong_and_a_prompt_that_is_too_long_is_no_answer() -> None:
    model = toy.make("helps")
    items = make_items(2)
    prompts = [write_prompt(item, form="question") for item in items]
    long = " ".join(["word"] * 300)
    model.losses = lambda batch: np_ones(len(batch))
    assert answer(items, prompts, model, way="likelihood", device="cpu").tolist() == [0.0, 0.0]
    found = answer(items, [long, prompts[1]], model, way="generation", device="cpu")
    assert np.isnan(found[0]) and np.isfinite(found[1])


def np_ones(size: int) -> Any:
    import torch

    return torch.ones(size)


def test_a_model_that_answers_nothing_is_refused() -> None:
    from harness.testing.toy_model import ToyModel

    with pytest.raises(UsageError, match="load_answering"):
        harness.check_answering(ToyModel())


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_random_notes_have_as_many_words_in_the_same_places() -> None:
    notes = [Note(about=("one two",), not_about=("three",)), Note()]
    drawn = draw_notes(notes, ["a", "b", "c", "d"], len)
    assert drawn[1] == Note() and str(drawn[1]) == ""
    assert [len(part.split()) for part in drawn[0].about] == [2] and len(drawn[0].not_about) == 1
    assert str(notes[0]) == "Note: this is about one two; it is not about three."


def test_explanations_are_the_words_on_which_a_feature_is_largest() -> None:
    texts = [["Red", "hat"], ["red", "coat"], ["green", "hat"]]
    values = [
        np.array([[3.0, 0.0], [0.0, 1.0]]),
        np.array([[3.0, 0.0], [0.1, 0.0]]),
        np.array([[0.0, 0.0], [0.0, 1.0]]),
    ]
    assert explain(texts, values) == [("red",), ("hat",)]


# ── statistics ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_detectable_gain_is_found_with_its_power_by_simulation() -> None:
    n, churn = 200, 0.08
    gain = chances.detectable_gain(n, churn)
    generator = np.random.default_rng(0)
    draws = generator.multinomial(n, [churn / 2 + gain, churn / 2, 1 - churn - gain], size=1500)
    test = cache(exact_mcnemar)  # many draws are alike
    power = np.mean([test(int(better), int(worse)) < 0.05 for better, worse, _ in draws])
    assert power == pytest.approx(0.8, abs=0.04)
    rough = detectable_difference(n, churn + gain)
    assert rough is not None and gain == pytest.approx(rough, abs=0.02)


def test_the_detectable_gain_falls_with_items_and_rises_with_churn_and_is_never_free() -> None:
    assert chances.detectable_gain(400, 0.1) < chances.detectable_gain(100, 0.1)
    assert chances.detectable_gain(100, 0.0) < chances.detectable_gain(100, 0.2)
    assert chances.detectable_gain(5, 0.0) == 1.0  # five mended answers of five have p = 0.06


def test_items_of_one_template_count_as_one_where_they_agree() -> None:
    generator = np.random.default_rng(0)
    values = np.repeat(generator.integers(0, 2, 50), 4).astype(float)
    templates = [f"{row // 4}" for row in range(200)]
    assert chances.find_design_effect(values, templates) == pytest.approx(4, rel=0.05)
    assert chances.find_design_effect(values, [str(row) for row in range(200)]) == pytest.approx(1)
    _, low, high = chances.find_share(values, templates)
    _, narrow_low, narrow_high = chances.find_share(values, [str(row) for row in range(200)])
    assert high - low > 1.5 * (narrow_high - narrow_low)


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────


def compare(against: str, low: float, high: float, p: float) -> Comparison:
    gain = Score(value=(low + high) / 2, low=low, high=high)
    return Comparison(against=against, gain=gain, only_features=1, only_control=1, p=p, p_holm=p)


BETTER, NO_BETTER, UNCLEAR = (0.1, 0.2, 0.001), (-0.05, 0.05, 0.9), (-0.01, 0.15, 0.08)


@pytest.mark.parametrize(
    ("plain", "placebo", "tfidf", "verdict"),
    [
        (BETTER, BETTER, NO_BETTER, "holds"),
        (BETTER, NO_BETTER, BETTER, "does not hold"),
        (NO_BETTER, UNCLEAR, BETTER, "does not hold"),
        (BETTER, UNCLEAR, BETTER, "undecided"),
    ],
)
def test_the_verdict_follows_from_the_comparisons(plain: Any, placebo: Any, tfidf: Any, verdict: str) -> None:
    comparisons = [compare("plain", *plain), compare("placebo", *placebo), compare("tfidf", *tfidf)]
    assert judge_claim(comparisons)[0] == verdict


def test_preconditions_are_an_accuracy_above_chance_and_a_small_enough_detectable_gain() -> None:
    accuracy = Score(value=0.6, low=0.52, high=0.68)
    assert judge_ability(accuracy, 0.5) is None and judge_ability(accuracy, 0.52)
    assert judge_room(accuracy, 0.4) is None and "nothing is left to mend" in (
        judge_room(accuracy, 0.41) or ""
    )
    assert judge_power(0.1, 50) is None and "10.2 points" in (judge_power(0.102, 50) or "")


# ── page and command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_page_shows_every_arm_and_its_claims_are_one_for_each_way_and_threshold(
    helped: Result, tmp_path: Path
) -> None:
    threshold = Threshold(name="L0 / width", claimed="sparsity at most 1 %", value=0.02, met=False)
    result = helped.model_copy(update={"thresholds": (threshold,), "report_tokens": 100})
    page = describe([write(result, tmp_path)])
    for said in ("oracle", "placebo", "random", "tfidf", "smallest gain", "sparsity at most 1 %"):
        assert said in page.markdown
    assert [claim.verdict for claim in page.claims] == ["holds", "holds", "does not hold"]
    gain = page.claims[0]
    assert gain.measured is not None and gain.control_value is not None
    assert gain.measured.value > 0.2 and abs(gain.control_value.value) < 0.1
    (tmp_path / "annotation-bad.json").write_text('{"items": 3}')
    with pytest.raises(UnavailableError, match="no result of harness annotate-prompts"):
        describe([tmp_path / "annotation-bad.json"])


def test_the_command_writes_a_result_and_says_what_it_found(harness_command: Any, tmp_path: Path) -> None:
    rows = [
        {
            "text": item.text,
            "choices": list(item.choices),
            "answer": item.choices[item.right],
            "template": item.template,
        }
        for item in make_items(120)
    ]
    path = write_lines(tmp_path / "items.jsonl", *rows)
    given = ("-m", "annotation_toy[kind=guesses]", "--site", SITE, "-r", "hidden", "--report-tokens", "0")
    told = harness_command(
        "-p",
        "annotation_toy",
        "annotate-prompts",
        str(path),
        *given,
        "-o",
        str(tmp_path / "out"),
        "-d",
        "cpu",
    )
    assert told.code == 0 and NOT_TESTABLE in told.out
    (written,) = (tmp_path / "out").glob("annotation-*.json")
    assert json.loads(written.read_text())["ways"][0]["verdict"] == NOT_TESTABLE
    bad = write_lines(tmp_path / "given.json", {"one": "x"})
    told = harness_command(
        "-p", "annotation_toy", "annotate-prompts", str(path), *given, "--explanations", str(bad), "-d", "cpu"
    )
    assert told.code == 2 and "holds no explanations" in told.said[-1]


def test_rows_that_are_not_drawn_join_templates_too(tmp_path: Path) -> None:
    # The first and the last text are alike by way of the second one alone.
    texts = ["a b c d e f g h", "a b c d e f i j", "a b c d i j k l", "m n o p"]
    folder = tmp_path / "svamp"
    folder.mkdir()
    pd.DataFrame({"text": texts, "answer": ["1"] * 4}).to_parquet(folder / "data.parquet")
    whole = {item.text: item.template for item in read_items("svamp", tmp_path, None)}
    assert len(set(whole.values())) == 2
    for limit in (1, 2, 3):
        drawn = read_items("svamp", tmp_path, limit)
        assert {item.text: item.template for item in drawn} == {item.text: whole[item.text] for item in drawn}


def test_own_items_without_a_template_are_of_that_of_the_texts_alike(tmp_path: Path) -> None:
    rows = [
        ("The red car stopped there", None),
        ("The red car stopped here", None),
        ("A dog", "dogs"),
        ("It rains", None),
    ]
    path = tmp_path / "own.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {"text": text, "choices": ["a", "b"], "answer": "a", **({"template": of} if of else {})}
            )
            + "\n"
            for text, of in rows
        )
    )
    one, other, named, alone = (item.template for item in read_items(str(path), None, None))
    assert one == other != alone and named == "dogs"
