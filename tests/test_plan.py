"""What a plan refuses and what it expects: names that stand for one thing, limits, every arm's transforms."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.plan import parse_sites


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
    assert [site.layer for site in parse_sites(text, 26)] == layers


@pytest.mark.parametrize(
    "text", ["resid_post.[]", "resid_post.²", "resid_post.0%", "resid_post.101%", "12", ""]
)
def test_a_site_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="site"):
        parse_sites(text, 26)


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
