"""`random_weights=SEED`: the same model untrained, through the models as they are opened and the command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_transformers
import pytest
import torch
import transformers

from harness import Site, UsageError

SHIPPED = Path(__file__).parents[1] / "plugins/harness_minigemma/weights/minigemma-s"
TEXTS = ["The cat sat on the mat.", "", "Übung macht den Meister 👍", "one two three four"]
SMALL = {
    "vocab_size": 8192,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
# On disk Mixtral's experts are laid out otherwise; GPT-2 scales what it draws by its depth; OPT nests its blocks.
FAMILIES = {
    "gemma3": transformers.Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8, sliding_window=5),
    "gpt2": transformers.GPT2Config(vocab_size=8192, n_embd=24, n_layer=4, n_head=4, n_positions=256),
    "llama": transformers.LlamaConfig(**SMALL, num_key_value_heads=2),
    "mixtral": transformers.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4),
    "opt": transformers.OPTConfig(
        **{k: v for k, v in SMALL.items() if k != "intermediate_size"}, ffn_dim=40, word_embed_proj_dim=16
    ),
}
FIRST = Site(kind="resid_post", layer=0)
LAST = Site(kind="resid_post", layer=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Folder = Callable[[str], Path]


@pytest.fixture
def folder_of(tmp_path: Path) -> Folder:
    """A function that gives a folder with a configuration and a tokenizer, and no weights."""

    def put(family: str) -> Path:
        folder = tmp_path / family
        shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        if family != "minigemma":
            FAMILIES[family].save_pretrained(folder)
        return folder

    return put


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def read(model: Any, *sites: Site) -> list[torch.Tensor]:
    """For each site `[content tokens of all texts, width]`."""
    kept = model.load(sites, "cpu").forward(model.tokenize(TEXTS))
    return [kept[site] for site in sites]


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_seed_gives_the_same_weights_whenever_they_are_drawn_and_another_seed_others(
    folder_of: Folder,
) -> None:
    folder = folder_of("minigemma")
    (before,) = read(open_model(folder, random_weights=7), LAST)
    torch.manual_seed(5)
    (again,) = read(open_model(folder, random_weights=7), LAST)
    (other,) = read(open_model(folder, random_weights=8), LAST)
    assert torch.equal(before, again)
    assert not torch.allclose(before, other, atol=0.1)


def test_drawn_weights_are_not_the_trained_ones_but_all_else_is_the_same() -> None:
    trained, drawn = open_model(SHIPPED), open_model(SHIPPED, random_weights=0)
    assert not torch.allclose(read(trained, LAST)[0], read(drawn, LAST)[0], atol=0.1)
    for name in ("name", "architecture", "n_layers", "n_parameters"):
        assert getattr(trained, name) == getattr(drawn, name)
    for one, two in zip(trained.tokenize(TEXTS), drawn.tokenize(TEXTS), strict=True):
        assert one.ids.tolist() == two.ids.tolist() and one.content.tolist() == two.content.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_is_the_same_however_many_are_loaded(family: str, folder_of: Folder) -> None:
    model = open_model(folder_of(family), random_weights=0)
    (alone,) = read(model, FIRST)
    together, last = read(model, FIRST, LAST)
    assert torch.equal(alone, together) and torch.isfinite(last).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_drawn_as_the_architecture_begins(family: str, folder_of: Folder) -> None:
    """Against a whole model made by transformers: each weight has the mean and spread it has there."""
    drawn = open_model(folder_of(family), random_weights=0).load([LAST], "cpu").model
    torch.manual_seed(0)
    wanted = dict(transformers.AutoModel.from_config(FAMILIES[family]).named_parameters())
    for name, weight in drawn.named_parameters():
        got, expected = weight.detach(), wanted.pop(name).detach()
        error = 5 * float(expected.std()) / len(got.flatten()) ** 0.5
        assert abs(float(got.mean() - expected.mean())) <= 2 * error, name
        assert abs(float(got.std() - expected.std())) <= error, name
    assert not wanted


def test_no_two_blocks_have_the_same_weights(folder_of: Folder) -> None:
    drawn = open_model(folder_of("llama"), random_weights=0).load([LAST], "cpu").model
    first, second = (drawn.layers[n].mlp.up_proj.weight for n in (0, 1))
    assert not torch.equal(first, second)


def test_another_dtype_rounds_the_same_weights(folder_of: Folder) -> None:
    folder = folder_of("llama")
    precise, rounded = (
        open_model(folder, random_weights=0, dtype=dtype).load([LAST], "cpu").model.state_dict()
        for dtype in ("float32", "bfloat16")
    )
    assert all(torch.equal(precise[name].bfloat16(), rounded[name]) for name in precise)


def test_drawing_leaves_the_global_generator_as_it_was(folder_of: Folder) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    open_model(folder_of("gpt2"), random_weights=0).load([LAST], "cpu")
    assert torch.equal(torch.rand(4), wanted)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "0", 2**53])
def test_what_is_no_seed_is_refused_in_one_sentence(wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"takes random_weights, a seed, .*, not {wrong!r}"):
        open_model(SHIPPED, random_weights=wrong)


def test_a_weight_that_transformers_would_leave_unset_is_refused(
    folder_of: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(folder_of("llama"), random_weights=0)
    monkeypatch.setattr(transformers.LlamaPreTrainedModel, "_init_weights", lambda self, module: None)
    with pytest.raises(UsageError, match=r"does not say how embed_tokens\.weight begins"):
        model.load([FIRST], "cpu")


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_identity_tells_seeds_from_one_another_and_from_the_trained_weights() -> None:
    known = [open_model(SHIPPED, random_weights=seed).identity(FIRST) for seed in (None, 0, 1)]
    assert len({json.dumps(each, sort_keys=True) for each in known}) == 3
    assert "random_weights" not in known[0]  # what is known of trained models stays as it was


def test_identity_follows_no_weight_file(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / "copy")
    before = open_model(folder, random_weights=0).identity(FIRST)
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert open_model(folder, random_weights=0).identity(FIRST) == before
    (folder / "model.safetensors").unlink()
    assert open_model(folder, random_weights=0).identity(FIRST) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert open_model(folder, random_weights=0).identity(FIRST) != before


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────


def test_a_run_names_the_untrained_model_with_its_seed(harness_command: Any, tmp_path: Path) -> None:
    arguments = ["-t", "quickstart_roles", "--set", "representations=[hidden]", "-L", "200"]
    models = ["-m", "minigemma-s[random_weights=0]", "-m", "minigemma-s"]
    ran = harness_command("run", "quickstart", *arguments, *models, "-o", tmp_path / "results", "-d", "cpu")
    assert ran.code == 0, ran.err
    with (tmp_path / "results" / "leaderboard.csv").open(encoding="utf-8") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {
            "minigemma-s",
            "minigemma-s[random_weights=0]",
        }
