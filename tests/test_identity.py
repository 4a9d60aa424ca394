"""What may change a number changes the name of the result; what may not, does not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import harness_minigemma
import harness_transformers
import numpy as np
import pytest
import rfc8785
import yaml
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness import ModelSpec
from harness.planning.cells import Plan
from harness.registry.catalog import Entry, Registry
from harness.session import Session
from harness.storage.hashing import hash_file, hash_json, hash_lines

MODEL = harness_minigemma.WEIGHTS / "minigemma-s"
LAYER, D_MODEL = 1, 64

ROWS = [
    {"text": f"{word} number {n}", "label": label, "split": split, "lang": "en"}
    for n, (split, word, label) in enumerate(
        (split, word, label)
        for split in ("train", "train", "validation", "test")
        for word, label in (("good", "yes"), ("bad", "no"), ("fine", "yes"), ("poor", "no"))
    )
]


@dataclass
class Setup:
    """Everything that goes into one small plan; a test changes one part of it."""

    root: Path
    model: str = ""
    dictionary: str = ""
    rows: list[dict[str, str]] = field(default_factory=lambda: [dict(row) for row in ROWS])
    task: dict[str, Any] = field(default_factory=dict)
    suite: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    revise: Callable[[Registry], None] = lambda registry: None

    def __post_init__(self) -> None:
        self.model = self.model or copy_model(self.root / "model")
        self.dictionary = self.dictionary or write_dictionary(self.root / "dictionary")
        self.task = {
            "name": "toy",
            "source": {"file": "rows.jsonl"},
            "columns": {"split": "split", "language": "lang"},
            "languages": ["en", "de", "fr"],
            "licence": "none",
            "citation": "none",
        }
        self.suite = {
            "name": "toy",
            "tasks": ["toy"],
            "models": [{"ref": self.model, "sites": [f"resid_post.{LAYER}"]}],
            "representations": ["hidden", self.dictionary, "random_sae[width=96]"],
            "poolings": ["mean", {"name": "count", "t": 0}],
            "transforms": [{"name": "binarize", "t": 0}],
            "classifiers": ["logreg"],
            "seeds": [0],
        }

    def set_model(self, **parameters: Any) -> None:
        self.suite["models"][0].update(parameters)

    def session(self) -> Session:
        lines = [json.dumps(row) for row in self.rows]
        (self.root / "rows.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        (self.root / "task.yaml").write_text(yaml.safe_dump(self.task), "utf-8")
        (self.root / "suite.yaml").write_text(yaml.safe_dump(self.suite), "utf-8")
        session = harness.open(include=[self.root / "task.yaml"], **{"device": "cpu", **self.settings})
        self.revise(session.registry)
        return session

    def plan(self) -> Plan:
        return self.session().plan(self.root / "suite.yaml")

    def keys(self) -> tuple[set[str], set[str]]:
        """Keys of all features, and ids of all cells."""
        plan = self.plan()
        return (
            {features.key for bundle in plan.bundles for features in bundle.model_features},
            {cell.cell_id for cell in plan.cells},
        )


def copy_model(folder: Path) -> str:
    shutil.copytree(MODEL, folder)
    return str(folder)


def write_dictionary(folder: Path, seed: int = 0) -> str:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    np.savez(
        folder / "params.npz",
        W_enc=random.standard_normal((D_MODEL, 48), dtype=np.float32),
        b_enc=random.standard_normal(48, dtype=np.float32),
        threshold=random.random(48, dtype=np.float32),
    )
    return str(folder)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Feature keys and cell ids of the unchanged plan."""
    return Setup(tmp_path_factory.mktemp("base")).keys()


def test_every_features_and_every_cell_has_a_name_of_its_own(base: tuple[set[str], set[str]]) -> None:
    keys, cells = base
    assert len(keys) == 3 * 2 and len(cells) == 3 * 2
    assert all(len(name) == 64 for name in keys | cells)


# ── changes that reach the features ──────────────────────────────────────────────────────────────────────


