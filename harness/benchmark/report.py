"""Report of a benchmark: run the arms, compare them, print the result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import transformers

from harness.benchmark.arms import Harness, check_loops, make_limit, make_loop
from harness.benchmark.rounds import compare, measure, median, time_once
from harness.benchmark.setting import Setting
from harness.runs.forward import peak_memory


def run(setting: Setting, *, against: Sequence[str], rounds: int) -> dict[str, Any]:
    """Return what was measured, as JSON: setting, tokens a second, ratios with their spread, and stages."""
    check_loops(against)
    harness, limit = Harness(setting=setting), make_limit(setting)
    # The limit and the harness first, before another arm's tensors have been made and freed.
    found = measure({"limit": limit.run, "harness": harness.rows}, rounds=rounds, device=setting.device)
    peak = peak_memory(setting.device)
    loops, sizes = {}, {}
    for name in against:
        loops[name], seconds = make_loop(setting, name)
        sizes[name] = {str(size): value for size, value in seconds.items()}
    beside = (
        measure({"harness": harness.rows, **loops}, rounds=rounds, device=setting.device) if loops else {}
    )
    return {
        "setting": _describe(setting),
        "unit": "CPU seconds" if setting.device == "cpu" else "seconds",
        "tokens_per_s": setting.n_tokens / statistics.median(one.wall for one in found["harness"]),
        "over_limit": asdict(compare(found["harness"], found["limit"], setting.device)),
        "limit_seconds": median(found["limit"], setting.device),
        "harness_seconds": median(found["harness"], setting.device),
        "times_faster": {
            name: asdict(compare(beside[name], beside["harness"], setting.device)) for name in loops
        },
        "batch_sizes": sizes,
        "stages": measure_stages(harness, setting.device),
        "peak_memory": peak,
    }


def measure_stages(harness: Harness, device: str) -> dict[str, float]:
    """Return the seconds of each stage, least of three: what one more thing to do adds to the time."""

    def least(run: Callable[[], object]) -> float:
        return min(time_once(run, device).of(device) for _ in range(3))

    rows = harness.rows()
    forward, encoded = least(harness.forward), least(lambda: harness.rows(["last"]))
    pooled = least(harness.rows)
    return {
        "tokenize": least(harness.tokenize),
        "forward": forward,
        "encode, with one pooling": encoded - forward,
        "the other poolings": pooled - encoded,
        "write": least(lambda: harness.write(rows)),
    }


def _describe(setting: Setting) -> dict[str, Any]:
    return {
        "model": setting.name,
        "sites": [str(site) for site in setting.sites],
        "widths": sorted({width for _, width in setting.dictionaries}),
        "poolings": list(setting.poolings),
        "device": torch.cuda.get_device_name() if setting.device.startswith("cuda") else setting.device,
        "threads": torch.get_num_threads(),
        "dtype": str(next(setting.decoder.parameters()).dtype).removeprefix("torch."),
        "texts": len(setting.tokens),
        "tokens": setting.n_tokens,
        "batches": len(setting.batches),
        "padding_share": setting.padding_share,
        "active_features_per_token": setting.active,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def lines(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield the report as lines of text."""
    about = found["setting"]
    widths = " and ".join(f"{width:,}" for width in about["widths"])
    yield (
        f"{about['model']} in {about['dtype']} on {about['device']} ({about['threads']} threads), "
        f"{', '.join(about['sites'])}, widths {widths}, poolings {', '.join(about['poolings'])}"
    )
    yield (
        f"{about['texts']:,} texts, {about['tokens']:,} tokens, {about['batches']} batches, "
        f"{about['padding_share']:.1%} padding; {about['active_features_per_token']:.0f} active features a token"
    )
    yield f"tokens a second        {found['tokens_per_s']:,.0f}"
    yield f"over the limit         {_ratio(found['over_limit'])} ({found['unit']})"
    for name, ratio in found["times_faster"].items():
        yield f"{name:<22} {_ratio(ratio)} times the harness's"
    for name, seconds in found["stages"].items():
        yield f"{name:<26} {seconds:8.3f}"
    yield f"peak memory            {found['peak_memory'] / 2**30:.2f} GiB"


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['least']:.2f}, {ratio['greatest']:.2f}]"
