"""A model of one's own in place of a suite's: what the suite's file meant for its own models is left out by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

WIDTH = 24
SUITE = """\
name: toy
tasks: [toy_task]
models:
  - {ref: minigemma-s, sites: [resid_post.50%], representations: [minigemma-scope]}
  - {ref: minigemma-m, sites: [resid_post.50%]}
representations: [hidden, "pca[n=4]", "pca[n=48]", majority]
poolings: [mean]
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two blocks and 24 dimensions, saved by transformers."""
    folder = tmp_path_factory.mktemp("mine") / "my-model"
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=256)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    vocabulary = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    """A random dictionary of that model's second block, in Gemma Scope's layout."""
    folder = tmp_path / "my-scope" / "layer_0" / "width_32" / "average_l0_8"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0).standard_normal
    shapes = {"W_enc": (WIDTH, 32), "W_dec": (32, WIDTH), "b_enc": 32, "b_dec": WIDTH, "threshold": 32}
    np.savez(folder / "params.npz", **{name: draw(shape, dtype=np.float32) for name, shape in shapes.items()})
    return folder


@pytest.fixture
def suite(write: Callable[[str, str], Path]) -> Path:
    return write("suite.yaml", SUITE)


@pytest.fixture
def command(harness_command, suite: Path, toy_task: Path):
    """`harness COMMAND` of the suite with more words."""

    def call(name: str, *words: object):
        return harness_command(name, suite, "--include", toy_task, "--json", "-d", "cpu", *words)

    return call


def test_what_does_not_fit_is_left_out_by_name_and_the_rest_is_run(command, harness_command, mine, tmp_path):
    planned = command("plan", "-m", mine)
    assert planned.code == 0, planned.err
    refusals = [line for line in planned.said if "does not fit" in line]
    assert [line.split("'")[1] for line in refusals] == ["pca[n=48]", "minigemma-scope"]
    assert all(
        line.startswith("note: ") and f"model '{mine}', and is left out: " in line for line in refusals
    )
    assert "the minigemma models only" in refusals[1]

    ran = command("run", "-m", mine, "-o", "run")
    assert ran.code == 0, ran.err
    assert [line for line in ran.said if "does not fit" in line] == refusals
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert [f"note: {note}" for note in about["notes"] if "does not fit" in note] == refusals
    assert about["suite"]["representations"] == ["hidden", "pca[n=4]", "majority"]
    assert "representations" not in about["suite"]["models"][0]
    checked = harness_command("validate", "run", "--include", tmp_path / "toy_task.yaml")
    assert checked.code == 0, checked.out + checked.err


def test_a_model_in_a_folder_is_shown_by_its_name(harness_command, suite, toy_task, mine):
    words = [suite, "--include", toy_task, "-d", "cpu", "-m", mine]
    planned = harness_command("plan", *words)
    ran = harness_command("run", *words, "-o", "run")
    assert (planned.code, ran.code) == (0, 0)
    lines = [line for line in ran.said if line.startswith("[") or " × " in line]
    for text in (planned.out, ran.out, "\n".join(lines), harness_command("status", "run").out):
        assert str(mine) not in text
    assert "toy_task × my-model" in planned.out and "my-model  hidden" in ran.out
    assert any(" full: my-model resid_post.0 hidden mean " in line for line in lines)


def test_each_model_keeps_the_representations_that_fit_it(command, mine, tmp_path):
    told = command("run", "-m", "minigemma-m", "-m", mine, "-o", "run")
    assert told.code == 0, told.err
    assert [line.split("'")[1] for line in told.said if "does not fit" in line] == [
        "pca[n=48]",
        "minigemma-scope",
    ]
    resolved = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["suite"]
    assert resolved["representations"] == ["hidden", "pca[n=4]", "majority"]
    assert [model.get("representations") for model in resolved["models"]] == [["pca[n=48]"], None]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "representations=[hidden, 'pca[n=32]']"], "32 is more than the activations' size, 24"),
        (["--set", "representations.3=minigemma-scope"], "48 is more than the activations' size, 24"),
        (["--set", "models.0.representations=[minigemma-scope]"], "the minigemma models only"),
        (["--set", "representations=[hiden]"], "there is no representation 'hiden'; did you mean 'hidden'?"),
        (["-m", "minigema-s"], "there is no model 'minigema-s'; did you mean 'minigemma-s'?"),
        (
            ["--set", "representations=[majority]", "--set", "models.0.sites=[resid_post.1]"],
            "no representation of suite 'toy' fits model '{mine}': minigemma-scope has dictionaries",
        ),
    ],
)
def test_what_the_user_named_must_fit(command, mine, words, sentence):
    given = [] if "-m" in words else ["-m", mine]
    told = command("plan", *given, *words)
    assert (told.code, told.out) == (2, "")
    assert sentence.format(mine=mine) in told.said[-1]


def test_a_site_that_the_model_lacks_is_named_with_a_way_out(command, harness_command, write, toy_task, mine):
    deep = write("deep.yaml", SUITE.replace("[resid_post.50%], rep", "['resid_post.[1,3]'], rep"))
    told = harness_command("plan", deep, "--include", toy_task, "-d", "cpu", "-m", mine)
    assert (told.code, len(told.said)) == (2, 1)
    assert "no site 'resid_post.3': its layers are 0 to 1" in told.err
    advice = told.err.split("as with ")[1].split()
    assert advice[0] == "--set" and command("plan", "-m", mine, *[advice[1].strip("'")]).code == 2
    assert (
        harness_command(
            "plan", deep, "--include", toy_task, "-d", "cpu", "-m", mine, "--set", advice[1].strip("'")
        ).code
        == 0
    )


def test_a_suite_that_names_the_model_must_fit_it(harness_command, write, toy_task, mine):
    own = write("own.yaml", SUITE.replace("minigemma-m", str(mine)))
    told = harness_command("plan", own, "--include", toy_task, "-d", "cpu", "-m", mine)
    assert (told.code, len(told.said)) == (2, 1)
    assert "48 is more than the activations' size, 24" in told.err


def test_ones_own_dictionary_is_added_by_its_folder(command, mine, dictionary):
    told = command("plan", "-m", mine, "--set", f"models.0.representations=[{dictionary}]")
    assert told.code == 0, told.err
    assert [line["site"] for line in told.rows[0]["dictionaries"]] == ["resid_post.0"]