def flip_weight(setup: Setup) -> None:
    path = Path(setup.model) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1001] ^= 1
    path.write_bytes(data)


def edit_json(setup: Setup, name: str, key: str, value: Any) -> None:
    path = Path(setup.model) / name
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), key: value}), "utf-8")


def rewrite_dictionary(setup: Setup) -> None:
    shutil.rmtree(setup.dictionary)
    write_dictionary(Path(setup.dictionary), seed=1)


def offer_model(revision: str, setup: Setup) -> None:
    """The same folder, offered by name."""

    def revise(registry: Registry) -> None:
        spec = ModelSpec(
            name="toy",
            summary="toy",
            make=partial(harness_transformers.open_model, setup.model, "toy"),
            revision=revision,
        )
        registry.catalogs["models"]["toy"] = (  # type: ignore[index]
            Entry(name="toy", spec=spec, plugin="toy", distribution="toy 1"),
        )

    setup.revise = revise
    setup.set_model(ref="toy")


def revise(kind: str, name: str, setup: Setup, **changed: Any) -> None:
    """Offer `name` with a changed spec."""

    def change(registry: Registry) -> None:
        (entry,) = registry.catalogs[kind][name]
        changed_spec = replace(entry.spec, **changed)
        registry.catalogs[kind][name] = (replace(entry, spec=changed_spec),)  # type: ignore[index]

    setup.revise = change


REACH_ALL: Mapping[str, Callable[[Setup], object]] = {
    "a byte of the weights": flip_weight,
    "the configuration": lambda setup: edit_json(setup, "config.json", "sliding_window", 32),
    "the tokenizer": lambda setup: edit_json(setup, "tokenizer.json", "normalizer", {"type": "Lowercase"}),
    "the tokenizer's settings": lambda setup: edit_json(setup, "tokenizer_config.json", "bos_token", "<pad>"),
    "dtype": lambda setup: setup.set_model(dtype="bfloat16"),
    "attention": lambda setup: setup.set_model(attention="flex_attention"),
    "the maximum length": lambda setup: setup.set_model(max_length=100),
    "the template": lambda setup: setup.set_model(template="chat"),
    "the token set": lambda setup: setup.suite.update(tokens="all"),
    "a token set that comes to the same here": lambda setup: setup.suite.update(tokens="prompt"),
    "the site": lambda setup: setup.set_model(sites=[f"mlp_out.{LAYER}"]),
    "an example's text": lambda setup: setup.rows[3].update(text="another text"),
    "an example's language": lambda setup: setup.rows[3].update(lang="fr"),
    "the order of the examples": lambda setup: setup.rows.reverse(),
    "an example more": lambda setup: setup.rows.append({**ROWS[0], "text": "one more"}),
    "the revision of a model": lambda setup: offer_model("2", setup),
}
REACH_SOME: Mapping[str, Callable[[Setup], object]] = {
    "the dictionary": rewrite_dictionary,
    "a parameter of a pooling": lambda setup: setup.suite.update(
        poolings=["mean", {"name": "count", "t": 1}]
    ),
    "a parameter of a control": lambda setup: setup.suite["representations"].__setitem__(
        2, "random_sae[width=96,seed=1]"
    ),
    "the revision of a representation": lambda setup: revise(
        "representations", "random_sae", setup, revision="2"
    ),
    "the revision of a pooling": lambda setup: revise("poolings", "mean", setup, revision="2"),
}
REACH_CELLS: Mapping[str, Callable[[Setup], object]] = {
    "an example's label": lambda setup: setup.rows[3].update(label="yes"),
    "an example's split": lambda setup: setup.rows[3].update(split="validation"),
    "the task's version": lambda setup: setup.task.update(version=2),
    "a parameter of a transform": lambda setup: setup.suite.update(transforms=[{"name": "binarize", "t": 1}]),
    "the transform": lambda setup: setup.suite.update(transforms=["none"]),
    "a parameter of the classifier": lambda setup: setup.suite.update(classifiers=["logreg(max_iter=9)"]),
    "a parameter taken out of the grid": lambda setup: setup.suite.update(classifiers=["logreg(C=10)"]),
    "the grid": lambda setup: revise("classifiers", "logreg", setup, grid={"C": (1.0, 2.0)}),
    "the seed": lambda setup: setup.suite.update(seeds=[1]),
    "the revision of a transform": lambda setup: revise("transforms", "binarize", setup, revision="2"),
    "the revision of a classifier": lambda setup: revise("classifiers", "logreg", setup, revision="other"),
}


