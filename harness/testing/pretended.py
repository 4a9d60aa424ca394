"""Device that does not exist: tensors that say they lie there, computed on the CPU.

Code that mixes devices, or returns its results on the CPU, fails here as it would on a GPU, without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

DEVICE = torch.device("mps:0")
"""Name of the device: one that torch does not initialise where its name is used, as it does CUDA."""

_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
"""Operations whose tensors may lie on several devices."""

_INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
"""Operations whose indices may lie on the CPU where what they index does not."""


class Pretended(Tensor):
    """Tensor that lies on DEVICE as far as code can see; `held` is where its values are, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("meta"),
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # an attribute of the C++ class
        return DEVICE

    def tolist(self) -> Any:
        return self.held.tolist()

    def cpu(self, *args: Any, **options: Any) -> Tensor:
        return self.held.clone()

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise TypeError(f"a tensor on {DEVICE} cannot be converted to numpy: copy it to the CPU first")

    def __array__(self, *args: Any, **options: Any) -> Any:
        return self.numpy()

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]  # options of torch, unused
        return f"{self.held!r} on {DEVICE}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares its stand-in, a function
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Functions that read numbers ask for memory of the device before any operation is dispatched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        is_new = func is Tensor.new_tensor
        asked = options.get("device") or (args[0].device if is_new else None)
        if (is_new or func in _READ) and asked is not None and torch.device(asked).type == DEVICE.type:
            if is_new:
                options = {"dtype": args[0].dtype, **options}
            held = (torch.tensor if is_new else func)(*args[is_new:], **{**options, "device": "cpu"})
            return held if isinstance(held, Pretended) else Pretended(held)
        return func(*args, **options)


_READ = (torch.tensor, torch.as_tensor, torch.asarray)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Let `device=DEVICE` make tensors there."""
    with _Made(), _Mode():  # type: ignore[no-untyped-call]  # torch has no types here
        yield DEVICE


def _compute(func: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Run one operation on the CPU, and say where its result lies. Raise RuntimeError where devices are mixed."""
    tensors = [one for one in tree_iter((args, options)) if isinstance(one, Tensor)]
    is_there = any(isinstance(one, Pretended) for one in tensors)
    first = args[0] if args else None
    may_mix = func in _MOVES or (func in _INDEXED and isinstance(first, Pretended))
    # A tensor of one number goes with any device.
    if is_there and not may_mix and any(not isinstance(one, Pretended) and one.dim() for one in tensors):
        raise RuntimeError(f"tensors on {DEVICE} and on the CPU are mixed in {func}")
    # In inference mode `to` comes here itself, with its device among the arguments.
    named = options.get("device") or next((one for one in args if isinstance(one, torch.device)), None)
    if named is not None:
        is_there = torch.device(named).type == DEVICE.type
        here = torch.device("cpu")
        args = tuple(here if isinstance(one, torch.device) else one for one in args)
        options = {**options, "device": here} if options.get("device") else options
    elif func is torch.ops.aten.copy_.default:
        is_there = isinstance(first, Pretended)
    held = tree_map(lambda one: one.held if isinstance(one, Pretended) else one, (args, dict(options)))
    result = func(*held[0], **held[1])
    if not is_there:
        return result
    if isinstance(first, Pretended) and result is first.held:  # an operation in place
        return first
    return tree_map(lambda one: Pretended(one) if isinstance(one, Tensor) else one, result)
