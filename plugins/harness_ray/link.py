"""Link of a run to the bridge process, which talks to Ray."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import harness
from harness_ray.messages import Command, Event, Gone, Open, Up

START = 180.0
"""Seconds in which a cluster has to answer, or to be started."""

SETTLE = 10.0
"""Seconds in which the bridge has to end: it gives Ray five."""

LONGEST = 40
"""Longest folder for temporary files under which the sockets of Ray have names short enough for Linux."""


class Link:
    """Open connection to a bridge. Raises UnavailableError in words of the user where there is no cluster."""

    def __init__(self, *, address: str, cpus: int | None) -> None:
        check_installed()
        self._name = f"the Ray cluster at {address}" if address else "the Ray of this run"
        base = tempfile.gettempdir()
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir=base if len(base) <= LONGEST else "/tmp"))
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with (self._folder / "bridge.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for this process, which ends the other
            )
        theirs.close()
        self._connection = Connection(ours.detach())
        self.up = self._open(Open(address=address, cpus=cpus, temp_dir=str(self._folder)))

    def send(self, command: Command) -> None:
        """Send a command. Where nobody is there, `receive` says so."""
        with suppress(OSError):
            self._connection.send(command)

    def receive(self, timeout: float) -> Event | None:
        """Return the next event, or None if none comes within `timeout` seconds. Raise UnavailableError when the
        cluster is gone.
        """
        try:
            if not self._connection.poll(timeout):
                return None
            event: Event = self._connection.recv()
        except (EOFError, OSError):
            raise self._gone(self._last_words()) from None
        if isinstance(event, Gone):
            raise self._gone(event.reason)
        return event

    def close(self) -> None:
        """End the bridge, its workers, and Ray if it was started here."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SETTLE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, message: Open) -> Up:
        try:
            self.send(message)
            deadline = time.monotonic() + START
            while (event := self.receive(1.0)) is None:
                if time.monotonic() > deadline:
                    raise harness.UnavailableError(
                        f"{self._name} did not answer in {START:.0f} seconds: look at it with `ray status`"
                    )
            assert isinstance(event, Up)
        except BaseException:
            self.close()
            raise
        return event

    def _gone(self, reason: str) -> harness.UnavailableError:
        return harness.UnavailableError(
            f"{self._name} cannot be used: {reason}; what is done is kept, and the same command goes on once a "
            "cluster is up"
        )

    def _last_words(self) -> str:
        """Return the last line that the bridge wrote."""
        with suppress(OSError):
            lines = (self._folder / "bridge.log").read_text(errors="replace").split("\n")
            if said := [line.strip() for line in lines if line.strip()]:
                return harness.printable(said[-1])[:300]
        return "its driver process ended"


_PROGRAM = "from harness_ray.bridge import main; main()"


def check_installed() -> None:
    """Raise UnavailableError where there is no Ray."""
    if importlib.util.find_spec("ray") is None:
        raise harness.UnavailableError(
            "the executor 'ray' needs the package ray: pip install 'sae-harness[ray]'"
        )


def check_address(address: str) -> None:
    """Raise UsageError for an address of another kind, UnavailableError where nothing listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise harness.UsageError(
            f"the address of a Ray cluster is HOST:PORT, auto or local; it is '{address}'"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise harness.UnavailableError(
            f"no Ray cluster answers at {address} ({harness.describe(error)}): start one with `ray start --head`, "
            "or leave out the address for one on this machine"
        ) from None
