"""Structure of a vision tower, found in its module tree rather than by model name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import UnavailableError, UsageError, parsing

if TYPE_CHECKING:
    from torch import nn

BLOCKS = ("transformer.resblocks", "trunk.blocks")
"""Paths of the blocks in open_clip's own transformer and in timm's."""


MOST_PATCHES = 100_000
"""Patches that an image may be cut into; the finest models there are cut it into some thousand."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Structure of a vision tower.

    The first `n_prefix` positions are not patches; if the tower `has_class` token, it is the very first.
    """

    blocks: str
    n_blocks: int
    image_size: tuple[int, int]
    grid: tuple[int, int]
    n_prefix: int
    has_class: bool
    width: int
    embedding: int

    @property
    def n_patches(self) -> int:
        """Number of cells of the grid."""
        return self.grid[0] * self.grid[1]


def find_layout(name: str, tower: nn.Module) -> Layout:
    """Return the layout of a tower on any device, including `meta`.

    Raise UsageError unless its blocks all return the tokens of equal patches, UnavailableError if it cannot run.
    """
    trunk: Any = getattr(tower, "trunk", tower)
    blocks = next((path for path in BLOCKS if _has(tower, path)), None)
    patches = getattr(trunk, "patch_embed", trunk)
    grid = getattr(patches, "grid_size", None)
    refusal = f"model '{name}' has no tokens to read: its vision tower, a {type(trunk).__name__},"
    if blocks is None or grid is None:
        raise UsageError(f"{refusal} is no transformer over patches of equal size")
    size = _pair(tower.image_size)
    if grid[0] * grid[1] > MOST_PATCHES:
        raise UnavailableError(
            f"model '{name}': its configuration says {grid[0] * grid[1]:,} patches for an image, and at most "
            f"{MOST_PATCHES:,} are read: fetch it again"
        )
    shapes, embedding = _run(name, tower, blocks, size)
    shape = shapes[0]
    n_patches = grid[0] * grid[1]
    if len(shape) != 3 or len(set(shapes)) > 1 or shape[1] < n_patches:
        raise UsageError(f"{refusal} hands on {list(shape)[1:]}, not {n_patches} patches in each block")
    if len(embedding) != 2:
        raise UsageError(f"model '{name}' gives no one embedding of an image, but {list(embedding)[1:]}")
    return Layout(
        blocks=blocks,
        n_blocks=len(shapes),
        image_size=size,
        grid=(int(grid[0]), int(grid[1])),
        n_prefix=shape[1] - n_patches,
        has_class=any(getattr(trunk, token, None) is not None for token in ("class_embedding", "cls_token")),
        width=shape[2],
        embedding=embedding[1],
    )


def truncate(tower: nn.Module, layout: Layout, n_blocks: int) -> None:
    """Keep only the first `n_blocks` blocks; outputs after them then mean nothing."""
    parent, _, child = layout.blocks.rpartition(".")
    blocks: Any = tower.get_submodule(layout.blocks)
    setattr(tower.get_submodule(parent), child, blocks[:n_blocks])


def first_of(output: Any) -> Any:
    """Return the embedding in a tower's output; some towers return tokens as well."""
    return output[0] if isinstance(output, tuple) else output


def _has(tower: nn.Module, path: str) -> bool:
    from torch import nn

    try:
        blocks = tower.get_submodule(path)
    except AttributeError:
        return False
    return isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks) > 0


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def _run(
    name: str, tower: nn.Module, blocks: str, size: tuple[int, int]
) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Return the output shapes of each block and of the tower for one image."""
    import torch

    shapes: list[tuple[int, ...]] = []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
        for block in tower.get_submodule(blocks).children()
    ]
    said = (
        f"model '{name}': its vision tower takes no image of {size[0]} × {size[1]} pixels, as its "
        f"configuration says"
    )
    try:
        with torch.inference_mode(), parsing(said):  # a contradictory configuration may raise any type
            output = tower(torch.empty(1, 3, *size, device=next(tower.parameters()).device))
            return shapes, tuple(first_of(output).shape)
    finally:
        for hook in hooks:
            hook.remove()


def unsaved_buffers(module: nn.Module) -> set[str]:
    """Return the buffers that no checkpoint holds; only building the module on a real device fills them."""
    return {key for key, _ in module.named_buffers()} - set(module.state_dict())
