"""What a plan refuses and what it expects: names that stand for one thing, limits, every arm's transforms."""

from __future__ import annotations

import pytest

from harness.api.errors import UsageError
from harness.models.opened import parse_sites


@pytest.fixture
def plan(harness_command, toy_suite, toy_task):
    """`harness plan` of the toy suite with more words, as JSON."""

    def call(*words: str):
        return harness_command("plan", toy_suite, "--include", toy_task, "--json", "-d", "cpu", *words)

    return call


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("resid_post.3", [3]),
        ("resid_post.[0, 5]", [0, 5]),
        ("resid_post.50%", [12]),
        ("mlp_out.[20%,100%]", [5, 25]),
    ],
)
def test_sites_are_layers_lists_and_depths(text, layers):
    assert [site.layer for site in parse_sites(text, lambda tower: 26)] == layers


@pytest.mark.parametrize(
    "text", ["resid_post.[]", "resid_post.²", "resid_post.0%", "resid_post.101%", "12", ""]
)
def test_a_site_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="site"):
        parse_sites(text, lambda tower: 26)


def test_two_names_for_one_thing_are_refused(plan):
    told = plan("--set", 'representations=[random_sae, "random_sae[k=32]"]')
    assert (told.code, len(told.said)) == (2, 1)
    assert "are the same; leave one out" in told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-m", "minigemma-s", "-m", "minigemma-s"], "model 'minigemma-s' is given twice"),
        (["-t", "toy_task", "-t", "toy_task"], "task 'toy_task' is given twice"),
        (["--set", "representations=['random_sae[k=5000]']"], "k=5000 is more than its width, 512"),
        (["--set", "representations=['random_sae[k=1.5]']"], "must be positive whole numbers"),
        (["--set", "models.0.sites=[resid_post.9]"], "its layers are 0 to 3"),
    ],
)
def test_a_plan_that_cannot_be_is_one_sentence(plan, words, sentence):
    told = plan(*words)
    assert (told.code, len(told.said)) == (2, 1)
    assert sentence in told.err


def test_every_arm_tries_every_transform(plan):
    [inputs, model] = plan("--set", "transforms=[none, {name: binarize}]").rows[0]["bundles"]
    assert (inputs["cells"], model["cells"]) == (2, 2)


def test_the_smaller_of_two_limits_holds(plan):
    words = ["--set", "tasks.0.limit=20"]
    sizes = [
        plan(*given).rows[0]["bundles"][0]["examples"]
        for given in (words, ["-L", "10"], [*words, "-L", "10"], [*words, "-L", "30"])
    ]
    assert sizes[0] == sizes[3] > sizes[1] == sizes[2]


def test_a_plan_says_what_the_cache_holds(plan, toy_suite, toy_task, harness_command):
    before = plan().rows[0]["total"]
    assert harness_command("run", toy_suite, "--include", toy_task, "-d", "cpu").code == 0
    after = plan().rows[0]["total"]
    assert before["cached"] == 0 and before["tokens"] > 0
    assert after["cached"] == after["features"] == 1 and after["tokens"] == 0


def test_a_model_may_have_representations_of_its_own(harness_command, write, toy_task):
    suite = write(
        "own.yaml",
        "name: own\ntasks: [toy_task]\nrepresentations: [hidden]\npoolings: [max]\nmodels:\n"
        "  - {ref: minigemma-s, sites: resid_post.1, representations: minigemma-scope}\n"
        "  - {ref: minigemma-m, sites: resid_post.1, representations: [random_sae, 'random_sae[k=16]']}\n",
    )
    told = harness_command("plan", suite, "--include", toy_task, "--json", "-d", "cpu")
    assert told.code == 0, told.err
    small, large = told.rows[0]["bundles"]
    assert (small["features"], large["features"]) == (2, 3)
    [line] = told.rows[0]["dictionaries"]
    assert line["dictionary"] == "minigemma-s-scope/layer_1/width_512/average_l0_9"
    assert (line["model"], line["site"], line["representation"]) == (
        "minigemma-s",
        "resid_post.1",
        "minigemma-scope",
    )


def test_models_with_representations_of_their_own_need_none_of_the_suites(harness_command, write, toy_task):
    suite = write(
        "own.yaml",
        "name: own\ntasks: [toy_task]\nrepresentations: [majority]\npoolings: [max]\nmodels:\n"
        "  - {ref: minigemma-s, sites: resid_post.1, representations: [hidden]}\n"
        "  - {ref: minigemma-m, sites: resid_post.1}\n",
    )
    told = harness_command("plan", suite, "--include", toy_task, "--json", "-d", "cpu")
    assert told.code == 0, told.err
    assert [bundle["bundle"] for bundle in told.rows[0]["bundles"]] == ["toy_task", "toy_task × minigemma-s"]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("[hidden]", "is in the suite twice, as under representations and under a model"),
        ("[tfidf]", "reads no activations, so it has no place at 'resid_post.1'"),
        ("[absent]", "there is no representation 'absent'"),
        ("3", "line 5: models.0.representations: input should be a list"),
    ],
)
def test_a_models_own_representation_that_cannot_be_is_refused(
    harness_command, write, toy_task, own, sentence
):
    suite = write(
        "own.yaml",
        "name: own\ntasks: [toy_task]\nrepresentations: [hidden]\nmodels:\n"
        f"  - {{ref: minigemma-s, sites: resid_post.1, representations: {own}}}\n",
    )
    told = harness_command("plan", suite, "--include", toy_task, "-d", "cpu")
    assert (told.code, len(told.said)) == (2, 1)
    assert sentence in told.err
