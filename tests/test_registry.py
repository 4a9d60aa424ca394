"""References in, choices out: how they are written, what is refused, and what becomes part of the identity."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import (
    ClassifierSpec,
    ModelSpec,
    PoolingSpec,
    RepresentationSpec,
    UnavailableError,
    UsageError,
    hash_json,
)
from harness.api.errors import did_you_mean
from harness.registry.catalog import Registry, parse_reference
from harness.registry.loading import Candidate, load_plugins
from harness.session import open_registry
from harness.storage.cache_place import default_cache_dir

OWNER = f"sae-harness {version('sae-harness')}"


@pytest.fixture(scope="module")
def built_in():
    """The registry of the installed plugins."""
    return open_registry()


def registry_of(*specs, plugin="toy", distribution="toy 1.0"):
    """A registry with one toy plugin that offers `specs`."""
    return Registry(load_plugins([candidate_of(*specs, plugin=plugin, distribution=distribution)]))


def candidate_of(*specs, plugin="toy", distribution="toy 1.0"):
    import harness

    kinds = {
        ModelSpec: "models",
        RepresentationSpec: "representations",
        PoolingSpec: "poolings",
        ClassifierSpec: "classifiers",
    }
    module = type("toy", (), {})()
    for kind in {kinds[type(spec)] for spec in specs}:
        offered = [spec for spec in specs if kinds[type(spec)] == kind]

        def hook(offered=tuple(offered)):
            return offered

        setattr(module, f"harness_{kind}", harness.hookimpl(hook, specname=f"harness_{kind}"))
    return Candidate(name=plugin, distribution=distribution, load=lambda: module)


def nothing():
    """A factory without parameters."""


def pooling(make, name="toy", **fields):
    return PoolingSpec(name=name, summary="a toy", make=make, **fields)


# ── how references are written ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reference", "name", "parameters"),
    [
        ("hidden", "hidden", {}),
        ("pca[n=256]", "pca", {"n": 256}),
        ("minigemma-m", "minigemma-m", {}),
        ("google/gemma-2-2b@c5ebcd4", "google/gemma-2-2b@c5ebcd4", {}),
        ("gemma-scope[width=16k,l0=~100]", "gemma-scope", {"width": "16k", "l0": "~100"}),
        ("gemma-scope[l0=82]", "gemma-scope", {"l0": 82}),
        (
            "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
            "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
            {},
        ),
        ("./my-sae", "./my-sae", {}),
        ("count(t=0)", "count", {"t": 0}),
        ("count( t = 0.5 )", "count", {"t": 0.5}),
        ("hidden[]", "hidden", {}),
        ("a[b=true,c=null,d=1e-3,e=x y]", "a", {"b": True, "c": None, "d": "1e-3", "e": "x y"}),
        ({"name": "count", "t": 0}, "count", {"t": 0}),
        ({"name": "google/gemma-2-2b", "dtype": "bfloat16"}, "google/gemma-2-2b", {"dtype": "bfloat16"}),
        ({"name": "minigemma-s[dtype=bfloat16]"}, "minigemma-s", {"dtype": "bfloat16"}),
        ({"name": "/data/my models (2)"}, "/data/my models (2)", {}),
        ({"name": "/data/[old]/sae", "any_site": True}, "/data/[old]/sae", {"any_site": True}),
    ],
)
def test_references_are_read_as_SCHEMAS_writes_them(reference, name, parameters):
    assert parse_reference(reference) == (name, parameters)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("", "'' is not of the form NAME or NAME[key=value,…]"),
        ("a[", "'a[' is not of the form NAME or NAME[key=value,…]"),
        ("a[b=1)", "'a[b=1)' is not of the form NAME or NAME[key=value,…]"),
        ("a[b=1]c", "'a[b=1]c' is not of the form NAME or NAME[key=value,…]"),
        ("a[b]", "'b' in 'a[b]' is not of the form key=value"),
        ("a[=1]", "'=1' in 'a[=1]' is not of the form key=value"),
        ("a[b=]", "'b=' in 'a[b=]' is not of the form key=value"),
        ("a[b=1,b=2]", "'b' stands twice in 'a[b=1,b=2]'"),
        (
            "a[b={]",
            "'{' in 'a[b={]' cannot be read as a value: line 1: expected the node content, but found '<stream end>'",
        ),
        (
            "a[b=2020-13-45]",
            "'2020-13-45' in 'a[b=2020-13-45]' cannot be read as a value: ValueError: month must be in 1..12",
        ),
        ({"t": 0}, "{'t': 0} needs a 'name'"),
        ({"name": 3}, "{'name': 3} needs a 'name'"),
    ],
)
def test_a_reference_that_cannot_be_read_is_refused_in_one_sentence(reference, sentence):
    with pytest.raises(
        UsageError, match=f"^{re.escape(sentence)}(, not 13)?$"
    ):  # newer Pythons name the month
        parse_reference(reference)


@given(
    name=st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
    parameters=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}_", fullmatch=True),
        st.booleans() | st.integers(-(10**6), 10**6) | st.none(),
    ),
)
def test_a_label_reads_back_as_the_choice_it_was_written_from(name, parameters):
    def make(**unused):
        return None

    import inspect

    make.__signature__ = inspect.Signature(
        [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=0) for key in parameters]
    )
    choice = registry_of(pooling(make, name=name)).choose("poolings", {"name": name, **parameters})
    assert parse_reference(choice.label) == (name, parameters)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────


def refusal(registry, kind, reference):
    with pytest.raises(UsageError) as refused:
        registry.choose(kind, reference)
    return str(refused.value)


def test_an_unknown_parameter_is_refused_in_the_words_of_STYLE(built_in):
    said = refusal(built_in, "classifiers", {"name": "logreg", "c": 1})
    assert said == f"classifier 'logreg' ({OWNER}) has no parameter 'c'; it takes: C, max_iter"


def test_a_choice_without_parameters_says_so(built_in):
    said = refusal(built_in, "representations", "hidden[k=1]")
    assert said == f"representation 'hidden' ({OWNER}) has no parameter 'k'; it takes none"


def test_a_missing_parameter_is_named():
    registry = registry_of(pooling(lambda *, t: t))
    assert refusal(registry, "poolings", "toy") == "pooling 'toy' (toy 1.0) needs its parameter 't'"
    assert registry.choose("poolings", "toy(t=3)").make() == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60])
def test_a_value_that_no_result_could_be_known_by_is_refused(built_in, value):
    said = refusal(built_in, "poolings", {"name": "count", "t": value})
    assert said.startswith(f"pooling 'count' ({OWNER}) cannot take t={value}: ")


def test_a_date_is_refused_as_a_value(built_in):
    assert "takes a number as t, not 2020-01-01" in refusal(built_in, "poolings", "count(t=2020-01-01)")
    assert "cannot take by=2020-01-01" in refusal(built_in, "transforms", "select(k=3, by=2020-01-01)")


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("poolings", "maxx", "there is no pooling 'maxx'; did you mean 'max'?"),
        ("classifiers", "logrge", "there is no classifier 'logrge'; did you mean 'logreg'?"),
        ("transforms", "binarise", "there is no transform 'binarise'; did you mean 'binarize'?"),
        ("representations", "hiden", "there is no representation 'hiden'; did you mean 'hidden'?"),
        ("models", "minigema-s", "there is no model 'minigema-s'; did you mean 'minigemma-s'?"),
        ("classifiers", "zzz", "there is no classifier 'zzz'; known: "),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_or_all(built_in, kind, name, sentence):
    assert refusal(built_in, kind, name).startswith(sentence)


def test_two_owners_of_a_name_are_both_named():
    registry = Registry(
        load_plugins(
            [
                candidate_of(pooling(nothing, name="max"), plugin="one", distribution="first 1.0"),
                candidate_of(
                    pooling(nothing, name="max"), pooling(nothing), plugin="two", distribution="second 2.0"
                ),
            ]
        )
    )
    assert registry.names("poolings") == ["toy"]
    assert refusal(registry, "poolings", "max") == (
        "pooling 'max' is offered by plugin 'one' (first 1.0) and plugin 'two' (second 2.0): "
        "disable one with -p no:NAME"
    )
    (fault,) = registry.faults
    assert str(fault) == (
        "plugin 'two' (second 2.0) offers the pooling 'max', which plugin 'one' (first 1.0) offers too; "
        "neither can be used: disable one with -p no:NAME"
    )


def test_one_name_may_stand_for_things_of_two_kinds():
    registry = registry_of(pooling(nothing), ClassifierSpec(name="toy", summary="", make=nothing))
    assert registry.faults == ()
    assert registry.choose("poolings", "toy").kind == "poolings"
    assert registry.choose("classifiers", "toy").kind == "classifiers"


# ── what a choice is ─────────────────────────────────────────────────────────────────────────────────────


def test_a_label_shows_the_parameters_that_were_given_and_no_defaults(built_in):
    assert built_in.choose("poolings", "count").label == "count"
    assert built_in.choose("poolings", "count(t=0)").label == "count(t=0)"
    assert built_in.choose("representations", "random_sae[k=8]").label == "random_sae[k=8]"
    assert built_in.choose("representations", {"name": "random_sae", "seed": 1, "k": 8}).label == (
        "random_sae[seed=1,k=8]"
    )


def test_defaults_are_part_of_the_identity(built_in):
    bare, given_ = (built_in.choose("poolings", name) for name in ("count", "count(t=0)"))
    assert bare.identity["parameters"] == {"t": 0.0}
    assert hash_json(bare.identity) == hash_json(given_.identity)


def test_a_changed_default_changes_the_identity():
    before = registry_of(pooling(lambda *, t=0: t)).choose("poolings", "toy")
    after = registry_of(pooling(lambda *, t=1: t)).choose("poolings", "toy")
    assert hash_json(before.identity) != hash_json(after.identity)


def test_a_default_of_a_parameter_that_is_not_keyword_only_counts_too():
    def make(t=0):
        return t

    choice = registry_of(pooling(make)).choose("poolings", "toy(t=5)")
    assert choice.make() == 5
    assert choice.identity["parameters"] == {"t": 5}


def test_a_changed_revision_changes_the_identity_and_a_new_release_does_not():
    first, revised, released = (
        registry_of(pooling(nothing, revision=revision), distribution=distribution).choose("poolings", "toy")
        for revision, distribution in [("1", "toy 1.0"), ("2", "toy 1.0"), ("1", "toy 1.1")]
    )
    assert hash_json(first.identity) != hash_json(revised.identity)
    assert hash_json(first.identity) == hash_json(released.identity)


def test_the_same_name_of_another_distribution_is_another_identity():
    mine, theirs = (
        registry_of(pooling(nothing), distribution=distribution).choose("poolings", "toy")
        for distribution in ("mine 1.0", "theirs 1.0")
    )
    assert hash_json(mine.identity) != hash_json(theirs.identity)


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_the_same_parameter_written_as_integer_or_with_a_point(number):
    registry = registry_of(pooling(lambda *, t: t))
    whole, pointed = (registry.choose("poolings", {"name": "toy", "t": t}) for t in (number, float(number)))
    assert hash_json(whole.identity) == hash_json(pointed.identity)


def test_an_alias_has_its_own_name_and_the_parameters_of_what_it_stands_for():
    registry = registry_of(
        ModelSpec(name="base", summary="", make=lambda *, dtype="float32": dtype),
        ModelSpec(name="short", summary="", alias_of="base"),
    )
    choice = registry.choose("models", "short[dtype=bfloat16]")
    assert choice.label == "short[dtype=bfloat16]"
    assert choice.make() == "bfloat16"
    assert refusal(registry, "models", "short[d=1]") == (
        "model 'short' (toy 1.0) has no parameter 'd'; it takes: dtype"
    )


def test_an_alias_may_stand_for_parameters_which_its_label_leaves_out():
    registry = registry_of(
        ModelSpec(name="base", summary="", make=lambda *, dtype="float32", depth=1: (dtype, depth)),
        ModelSpec(name="short", summary="", alias_of={"name": "base", "dtype": "bfloat16"}),
    )
    assert registry.choose("models", "short").label == "short"
    assert registry.choose("models", "short").make() == ("bfloat16", 1)
    assert registry.choose("models", "short[depth=2]").label == "short[depth=2]"
    given = registry.choose("models", "short[dtype=float16]")
    assert (given.label, given.make()) == ("short[dtype=float16]", ("float16", 1))


def test_an_alias_that_leads_nowhere_is_refused():
    registry = registry_of(ModelSpec(name="short", summary="", alias_of="no-such-model"))
    assert refusal(registry, "models", "short").startswith("there is no model 'no-such-model'")


def test_the_seed_of_a_classifier_is_the_cells_and_not_a_parameter(built_in):
    choice = built_in.choose("classifiers", "logreg")
    assert choice.takes_seed
    assert "seed" not in choice.parameters
    assert "seed" in built_in.choose("representations", "random_sae").parameters


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (ValueError("t must be positive\nreally"), UsageError, "ValueError: t must be positive"),
        (KeyError("t"), UsageError, "KeyError: 't'"),
        (
            ImportError("No module named 'x'"),
            UnavailableError,
            "needs a package that cannot be imported: No module",
        ),
        (UnavailableError("its file is not there"), UnavailableError, "its file is not there"),
    ],
)
def test_a_factory_that_raises_is_named(error, kind, sentence):
    def make():
        raise error

    with pytest.raises(kind, match=re.escape(sentence)):
        registry_of(pooling(make)).choose("poolings", "toy").make()


def test_of_very_many_known_names_the_first_are_named_and_the_others_counted() -> None:
    said = did_you_mean("zzz", [f"name{number:03}" for number in range(400)])
    assert said == "; known: name000, name001, name002, name003, name004 and 395 more"
    said = did_you_mean("zzz", [f"name{number:03}" for number in range(400)], listed_by="harness ls tasks")
    assert said.endswith("name004 and 395 more (`harness ls tasks` lists all)")


def test_a_model_nobody_listed_is_told_how_others_are_written() -> None:
    said = "one of the hub is written ORG/NAME, a folder ./NAME"
    for name in ("gemma-2-2b", "another"):  # the first is like a known one
        with pytest.raises(UsageError, match=re.escape(said)):
            open_registry().choose("models", name)
    with pytest.raises(UsageError) as refused:
        open_registry().choose("poolings", "gemma-2-2b")
    assert said not in str(refused.value)


def test_unknown_names_are_listed_by_likeness() -> None:
    names = [f"task_{letter}{number}" for letter in "abc" for number in range(200)]
    assert did_you_mean("task_b77", names) == "; did you mean 'task_b77'?"
    assert did_you_mean("taskb77", names) == "; did you mean 'task_b77'?"
    assert did_you_mean("TASK_B77X", names) == "; did you mean 'task_b77'?"
    assert (
        did_you_mean("model-x", ["model-s", "model-m", "other"]) == "; did you mean 'model-m' or 'model-s'?"
    )
    assert did_you_mean("b9999999", names).startswith("; known: task_b99, task_b199, task_b9, task_a99,")
    assert did_you_mean("x" * 10**6, names).count(",") == 4
    assert did_you_mean("x", []) == ""


def test_an_alias_may_be_made_when_its_name_is_used(tmp_path: Path) -> None:
    asked: list[Path] = []

    def find() -> str:
        asked.append(default_cache_dir())
        return "base"

    base = ModelSpec(name="base", summary="", make=lambda dtype="float32": dtype)
    short = ModelSpec(name="short", summary="", alias_of=find)
    registry = replace(registry_of(base, short), cache_dir=tmp_path)
    assert asked == []
    choice = registry.choose("models", "short[dtype=bfloat16]")
    assert (choice.label, choice.make(), asked) == ("short[dtype=bfloat16]", "bfloat16", [tmp_path])


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (UnavailableError("it is not there"), UnavailableError, "it is not there"),
        (
            ImportError("no module x"),
            UnavailableError,
            "needs a package that cannot be imported: no module x",
        ),
        (OSError("odd"), UsageError, "cannot be made: OSError: odd"),
    ],
)
def test_an_alias_that_cannot_be_made_is_one_sentence(error: Exception, kind: type, said: str) -> None:
    def fail() -> str:
        raise error

    with pytest.raises(kind, match=said):
        registry_of(ModelSpec(name="short", summary="", alias_of=fail)).choose("models", "short")
