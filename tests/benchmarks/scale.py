"""Simulate Gemma Scope 2 at every site of Gemma 3 on the text suites, from declared shapes: nothing is downloaded.

Texts, tokens and splits are those of real plans, read by the tokenizer of Gemma 3 270M (`pip install
'sae-harness[gemma]'`); models and dictionaries are shapes alone, put into the bundles of these plans. So all that
follows is what `harness plan` does with a suite of such models.

A bundle holds the encoders of all its sites on the device. Layers are therefore divided among bundles that fit, each
of which runs the model to its deepest layer: as a user would divide them among suites.

    python tests/benchmarks/scale.py --gpus 8 64 --gpu-memory 80 --price 2.5
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import harness
from harness.planning.cells import Bundle, ModelFeatures
from harness.planning.clusters import find_cluster
from harness.planning.cost import pass_bytes
from harness.planning.planned_units import plan_units
from harness.planning.schedule import PlannedUnit, Schedule
from harness.planning.simulation import simulate
from harness.planning.workforce import MARGIN
from harness.registry.executors import choose_executor

READER = "gemma-3-270m[max_length=256]"
SUITES = ("general-text", "safety-text")
POOLINGS = ("max", "mean", "last")


@dataclass(frozen=True)
class Shape:
    """Shape of a Gemma 3: layers, residual width, width of the MLP, heads, heads of keys, width of a head."""

    name: str
    layers: int
    d: int
    hidden: int
    heads: int
    key_heads: int
    head: int

    @property
    def block(self) -> int:
        """Number of weights in one block."""
        return self.d * (2 * self.heads * self.head + 2 * self.key_heads * self.head + 3 * self.hidden)

    @property
    def sites(self) -> dict[str, int]:
        """Width of each kind of site that Gemma Scope 2 has dictionaries for and the harness reads."""
        return {"resid_post": self.d, "attn_z": self.heads * self.head, "mlp_out": self.d}


SHAPES = (
    Shape("gemma-3-270m", 18, 640, 2048, 4, 1, 256),
    Shape("gemma-3-1b-pt", 26, 1152, 6912, 4, 1, 256),
    Shape("gemma-3-4b-pt", 34, 2560, 10240, 8, 4, 256),
    Shape("gemma-3-12b-pt", 48, 3840, 15360, 16, 8, 256),
    Shape("gemma-3-27b-pt", 62, 5376, 21504, 32, 16, 128),
)


@dataclass(frozen=True)
class Release:
    """Dictionaries of every site: widths, L0 (the middle of the published range), and layers, all of them if 0."""

    name: str
    widths: tuple[int, ...]
    l0: tuple[int, ...]
    layers: int


RELEASES = (
    Release("all layers, 16k and 262k", (1 << 14, 1 << 18), (15, 120), 0),
    Release("four layers, 16k to 1m", (1 << 14, 1 << 16, 1 << 18, 1 << 20), (15, 45, 120), 4),
)
DEPTHS = (0.25, 0.5, 0.65, 0.85)
"""Depths of the four layers."""


@dataclass(frozen=True)
class Reads:
    """One dictionary at one site."""

    site: harness.Site
    d_in: int
    width: int
    l0: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of schedules, as Markdown."""
    asked = _read(arguments)
    session = harness.open(device="cpu")
    texts = read_texts(session)
    tokens = sum(bundle.n_tokens for bundle in texts)
    print(f"{len(texts)} tasks, {sum(len(one.data.examples) for one in texts):,} texts, {tokens:,} tokens\n")
    print(
        "| dictionaries | GPUs | units | makespan h | GPU hours | price | read TB | written TB | bottleneck |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    memory = int(asked.gpu_memory * 1e9)
    for release in RELEASES:
        units = make_units(texts, SHAPES, release, memory)
        for gpus in asked.gpus:
            found = run(session, units, gpus, memory, asked.cores)
            print(f"| {release.name} | {gpus} | {_row(found, asked.price)} |", flush=True)
            if asked.parts:
                print(_parts(found), flush=True)


def read_texts(session: harness.Session) -> list[Bundle]:
    """Return the bundles of the text suites, each with an arm that serves as a pattern."""
    settings = ["representations=[hidden]", "poolings=[mean]"]
    plans = (session.plan(suite, models=[READER], settings=settings) for suite in SUITES)
    return [bundle for plan in plans for bundle in plan.bundles if bundle.model]


def make_units(
    texts: Sequence[Bundle], shapes: Sequence[Shape], release: Release, memory: int
) -> tuple[PlannedUnit, ...]:
    """Return the units of all dictionaries of a release on all texts."""
    bundles = [
        make_bundle(text, shape, group)
        for shape in shapes
        for group in divide(shape, list_dictionaries(shape, release), memory)
        for text in texts
    ]
    plan: Any = SimpleNamespace(bundles=bundles, transfers=())
    return plan_units(plan, device="cuda", cached=lambda key: False)


def run(
    session: harness.Session, units: Sequence[PlannedUnit], gpus: int, memory: int, cores: int | None
) -> Schedule:
    """Return the schedule of units on so many GPUs, with `cores` beside each."""
    ray = choose_executor(session.registry, "ray", jobs=None)
    cluster = find_cluster(ray, cores=1, gpus=gpus, gpu_memory=memory)
    if cores:
        cluster = replace(cluster, cores=cores * gpus, probers=(cores - 1) * gpus)
    return simulate(units, cluster)


def list_dictionaries(shape: Shape, release: Release) -> list[Reads]:
    """Return the dictionaries of a release for one model, the first layer first."""
    layers = [round(depth * shape.layers) for depth in DEPTHS] if release.layers else range(shape.layers)
    return [
        Reads(harness.Site(kind=kind, layer=layer), d_in, width, l0)
        for layer in layers
        for kind, d_in in shape.sites.items()
        for width in release.widths
        for l0 in release.l0
    ]


def divide(shape: Shape, dictionaries: Sequence[Reads], memory: int) -> Iterator[list[Reads]]:
    """Yield dictionaries in groups that fit on the GPUs that the model with one of them needs."""
    waiting: list[Reads] = []
    for one in dictionaries:
        alone = _count_gpus(shape, [one], memory)
        if waiting and _count_gpus(shape, [*waiting, one], memory) > alone:
            yield waiting
            waiting = []
        waiting.append(one)
    if waiting:
        yield waiting


def _count_gpus(shape: Shape, group: Sequence[Reads], memory: int) -> int:
    needed = pass_bytes(
        weights=2 * shape.block * (max(one.site.layer for one in group) + 1),
        encoded=sum(one.d_in * one.width for one in group),
        values=max(one.d_in for one in group),
        device="cuda",
    )
    return math.ceil(MARGIN * needed / memory)


def make_bundle(text: Bundle, shape: Shape, group: Sequence[Reads]) -> Bundle:
    """Return the bundle of a task with another model, and its probes on other dictionaries."""
    assert text.model
    pattern, cell = text.model_features[0], text.cells[0]
    features = tuple(_make_features(pattern, one, pooling) for one in group for pooling in POOLINGS)
    sketch: Any = SimpleNamespace(n_layers=shape.layers, n_parameters=shape.block * shape.layers)
    given = {"dtype": "bfloat16"}
    choice = replace(text.model.choice, name=f"google/{shape.name}", given=given, parameters=given)
    bundle = replace(
        text,
        model=replace(text.model, choice=choice, model=sketch, shown=shape.name),
        features=features,
        cells=tuple(replace(cell, features=one) for one in features),
    )
    vars(bundle).update(n_tokens=text.n_tokens, n_positions=text.n_positions)  # counted once a task
    return bundle


def _make_features(pattern: ModelFeatures, one: Reads, pooling: str) -> ModelFeatures:
    label = f"{one.site} {one.width} {one.l0} {pooling}"
    placed = replace(pattern.placed, d_in=one.d_in, width=one.width, sparse=True, published_l0=float(one.l0))
    choice = replace(pattern.representation, name="scope", given={"width": one.width, "l0": one.l0})
    return replace(
        pattern,
        representation=choice,
        site=one.site,
        placed=placed,
        general=placed,
        key=label,
        gate_key=label,
    )


def _row(found: Schedule, price: float) -> str:
    moved = f"{found.bytes_read / 1e12:,.1f} | {found.bytes_written / 1e12:,.1f}"
    return (
        f"{found.units:,} | {found.makespan / 3600:,.1f} | {found.gpu_hours:,.0f} | {found.price(price):,.0f} | "
        f"{moved} | {found.bottleneck}"
    )


def _parts(found: Schedule) -> str:
    told = ", ".join(f"{name} {seconds / 3600:,.1f} h" for name, seconds in found.seconds_by_part.items())
    return f"  {told}; idle {found.idle / 3600:,.1f} h, longest {found.longest / 3600:,.2f} h"


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--gpu-memory", type=float, default=80, help="GB of one GPU")
    parser.add_argument("--cores", type=int, help="cores beside each GPU")
    parser.add_argument("--price", type=float, default=2.5, help="of an hour of one GPU")
    parser.add_argument("--parts", action="store_true", help="print the hours of each activity")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
