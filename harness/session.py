"""Python API: `harness.open()` returns a Session that plans and runs suites and computes features."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from harness.api.data import Conversation, Image
from harness.api.errors import UnavailableError, UsageError, did_you_mean
from harness.api.events import Summary
from harness.api.specs import Reference
from harness.api.tasks import TaskSpec
from harness.api.threads import let_threads_sleep
from harness.config.suite import ModelChoice, Suite, read_suite
from harness.config.task_file import read_tasks
from harness.registry.catalog import Registry
from harness.registry.executors import choose_executor
from harness.registry.loading import Fault
from harness.registry.opening import open_registry as open_registry
from harness.storage.cache_place import default_cache_dir
from harness.storage.parsing import parsing

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.data import Matrix
    from harness.api.executors import Executor
    from harness.dictionary_report.report import Report
    from harness.leaderboard import Board
    from harness.models.opened import OpenModel
    from harness.planning.cells import Plan
    from harness.planning.labelled import LabelledTask
    from harness.runs.context import Rerun
    from harness.storage.feature_store import FeatureStore
    from harness.validation.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder, its summary, and the leaderboard that it wrote."""

    folder: Path
    """The run folder; of a run at a URL, its local copy, which the next run to that URL removes."""
    summary: Summary
    board: Board | None = field(default=None, repr=False, compare=False)
    location: str = ""
    """Path or URL at which the run was asked for."""

    def records(self) -> pd.DataFrame:
        """Return one row per cell; metrics are flattened to `macro_f1`, `macro_f1_low` …"""
        import pandas as pd

        from harness.runs.folder import RunFolder

        rows = []
        for record in RunFolder(self.folder).records():
            row = record.model_dump(exclude={"metrics"})
            for name, metric in record.metrics.items():
                row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def leaderboard(self) -> pd.DataFrame:
        """Return the ranked table of the board that the run wrote; if it wrote none, one is built from its records."""
        from harness import leaderboard
        from harness.runs.folder import RunFolder

        return leaderboard.to_frame(self.board or leaderboard.build([RunFolder(self.folder)]))


