"""The GPU benchmark: tests on the device, speed against the limit and against plain loops, and memory.

    python tests/benchmarks/gpu.py --out DIR [--deadline 420] [--device cuda] [--toy] [--only STEP ...]

Steps run in order of value. Each writes its result as soon as it has one, as one JSON file in DIR; none begins that
could not end before the deadline. README.md beside this says what the files hold.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_arms
import numpy as np
import torch
import transformers
from gpu_arms import SHAPES, Limit, Setting
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import harness
from harness import Dictionary, Site
from harness.benchmark.rounds import synchronize
from harness.benchmark.setting import ACTIVE, POOLINGS
from harness.features.featurize import Reading, pool_reading

ROOT = Path(__file__).resolve().parents[2]
LEAST_ROUNDS, MOST_ROUNDS = 2, 5
LOOP_BATCH_SIZES = (8, 32, 128)
"""Batch sizes that a plain loop is tried at; the best one is compared."""

Seconds = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Options of the script, with its deadline."""

    out: Path
    device: str
    toy: bool
    commit: str
    ends: float

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.ends - time.monotonic()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the models."""
        return torch.float32 if self.toy else torch.bfloat16

    def write(self, name: str, result: Mapping[str, Any]) -> None:
        """Write one result with the machine it was measured on, whole or not at all."""
        path = self.out / f"{name}.json"
        whole = {"step": name, "machine": describe_machine(self), **result}
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(whole, indent=1) + "\n")
        temporary.replace(path)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: it begins only if `least` seconds are left, and measures no new round after `budget` seconds."""

    name: str
    least: float
    budget: float
    run: Callable[[Job, float], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0 when every step that began has ended well, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--deadline", type=float, default=420.0, help="seconds after which nothing begins")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--toy", action="store_true", help="tiny shapes: tries the script, measures nothing")
    parser.add_argument("--only", nargs="+", metavar="STEP", choices=[step.name for step in STEPS])
    parser.add_argument("--commit", default="", help="commit of the code, where git cannot say")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    job = Job(
        out=given.out,
        device=given.device,
        toy=given.toy,
        commit=given.commit or find_commit(),
        ends=time.monotonic() + given.deadline,
    )
    ended = [run_step(step, job) for step in STEPS if not given.only or step.name in given.only]
    return 0 if all(ended) else 1


def run_step(step: Step, job: Job) -> bool:
    """Run one step, or say why not; False when it failed."""
    if job.left < step.least:
        print(f"{step.name}: left out, {job.left:.0f} s are left and it takes {step.least:.0f}", flush=True)
        return True
    started = time.monotonic()
    print(f"{step.name}: begins with {job.left:.0f} s left", flush=True)
    try:
        result = step.run(job, min(time.monotonic() + step.budget, job.ends))
        job.write(step.name, {**result, "step_seconds": time.monotonic() - started})
        said = summarise(result)
    except Exception:  # what one step cannot do must not cost the others
        said = traceback.format_exc()[-4000:]
        result = {"ok": False, "error": said, "step_seconds": time.monotonic() - started}
        job.write(f"{step.name}-error", result)
    print(f"{step.name}: {said} ({time.monotonic() - started:.0f} s)", flush=True)
    free_memory(job.device)
    return bool(result["ok"])


