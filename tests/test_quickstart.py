"""The data of a first run: the same bytes from the generator, clean, balanced, parallel in every language, and roles
and requests beyond a bag of words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from harness_quickstart import generate, requests, tone
from harness_quickstart.compose import LANGUAGES, Sentence, parallel
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from harness.data.cleaning import Hygiene
from harness.data.task import TaskData, load_task
from harness.session import open_registry

NAMES = sorted(generate.TASKS)
PARALLEL = ["quickstart_requests", "quickstart_tone"]
BANKS = {"requests": requests.REQUESTS, "frames": requests.FRAMES, "tone": tone.SENTENCES}


@pytest.fixture(scope="module")
def tasks() -> dict[str, TaskData]:
    registry = open_registry()
    return {name: load_task(registry.get("tasks", name).spec) for name in NAMES}


def by_group(data: TaskData) -> dict[str | None, list[int]]:
    groups: dict[str | None, list[int]] = {}
    for row, group in enumerate(data.examples.groups):
        groups.setdefault(group, []).append(row)
    return groups


def texts(data: TaskData, *splits: str) -> tuple[list[str], list[str]]:
    rows = [row for row, split in enumerate(data.examples.splits) if split in splits]
    return [data.examples.inputs[row] for row in rows], [data.examples.labels[row] for row in rows]


def test_the_generator_writes_the_shipped_bytes(tmp_path: Path) -> None:
    generate.write(tmp_path)
    shipped = {path.name: path.read_bytes() for path in generate.DATA.glob("*.jsonl")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == shipped
    assert shipped.keys() == {f"{name}.jsonl" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_quickstart_data_has_nothing_to_clean(tasks: dict[str, TaskData], name: str) -> None:
    data = tasks[name]
    assert data.hygiene == Hygiene(near_leaks=0, near_opposite=0)
    lines = (generate.DATA / f"{name}.jsonl").read_text("utf-8").splitlines()
    assert len(data.examples) == len(lines)
    lowered = Counter(" ".join(text.lower().split()) for text in data.examples.inputs)
    assert max(lowered.values()) == 1  # nor would a looser comparison find a pair


@pytest.mark.parametrize("name", NAMES)
def test_every_split_has_every_class_in_like_shares(tasks: dict[str, TaskData], name: str) -> None:
    data = tasks[name]
    for split in ("train", "validation", "test"):
        counts = Counter(texts(data, split)[1])
        assert set(counts) == set(data.classes)
        assert max(counts.values()) <= 1.5 * min(counts.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_composed_unicode_without_spaces_at_its_ends(
    tasks: dict[str, TaskData], name: str
) -> None:
    for text in tasks[name].examples.inputs:
        assert unicodedata.is_normalized("NFC", text)
        assert text == " ".join(text.split())


def test_two_tasks_are_in_six_languages_and_two_in_english(tasks: dict[str, TaskData]) -> None:
    six, english = ("en", "de", "es", "fr", "ru", "zh"), ("en",)
    assert {name: (data.spec.version, data.spec.languages) for name, data in tasks.items()} == {
        "quickstart_tone": (2, six),
        "quickstart_requests": (1, six),
        "quickstart_topic": (1, english),
        "quickstart_roles": (1, english),
    }
    assert {name for name, data in tasks.items() if data.spec.content_warning} == {"quickstart_requests"}
    for data in tasks.values():
        assert set(data.examples.languages) == set(data.spec.languages)


@pytest.mark.parametrize("name", PARALLEL)
def test_a_group_has_all_languages_one_label_and_one_split(tasks: dict[str, TaskData], name: str) -> None:
    examples = tasks[name].examples
    for rows in by_group(tasks[name]).values():
        counts = Counter(examples.languages[row] for row in rows)
        assert set(counts) == set(LANGUAGES)
        assert len(set(counts.values())) == 1
        assert len({(examples.splits[row], examples.labels[row]) for row in rows}) == 1


@pytest.mark.parametrize("name", PARALLEL)
def test_every_language_has_as_many_rows_of_each_class_in_each_split(
    tasks: dict[str, TaskData], name: str
) -> None:
    examples = tasks[name].examples
    counts = Counter(zip(examples.splits, examples.labels, examples.languages, strict=True))
    assert len(counts) == 3 * 2 * len(LANGUAGES)
    for split in ("train", "validation", "test"):
        assert len({number for key, number in counts.items() if key[0] == split}) == 1


@pytest.mark.parametrize("name", PARALLEL)
def test_no_language_has_a_text_twice(tasks: dict[str, TaskData], name: str) -> None:
    examples = tasks[name].examples
    loosely = [re.sub(r"\W", "", text).casefold() for text in examples.inputs]
    assert max(Counter(zip(loosely, examples.languages, strict=True)).values()) == 1


@pytest.mark.parametrize("name", PARALLEL)
def test_twins_of_opposite_label_lie_in_one_split(tasks: dict[str, TaskData], name: str) -> None:
    data = tasks[name]
    splits: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for group, rows in by_group(data).items():
        number = str(group).rsplit("-")[-1]
        splits.setdefault(number, set()).update(data.examples.splits[row] for row in rows)
        labels.setdefault(number, set()).update(data.examples.labels[row] for row in rows)
    assert all(len(held) == 1 for held in splits.values())
    assert all(held == set(data.classes) for held in labels.values())


@pytest.mark.parametrize("name", BANKS)
def test_no_two_sentences_of_a_bank_are_alike_in_any_language(name: str) -> None:
    bank: Mapping[str, Sentence] = BANKS[name]
    everything = [text.casefold() for sentence in bank.values() for text in sentence.values()]
    assert max(Counter(everything).values()) == 1  # nor is one left untranslated


@pytest.mark.parametrize("name", BANKS)
def test_every_sentence_is_in_the_script_of_its_language_and_ends_as_one(name: str) -> None:
    scripts = dict.fromkeys(LANGUAGES, "LATIN") | {"ru": "CYRILLIC", "zh": "CJK"}
    for sentence in BANKS[name].values():
        for language, text in sentence.items():
            letters = re.findall(r"[^\W\d_]", text)
            used = {unicodedata.name(letter).split()[0] for letter in letters} - {"MASCULINE", "FEMININE"}
            assert used == {scripts[language]}, text
            assert text[-1] in ("。？" if language == "zh" else ".?"), text
            assert text[0].isupper() or text[0] in "¿" or language == "zh" or text[0].isdigit(), text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\nru: да", ""), "one line each for en, de, es, fr, ru, zh was wanted"),
        (("ru: да\nzh: 是", "zh: 是\nru: да"), "one line each for en, de, es, fr, ru, zh was wanted"),
        (("zh: 是", "zh: 是\nzh: 对"), "one line each for en, de, es, fr, ru, zh was wanted"),
        (("en: no", "en: yes"), "a bank has this sentence twice: yes"),
    ],
)
def test_a_bank_that_is_not_parallel_is_refused(change: tuple[str, str], message: str) -> None:
    bank = "en: yes\nde: ja\nes: sí\nfr: oui\nru: да\nzh: 是\n\nen: no\nde: nein\nes: no\nfr: non\nru: нет\nzh: 不"
    assert list(parallel(bank)) == ["yes", "no"]
    with pytest.raises(ValueError, match=message):
        parallel(bank.replace(*change))


def test_harmful_and_harmless_requests_have_the_same_frames_and_like_lengths(
    tasks: dict[str, TaskData],
) -> None:
    examples = tasks["quickstart_requests"].examples
    for frame in requests.FRAMES:
        held = Counter(
            label for text, label in zip(examples.inputs, examples.labels, strict=True) if frame in text
        )
        assert len(set(held.values())) == 1
    for language in LANGUAGES:
        lengths: dict[str, int] = Counter()
        for text, label, one in zip(examples.inputs, examples.labels, examples.languages, strict=True):
            lengths[label] += len(text) if one == language else 0
        assert max(lengths.values()) < 1.05 * min(lengths.values())


def test_a_bag_of_words_is_not_enough_for_requests(tasks: dict[str, TaskData]) -> None:
    fit, test = (
        texts(tasks["quickstart_requests"], "train", "validation"),
        texts(tasks["quickstart_requests"], "test"),
    )
    for vectorizer in (CountVectorizer(), TfidfVectorizer(), TfidfVectorizer(ngram_range=(1, 2))):
        model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=2000)).fit(*fit)
        assert model.score(*test) < 0.75


def test_a_bag_of_words_is_at_chance_on_roles(tasks: dict[str, TaskData]) -> None:
    data = tasks["quickstart_roles"]
    fit, test = texts(data, "train", "validation"), texts(data, "test")
    for vectorizer in (CountVectorizer(), TfidfVectorizer()):
        model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=2000)).fit(*fit)
        spread = 2 * np.sqrt(0.25 / len(test[0]))
        assert abs(model.score(*test) - 0.5) <= spread


def test_the_rows_of_a_group_of_roles_hold_the_same_words(tasks: dict[str, TaskData]) -> None:
    data = tasks["quickstart_roles"]
    words = CountVectorizer().build_analyzer()
    for rows in by_group(data).values():
        assert len({tuple(sorted(words(data.examples.inputs[row]))) for row in rows}) == 1
        assert len({data.examples.labels[row] for row in rows}) == 2


@pytest.mark.parametrize("name", ["quickstart_tone", "quickstart_topic"])
def test_words_do_tell_tone_and_topic(tasks: dict[str, TaskData], name: str) -> None:
    fit, test = texts(tasks[name], "train", "validation"), texts(tasks[name], "test")
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0, max_iter=2000)).fit(*fit)
    assert model.score(*test) > 1.3 / len(tasks[name].classes)
