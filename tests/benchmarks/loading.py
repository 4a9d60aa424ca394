"""Peak of memory while a model's weights are loaded, over the bytes of the parameters kept.

`python tests/benchmarks/loading.py` prints one line for each case, each measured in a process of its own: the peak of
resident memory during `load` minus what was resident before, with libraries imported and a small model loaded and gone.
Linux alone says what a process's peak was since a given moment.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
"""A model of 295 million numbers, half of them in its embedding, as small models of many languages have it."""

CASES = ("float32", "bfloat16", "float32 in shards", "bfloat16 in shards", "minigemma-l", "miniclip")


def write_model(folder: Path, stored: str, shard: str) -> None:
    """Write a Gemma 2 of random weights of a dtype, in files of at most the size `shard`."""
    import torch
    import transformers

    config = transformers.Gemma2Config(
        **SIZES, vocab_size=196_608, num_key_value_heads=4, head_dim=64, query_pre_attn_scalar=64
    )
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config).to(getattr(torch, stored))
    model.save_pretrained(folder, max_shard_size=shard)


def measure(case: str, folder: Path) -> float:
    """Return the ratio of one case, and print it; the process must be a new one."""
    import torch
    from harness_minigemma import WEIGHTS

    from harness import Site
    from harness.session import open_registry

    def load(ref: str) -> object:
        model = open_registry().choose("models", ref).make()
        tower = "vision." if ref == "miniclip" else ""
        return model.load([Site.parse(f"{tower}resid_post.{model.n_layers - 1}")], "cpu")

    torch.set_num_threads(1)
    is_embedded = case.startswith("mini")
    load("miniclip" if case == "miniclip" else "minigemma-s")
    if not is_embedded:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((WEIGHTS / "minigemma-s" / name).read_bytes())
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew here
    loaded = load(case if is_embedded else str(folder))
    grown = _resident("VmHWM") - before
    module = next(value for value in vars(loaded).values() if isinstance(value, torch.nn.Module))
    kept = sum(part.numel() * part.element_size() for part in module.parameters())
    print(f"{case:20} kept {kept / 2**20:7.0f} MiB, grown {grown / 2**20:7.0f} MiB, ratio {grown / kept:.2f}")
    return grown / kept


def _resident(key: str) -> int:
    """Return a size in bytes that the kernel gives of this process."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            folder = Path(scratch) / case.replace(" ", "-")
            stored, _, rest = case.partition(" ")
            if not case.startswith("mini"):
                # In another process: what made the model stays in the memory of the one that did.
                _run(f"write_model(Path({str(folder)!r}), {stored!r}, {'200MB' if rest else '9GB'!r})")
            _run(f"measure({case!r}, Path({str(folder)!r}))")


def _run(call: str) -> None:
    code = f"from pathlib import Path; from loading import *; {call}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


if __name__ == "__main__":
    main()
