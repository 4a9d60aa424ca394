"""The suites gemma-2 and gemma-3 from the hub's cache, offline, as a user runs them.

The cache is laid out as the hub client lays it out: `models--ORG--NAME/{refs/main, blobs, snapshots/<commit>}`, with
links to blobs that are named by their SHA-256 where the hub keeps them as large files. Models have the real
architectures, depths, residual widths and files, random weights, and next to nothing else; shards that no site of
the suite needs are not there, and neither are dictionaries that it does not name.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness.config.suite import read_suite
from harness.session import open_registry

TINY = {
    "vocab_size": 300,
    "intermediate_size": 8,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "max_position_embeddings": 512,
}
GEMMA_2 = {"2b": (2304, 26), "9b": (3584, 42), "9b-it": (3584, 42), "27b": (4608, 46)}
GEMMA_3 = {
    "270m": (640, 18),
    "1b-pt": (1152, 26),
    "4b-pt": (2560, 34),
    "12b-pt": (3840, 48),
    "27b-pt": (5376, 62),
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}

SCOPE = {  # model → width → layer → average_l0 of what the suite names, as SAELens lists the canonical ones
    "google/gemma-2-2b": {"16k": {5: 68, 12: 82, 19: 73}, "65k": {5: 105, 12: 72, 19: 115}},
    "google/gemma-2-9b": {"16k": {9: 100, 20: 68, 31: 114}, "131k": {9: 75, 20: 114, 31: 92}},
    "google/gemma-2-9b-it": {"16k": {9: 88, 20: 91, 31: 76}, "131k": {9: 121, 20: 81, 31: 109}},
    "google/gemma-2-27b": {"131k": {10: 106, 22: 82, 34: 72}},
}
LAYERS = {  # size of a Gemma 3 → the suite's layers
    "270m": (5, 9, 12, 15),
    "1b": (7, 13, 17, 22),
    "4b": (9, 17, 22, 29),
    "12b": (12, 24, 31, 41),
    "27b": (16, 31, 40, 53),
}


# ── the cache ────────────────────────────────────────────────────────────────────────────────────────────


def add_to_cache(hub: Path, repo: str, files: Mapping[str, Path]) -> Path:
    """Put files into a repository of the cache, moving them; its snapshot."""
    root = hub / f"models--{repo.replace('/', '--')}"
    commit = hashlib.sha1(repo.encode()).hexdigest()
    for folder in ("refs", "blobs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    for name, path in files.items():
        large = path.suffix in {".safetensors", ".npz"} or path.name == "tokenizer.json"
        blob = root / "blobs" / (hashlib.sha256 if large else hashlib.sha1)(path.read_bytes()).hexdigest()
        shutil.move(path, blob)
        link = root / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return root / "snapshots" / commit


CHAT_TEMPLATE = (  # Gemma's turns: <start_of_turn>user … <end_of_turn>, in fewer letters
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] | trim }}</>\n"
    "{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
)


def write_tokenizer(folder: Path, *, chat: bool) -> None:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def add_model(hub: Path, work: Path, repo: str, model: Any, deepest: int, *, shards: int = 6) -> None:
    """Cache a model without the shards that only blocks deeper than `deepest` or a vision tower need."""
    folder = work / repo.replace("/", "--")
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + (shards == 1))
    write_tokenizer(folder, chat=repo.endswith("-it"))
    files = {path.name: path for path in folder.iterdir()}
    assert ("model.safetensors" in files) is (shards == 1)
    if shards > 1:
        index = json.loads(files["model.safetensors.index.json"].read_text())["weight_map"]
        deep = set(index.values()) - {shard for name, shard in index.items() if is_needed(name, deepest)}
        assert deep
        files = {name: path for name, path in files.items() if name not in deep}
    add_to_cache(hub, repo, files)


def is_needed(tensor: str, deepest: int) -> bool:
    layer = re.search(r"model\.layers\.(\d+)\.", tensor)
    return tensor.endswith("embed_tokens.weight") or (layer is not None and int(layer[1]) <= deepest)


def make_gemma_2(size: str) -> Any:
    width, depth = GEMMA_2[size]
    config = transformers.Gemma2Config(**TINY, hidden_size=width, num_hidden_layers=depth, sliding_window=64)
    return transformers.Gemma2ForCausalLM(config).to(torch.bfloat16)


def make_gemma_3(size: str) -> Any:
    width, depth = GEMMA_3[size]
    config = transformers.Gemma3TextConfig(
        **TINY, hidden_size=width, num_hidden_layers=depth, sliding_window=64
    )
    if size in ("270m", "1b-pt"):
        return transformers.Gemma3ForCausalLM(config).to(torch.bfloat16)
    both = transformers.Gemma3Config(
        text_config=config.to_dict(), vision_config=VISION, mm_tokens_per_image=1
    )
    return transformers.Gemma3ForConditionalGeneration(both).to(torch.bfloat16)


def random_dictionary(seed: int, d_in: int, width: int = 24) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {
        "W_enc": random.standard_normal((d_in, width), dtype=np.float32) / np.float32(d_in**0.5),
        "W_dec": random.standard_normal((width, d_in), dtype=np.float32),
        "b_enc": np.zeros(width, np.float32),
        "b_dec": np.zeros(d_in, np.float32),
        "threshold": np.full(width, 0.01, np.float32),
    }


def scope_repo(model: str) -> str:
    size, tuned = re.fullmatch(r"google/gemma-2-(\d+b)(-it)?", model).groups()  # type: ignore[union-attr]
    return f"google/gemma-scope-{size}{tuned or '-pt'}-res"


def folders_of(model: str) -> list[str]:
    """The exact folders of a Gemma 2's dictionaries."""
    return [
        f"layer_{layer}/width_{width}/average_l0_{l0}"
        for width, l0s in SCOPE[model].items()
        for layer, l0 in l0s.items()
    ]


