"""Measurements of the core's shape: `python tests/structure.py [FOLDER]` prints one line for each.

FOLDER is a checkout (default: this one). Only files are read, so that an older checkout can be measured by the same
script. Imports below `if TYPE_CHECKING:` and inside functions count as imports.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Lines:
    """Numbers of lines by kind; a line that holds code and a comment counts as code."""

    total: int
    code: int
    comment: int
    docstring: int
    blank: int


@dataclass(frozen=True)
class Module:
    """One source file of the core, parsed."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> Lines:
        """Count lines by kind. A string that is a statement of its own is a docstring."""
        total = self.text.count("\n")
        docs: set[int] = set()
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        code: set[int] = set()
        comments: set[int] = set()
        skipped = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                comments.add(token.start[0])
            elif token.type not in skipped:
                code.update(range(token.start[0], token.end[0] + 1))
        code -= docs
        comments -= code
        blank = total - len(code) - len(comments) - len(docs)
        return Lines(total, len(code), len(comments), len(docs), blank)

    def spans(self, kinds: tuple[type, ...]) -> Iterator[tuple[int, str]]:
        """Yield the length in lines, decorators left out, and the name of each definition of these kinds."""
        for node in ast.walk(self.tree):
            if isinstance(node, kinds):
                assert isinstance(node, Node)
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{self.name}:{node.name}"


def read_modules(root: Path) -> dict[str, Module]:
    """Return every module below `root`/harness by its dotted name."""
    modules = {}
    for path in sorted((root / "harness").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path)
    return modules


def imports(module: Module, known: Mapping[str, Module]) -> set[str]:
    """Return the modules of `known` that a module imports, in whatever place of it."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {name for name in found if name in known and name != module.name}


def read_layers(root: Path) -> list[str]:
    """Return the layers of the import contract, the highest first, as they are written there.

    Parts of a layer separated by `|` may not import one another; those separated by `:` may.
    """
    pyproject = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    return list(next(one["layers"] for one in contracts if one["type"] == "layers"))


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another in a circle (strongly connected, Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                circles.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return circles


def find_climbs(graph: Mapping[str, set[str]], layers: list[str]) -> list[tuple[str, str]]:
    """Return the imports that lead from a lower layer to a higher one, or between two closed parts of one layer."""
    floors = {
        part.strip(): (floor, part.strip())
        for floor, layer in enumerate(layers)
        for part in layer.replace("|", ":").split(":")
    }

    def place(name: str) -> tuple[int, str] | None:
        while name:
            if name in floors:
                return floors[name]
            name = name.rpartition(".")[0]
        return None

    climbs = []
    for name, others in graph.items():
        for other in sorted(others):
            here, there = place(name), place(other)
            if here is None or there is None or here[1] == there[1]:
                continue
            if there[0] < here[0] or (there[0] == here[0] and "|" in layers[here[0]]):
                climbs.append((name, other))
    return climbs


def measure(root: Path) -> dict[str, object]:
    """Return every measurement of a checkout, by its name."""
    modules = read_modules(root)
    graph = {name: imports(module, modules) for name, module in modules.items()}
    layers = read_layers(root)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    entries = [
        one for one in (root / "harness").iterdir() if one.suffix == ".py" or (one / "__init__.py").is_file()
    ]
    biggest = max(modules.values(), key=lambda one: one.lines.total)
    totals = {
        kind: sum(getattr(one.lines, kind) for one in modules.values()) for kind in Lines.__dataclass_fields__
    }
    return {
        "entries at the top of harness/": len(entries),
        "files": len(modules),
        "layers of the import contract": len(layers),
        "import circles (modules in them)": sum(map(len, find_circles(graph))),
        "arrows back up": len(find_climbs(graph, layers)),
        "biggest module": f"{biggest.lines.total} lines, {biggest.name}",
        "longest class": "{} lines, {}".format(
            *max(s for m in modules.values() for s in m.spans((ast.ClassDef,)))
        ),
        "longest function": "{} lines, {}".format(
            *max(s for m in modules.values() for s in m.spans(functions))
        ),
        **{f"lines: {kind}": total for kind, total in totals.items()},
    }


def main() -> None:
    """Print the measurements, and what is wrong with the imports."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    for name, value in measure(root).items():
        print(f"{name:34} {value}")
    modules = read_modules(root)
    graph = {name: imports(module, modules) for name, module in modules.items()}
    for circle in find_circles(graph):
        print("circle:", ", ".join(circle))
    for name, other in find_climbs(graph, read_layers(root)):
        print(f"back up: {name} → {other}")


if __name__ == "__main__":
    main()
