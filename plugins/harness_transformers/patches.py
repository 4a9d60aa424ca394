"""Layout of an image encoder, found by running it without weights rather than by model name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import UsageError, parsing
from harness_transformers.structure import Layout

CLASS_TOKENS = ("cls_token", "class_embedding")
"""Names of the parameter that is the class token, the very first position of encoders that have one."""


@dataclass(frozen=True, kw_only=True)
class PatchLayout:
    """Positions and parts of an image encoder.

    The first `n_prefix` positions are no patches (class token, registers); if the encoder `has_class` token, it is
    the very first. `norms` are the parts after the blocks that make the last hidden state.
    """

    layout: Layout
    grid: tuple[int, int]
    n_prefix: int
    has_class: bool
    width: int
    norms: frozenset[str]

    @property
    def n_patches(self) -> int:
        """Number of cells of the grid."""
        return self.grid[0] * self.grid[1]


@torch.inference_mode()
def find_patches(name: str, encoder: Any, size: tuple[int, ...]) -> PatchLayout:
    """Return the layout of an encoder on the meta device, for pixels of the shape `size`.

    Raise UsageError unless all its blocks return the same positions, of which the last are the patches.
    """
    config = encoder.config
    refusal = f"model '{name}' ({config.model_type}) has no patches to read: "
    path = _find_blocks(encoder, getattr(config, "num_hidden_layers", None))
    if path is None:
        raise UsageError(f"{refusal}it has no list of transformer blocks")
    blocks: Any = encoder.get_submodule(path)
    cut = next((module for module in encoder.modules() if isinstance(module, nn.Conv2d)), None)
    if cut is None:
        raise UsageError(f"{refusal}it does not cut an image into patches of equal size")
    seen = _Seen()
    with contextlib.ExitStack() as hooks:
        hooks.enter_context(cut.register_forward_hook(seen.note_patches))
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(seen.note_block))
        for part, child in encoder.named_children():
            hooks.enter_context(child.register_forward_pre_hook(seen.before(part, len(blocks))))
            hooks.enter_context(child.register_forward_hook(seen.after(part)))
        said = f"model '{name}' cannot take what its image processor makes of an image, {size}"
        with parsing(said, kind=UsageError):
            encoder(pixel_values=torch.empty(1, *size, device="meta"))
    if len(seen.blocks) != len(blocks) or len({*seen.blocks}) > 1 or len(seen.blocks[0]) != 3:
        raise UsageError(f"{refusal}its blocks return other shapes than one another")
    if len(seen.patches) != 4 or (n_prefix := seen.blocks[0][1] - seen.patches[2] * seen.patches[3]) < 0:
        raise UsageError(
            f"{refusal}its blocks return {seen.blocks[0][1]} positions, fewer than the patches of an image"
        )
    after = {part: shape for part, shape in seen.outputs.items() if part not in seen.needed}
    return PatchLayout(
        # A list is no part that runs, so that its part may not have been seen.
        layout=Layout(embedding="", blocks=path, parts=frozenset({*seen.needed, path.split(".")[0]})),
        grid=(int(seen.patches[2]), int(seen.patches[3])),
        n_prefix=int(n_prefix),
        has_class=any(key.rpartition(".")[2] in CLASS_TOKENS for key, _ in encoder.named_parameters()),
        width=int(seen.blocks[0][2]),
        norms=frozenset(part for part, shape in after.items() if shape == seen.blocks[0]),
    )


@torch.inference_mode()
def check_order(name: str, encoder: Any, patches: PatchLayout, size: tuple[int, ...]) -> None:
    """Raise UsageError unless the last positions before the first block are the patches, row by row.

    Some encoders put tokens of their own after the patches.
    """
    # Of four images, the first is blank, and each other has noise in one patch: the first, the one beside it, the last.
    parameter = next(encoder.parameters())
    images = torch.zeros(4, *size, device=parameter.device, dtype=parameter.dtype)
    rows, columns = patches.grid
    high, wide = size[1] // rows, size[2] // columns
    chosen = [0, min(1, columns - 1), patches.n_patches - 1]
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((size[0], high, wide))).to(images)
    for image, patch in zip(images[1:], chosen, strict=True):
        row, column = divmod(patch, columns)
        image[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide] = noise
    first: Any = encoder.get_submodule(patches.layout.blocks)[0]
    embedded: list[torch.Tensor] = []
    with first.register_forward_pre_hook(_keep_and_stop(embedded)), contextlib.suppress(_Stop):
        encoder(pixel_values=images)
    changes = (embedded[0][1:] - embedded[0][:1]).float().norm(dim=-1)
    # The others may change in their last digits, few in bfloat16, as kernels differ with the place in a batch.
    changed = [(one > 0.1 * one.max()).nonzero().flatten().tolist() for one in changes]
    if changed != [[patches.n_prefix + patch] for patch in chosen]:
        raise UsageError(
            f"model '{name}' ({encoder.config.model_type}) does not hand on the patches of an image row by row, after "
            f"{patches.n_prefix} other positions: its patches cannot be told from the rest"
        )


class _Seen:
    """Shapes and parts met in one forward pass."""

    def __init__(self) -> None:
        self.patches: tuple[int, ...] = ()
        self.blocks: list[tuple[int, ...]] = []
        self.needed: set[str] = set()
        """Parts that begin before the last block has ended."""
        self.outputs: dict[str, tuple[int, ...]] = {}

    def note_patches(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.patches = tuple(output.shape)

    def note_block(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.blocks.append(_shape(output))

    def before(self, part: str, n_blocks: int) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any) -> None:
            if len(self.blocks) < n_blocks:
                self.needed.add(part)

        return note

    def after(self, part: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self.outputs[part] = _shape(output)

        return note


class _Stop(Exception):
    """End of a forward pass of which the rest is not needed."""


def _keep_and_stop(kept: list[torch.Tensor]) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any) -> None:
        kept.append(inputs[0])
        raise _Stop

    return keep


def _shape(output: Any) -> tuple[int, ...]:
    """Return the shape of a module's output, or of the first of several; empty where it is no tensor."""
    if isinstance(output, Mapping):  # a ModelOutput
        output = next(iter(output.values()), None)
    elif isinstance(output, tuple):
        output = output[0] if output else None
    return tuple(output.shape) if isinstance(output, torch.Tensor) else ()


def _find_blocks(encoder: nn.Module, n_blocks: Any) -> str | None:
    """Return the path of the list of `n_blocks` blocks; None if there is none."""
    lists = (n for n, m in encoder.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_blocks)
    return next(lists, None) if n_blocks else None