def add_gemma_2(hub: Path, work: Path, size: str) -> None:
    """A Gemma 2 and its dictionaries, and beside each one of an L0 nearer to 100, which is not a published one."""
    model = f"google/gemma-2-{size}"
    torch.manual_seed(list(GEMMA_2).index(size))
    deepest = max(layer for l0s in SCOPE[model].values() for layer in l0s)
    add_model(hub, work, model, make_gemma_2(size), deepest)
    path = work / "params.npz"
    for seed, folder in enumerate(folders_of(model)):
        for decoy in (False, True):
            np.savez(path, **random_dictionary(seed, GEMMA_2[size][0]))  # type: ignore[arg-type]
            name = re.sub(r"_l0_\d+", "_l0_99", folder) if decoy else folder
            add_to_cache(hub, scope_repo(model), {f"{name}/params.npz": path})


def add_gemma_3(hub: Path, work: Path, size: str) -> None:
    """A Gemma 3 and its dictionaries."""
    short = size.removesuffix("-pt")
    torch.manual_seed(list(GEMMA_3).index(size))
    shards = 1 if short in ("270m", "1b") else 6
    add_model(hub, work, f"google/gemma-3-{size}", make_gemma_3(size), max(LAYERS[short]), shards=shards)
    for seed, (layer, width) in enumerate(
        (layer, width) for layer in LAYERS[short] for width in ("16k", "65k")
    ):
        folder = f"resid_post/layer_{layer}_width_{width}_l0_medium"
        params, config = work / "params.safetensors", work / "config.json"
        parts = random_dictionary(seed, GEMMA_3[size][0])
        save_file({name.lower(): torch.from_numpy(array) for name, array in parts.items()}, params)
        config.write_text(
            json.dumps(
                {
                    "hf_hook_point_in": f"model.layers.{layer}.output",
                    "hf_hook_point_out": f"model.layers.{layer}.output",
                    "width": 24,
                    "model_name": f"gemma-3-{short}-pt",
                    "architecture": "jump_relu",
                    "l0": 50,
                    "affine_connection": False,
                    "type": "sae",
                }
            )
        )
        files = {f"{folder}/params.safetensors": params, f"{folder}/config.json": config}
        add_to_cache(hub, f"google/gemma-scope-2-{short}-pt", files)


