"""Checks in a process of its own, with a time limit for each: what hangs or dies there ends nothing here.

`python -m harness.testing.child` reads a question (JSON) and prints a line for each check, before and after it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from harness.api.errors import HarnessError
from harness.registry.loading import Plugin
from harness.testing.check import Outcome
from harness.testing.streams import take_streams

_MARK = "harness.testing.child: "
"""Beginning of the lines that are answers; plugins may print others."""


LOADING_S = 60.0
"""Least seconds for what comes before the first check: the harness and torch are loaded too, which is no fault of a
plugin, and a process is started anew after each check that did not end.
"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is checked: a name, the modules to load besides installed plugins, and the model for representations."""

    name: str
    plugins: tuple[str, ...] = ()
    model: str | None = None
    cache_dir: str | None = None


def check_apart(question: Question, *, seconds: float) -> Iterator[Outcome]:
    """Yield the outcomes of a question's checks, run in a process that is started anew after one that does not end
    within `seconds`, or that ends the process.

    Raise the HarnessError that the process raises before the first check.
    """
    start = 0
    before: list[Outcome] = []
    while True:
        stopped = yield from _check_from(question, start, before, seconds)
        if stopped is None:
            return
        start = stopped + 1


def _check_from(
    question: Question, start: int, before: list[Outcome], seconds: float
) -> Generator[Outcome, None, int | None]:
    """Yield outcomes from the trial of number `start` on, and add them to those `before`; return the number of the one
    that ended the process.
    """
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.testing.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        # Its standard input stays open: the child ends where this process does.
        asked = {**asdict(question), "start": start, "before": [asdict(one) for one in before]}
        with suppress(BrokenPipeError):  # it has ended, which its answers say
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
        return (yield from _keep_outcomes(_follow(process, lines, seconds), before))
    finally:
        _end(process)


def _keep_outcomes(
    outcomes: Generator[Outcome, None, int | None], before: list[Outcome]
) -> Generator[Outcome, None, int | None]:
    while True:
        try:
            outcome = next(outcomes)
        except StopIteration as end:
            stopped: int | None = end.value
            return stopped
        before.append(outcome)
        yield outcome


def _read(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        if line.startswith(_MARK):
            lines.put(line.removeprefix(_MARK))
    lines.put(None)


def _follow(
    process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None], seconds: float
) -> Generator[Outcome, None, int | None]:
    begun: Mapping[str, Any] | None = None
    loading = max(seconds, LOADING_S)
    while True:
        try:
            line = lines.get(timeout=loading if begun is None else seconds)
        except queue.Empty:
            if begun is None:
                raise HarnessError(
                    f"the plugin could not be loaded within {loading:g} seconds: --timeout 600 waits longer"
                ) from None
            yield _stopped(begun, f"it did not end within {seconds:g} seconds")
            return int(begun["number"])
        said = json.loads(line) if line else None
        if said is None:
            code = process.wait()
            if begun is None:
                raise HarnessError(f"the process of the checks ended with status {code}")
            yield _stopped(begun, f"it ended the process ({_name_status(code)})")
            return int(begun["number"])
        if "error" in said:
            raise _error(said)
        if "outcome" in said:
            yield Outcome(**said["outcome"])
        elif "begin" in said:
            begun = said["begin"]
        elif "end" in said:
            return None


def _stopped(begun: Mapping[str, Any], sentence: str) -> Outcome:
    return Outcome(
        kind=begun["kind"], offer=begun["offer"], check=begun["check"], status="failed", sentence=sentence
    )


def _name_status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _error(said: Mapping[str, Any]) -> HarnessError:
    """Return the error of the child with the exit code that it had there."""
    error = HarnessError(said["error"])
    error.exit_code = said["code"]
    return error


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the process and what it started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def main() -> None:
    """Run the checks of the question on standard input."""
    questions, answers = take_streams()
    question = json.loads(questions.readline())
    threading.Thread(target=_end_with_parent, args=(questions,), daemon=True).start()

    def say(**what: Any) -> None:
        answers.write(_MARK + json.dumps(what) + "\n")
        answers.flush()

    try:
        _run(question, say)
    except HarnessError as error:
        say(error=str(error), code=error.exit_code)


def _end_with_parent(questions: IO[str]) -> None:
    questions.read()
    os._exit(1)


def _run(question: Mapping[str, Any], say: Callable[..., None]) -> None:
    from harness.testing.run import find_plugin, find_trials, open_for, rests_on_failed, run_trial

    name, cache = question["name"], question["cache_dir"]
    registry, modules = open_for(name, question["plugins"], cache_dir=Path(cache) if cache else None)
    before = [Outcome(**one) for one in question["before"]]
    failed = {(one.kind, one.offer, one.check) for one in before if one.status != "passed"}
    counts = Counter[str](one.status for one in before)
    with tempfile.TemporaryDirectory() as folder:
        beside = {"models": question["model"]} if question["model"] else {}
        trials = find_trials(registry, name, Path(folder), modules=modules, beside=beside)
        for trial in trials[: question["start"]]:
            rests_on_failed(trial, failed)
        for trial in trials[question["start"] :]:
            subject = trial.subject
            begun = {"kind": subject.kind, "offer": subject.name, "check": trial.check.name}
            say(begin={"number": trial.number, **begun})
            outcome = run_trial(trial, failed)
            if outcome is not None:
                counts[outcome.status] += 1
                say(outcome=asdict(outcome))
    plugin = find_plugin(registry, name)
    if plugin is not None and counts.total():
        _keep(plugin, counts, registry.cache_dir)
    say(end=True)


def _keep(plugin: Plugin, counts: Counter[str], cache_dir: Path | None) -> None:
    """Keep the counts of a whole plugin's checks, for `harness plugins` and for the runs to come."""
    from harness.api.protocols import API_VERSION
    from harness.registry.checked import Checked, write_checked
    from harness.registry.source import OWN, installed_version
    from harness.runs.environment import now

    checked = Checked(
        harness=installed_version(OWN) or "of unknown version",
        interface=API_VERSION,
        day=now()[:10],
        passed=counts["passed"],
        failed=counts["failed"],
        skipped=counts["skipped"],
    )
    try:
        write_checked(plugin, checked, cache_dir)
    except HarnessError as error:  # the outcomes are told all the same
        print(f"harness: the check is not kept: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
