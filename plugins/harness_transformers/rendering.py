"""Rendering of chat templates in a process of its own, with limits on its time, its memory and its text.

A template is a program of whoever made the model. Jinja's sandbox keeps it from files and from other code, but neither
from loops without end nor from texts that fill the memory, and nothing inside a process can stop those in every thread.
This file is run as a script in that process, so it imports nothing of the harness.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

SECONDS = 10
"""Limit on the computing time of one rendering; an honest one takes less than a millisecond."""
MEMORY = 1_000_000_000
"""Limit in bytes on the memory of a rendering."""
LARGEST = 1_000_000
"""Limit in characters on a template, and on what it writes beyond ten times what the messages hold."""


class RenderingError(Exception):
    """A template failed, or reached a limit; the message is one sentence without its subject."""


class Renderer:
    """Renderer of one template with its variables; all renderers of a process share one child process."""

    def __init__(self, template: str, variables: Mapping[str, Any]) -> None:
        if len(template) > LARGEST:
            raise RenderingError(f"it has {len(template):,} characters, and at most {LARGEST:,} are read")
        self._template, self._variables = template, dict(variables)

    def render(self, messages: Sequence[Mapping[str, str]], *, opens_answer: bool) -> str:
        """Return the text that the template writes for messages; raise RenderingError if there is none."""
        most = LARGEST + 10 * sum(len(message["content"]) for message in messages)
        request = {
            "template": self._template,
            "variables": self._variables,
            "messages": list(messages),
            "opens_answer": opens_answer,
            "most": most,
            "seconds": SECONDS,
        }
        answer = _child.ask(json.dumps(request))
        if "error" in answer:
            raise RenderingError(answer["error"])
        return str(answer["text"])


class _Child:
    """The process that renders, started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: str) -> dict[str, Any]:
        with self._lock:
            process = self._process if self._process and self._process.poll() is None else _start()
            self._process = (
                None  # kept only after a whole answer: an interrupted one would be taken for the next
            )
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(f"{request}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BaseException as error:
                _stop(process)
                if isinstance(error, OSError):  # it has ended before the request
                    return {"error": _describe_end(process.wait())}
                raise
            if not answer.endswith("\n"):
                _stop(process)
                return {"error": _describe_end(process.wait())}
            self._process = process
            found: dict[str, Any] = json.loads(answer)
            return found


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="ascii",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what could not be written is lost with the process
            if stream:
                stream.close()


def _describe_end(status: int) -> str:
    if hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
        return f"it does not end within {SECONDS} seconds of computing"
    return f"the process that renders it has ended with status {status}"


_child = _Child()


def _forget_child() -> None:
    """Leave the process to the parent of a fork: two that ask it would read each other's answers."""
    global _child
    _child = _Child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_child)


# ── in the child process ─────────────────────────────────────────────────────────────────────────────────


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer each line of JSON with one, until there is none left."""
    from transformers.utils.chat_template_utils import render_jinja_template

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    _limit_memory()
    for line in requests:
        request = json.loads(line)
        _limit_time(request["seconds"])
        try:
            [text], _ = render_jinja_template(
                [request["messages"]],
                chat_template=request["template"],
                add_generation_prompt=request["opens_answer"],
                **request["variables"],
            )
            answer = {"text": text}
            if len(text) > request["most"]:
                answer = {"error": f"it writes {len(text):,} characters, more than {request['most']:,}"}
            del text
        except MemoryError:
            answer = {"error": f"it needs more than {MEMORY / 1e9:.0f} GB of memory"}
        except Exception as error:  # a template may raise any type
            answer = {"error": (str(error).strip() or type(error).__name__)[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limits
        import resource

        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _limit_time(seconds: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        # The limit is in whole seconds: rounded down, a second could be none at all.
        until = math.ceil(time.process_time()) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
