"""Worker process: reads units from standard input, and writes the answers on them to standard output.

A process of its own makes from the start what a fork cannot: one thread for each library, whatever the parent's threads
hold.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import warnings
from typing import IO

import harness
from harness_local.messages import receive, send


def main() -> None:
    """Run the units that standard input sends, after the setting, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows, Ctrl-C reaches this process too
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what plugins print is no answer
    os.dup2(_nothing(), 0)  # what plugins start must not read the questions
    # A child that outlives this process must not keep the parent writing to it.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=questions.raw.close)
    sys.stdout, sys.stderr = sys.stderr, harness.LossyStream(sys.stderr)
    spell = warnings.formatwarning
    warnings.formatwarning = lambda *said, **more: harness.printable(spell(*said, **more))
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions, waiting), daemon=True).start()
    worker = harness.open_worker(pickle.loads(waiting.get()))
    send(answers, pickle.dumps(harness.Answer()))  # this process can be used
    while True:
        body, shared = pickle.loads(waiting.get())
        for answer in worker.run(body, shared):
            send(answers, pickle.dumps(answer))


def _nothing() -> int:
    """Return a stream, as a number, that is at its end."""
    end, beginning = os.pipe()
    os.close(beginning)
    return end


def _listen(questions: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    """Read messages ahead, and end the process, with what it has started, as soon as the other side ends, also
    amid a fit."""
    while True:
        try:
            waiting.put(receive(questions))
        except (EOFError, OSError):
            if os.name == "posix" and os.getpgrp() == os.getpid():  # else it is the group of who started it
                os.killpg(0, signal.SIGKILL)
            os._exit(0)
