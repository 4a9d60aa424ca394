"""Reference of the public interface, as pages of Markdown that are made from the code and its docstrings.

Entries are what the reference is about: a hook, a class, a function, a command, a file. Each knows its members (fields,
options, keys), so that a test can hold the whole against the code. Nothing is written here that the code says.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import click

import harness
from harness.api import errors, hookspecs
from harness.cli import cli
from harness.cli.options import open_registry
from harness.leaderboard.submissions.files import PublishedFacts
from harness.registry.commands import COMMANDS
from harness.runs.record import Record
from harness.runs.state import RunFile


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing of the reference: a heading, what is declared, what its docstring says, and a table of its members."""

    name: str
    doc: str
    declared: str = ""
    language: str = "python"
    columns: tuple[str, ...] = ()
    members: tuple[tuple[str, ...], ...] = ()
    """A row for each member; the last cell is what is said of it."""
    methods: tuple[Entry, ...] = ()

    def write(self, level: int = 2) -> Iterator[str]:
        """Yield the blocks of the entry in Markdown."""
        yield f"{'#' * level} {self.name}" if level == 2 else f"**`{self.name}`**"
        if self.declared:
            yield f"```{self.language}\n{self.declared}\n```"
        yield prose(self.doc)
        if self.members:
            yield _table(self.columns, self.members)
        for method in self.methods:
            yield from method.write(level + 1)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the reference."""

    name: str
    title: str
    intro: str
    entries: tuple[Entry, ...] = field(default=())

    @property
    def text(self) -> str:
        """Return the page in Markdown."""
        blocks = [
            f"# {self.title}",
            self.intro,
            *(block for entry in self.entries for block in entry.write()),
        ]
        return "\n\n".join(blocks) + "\n"


@cache
def pages() -> tuple[Page, ...]:
    """Return all pages of the reference."""
    return (
        Page(
            name="commands",
            title="Commands",
            intro="Every command with every option, as `harness COMMAND --help` prints them.",
            entries=tuple(_commands()),
        ),
        Page(
            name="exit-codes",
            title="Exit codes and errors",
            intro=_table(
                ("code", "meaning"), [(str(code), text) for code, text in errors.EXIT_CODES.items()]
            ),
            entries=tuple(map(_with_code, _named("harness.api.errors"))),
        ),
        Page(
            name="hooks",
            title="Hooks and events",
            intro="What a plugin may implement, marked with `harness.hookimpl`, and what observers of a run receive.",
            entries=(*map(_function, _hooks()), *_named("harness.api.events")),
        ),
        Page(
            name="offers",
            title="Specs, protocols and data types",
            intro="What hooks return, the contract of what their factories make, and what flows between them.",
            entries=tuple(
                _named("harness.api.specs", "harness.api.tasks", "harness.api.protocols", "harness.api.data")
            ),
        ),
        Page(
            name="python",
            title="Other public names",
            intro="The Python interface, and what plugins use that read files. All others are on the pages before.",
            entries=tuple(_rest()),
        ),
        Page(
            name="files",
            title="Files of a run",
            intro="Keys of suites, task files and board files are on the page of [formats](../formats.md). "
            "`harness show record-schema` prints the JSON Schema of a record.",
            entries=tuple(_files()),
        ),
    )


def _with_code(entry: Entry) -> Entry:
    """Return the entry of an error with its exit code."""
    return replace(entry, doc=f"{entry.doc}\n\nExit code {getattr(errors, entry.name).exit_code}.")


def _hooks() -> list[Any]:
    return [hook for name, hook in vars(hookspecs).items() if name.startswith(f"{hookspecs.PROJECT}_")]


# ── names of Python ──────────────────────────────────────────────────────────────────────────────────────


def _named(*modules: str) -> Iterator[Entry]:
    """Yield the public names of `harness` that some modules define."""
    for module in modules:
        for name in harness.__all__:
            if getattr(getattr(harness, name), "__module__", "") == module and inspect.isclass(
                getattr(harness, name)
            ):
                yield _class(getattr(harness, name))


def _rest() -> Iterator[Entry]:
    """Yield the public names of `harness` and `harness.testing` that stand on no other page."""
    elsewhere = {"specs", "tasks", "protocols", "data", "errors", "events"}
    for name in harness.__all__:
        one = getattr(harness, name)
        module = getattr(one, "__module__", "").removeprefix("harness.api.")
        if inspect.isclass(one):
            if module not in elsewhere:
                yield _class(one)
        elif inspect.isfunction(one):
            yield _function(one)
        else:
            yield _constant(name)
    try:
        testing = importlib.import_module("harness.testing")
    except ModuleNotFoundError:
        return
    for name in testing.__all__:
        one = getattr(testing, name)
        made = _class(one) if inspect.isclass(one) else _function(one) if inspect.isfunction(one) else None
        if made:
            yield made


def _constant(name: str) -> Entry:
    """Return the entry of a value, whose docstring is the text under its assignment."""
    interface = [f"harness.api.{one}" for one in ("protocols", "hookspecs", "names")]
    for place in (*interface, *([harness._LAZY[name]] if name in harness._LAZY else ())):
        module = importlib.import_module(place)
        for assigned, doc in _assignments(ast.parse(inspect.getsource(module))):
            targets = assigned.targets if isinstance(assigned, ast.Assign) else [assigned.target]
            if ast.unparse(targets[0]) == name:
                return Entry(name=name, declared=ast.unparse(assigned), doc=doc)
    raise LookupError(f"no module of the interface assigns '{name}'")


def _class(made: type) -> Entry:
    """Return the entry of a class: its fields, those of its bases included, and its public methods."""
    tree = _tree(made)
    bases = [one for one in reversed(made.__mro__) if one.__module__.startswith("harness")]
    rows = [
        (f"`{ast.unparse(one.target)}`", f"`{ast.unparse(one.annotation)}`", _default(one), doc)
        for base in bases
        for one, doc in _assignments(_tree(base))
        if isinstance(one, ast.AnnAssign) and not ast.unparse(one.target).startswith("_")
    ]
    has_docs = any(doc for *_, doc in rows)
    return Entry(
        name=made.__name__,
        declared=_declare(tree),
        doc=inspect.getdoc(made) or "",
        columns=("field", "type", "default", "") if has_docs else ("field", "type", "default"),
        members=tuple(row if has_docs else row[:3] for row in rows),
        methods=tuple(
            Entry(
                name=f"{made.__name__}.{one.name}", declared=_declare(one), doc=ast.get_docstring(one) or ""
            )
            for one in tree.body
            if isinstance(one, ast.FunctionDef) and (not one.name.startswith("_") or one.name == "__call__")
        ),
    )


def _function(made: Any) -> Entry:
    tree = _tree(made)
    return Entry(name=made.__name__, declared=_declare(tree), doc=ast.get_docstring(tree) or "")


def _tree(made: Any) -> Any:
    """Return the syntax tree of a class or function."""
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(made)))).body[0]


def _declare(tree: Any) -> str:
    """Return the first lines of a class or function: decorators that matter, its name, bases or arguments."""
    decorators = [
        f"@{one}" for one in map(ast.unparse, tree.decorator_list) if one.partition("(")[0] in DECORATORS
    ]
    if isinstance(tree, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, tree.bases))
        return "\n".join([*decorators, f"class {tree.name}({bases})" if bases else f"class {tree.name}"])
    arguments = ast.unparse(tree.args)
    returned = f" -> {ast.unparse(tree.returns)}" if tree.returns else ""
    if len(f"def {tree.name}({arguments}){returned}") > WIDTH:
        arguments = "\n" + "".join(f"    {one},\n" for one in _split(arguments))
    return "\n".join([*decorators, f"def {tree.name}({arguments}){returned}"])


DECORATORS = {"dataclass", "property", "cached_property", "classmethod", "staticmethod", "contextmanager"}
WIDTH = 88
"""Longest declaration in one line: a block of code on the site is not wider."""


def _split(arguments: str) -> Iterator[str]:
    """Yield each of some arguments, which are separated by commas outside brackets."""
    depth = begun = 0
    for place, letter in enumerate(arguments):
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            yield arguments[begun:place].strip()
            begun = place + 1
    yield arguments[begun:].strip()


def _assignments(tree: Any) -> Iterator[tuple[Any, str]]:
    """Yield the assignments of a class or module, each with the text under it."""
    for one, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(one, ast.Assign | ast.AnnAssign):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            yield one, inspect.cleandoc(str(after.value.value)) if is_text else ""


def _default(one: ast.AnnAssign) -> str:
    if one.value is None:
        return "required"
    text = ast.unparse(one.value)
    made = re.fullmatch(r"field\(default_factory=(\w+).*\)", text)
    return f"`{made[1]}()`" if made else f"`{text}`"


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────


def _commands() -> Iterator[Entry]:
    with click.Context(cli, info_name="harness", obj=(), **cli.context_settings) as context:
        offered = open_registry(context).catalogs["commands"]
        for name in [*COMMANDS, *sorted(offered)]:
            yield from _command(cli.get_command(context, name), name, context)


def _command(command: click.Command | None, name: str, parent: click.Context) -> Iterator[Entry]:
    """Yield the entries of a command: itself, and the commands of a group."""
    assert command is not None, name
    with click.Context(command, info_name=name, parent=parent) as context:
        path = context.command_path
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        yield Entry(
            name=path,
            declared=usage,
            language="text",
            doc=inspect.cleandoc(command.help or "").replace("\b\n", ""),
            columns=("option", ""),
            members=tuple(_options(command, context)),
        )
        if isinstance(command, click.Group):
            for one in command.list_commands(context):
                yield from _command(command.get_command(context, one), one, context)


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for one in command.get_params(context):
        record = one.get_help_record(context) if isinstance(one, click.Option) else None
        if record and "--help" not in one.opts:
            yield f"`{record[0].replace(' RANGE', '')}`", record[1]  # the range itself stands at its end


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


FILES: Mapping[str, type[Any]] = {
    "results.jsonl": Record,
    "run.json": RunFile,
    "NAME.env.json of a published run": PublishedFacts,
}


def _files() -> Iterator[Entry]:
    """Yield an entry for each file, and for each type of value in it that has keys of its own."""
    seen: set[str] = set()
    for title, model in FILES.items():
        schema = model.model_json_schema()
        parts = {title: schema} | {
            name: part
            for name, part in schema.get("$defs", {}).items()
            if _is_of_runs(name) and name not in seen
        }
        seen |= parts.keys()
        for name, part in parts.items():
            yield Entry(
                name=name,
                doc=part.get("description", ""),
                columns=("key", "value", "default", ""),
                members=tuple(_keys(part)),
            )


def _is_of_runs(name: str) -> bool:
    """Return whether a part of a schema is no part of a suite, which has a page of its own."""
    return name not in {"Suite", "TaskChoice", "ModelChoice", "Transfer"}


def _keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for key, part in schema["properties"].items():
        is_required = key in schema.get("required", ())
        default = part.get("default")
        shown = (
            json.dumps(default, ensure_ascii=False) if not isinstance(default, dict) or not default else "{…}"
        )
        absent = "" if "default" in part else "{}" if part.get("type") == "object" else "[]"
        yield (
            f"`{key}`",
            _kind(part),
            "required" if is_required else f"`{absent or shown}`",
            " ".join(part.get("description", "").split()),
        )


def _kind(part: Mapping[str, Any]) -> str:
    """Return the kind of value that a schema describes, in words."""
    if "$ref" in part:
        return part["$ref"].rpartition("/")[2]
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_kind(one) for one in part["anyOf"]))
    if "enum" in part:
        return " or ".join(f"`{one}`" for one in part["enum"])
    if part.get("type") == "array":
        return f"list of {_kind(part.get('items', {}))}"
    if part.get("type") == "object":
        values = part.get("additionalProperties")
        return f"mapping to {_kind(values)}" if isinstance(values, Mapping) else "mapping"
    return {"string": "text", "boolean": "true or false", None: "any value"}.get(
        part.get("type"), str(part.get("type"))
    )


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────


PLAIN = str.maketrans({"<": "&lt;", "*": "\\*", "|": "&#124;"})
"""Characters that Markdown, its tables or HTML would read. Code keeps them: mkdocs shows a backslash there."""


def prose(text: str) -> str:
    """Return a docstring as Markdown: outside code nothing has a meaning that its author did not give it."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if place % 2 else part.translate(PLAIN) for place, part in enumerate(parts))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[prose(" ".join(cell.split())) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *cells])
