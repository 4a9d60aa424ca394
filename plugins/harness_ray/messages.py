"""Messages between the process of a run and the bridge, the process that talks to Ray."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Open:
    """First message: connect to a cluster, or start one with `cpus` if `address` is empty.

    `temp_dir` is the folder of a cluster that is started.
    """

    address: str
    cpus: int | None
    temp_dir: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Setting of all workers: a pickled `harness.WorkerSetting`, and a file that each must see in the store."""

    setting: bytes
    marker: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start a worker with its share of a node, on none of the nodes to `avoid`."""

    worker: int
    cpus: float
    gpus: float
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Do:
    """Give a unit to a worker. With a `shared_key` it needs what was sent under it, now or before."""

    worker: int
    body: bytes = field(repr=False)
    shared_key: str = ""
    shared: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Forget what many units shared."""

    shared_key: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End a worker."""

    worker: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """Node of a cluster. `gpu_memory` is that of its smallest GPU in bytes, 0 where it is not known."""

    id: str
    host: str
    cpus: float
    gpus: float
    gpu_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Up:
    """Ray answers."""

    version: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Nodes that are alive now."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has started, or says with `error` why it can do nothing: it `is_blind` if it lacks the feature store."""

    worker: int
    node: str
    host: str
    pid: int
    error: str = ""
    is_blind: bool = False


@dataclass(frozen=True, kw_only=True)
class Said:
    """Pickled `harness.Answer` of a worker."""

    worker: int
    answer: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Died:
    """A worker is no more."""

    worker: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Gone:
    """The cluster is no more, or was never there."""

    reason: str


Command = Open | Setting | Start | Do | Drop | Stop
Event = Up | Nodes | Ready | Said | Died | Gone