class Session:
    """Loaded plugins with the data folder, cache folder and device that runs use."""

    def __init__(
        self,
        registry: Registry,
        *,
        data_dir: Path | None,
        cache_dir: Path | None,
        device: str,
        included: Sequence[TaskSpec] = (),
        store: Path | str | None = None,
    ) -> None:
        self.registry = registry
        self.data_dir = data_dir
        self.cache_dir = cache_dir
        self.wanted_device = device
        self.included = tuple(included)
        self.store_location = store

    @property
    def device(self) -> str:
        """The resolved device; `auto` takes a GPU if there is one. Raises UnavailableError for an absent device."""
        return resolve_device(self.wanted_device)

    def store(self) -> FeatureStore:
        """Open the feature store of the session: that in the cache folder, unless another one was named."""
        from harness.storage.feature_store import FeatureStore

        return FeatureStore(self.store_location or self.cache_dir or default_cache_dir())

    def suite(self, name: str | Path, **overrides: Any) -> Suite:
        """Read a suite by registered name or by path, with the overrides of `read_suite`."""
        return read_suite(find_suite(name, self.registry), **overrides)

    def check(self, name: str | Path, *, strict_data: bool = False) -> tuple[Finding, ...]:
        """Check a suite, and return faults and notes that matter before it is run."""
        from harness.validation.suite import check_suite

        return check_suite(
            find_suite(name, self.registry),
            self.registry,
            data_dir=self.data_dir,
            included=self.included,
            memory=memory_of(self.device),
            host_memory=memory_of("cpu"),
            strict_data=strict_data,
        )

    def plan(self, suite: Suite | str | Path, *, strict_data: bool = False, **overrides: Any) -> Plan:
        """Plan all work of running `suite`; load data, but no weights.

        With `strict_data`, an image that cannot be decoded raises UsageError.
        """
        from harness.planning.plan import make_plan

        if self.data_dir and not self.data_dir.is_dir():
            raise UnavailableError(f"the data folder '{self.data_dir}' does not exist")
        resolved = suite if isinstance(suite, Suite) else self.suite(suite, **overrides)
        return make_plan(
            resolved,
            self.registry,
            data_dir=self.data_dir,
            included=self.included,
            strict_data=strict_data,
            store=self.store() if resolved.fuzzy_leaks else None,
        )

    def run(
        self,
        suite: Suite | str | Path | Plan,
        *,
        output: Path | str | None = None,
        batch_size: int | None = None,
        keep_activations: bool = False,
        argv: Sequence[str] = (),
        rerun: Rerun = "failed",
        fail_fast: bool = False,
        executor: Reference | None = None,
        jobs: int | EllipsisType | None = ...,
        **overrides: Any,
    ) -> Run:
        """Run a suite into `output`, a folder or URL (default `runs/<suite>`), or resume the run there.

        `keep_activations` keeps activations at the suite's sites in the cache, and reads kept ones instead of running
        the model. `rerun` selects the ended cells that are repeated: those that `failed`, `all` of them, or `never`
        any. `fail_fast` ends the run at the first failed cell, and raises UnavailableError if anything is unavailable.
        `executor` decides where the work is done, by default in this process. It is given `jobs`, a number of worker
        processes or None for as many as there is room for; records differ by nothing but times.
        """
        from harness import pipeline
        from harness.runs.context import RunContext
        from harness.runs.folder_at_url import open_run_folder

        chosen = choose_executor(self.registry, executor, jobs=jobs)
        runner: Executor = chosen.make()  # before the plan, which may take minutes
        device = runner.find_device(self.wanted_device)
        plan = suite if not isinstance(suite, Suite | str | Path) else self.plan(suite, **overrides)
        if fail_fast and plan.left_out:
            raise UnavailableError(next(iter(plan.left_out.values())))
        folder = open_run_folder(output or Path("runs") / plan.suite.name, self.cache_dir)
        context = RunContext(
            registry=self.registry,
            store=self.store(),
            folder=folder,
            executor=runner,
            executor_label=chosen.label,
            device=device,
            own_device=_device_here(device),
            batch_size=batch_size,
            keep_activations=keep_activations,
            argv=argv,
            rerun=rerun,
            fail_fast=fail_fast,
            report=self.registry.report,
        )
        return Run(folder=folder.path, location=folder.location, **vars(pipeline.run(plan, context)))

    def load_task(
        self, name: str, *, model: str | Mapping[str, Any], site: str, limit: int | None = None
    ) -> LabelledTask:
        """Load a labelled task as `model` reads it, so that any features of its rows can be probed; no weights."""
        from harness.planning.labelled import load_labelled

        choice = _choose_model(model, site)
        return load_labelled(name, choice, self.registry, self.included, data_dir=self.data_dir, limit=limit)

    def open_model(self, model: str | Mapping[str, Any], *sites: str) -> OpenModel:
        """Open a model, by reference or a mapping of `ref` and parameters, at `sites` [the first]; read no weights."""
        from harness.models.opened import open_model

        return open_model(_choose_model(model, *(sites or ("resid_post.[0]",))), self.registry)

    def features(
        self,
        texts: Sequence[str | Conversation | Image | Sequence[Mapping[str, str]]],
        *,
        model: str | Mapping[str, Any],
        site: str,
        representation: str = "hidden",
        tokens: str | Mapping[str, Any] = "content",
        pooling: str = "mean",
        batch_size: int | None = None,
    ) -> Matrix:
        """Return pooled features of `texts`, one row each, in order.

        The result is CSR `[texts, features]` for dictionaries, else an array. A conversation is given as its
        messages, `[{"role": …, "content": …}, …]`, an image as returned by `harness.read_image`. `tokens` selects the
        pooled tokens: content, all, prompt, last(k=…) or cls. A text without such tokens gives a row of zeros and a
        warning.
        """
        from harness.features.extract import extract

        return extract(
            _read_inputs(texts),
            registry=self.registry,
            model=_choose_model(model, site),
            representation=representation,
            tokens=tokens,
            pooling=pooling,
            device=self.device,
            batch_size=batch_size,
        )

    def report(
        self,
        representation: str,
        *,
        model: str | Mapping[str, Any],
        site: str | None = None,
        sources: Sequence[Path | str] = (),
        tokens: int = 65536,
        batch_size: int | None = None,
        loss_tokens: int = 16384,
        max_norm_ratio: float | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> Report:
        """Measure how well a dictionary fits a model, on at most `tokens` content tokens, without those whose norm is
        above `max_norm_ratio` times the median, and next-token losses on at most `loss_tokens` of the second half.

        They come from the held-out part of `sources`, by default from the test rows of tasks shipped with plugins.
        `site` may be omitted if the dictionary suits a single site. `tell` receives lines about the progress.
        """
        from harness.data.task import shipped_texts
        from harness.dictionary_report.measure import report

        opened = _open_at(site, representation, model, self.registry)
        return report(
            _read_texts(sources) if sources else shipped_texts(self.registry),
            registry=self.registry,
            model=opened,
            site=opened.sites[0],
            representation=representation,
            tokens=tokens,
            device=self.device,
            batch_size=batch_size,
            loss_tokens=loss_tokens,
            max_norm_ratio=max_norm_ratio,
            tell=tell,
        )


def open(
    *,
    data_dir: Path | str | None = None,
    cache_dir: Path | str | None = None,
    device: str = "auto",
    include: Collection[Path | str] = (),
    plugins: Collection[str] = (),
    store: Path | str | None = None,
    report: Callable[[Fault], None] = lambda fault: None,
) -> Session:
    """Load the plugins and open a session.

    `data_dir` and `cache_dir` default to HARNESS_DATA_DIR and HARNESS_CACHE_DIR; `include` are task files;
    `plugins` are module names to load besides the installed ones, or `no:NAME` to leave one out. `store` is the folder
    or URL of the feature store, by default HARNESS_STORE, else the cache folder. Faults found while
    loading are in `registry.faults`; `report` receives those that appear later.
    """
    let_threads_sleep()
    given = data_dir or os.environ.get("HARNESS_DATA_DIR")
    cache = Path(cache_dir) if cache_dir else None
    return Session(
        open_registry(plugins, report, cache_dir=cache),
        data_dir=Path(given) if given else None,
        cache_dir=cache,
        device=device,
        included=read_tasks([Path(path) for path in include]),
        store=store or os.environ.get("HARNESS_STORE") or None,
    )


def find_suite(name: str | Path, registry: Registry) -> Path:
    """Return the file of a suite given by its name or path. Raise UsageError where there is none."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or os.sep in str(name):
        return path
    if str(name) in registry.catalogs["suites"]:
        return Path(registry.get("suites", str(name)).spec)
    if path.is_file():
        return path
    hint = did_you_mean(str(name), registry.names("suites"), listed_by="harness ls suites")
    raise UsageError(f"there is no suite '{name}', and no such file{hint}")


def resolve_device(device: str) -> str:
    """Resolve `auto`, `cpu`, `cuda` or `cuda:N` to a device of this machine.

    Raises UsageError for another name and UnavailableError for an absent device.
    """
    from harness.runs.environment import may_have_gpu

    if device == "cpu" or (device == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    name, _, number = device.partition(":")
    if name not in {"cpu", "cuda"} or (number and not number.isdecimal()):
        raise UsageError(f"device '{device}' is none of auto, cpu, cuda, cuda:N")
    if name == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UnavailableError(
            f"device '{device}' is not there: this machine has {torch.cuda.device_count()} GPUs"
        )
    return device


def _device_here(device: str) -> str:
    """Return the device of this process where workers have `device`: the same, or the CPU where that is not here."""
    try:
        return resolve_device(device)
    except UnavailableError:
        return "cpu"


def memory_of(device: str) -> int:
    """Return the total memory of a device in bytes."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)


def _choose_model(model: str | Mapping[str, Any], *sites: str) -> ModelChoice:
    """Return the choice of a model at sites; raise UsageError for what is none."""
    places = ", ".join(map(repr, sites))
    with parsing(
        f"no model at {'one site' if len(sites) == 1 else 'sites'}: {model!r}, {places}", kind=UsageError
    ):
        return ModelChoice(**{"ref": model} if isinstance(model, str) else dict(model), sites=sites)


def _open_at(
    site: str | None, representation: str, model: str | Mapping[str, Any], registry: Registry
) -> OpenModel:
    """Open a model at a site, by default the only one at which the representation serves."""
    from harness.models.opened import at_served_site, open_model

    opened = open_model(_choose_model(model, site or "resid_post.[0]"), registry)
    if site is not None:
        return opened
    return at_served_site(opened, registry.choose("representations", representation), registry)


def _read_texts(sources: Sequence[Path | str]) -> Iterator[str]:
    from harness.data.corpus import read_corpus

    return read_corpus([Path(path) for path in sources], "heldout")


def _read_inputs(texts: Iterable[Any]) -> list[str | Conversation | Image]:
    """Return the inputs of a call; raise UsageError for one that is none, by its number, and for none at all."""
    if isinstance(texts, str | bytes):  # whose letters would be taken for texts
        raise UsageError("features are made of a list of texts, and this is one: write [text]")
    inputs = [_read_input(one, number) for number, one in enumerate(texts)]
    if not inputs:
        raise UsageError("features are made of a list of texts, and this one is empty")
    return inputs


def _read_input(one: Any, number: int) -> str | Conversation | Image:
    if isinstance(one, str | Conversation | Image):
        return one
    with parsing(f"input {number} is neither a text, a conversation nor an image", kind=UsageError):
        return Conversation.parse(one)
