"""Thread that gives units to a worker process, and starts another one where that has died."""

from __future__ import annotations

import io
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import harness
from harness_local.messages import Sender, receive, send


@dataclass(frozen=True)
class Died:
    """Reason why the next result is missing: the process died with it."""

    reason: str


@dataclass(eq=False)
class Step:
    """Unit with what is said of it, in order. An exception says why no worker can do it."""

    unit: harness.Unit
    said: queue.SimpleQueue[harness.Answer | Died | Exception] = field(default_factory=queue.SimpleQueue)


class Driver(threading.Thread):
    """Driver of one worker process. A cell with which the process dies has failed; another one does the rest."""

    def __init__(
        self, todo: queue.SimpleQueue[Step | None], sender: Sender, setting: harness.WorkerSetting
    ) -> None:
        super().__init__(daemon=True)
        self._todo, self._sender, self._setting = todo, sender, setting
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: IO[bytes] | None = None
        self._unusable: Exception | None = None
        self._lock = threading.Lock()
        self._is_ended = False

    def run(self) -> None:
        """Do one unit after the other, until there is a None in their place."""
        while (step := self._todo.get()) is not None:
            try:
                self._do(step)
            except Exception as error:  # whatever it is, the unit can be done elsewhere
                step.said.put(error if isinstance(error, harness.HarnessError) else _name(error))
        if self._process:
            self._forget(self._process)

    def end(self) -> None:
        """End the process, whatever it does, and start no other."""
        with self._lock:
            self._is_ended = True
            if self._process:
                _kill(self._process)

    def _do(self, step: Step) -> None:
        """Let the process do one unit. A cell with which it dies has failed, and the next one goes on."""
        done = 0
        while done < step.unit.n_results and not self._is_ended:
            process = self._process or self._start()
            message = self._sender.write(step.unit.pack(done))
            try:
                send(_pipe(process.stdin), message)
                answer = self._receive()
                while True:
                    done = answer.first + len(answer.results)
                    step.said.put(answer)
                    if answer.is_last:
                        break
                    answer = self._receive()
            except (EOFError, OSError):
                step.said.put(Died(_describe_end(self._forget(process))))
                done += 1
            except BaseException:
                self._forget(process)  # its further answers would be taken for those of the next unit
                raise
            else:
                if answer.error is not None:
                    self._sender.forget()  # it may be the message that could not be read, with its rows
                    return

    def _start(self) -> subprocess.Popen[bytes]:
        """Return a new worker process that is ready. Raise UnavailableError where there is none."""
        if self._unusable:
            raise self._unusable
        with self._lock:
            if self._is_ended:
                raise harness.UnavailableError("the run has ended")
            # Without -P, the folder of this program's script would not be where its modules are looked for first.
            command = [sys.executable, "-P", "-c", _PROGRAM]
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for this process, which ends the others
            )
            self._answers = _open_answers(process)
            self._sender.forget()
        try:
            send(_pipe(process.stdin), pickle.dumps(self._setting))
            self._receive()
        except (EOFError, OSError):
            code = self._forget(process)
            self._unusable = harness.UnavailableError(
                f"a worker process ended at its start, with status {code}"
            )
            raise self._unusable from None
        except Exception as error:  # whatever was read there
            self._forget(process)
            self._unusable = harness.UnavailableError(f"a worker process did not start: {_name(error)}")
            raise self._unusable from error
        return process

    def _receive(self) -> harness.Answer:
        answer: harness.Answer = pickle.loads(receive(_pipe(self._answers)))
        return answer

    def _forget(self, process: subprocess.Popen[bytes]) -> int:
        """End a process that does not answer, and return its status: a negative one is a signal's number."""
        with self._lock:
            self._process = None
        _kill(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not sent yet
                _pipe(pipe).close()
        return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, which would go on without it."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # it has a session, so a group, of its own
        else:
            process.kill()


def _open_answers(process: subprocess.Popen[bytes]) -> IO[bytes]:
    """Return the stream of a process's answers."""
    if os.name == "posix":
        return io.BufferedReader(_Answers(process))
    return _pipe(process.stdout)


_SECOND = 1000
"""Milliseconds after which it is asked whether a silent process is still there."""


class _Answers(io.RawIOBase):
    """Answers of a process, which end when it does: children that it forked may hold its side of the pipe open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self._process, self._number = process, _pipe(process.stdout).fileno()
        self._poll = select.poll()
        self._poll.register(self._number, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there into a buffer, and return the number of bytes: 0 at the end."""
        is_ended = False
        while not self._poll.poll(0 if is_ended else _SECOND):
            if is_ended:
                return 0
            is_ended = self._process.poll() is not None  # its last words may have come meanwhile
        return os.readv(self._number, [buffer])


_PROGRAM = "from harness_local.child import main; main()"

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
        return f"the worker process of this cell stopped unexpectedly, with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    why = ", as the system does where memory runs out: use fewer --jobs" if name == "SIGKILL" else ""
    return f"the worker process of this cell was ended by {name}{why}"


def _name(error: Exception) -> harness.UnavailableError:
    """Return an error of a library or a plugin in one line."""
    return harness.UnavailableError(harness.describe(error))
