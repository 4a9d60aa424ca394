"""Bridge to Ray: a process that is Ray's driver, so that whatever Ray does to its driver is not done to the run.

Ray prints on standard output, takes signals, and ends the process when its head is gone for a minute.
"""

from __future__ import annotations

import importlib
import os
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from harness_ray import worker as worker_module
from harness_ray.messages import (
    Died,
    Do,
    Drop,
    Event,
    Gone,
    Node,
    Nodes,
    Open,
    Ready,
    Said,
    Setting,
    Start,
    Stop,
    Up,
)

WATCH = 3.0
"""Seconds between two looks at the head; it is gone after `MISSES` in vain."""

MISSES = 3

SETTLE = 5.0
"""Seconds in which Ray may end in an orderly way."""

OBJECT_STORE = 1 << 30
"""Most bytes of shared memory of a Ray that is started here: it holds rows of the bundles that are at work."""


def main() -> None:
    """Serve the process of the run, until its end of the connection is closed."""
    connection = Connection(int(sys.argv[1]))
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock, suppress(OSError):  # where nobody listens, `receive` ends this process
            connection.send(event)

    opened = connection.recv()
    try:
        bridge = Bridge(opened, tell)
    except Exception as error:  # whatever Ray says
        tell(Gone(reason=_first_line(error)))
        os._exit(1)
    with suppress(EOFError, OSError):
        while True:
            bridge.do(connection.recv())
    bridge.close()


class Bridge:
    """Ray's driver: one thread for each worker, which waits for what the worker says."""

    def __init__(self, opened: Open, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._todo: dict[int, queue.SimpleQueue[Do | None]] = {}
        self._shared: dict[str, Any] = {}
        self._setting: Setting | None = None
        self._gpu_memory: dict[str, int] = {}
        _set_environment(is_local=not opened.address)
        self._ray: Any = importlib.import_module("ray")
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if opened.address:
            self._ray.init(address=opened.address, **quiet)
        else:
            self._ray.init(
                address="local",
                num_cpus=opened.cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                _temp_dir=opened.temp_dir,
                **quiet,
            )
        self._ray.cloudpickle.register_pickle_by_value(worker_module)  # also for nodes without this plugin
        self._actor = self._ray.remote(max_restarts=0, max_task_retries=0)(worker_module.Worker)
        tell(Up(version=self._ray.__version__, nodes=self._nodes()))
        threading.Thread(target=self._watch_head, daemon=True).start()
        threading.Thread(target=self._watch_nodes, daemon=True).start()

    def do(self, command: Any) -> None:
        """Obey a command, without waiting."""
        match command:
            case Setting():
                self._setting = command
            case Start():
                self._todo[command.worker] = queue.SimpleQueue()
                threading.Thread(target=self._drive, args=(command,), daemon=True).start()
            case Do():
                if command.shared is not None:
                    self._shared[command.shared_key] = self._ray.put(command.shared)
                self._todo[command.worker].put(command)
            case Drop():
                self._shared.pop(command.shared_key, None)
            case Stop():
                self._todo[command.worker].put(None)

    def close(self) -> None:
        """End Ray's part of this process, and the process."""
        ending = threading.Thread(target=self._ray.shutdown, daemon=True)
        ending.start()
        ending.join(SETTLE)
        os._exit(0)

    def _drive(self, start: Start) -> None:
        """Start a worker and let it do one unit after the other."""
        try:
            self._work(start)
        except Exception as error:  # of Ray: own ones do not leave the worker
            self._tell(Died(worker=start.worker, reason=describe_death(error)))
        self._todo.pop(start.worker, None)

    def _work(self, start: Start) -> None:
        ray, setting = self._ray, self._setting
        assert setting  # it is sent before the first worker is started
        selector = {"ray.io/node-id": f"!in({','.join(start.avoid)})"} if start.avoid else None
        actor = self._actor.options(
            num_cpus=start.cpus, num_gpus=start.gpus, label_selector=selector
        ).remote()
        opened = actor.open.remote(setting.setting, setting.marker, setting.threads)
        self._tell(Ready(worker=start.worker, **ray.get(opened)))
        todo = self._todo[start.worker]
        while (unit := todo.get()) is not None:
            shared = self._shared[unit.shared_key] if unit.shared_key else None
            answers = actor.run.options(num_returns="streaming").remote(unit.body, shared)
            del unit, shared
            for answer in answers:
                self._tell(Said(worker=start.worker, answer=ray.get(answer)))
        ray.kill(actor)

    def _nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
                gpu_memory=self._measure(node["NodeID"]) if node["Resources"].get("GPU") else 0,
            )
            for node in self._ray.nodes()
            if node["Alive"]
        )

    def _measure(self, node: str) -> int:
        """Return the memory of a node's smallest GPU, of which Ray does not know; 0 if nothing is found."""
        if node not in self._gpu_memory:
            where = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
            task = self._ray.remote(num_cpus=0, scheduling_strategy=where)(worker_module.measure_gpus)
            self._gpu_memory[node] = 0
            with suppress(Exception):  # without an answer a worker has a GPU of its own
                self._gpu_memory[node] = self._ray.get(task.remote(), timeout=60)
        return self._gpu_memory[node]

    def _watch_nodes(self) -> None:
        """Tell when nodes come or go."""
        known: tuple[Node, ...] = ()
        while True:
            time.sleep(WATCH)
            with suppress(Exception):  # `_watch_head` says it when nothing answers
                if (nodes := self._nodes()) != known:
                    self._tell(Nodes(nodes=nodes))
                    known = nodes

    def _watch_head(self) -> None:
        """End this process when the head is gone; Ray would take a minute, and leave no word."""
        address = self._ray.get_runtime_context().gcs_address
        misses = 0
        while misses < MISSES:
            time.sleep(WATCH)
            misses = 0 if answers(address) else misses + 1
        self._tell(Gone(reason=f"the head at {address} does not answer any more"))
        os._exit(1)


def answers(address: str) -> bool:
    """Return whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=WATCH):
            return True
    except (OSError, ValueError):
        return False


def describe_death(error: Exception) -> str:
    """Return in a few words what Ray says of the end of a worker."""
    text = str(error)
    if "OutOfMemory" in type(error).__name__ or "OOM killer" in text.split("Some common causes")[0]:
        return "memory ran out there"
    for begin in ("Worker exit detail: ", "The actor is dead because "):
        if begin in text:
            text = text.split(begin, 1)[1]
            break
    return _first_line(text.split("Some common causes", 1)[0])


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0].rstrip(".: ") if lines else type(error).__name__
    return said if not isinstance(error, Exception) else f"{type(error).__name__}: {said}"


def _set_environment(*, is_local: bool) -> None:
    """Set what Ray reads when it is imported and started."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    if is_local:
        os.environ.pop("RAY_ADDRESS", None)
        # Ray lets workers give way to everything else on the machine otherwise (niceness 15).
        os.environ.setdefault("RAY_worker_niceness", "0")
        # A secret of this process alone. Ray would otherwise write one under the home folder, and without any
        # everybody on this machine may run code as this user.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