QUICK = ("--set", "poolings=[max]", "--set", "classifiers=[{name: logreg, C: 1.0}]")
"""What leaves all models, sites and dictionaries of a suite, and one fit for each."""


def on_short_task(path: Path) -> list[object]:
    """The words by which a whole suite is run on the short task alone."""
    return ["--offline", "-t", "short_task", "--include", path, "-d", "cpu", "-L", 32, *QUICK]


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def short_task(write: Callable[[str, str], Path]) -> Path:
    """A task of 40 texts of a few bytes: blocks of real width and depth take their time for every token."""
    rows = [
        {"text": f"{'+-'[row % 2]}{row}", "label": "ab"[row % 2], "split": "test" if row < 12 else "train"}
        for row in range(40)
    ]
    write("short.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    return write(
        "short_task.yaml",
        "name: short_task\nsource: {file: short.jsonl}\nlicence: CC0\ncitation: none\n"
        "columns: {input: text, label: label, split: split}\n",
    )


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`harness …` in a process of its own, with nothing but HF_HUB_CACHE to say where the cache is."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HARNESS_"))
    }
    environment |= {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HARNESS_CACHE_DIR": str(tmp_path / "features"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from harness.cli import main; main()", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def dictionaries_of(folder: Path, kind: str) -> dict[str, set[str]]:
    """Model → the exact dictionaries that its records of `kind` name."""
    found: dict[str, set[str]] = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record["status"] == "ok", record["error"]
        assert (record["dictionary"] is None) is not record["representation"].startswith(kind)
        if record["dictionary"]:
            model = record["model"].partition("[")[0]
            found.setdefault(model, set()).add(record["dictionary"])
    return found


def wanted_of(model: str) -> set[str]:
    return {f"{scope_repo(model)}/{folder}" for folder in folders_of(model)}


def assert_rows_name(folder: Path, wanted: set[str], rows: int) -> None:
    """Every row of a dictionary names the exact ones it goes by, in both tables."""
    page = (folder / "leaderboard.md").read_text()
    with (folder / "leaderboard.csv").open() as file:
        named = [
            line["dictionary"].split() for line in csv.DictReader(file) if "scope" in line["representation"]
        ]
    assert len(named) == rows and all(named)
    for name in (name for names in named for name in names):
        assert name in wanted and f"| {name} |" in page


@pytest.mark.long
def test_gemma_2_2b_runs_offline_from_the_hubs_cache(
    command: Command, tmp_path: Path, short_task: Path
) -> None:
    add_gemma_2(tmp_path / "hub", tmp_path / "work", "2b")
    words = ["gemma-2", "--offline", "-m", "google/gemma-2-2b", "-t", "short_task", "--include", short_task]
    words += ["-d", "cpu", "-L", "32", "--set", "representations=[hidden, tfidf]", *QUICK]
    planned = command("plan", *words, "--json")
    assert planned.returncode == 0, planned.stderr
    wanted = wanted_of("google/gemma-2-2b")
    assert {line["dictionary"] for line in json.loads(planned.stdout)["dictionaries"]} == wanted
    ran = command("run", *words, "-o", "out")
    assert ran.returncode == 0, ran.stderr
    assert dictionaries_of(tmp_path / "out", "gemma-scope") == {"google/gemma-2-2b": wanted}
    assert_rows_name(tmp_path / "out", wanted, rows=2)


@pytest.mark.long
@pytest.mark.slow
def test_gemma_2_runs_whole_offline_from_the_hubs_cache(
    command: Command, tmp_path: Path, short_task: Path
) -> None:
    for size in GEMMA_2:
        add_gemma_2(tmp_path / "hub", tmp_path / "work", size)
    words = ["gemma-2", *on_short_task(short_task)]
    small = "representations.1='random_sae[width=256,k=16]'"  # the real one takes memory and time
    ran = command("run", *words, "--set", small, "-o", "out")
    assert ran.returncode == 0, ran.stderr
    wanted = {model: wanted_of(model) for model in SCOPE}
    assert dictionaries_of(tmp_path / "out", "gemma-scope") == wanted
    assert_rows_name(tmp_path / "out", set().union(*wanted.values()), rows=7)
    assert "pt-dictionary" not in (tmp_path / "out" / "results.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_a_tuned_model_without_dictionaries_of_its_own_is_flagged_in_plan_records_and_board(
    command: Command, tmp_path: Path, short_task: Path
) -> None:
    add_gemma_2(tmp_path / "hub", tmp_path / "work", "2b")
    hub = tmp_path / "hub"
    (hub / "models--google--gemma-2-2b").rename(hub / "models--google--gemma-2-2b-it")
    words = [
        "gemma-2",
        "--offline",
        "-m",
        "google/gemma-2-2b-it",
        "-t",
        "short_task",
        "--include",
        short_task,
    ]
    words += ["-d", "cpu", "-L", "32", "--set", "representations=[hidden]", *QUICK]
    planned = command("plan", *words)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("(pt-dictionary)") == 6
    ran = command("run", *words, "-o", "out")
    assert ran.returncode == 0, ran.stderr
    assert dictionaries_of(tmp_path / "out", "gemma-scope") == {
        "google/gemma-2-2b-it": wanted_of("google/gemma-2-2b")
    }
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        flagged = {line["representation"]: "pt-dictionary" in line["flags"] for line in csv.DictReader(file)}
    assert flagged.pop("hidden") is False and list(flagged.values()) == [True, True]


@pytest.mark.long
@pytest.mark.slow
def test_gemma_3_runs_whole_offline_from_the_hubs_cache(
    command: Command, tmp_path: Path, short_task: Path
) -> None:
    for size in GEMMA_3:
        add_gemma_3(tmp_path / "hub", tmp_path / "work", size)
    words = ["gemma-3", *on_short_task(short_task)]
    small = "representations.3='random_sae[width=256,k=16]'"  # the real one takes memory and time
    ran = command("run", *words, "--set", small, "-o", "out")
    assert ran.returncode == 0, ran.stderr
    wanted = {
        f"google/gemma-3-{size}": {
            f"google/gemma-scope-2-{short}-pt/resid_post/layer_{layer}_width_{width}_l0_medium"
            for layer in LAYERS[short]
            for width in ("16k", "65k")
        }
        for size in GEMMA_3
        for short in [size.removesuffix("-pt")]
    }
    assert dictionaries_of(tmp_path / "out", "gemma-scope-2") == wanted
    assert_rows_name(tmp_path / "out", set().union(*wanted.values()), rows=10)


@pytest.mark.long
def test_what_the_cache_lacks_is_one_sentence_with_the_command_that_fetches_it(
    command: Command, tmp_path: Path, short_task: Path
) -> None:
    words = [
        "plan",
        "gemma-3",
        "--offline",
        "-m",
        "google/gemma-3-270m",
        "-t",
        "short_task",
        "--include",
        short_task,
        "-d",
        "cpu",
    ]
    told = command(*words)
    assert (told.returncode, told.stderr.count("\n")) == (3, 1)
    assert (
        "run `hf download google/gemma-3-270m --include '*.json' --include '*.jinja' --include README.md"
        in told.stderr
    )
    add_gemma_3(tmp_path / "hub", tmp_path / "work", "270m")
    (root,) = (tmp_path / "hub" / "models--google--gemma-scope-2-270m-pt" / "snapshots").iterdir()
    (root / "resid_post" / "layer_12_width_65k_l0_medium" / "params.safetensors").unlink()
    told = command(*words)
    assert (told.returncode, told.stderr.count("\n")) == (3, 1)
    assert (
        "run `hf download google/gemma-scope-2-270m-pt resid_post/layer_12_width_65k_l0_medium/params.safetensors "
        "resid_post/layer_12_width_65k_l0_medium/config.json`" in told.stderr
    )


def test_the_suites_ask_for_just_the_dictionaries_that_their_comments_list() -> None:
    registry = open_registry()
    path = registry.get("suites", "gemma-2").spec
    for model in read_suite(path).models:
        asked = [registry.choose("representations", one) for one in model.representations]
        assert [(one.given["width"], one.given["l0"]) for one in asked] == [
            (w, "~100") for w in SCOPE[model.ref]
        ]
        (line,) = (line for line in path.read_text().splitlines() if f"{scope_repo(model.ref)} " in line)
        for width, l0s in SCOPE[model.ref].items():
            assert model.sites == (f"resid_post.[{','.join(map(str, l0s))}]",)
            assert re.search(rf"{width}: +{' +'.join(map(str, l0s.values()))}\b", line), (line, width)
    for model in read_suite(registry.get("suites", "gemma-3").spec).models:
        size = model.ref.removeprefix("google/gemma-3-").removesuffix("-pt")
        assert model.sites == (f"resid_post.[{','.join(map(str, LAYERS[size]))}]",)


# ── what the documentation says they take ────────────────────────────────────────────────────────────────

SHAPES = {  # model → hidden, intermediate, heads, key-value heads, head size, blocks, vocabulary, bytes stored
    "google/gemma-2-2b": (2304, 9216, 8, 4, 256, 26, 256000, 4),
    "google/gemma-2-9b": (3584, 14336, 16, 8, 256, 42, 256000, 4),
    "google/gemma-2-9b-it": (3584, 14336, 16, 8, 256, 42, 256000, 2),
    "google/gemma-2-27b": (4608, 36864, 32, 16, 128, 46, 256000, 4),
    "google/gemma-3-270m": (640, 2048, 4, 1, 256, 18, 262144, 2),
    "google/gemma-3-1b-pt": (1152, 6912, 4, 1, 256, 26, 262144, 2),
    "google/gemma-3-4b-pt": (2560, 10240, 8, 4, 256, 34, 262208, 2),
    "google/gemma-3-12b-pt": (3840, 15360, 16, 8, 256, 48, 262208, 2),
    "google/gemma-3-27b-pt": (5376, 21504, 32, 16, 128, 62, 262208, 2),
}
WIDTHS = {"16k": 1 << 14, "65k": 1 << 16, "131k": 1 << 17}
N_TOKENS = 1.26e6
RATES = {"model": 0.3 * 989e12, "encoders": 0.6 * 67e12}


def expectation(suite: str, model: str, *, layers: Sequence[int], widths: Sequence[str]) -> tuple[str, float]:
    """The documentation's line for one model, and its GPU minutes."""
    hidden, inner, heads, kv_heads, head, n_blocks, vocabulary, stored = SHAPES[model]
    block = 2 * hidden * head * (heads + kv_heads) + 3 * hidden * inner
    embedding, run = vocabulary * hidden, (max(layers) + 1) * block
    published = [hidden * WIDTHS[width] for width in widths for _ in layers]
    encoders = sum(published) + hidden * WIDTHS["16k"] * len(layers)  # random_sae
    memory = 2 * (embedding + run) + 4 * encoders + 2**30
    minutes = 2 * N_TOKENS * (run / RATES["model"] + encoders / RATES["encoders"]) / 60
    sizes = [stored * (embedding + n_blocks * block), stored * (embedding + run), 8 * sum(published), memory]
    numbers = [*(f"{size / 1e9:.1f}" for size in sizes), f"{minutes:.1f}"]
    return f"| {' | '.join([suite, model, *numbers])} |", minutes


def test_the_documentation_says_what_the_shapes_give() -> None:
    page = (Path(__file__).parent.parent / "plugins" / "harness_saes" / "README.md").read_text("utf-8")
    told = [
        expectation("gemma-2", model, layers=list(next(iter(l0s.values()))), widths=list(l0s))
        for model, l0s in SCOPE.items()
    ] + [
        expectation(
            "gemma-3",
            f"google/gemma-3-{size}",
            layers=LAYERS[size.removesuffix("-pt")],
            widths=["16k", "65k"],
        )
        for size in GEMMA_3
    ]
    lines = [line for line in page.splitlines() if line.startswith("| gemma-")]
    assert lines == [line for line, _ in told]
    assert f"that is {sum(minutes for _, minutes in told) / 60:.1f} hours" in page