@pytest.mark.parametrize("change", REACH_ALL.values(), ids=REACH_ALL)
def test_what_may_change_activations_renames_all_features_and_cells(
    setup: Setup, base: tuple[set[str], set[str]], change: Callable[[Setup], object]
) -> None:
    change(setup)
    keys, cells = setup.keys()
    assert len(keys) == 6 and not keys & base[0]
    assert len(cells) == 6 and not cells & base[1]


@pytest.mark.parametrize("change", REACH_SOME.values(), ids=REACH_SOME)
def test_what_may_change_some_features_renames_those_and_their_cells(
    setup: Setup, base: tuple[set[str], set[str]], change: Callable[[Setup], object]
) -> None:
    change(setup)
    keys, cells = setup.keys()
    assert len(keys) == len(cells) == 6
    assert 0 < len(keys - base[0]) < 6
    assert len(keys - base[0]) == len(cells - base[1])


@pytest.mark.parametrize("change", REACH_CELLS.values(), ids=REACH_CELLS)
def test_what_may_change_only_the_probe_renames_cells_and_keeps_features(
    setup: Setup, base: tuple[set[str], set[str]], change: Callable[[Setup], object]
) -> None:
    change(setup)
    keys, cells = setup.keys()
    assert keys == base[0]
    assert len(cells) == 6 and not cells & base[1]


# ── changes that reach nothing ───────────────────────────────────────────────────────────────────────────


def move_dictionary(setup: Setup) -> None:
    target = setup.root / "elsewhere" / "of any name"
    shutil.copytree(setup.dictionary, target)
    setup.suite["representations"][1] = str(target)


def link_dictionary(setup: Setup) -> None:
    (setup.root / "link").symlink_to(setup.dictionary)
    setup.suite["representations"][1] = str(setup.root / "link")


def touch(setup: Setup) -> None:
    for path in [*Path(setup.model).iterdir(), *Path(setup.dictionary).iterdir()]:
        os.utime(path, (1, 1))


def reverse_suite(setup: Setup) -> None:
    for part in ("representations", "poolings"):
        setup.suite[part].reverse()


REACH_NOTHING: Mapping[str, Callable[[Setup], object]] = {
    "the model's folder": lambda setup: setup.set_model(ref=copy_model(setup.root / "other" / "name")),
    "the dictionary's folder": move_dictionary,
    "a link to the dictionary": link_dictionary,
    "times of files": touch,
    "a file beside the model's": lambda setup: (Path(setup.model) / "README.md").write_text("new"),
    "a model offered by name": lambda setup: offer_model("1", setup),
    "the order in the suite": reverse_suite,
    "the suite's name": lambda setup: setup.suite.update(name="other", summary="other", version=2),
    "a limit above the number of rows": lambda setup: setup.suite.update(limit=1000),
    "a task's limit above the number of rows": lambda setup: setup.suite.update(
        tasks=[{"name": "toy", "limit": 1000}]
    ),
    "defaults written out": lambda setup: setup.set_model(
        dtype="float32", attention="eager", max_length=512, template="none"
    ),
    "the default token set": lambda setup: setup.suite.update(tokens={"name": "content"}),
    "a chat template that is not used": lambda setup: (Path(setup.model) / "chat_template.jinja").write_text(
        "new"
    ),
    "0 as 0.0": lambda setup: setup.suite.update(poolings=["mean", {"name": "count", "t": 0.0}]),
    "a site by its depth": lambda setup: setup.set_model(sites=["resid_post.50%"]),
    "the device": lambda setup: setup.settings.update(device="auto"),
    "the cache folder": lambda setup: setup.settings.update(cache_dir=setup.root / "cache"),
    "what the task says about itself": lambda setup: setup.task.update(licence="MIT", summary="a toy"),
}


