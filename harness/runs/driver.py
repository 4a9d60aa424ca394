"""Thread that gives work to a worker process, and starts another one where that has died."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.api.errors import UnavailableError
from harness.runs.work import BundleRows, Failure, Result, Work
from harness.runs.worker import Ending, Packer, receive, send
from harness.storage.feature_store import FeatureStore

Deliver = Callable[[Result], None]


@dataclass(eq=False)
class Step:
    """Work with what receives its results, which come in with the numbers of their cells; or an action without work.

    The results of the first `done` cells are delivered. An error in place of a result says why no worker has one.
    """

    work: Work | None = None
    deliver: Sequence[Deliver] = ()
    action: Callable[[], None] = lambda: None
    results: queue.SimpleQueue[tuple[int, Result | Exception]] = field(default_factory=queue.SimpleQueue)
    done: int = 0


class Driver(threading.Thread):
    """Driver of one worker process. A cell with which the process dies has failed; another one does the rest."""

    def __init__(self, todo: queue.SimpleQueue[Step | None], packer: Packer, store: FeatureStore) -> None:
        super().__init__(daemon=True)
        self._todo, self._packer, self._store = todo, packer, store
        self._process: subprocess.Popen[bytes] | None = None
        self._sent: BundleRows | None = None
        self._unusable: Exception | None = None
        self._lock = threading.Lock()
        self._is_ended = False

    def run(self) -> None:
        """Do one piece of work after the other, until there is a None in their place."""
        while (step := self._todo.get()) is not None:
            try:
                self._do(step)
            except Exception as error:  # whatever it is, the work can be done elsewhere
                step.results.put((step.done, error))
        if self._process:
            self._forget(self._process)

    def end(self) -> None:
        """End the process, whatever it does, and start no other."""
        with self._lock:
            self._is_ended = True
            if self._process:
                self._process.kill()

    def _do(self, step: Step) -> None:
        """Let the process do one piece of work. A cell with which it dies has failed, and the next one goes on."""
        assert step.work
        done = 0
        while done < len(step.deliver) and not self._is_ended:
            process = self._process or self._start()
            message = self._packer.pack(step.work.after(done), self._sent)
            try:
                send(_pipe(process.stdin), message)
                self._sent = step.work.bundle
                while isinstance(answer := self._receive(process), Result):
                    step.results.put((done, answer))
                    done += 1
                reason = answer.reason
            except (EOFError, OSError):
                reason = Failure(status="failed", error=_describe_end(self._forget(process)))
            if self._is_ended or reason is None:
                return
            step.results.put((done, reason))
            done += 1
            if isinstance(reason, Exception):
                return

    def _start(self) -> subprocess.Popen[bytes]:
        """Return a new worker process that is ready. Raise UnavailableError where there is none."""
        if self._unusable:
            raise self._unusable
        with self._lock:
            if self._is_ended:
                raise UnavailableError("the run has ended")
            # Without -P, the folder of this program's script would not be where its modules are looked for first.
            command = [sys.executable, "-P", "-c", _PROGRAM, str(self._store.root)]
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for this process, which ends the others
            )
            self._sent = None
        try:
            self._receive(process)
        except (EOFError, OSError):
            code = self._forget(process)
            self._unusable = UnavailableError(f"a worker process ended at its start, with status {code}")
            raise self._unusable from None
        return process

    def _receive(self, process: subprocess.Popen[bytes]) -> Result | Ending:
        answer: Result | Ending = pickle.loads(receive(_pipe(process.stdout)))
        return answer

    def _forget(self, process: subprocess.Popen[bytes]) -> int:
        """End a process that does not answer, and return its status: a negative one is a signal's number."""
        with self._lock:
            self._process = None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not sent yet
                _pipe(pipe).close()
        return process.wait()


_PROGRAM = "from harness.runs.worker import main; main()"

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def _environment() -> dict[str, str]:
    """Return the environment of a worker: modules are found where this process finds them, and have one thread."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": path}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream  # it was asked for
    return stream


def _describe_end(status: int) -> str:
    if status >= 0:
        return f"the worker process of this cell ended in mid-work, with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    why = ", as the system does where memory runs out: use fewer --jobs" if name == "SIGKILL" else ""
    return f"the worker process of this cell was ended by {name}{why}"