def summarise(result: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    parts = [] if result["ok"] else ["FAILED"]
    for name, count in result.get("counts", {}).items():
        parts.append(f"{count} {name}")
    for name, ratio in result.get("ratios", {}).items():
        parts.append(f"{name} {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]")
    for width, one in result.get("by_width", {}).items():
        extra, largest, bound = (one[f"{key}_bytes"] for key in ("peak_extra", "largest_tensor", "bound"))
        parts.append(f"{width}: extra {extra}, largest tensor {largest}, of {bound} bytes")
    return ", ".join(parts) or "done"


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


def run_tests(job: Job, ends: float) -> dict[str, Any]:
    """Run `pytest -m gpu` over the files that have such tests, in a process of its own; benchmarks last and once."""
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: (len(path.parts), path))
        if "mark.gpu" in path.read_text("utf-8")
    ]
    options = ("-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider", "--benchmark-disable")
    command = [sys.executable, "-m", "pytest", *options, *files]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            code: int | None = process.wait(timeout=max(1.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read()
    outcomes = re.findall(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", said, re.MULTILINE)
    names = ("PASSED", "FAILED", "ERROR", "SKIPPED")
    counts = {name.lower(): sum(outcome == name for _, outcome in outcomes) for name in names}
    return {
        "ok": code == 0,
        "command": "pytest " + " ".join(command[3:]),
        "exit_code": code,
        "timed_out": code is None,
        "counts": counts,
        "not_passed": [f"{test} {outcome}" for test, outcome in outcomes if outcome in ("FAILED", "ERROR")],
        "output_tail": said[-20_000:],
    }


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────────


def compare_with_limit(
    name: str, n_texts: int, *, details: bool = False
) -> Callable[[Job, float], dict[str, Any]]:
    """A step that compares the harness with the limit at one shape; `details` says where the time goes."""

    def run(job: Job, ends: float) -> dict[str, Any]:
        shape, n = (SHAPES["toy"], 24) if job.toy else (SHAPES[name], n_texts)
        setting = gpu_arms.make_setting(shape, n_texts=n, device=job.device, dtype=job.dtype)
        limits = {"limit": Limit(setting, torch.float32), "limit_bfloat16": Limit(setting, torch.bfloat16)}

        def harness_arm(some: int) -> Seconds:
            return gpu_arms.run_harness(setting, setting.batches[:some])

        arms = {"harness": harness_arm, **{key: limit.run for key, limit in limits.items()}}
        rounds, peaks = run_rounds(arms, len(setting.batches), job, ends)
        result = {
            "ok": True,
            "setting": setting.about(),
            "arms": tabulate(rounds, peaks, setting.n_tokens),
            "ratios": {
                "rows_over_limit": ratio(rounds, "harness", "limit", key="rows_seconds"),
                "all_over_limit": ratio(rounds, "harness", "limit"),
                "limit_over_limit_bfloat16": ratio(rounds, "limit", "limit_bfloat16"),
            },
        }
        del limits, arms
        if details:
            job.write(f"{name}-limit", result)
            result |= {"stages": time_stages(setting), "ceilings": measure_ceilings(job)}
            job.write(f"{name}-limit", result)
            result["profile"] = profile(setting)
        return result

    return run


def run_rounds(
    arms: Mapping[str, Callable[[int], Seconds]], n_batches: int, job: Job, ends: float
) -> tuple[dict[str, list[Seconds]], dict[str, int | None]]:
    """Run every arm on a few batches to warm up, then all arms in turn, forwards and backwards; and each arm's peak
    memory in bytes, None where it cannot be known.
    """
    peaks: dict[str, int | None] = dict.fromkeys(arms)
    rounds: dict[str, list[Seconds]] = {name: [] for name in arms}
    for arm in arms.values():
        arm(min(2, n_batches))
    took = 0.0
    for number in range(LEAST_ROUNDS if job.toy else MOST_ROUNDS):
        started = time.monotonic()
        # Two rounds at least, but never beyond the deadline of all.
        if number and started + took > (job.ends if number < LEAST_ROUNDS else ends):
            break
        for name in list(arms) if number % 2 == 0 else list(arms)[::-1]:
            with peak_memory(job.device) as peak:
                rounds[name].append(arms[name](n_batches))
            peaks[name] = max(filter(None, (peaks[name], *peak)), default=None)
        took = time.monotonic() - started
    return rounds, peaks


def tabulate(
    rounds: Mapping[str, Sequence[Seconds]], peaks: Mapping[str, int | None], n_tokens: int
) -> dict[str, Any]:
    """Each arm's rounds, median seconds of each stage, tokens a second and peak memory."""
    return {
        name: {
            "rounds": [dict(one) for one in several],
            "median": {key: statistics.median(one[key] for one in several) for key in several[0]},
            "tokens_per_s": n_tokens / statistics.median(one["seconds"] for one in several),
            "peak_bytes": peaks[name],
        }
        for name, several in rounds.items()
    }


def ratio(
    rounds: Mapping[str, Sequence[Seconds]], over: str, under: str, *, key: str = "seconds"
) -> dict[str, Any]:
    """The ratio of two arms' seconds, round by round: median, lowest, highest."""
    found = [one[key] / other["seconds"] for one, other in zip(rounds[over], rounds[under], strict=True)]
    return {"median": statistics.median(found), "low": min(found), "high": max(found), "rounds": len(found)}


def time_stages(setting: Setting) -> dict[str, float]:
    """Seconds from tokens to rows with ever more to do, once each: differences say what a stage costs."""
    widths = setting.shape.widths
    mean = {"mean": setting.poolings["mean"]}
    wanted = {
        "forward": [],
        "forward, encode": gpu_arms.make_readings(setting, widths, {}),
        "forward, encode, pool mean": gpu_arms.make_readings(setting, widths, mean),
        "forward, encode, pool all": gpu_arms.make_readings(setting, widths, setting.poolings),
    }
    return {name: gpu_arms.run_rows(setting, readings)[0] for name, readings in wanted.items()}


def profile(setting: Setting) -> dict[str, Any]:
    """The operators that took longest on two batches from the middle, by their own time on device and host."""
    from torch.profiler import ProfilerActivity

    middle = len(setting.batches) // 2
    batches = setting.batches[middle : middle + 2]
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if setting.device == "cuda" else []
    try:
        with torch.profiler.profile(activities=activities) as profiler:
            seconds = gpu_arms.run_harness(setting, batches)
            synchronize(setting.device)
        found = profiler.key_averages()
    except Exception as error:  # a profiler that does not work there must not cost the result
        return {"error": repr(error)}
    keys = {"device": "self_device_time_total", "host": "self_cpu_time_total"}
    return {
        "batches": len(batches),
        "tokens": sum(int(setting.tokens[row].content.sum()) for batch in batches for row in batch),
        "seconds": seconds,
        **{
            where: [
                {"name": one.key[:120], "calls": one.count, "ms": getattr(one, key) / 1e3}
                for one in sorted(found, key=lambda one, key=key: -getattr(one, key))[:20]
            ]
            for where, key in keys.items()
        },
    }


def measure_ceilings(job: Job) -> dict[str, float]:
    """Measure the ceilings of the device: FLOP/s of a large product, bytes/s of a large copy (read and written)."""
    n = 256 if job.toy else 8192
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(n, n, device=job.device, dtype=dtype) for _ in range(2))
        found[f"{str(dtype).removeprefix('torch.')}_flops"] = 2.0 * n**3 / _time(lambda a=a, b=b: a @ b, job)
    source = torch.randn(n * n * 8, device=job.device)
    target = torch.empty_like(source)
    found["copy_bytes"] = 2.0 * source.nbytes / _time(lambda: target.copy_(source), job)
    return found


def _time(work: Callable[[], Any], job: Job) -> float:
    """Median seconds of ten calls, each waited for."""
    taken = []
    for _ in range(13):
        synchronize(job.device)
        started = time.perf_counter()
        work()
        synchronize(job.device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[3:])


def compare_with_loops(job: Job, ends: float) -> dict[str, Any]:
    """Compare the harness with two plain loops at the shape of Gemma 2 2B, on fewer texts."""
    shape, n = (SHAPES["toy"], 24) if job.toy else (SHAPES["2b"], 384)
    setting = gpu_arms.make_setting(shape, n_texts=n, device=job.device, dtype=job.dtype)
    whole = gpu_arms.deepen(setting.model, shape, device=job.device, dtype=job.dtype)
    loops = {"one forward per dictionary": True, "one forward": False}
    tried: dict[str, dict[str, float | None]] = {name: {} for name in loops}
    rows: dict[str, Any] = {}
    for size in LOOP_BATCH_SIZES:
        for name, per_dictionary in loops.items():
            tried[name][str(size)], rows = try_loop(setting, whole, size, per_dictionary, job) or (None, rows)
    best = {
        name: min((seconds, int(size)) for size, seconds in sizes.items() if seconds is not None)[1]
        for name, sizes in tried.items()
    }

    def loop_arm(name: str) -> Callable[[int], Seconds]:
        def run(some: int) -> Seconds:
            return {"seconds": gpu_arms.run_loop(setting, whole, best[name], per_dictionary=loops[name])[0]}

        return run

    def harness_arm(some: int) -> Seconds:
        return gpu_arms.run_harness(setting, setting.batches[:some])

    arms = {"harness": harness_arm, **{name: loop_arm(name) for name in loops}}
    rounds, peaks = run_rounds(arms, len(setting.batches), job, ends)
    for one in rounds["harness"]:  # the loops write nothing
        assert isinstance(one, dict)
        one["unwritten_seconds"] = one["seconds"] - one["write_seconds"]
    _, pooled = gpu_arms.run_rows(setting, gpu_arms.make_readings(setting, shape.widths, setting.poolings))
    return {
        "ok": True,
        "setting": {**setting.about(), "loop_blocks": shape.layers},
        "batch_sizes": {"tried": tried, "best": best},
        "arms": tabulate(rounds, peaks, setting.n_tokens),
        "ratios": {
            f"{name} over harness": inverse(ratio(rounds, "harness", name, key="unwritten_seconds"))
            for name in loops
        },
        "agreement": {key: compare_rows(gpu_arms.gather_rows(pooled, key), rows[key]) for key in rows},
    }


def try_loop(
    setting: Setting, whole: Any, size: int, per_dictionary: bool, job: Job
) -> tuple[float, dict[str, Any]] | None:
    """Seconds and rows of a loop at one batch size, after two texts to warm up; None where memory does not suffice."""
    try:
        gpu_arms.run_loop(gpu_arms.with_texts(setting, 2), whole, size, per_dictionary=per_dictionary)
        return gpu_arms.run_loop(setting, whole, size, per_dictionary=per_dictionary)
    except torch.OutOfMemoryError:
        free_memory(job.device)
        return None


def inverse(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same ratio the other way up."""
    return {
        "median": 1 / found["median"],
        "low": 1 / found["high"],
        "high": 1 / found["low"],
        "rounds": found["rounds"],
    }


def compare_rows(got: Any, wanted: Any) -> dict[str, float]:
    """Relative L2 distance of rows: the median, and the largest."""
    norm = np.linalg.norm(wanted, axis=1)
    distance = np.linalg.norm(got - wanted, axis=1) / np.where(norm > 0, norm, 1)
    return {"median": float(np.median(distance)), "largest": float(distance.max())}


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────


class LargestTensor(TorchDispatchMode):
    """The most bytes that one tensor made meanwhile has; views of what was there before do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        given = {_storage(one) for one in (*args, *kwargs.values()) if isinstance(one, Tensor)}
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, Tensor) and _storage(one) not in given:
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return made


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def measure_memory(job: Job, ends: float) -> dict[str, Any]:
    """Encode and pool at two widths, the second a million: nothing as large as `[tokens, d_sae]` may be made.

    `ok` says that the most memory in use beyond what was there before (on a GPU), and the largest single tensor, stay
    below two bytes for each token and feature, half of what such a tensor takes in float32.
    """
    d_in, n_tokens, widths = (16, 1024, (98_304,)) if job.toy else (2304, 16_384, (65_536, 1_048_576))
    found: dict[str, Any] = {}
    for width in widths:
        found[str(width)] = _measure_width(width, d_in, n_tokens, job)
        job.write("memory", {"ok": all(one["ok"] for one in found.values()), "by_width": found})
        free_memory(job.device)
    return {
        "ok": all(one["ok"] for one in found.values()),
        "setting": {
            "d_in": d_in,
            "tokens": n_tokens,
            "examples": n_tokens // 128,
            "poolings": list(POOLINGS),
        },
        "by_width": found,
    }


@torch.inference_mode()
def _measure_width(width: int, d_in: int, n_tokens: int, job: Job) -> dict[str, Any]:
    registry = harness.open(device=job.device).registry
    generator = torch.Generator(job.device).manual_seed(0)
    activations = torch.randn(n_tokens, d_in, generator=generator, device=job.device, dtype=job.dtype)
    W_enc = torch.randn(d_in, width, generator=generator, device=job.device).div_(d_in**0.5)
    # Products of such activations and columns are normal with variance 1.
    threshold = statistics.NormalDist().inv_cdf(1 - ACTIVE / width)
    dictionary = Dictionary(
        name=f"random-{width}",
        width=width,
        activation="jumprelu",
        W_enc=W_enc,
        b_enc=torch.zeros(width, device=job.device),
        threshold=torch.full((width,), threshold, device=job.device),
    )
    reading = Reading(
        site=Site(kind="resid_post", layer=0),
        encoder=dictionary,
        sparse=True,
        poolings={name: registry.choose("poolings", name).make() for name in POOLINGS},
    )
    counts = [128] * (n_tokens // 128)
    pool_reading(reading, activations[:128], counts[:1])
    synchronize(job.device)
    started = time.perf_counter()
    with peak_memory(job.device) as peak:
        rows = pool_reading(reading, activations, counts)
    seconds = time.perf_counter() - started
    with LargestTensor() as largest:
        pool_reading(reading, activations, counts)
    bound = n_tokens * width * 2
    extra = peak[0] - peak[1] if peak else None
    return {
        "ok": largest.bytes < bound and (extra is None or extra < bound),
        "bound_bytes": bound,
        "peak_extra_bytes": extra,
        "largest_tensor_bytes": largest.bytes,
        "dictionary_bytes": W_enc.nbytes,
        "seconds": seconds,
        "tokens_per_s": n_tokens / seconds,
        "non_zeros_per_row": {name: one.nnz / one.shape[0] for name, one in rows.items()},
    }


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """A list that on a GPU holds, once the block has ended, the most bytes in use in it, and those in use before."""
    found: list[int] = []
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    yield found
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        found += [torch.cuda.max_memory_allocated(), before]


def free_memory(device: str) -> None:
    """Give back what no tensor uses."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────


def describe_machine(job: Job) -> dict[str, Any]:
    """Hardware, driver, versions, commit and date."""
    gpu = None
    if job.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        gpu = {
            "name": properties.name,
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "driver": _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        }
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": job.commit,
        "toy": job.toy,
        "device": job.device,
        "gpu": gpu,
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def find_commit() -> str:
    """The commit of the code, with a mark where files differ from it; `unknown` where git cannot say."""
    return _ask("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12") or "unknown"


@functools.cache
def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


STEPS = (
    Step(name="tests", least=30, budget=120, run=run_tests),
    Step(name="2b-limit", least=40, budget=60, run=compare_with_limit("2b", 2048, details=True)),
    Step(name="memory", least=20, budget=30, run=measure_memory),
    Step(name="2b-loops", least=40, budget=60, run=compare_with_loops),
    Step(name="9b-limit", least=35, budget=45, run=compare_with_limit("9b", 768)),
    Step(name="27b-limit", least=45, budget=60, run=compare_with_limit("27b", 512)),
)

if __name__ == "__main__":
    sys.exit(main())