@pytest.mark.parametrize("change", REACH_NOTHING.values(), ids=REACH_NOTHING)
def test_what_may_change_no_number_changes_no_name(
    setup: Setup, base: tuple[set[str], set[str]], change: Callable[[Setup], object]
) -> None:
    change(setup)
    assert setup.keys() == base


def test_the_batch_size_changes_no_name(setup: Setup) -> None:
    """A run at another batch size finds every cell done."""
    setup.suite.update(representations=["hidden"], poolings=["mean"])
    setup.settings.update(cache_dir=setup.root / "cache")
    done = [
        setup.session().run(setup.root / "suite.yaml", output=setup.root / "run", batch_size=size).summary
        for size in (2, 5)
    ]
    assert [(each.ok, each.skipped, each.tokens > 0) for each in done] == [(1, 0, True), (1, 1, False)]


@pytest.mark.parametrize("template", ["{{ messages[0].content }}!", "{{ messages[0].content + '!' }}"])
def test_every_change_of_a_chat_template_that_is_used_is_another_one(setup: Setup, template: str) -> None:
    """Even one that writes the same: how it is written decides what it does with other conversations."""
    setup.set_model(template="chat")
    seen = [setup.keys()]
    (Path(setup.model) / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    seen.append(setup.keys())
    (Path(setup.model) / "chat_template.jinja").write_text(template)
    seen.append(setup.keys())
    assert len(set.union(*(keys for keys, _ in seen))) == 3 * 6
    assert len(set.union(*(cells for _, cells in seen))) == 3 * 6


def test_a_longer_token_set_is_another_one(setup: Setup) -> None:
    named = ["last(k=2)", {"name": "last", "k": 2}, "last(k=3)"]
    keys = []
    for tokens in named:
        setup.suite.update(tokens=tokens)
        keys.append(setup.keys())
    assert keys[0] == keys[1] and not keys[0][0] & keys[2][0] and not keys[0][1] & keys[2][1]


def test_arms_without_a_model_are_named_by_what_they_read(setup: Setup) -> None:
    setup.suite.update(representations=["tfidf", "majority"])
    first = setup.keys()
    flip_weight(setup)
    setup.suite.update(tokens="all")
    assert setup.keys() == first and not first[0]
    setup.suite.update(representations=["tfidf[ngrams=1]", "majority"])
    assert len(setup.keys()[1] & first[1]) == 1


# ── hashes ───────────────────────────────────────────────────────────────────────────────────────────────

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_json_is_hashed_whatever_the_order_of_its_keys(value: dict[str, Any]) -> None:
    assert hash_json(value) == hash_json(dict(reversed(value.items())))
    assert hash_json(value) == hash_json(json.loads(rfc8785.dumps(value)))


@given(
    st.dictionaries(
        st.text(), json_values | st.lists(st.floats(allow_nan=False, allow_infinity=False)), max_size=4
    )
)
def test_json_is_hashed_as_rfc_8785_writes_it(value: dict[str, Any]) -> None:
    assert hash_json(value) == hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def test_every_character_is_hashed_as_rfc_8785_writes_it() -> None:
    every = {chr(code): chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000}
    assert hash_json(every) == hashlib.sha256(rfc8785.dumps(every)).hexdigest()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, b"bytes", Path("x"), {1: 2}, 2**53, "\ud800"]
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        hash_json({"x": value})


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_no_two_lists_of_lines_share_a_hash(one: list[str], other: list[str]) -> None:
    assert (hash_lines(one) == hash_lines(other)) == (one == other)


def test_a_file_changed_in_place_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = hash_file(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert hash_file(path) != before
