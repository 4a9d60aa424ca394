"""Every command that a message names: the table is complete, and each of them does what the message says."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest

import harness
from harness.registry.catalog import OFFERED

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(?:`|^|: )((?:harness|hf|pip install|python -m) [^`\n]+)|`(make [^`\n]+)")
"""A command in a text: between backticks, or at the beginning or after a colon where it cannot be prose."""

ANY = re.compile(r"""[`"' ](?:harness [a-z-]|hf [a-z]|pip install|python -m|make [a-z])""")


def spell(node: ast.AST) -> str:
    """The text of a string, with … for what is only known when the program runs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def docstrings(tree: ast.AST) -> set[int]:
    """The strings that stand alone: they are for readers of the code."""
    return {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}


def commands() -> dict[str, str]:
    """Every command in a string of the source → the file that names it."""
    found: dict[str, str] = {}
    for path in sorted(
        path for room in ("harness", "plugins", "tasks") for path in (ROOT / room).rglob("*.py")
    ):
        if not ANY.search(text := path.read_text("utf-8")):  # parsing is slow
            continue
        tree = ast.parse(text)
        inside = docstrings(tree) | {
            id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in each.values
        }
        for node in ast.walk(tree):
            if id(node) not in inside:
                for match in COMMAND.finditer(spell(node)):
                    # A command at the end of a bracket is named without it.
                    found[(match[1] or match[2]).removesuffix(").")] = str(path.relative_to(ROOT))
    return found


# ── what each of them does ───────────────────────────────────────────────────────────────────────────────


class Place:
    """A folder with a finished run, and the command line in it."""

    def __init__(self, command: Callable[..., Any], task: Path, suite: Path) -> None:
        self.command, self.task, self.suite = command, task, suite

    def run(self, *more: str) -> Any:
        return self.command("run", self.suite, "--include", self.task, "-o", "my run", "-d", "cpu", *more)

    def follow(self, told: str) -> Any:
        """Run the one `harness` command that a message names."""
        (said,) = {match[1] or match[2] for match in COMMAND.finditer(told)}
        program, *arguments = shlex.split(said)
        assert program == "harness"
        return self.command(*arguments)


@pytest.fixture
def place(harness_command: Callable[..., Any], toy_task: Path, toy_suite: Path) -> Place:
    return Place(harness_command, toy_task, toy_suite)


def succeeds(command: str) -> Callable[[Place], None]:
    """A command that needs nothing."""

    def check(place: Place) -> None:
        assert place.command(*shlex.split(command)[1:]).code == 0

    return check


def lists(place: Place) -> None:
    """Every kind that a sentence may put in place of KIND is a word of `harness ls`."""
    for kind in OFFERED:
        assert place.command("ls", kind).code == 0, kind
    place.follow(place.command("show", "xyzzy").err.replace("KIND", "tasks"))


def builds_pages_of_results(place: Place) -> None:
    """Results that a command of a plugin left in a folder get their pages."""
    folder = Path("my results")
    shutil.copytree(
        ROOT / "leaderboards/interpretation", folder, ignore=shutil.ignore_patterns("claims.*", "*.md")
    )
    assert place.command("leaderboard", "build", folder).code == 0
    assert (folder / "claims.html").is_file() and (folder / "patching.md").is_file()


def shows_a_task(place: Place) -> None:
    for name in ("quickstart_tone", "mosaic_topic"):
        assert place.command("show", name).code == (0 if name == "quickstart_tone" else 2)


def tampered(place: Place) -> None:
    """Predictions that are others are refused, by the name of what makes them anew; so are faults, and then pages."""
    assert place.run().code == 0
    (predictions,) = sorted(Path("my run/predictions").glob("*.parquet"))[:1]
    (other,) = sorted(Path("my run/predictions").glob("*.parquet"))[1:2]
    shutil.copy(other, predictions)
    publish = (
        "leaderboard",
        "publish",
        "my run",
        "-o",
        "my boards/toy",
        "--name",
        "one",
        "--include",
        place.task,
    )
    refused = place.command(*publish)
    assert refused.code != 0 and "`harness" in refused.err
    assert "`harness validate 'my run'` tells all" in refused.err
    assert place.follow(refused.err).code == 4
    refused = place.command("compare", "my run", "my run")
    assert "the same `harness run` again makes them anew" in refused.err
    assert place.run().code == 0
    done = place.command(*publish)
    assert done.code == 0, done.err
    Path("my boards/toy/leaderboard.md").write_text("another page")
    checked = place.command("leaderboard", "check", "my boards")
    assert checked.code == 4
    assert place.follow(checked.out + checked.err).code == 0
    assert place.command("leaderboard", "check", "my boards").code == 0


def faulty_upload(place: Place) -> None:
    """A board with a fault is not uploaded, and the command that is named tells the fault."""
    shutil.copytree(ROOT / "leaderboards" / "planted", "my boards/planted")
    Path("my boards/planted/leaderboard.csv").write_text("another")
    refused = place.command("upload", "my boards/planted", "--to", "site")
    assert refused.code == 4 and refused.err.count("`harness leaderboard build") == 1
    (told,) = re.findall(r"\((`harness leaderboard check [^`]+`) tells all\)", refused.err)
    assert place.follow(told).code == 4


def flagless(place: Place) -> None:
    """A record that lacks a flag is written anew."""
    assert place.run("--set", "models=[{ref: minigemma-s, sites: [resid_post.1]}]", "-L", "24").code == 0
    records = Path("my run/results.jsonl")
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert all("limited" in line["flags"] for line in lines)
    for line in lines:
        line["flags"].remove("limited")
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checked = place.command("validate", "my run", "--include", place.task)
    assert (
        checked.code == 4
        and "lacks the flag 'limited'; `harness run --rerun all` writes it anew" in checked.out
    )
    assert place.run("-L", "24", "--rerun", "all").code == 0
    assert "lacks the flag" not in place.command("validate", "my run", "--include", place.task).out


def has_option(command: str) -> Callable[[Place], None]:
    """A command that is named without its arguments: it is there, with this option."""

    def check(place: Place) -> None:
        _, name, *options = shlex.split(command)
        ended = place.command(name, "--help")
        assert ended.code == 0 and all(option in ended.out for option in options)

    return check


def is_module(command: str) -> Callable[[Place], None]:
    """A module that is run with its options."""

    def check(place: Place) -> None:
        _, _, module, *options = shlex.split(command)
        found = importlib.util.find_spec(module)
        assert found and found.origin
        text = Path(found.origin).read_text("utf-8")
        assert "__main__" in text
        assert all(f'"{option}"' in text for option in options if option.startswith("--"))

    return check


def is_extra(name: str) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        with (ROOT / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)["project"]
        assert project["name"] == "sae-harness" and project["optional-dependencies"][name]

    return check


def brings_a_protocol(place: Place) -> None:
    """The package of fsspec's own table, for a protocol that nobody has here."""
    told = place.command("plan", "quickstart", "--store", "gs://bucket/folder")
    assert told.code == 3 and "`pip install gcsfs`" in told.err


def makes_a_board(place: Place) -> None:
    assert (ROOT / "leaderboards" / "mosaic-faults" / "board.yaml").is_file()
    assert place.command("leaderboard", "make", "--help").code == 0


def brings_pytest(place: Place) -> None:
    """The extra of a new package; `make test-examples` installs such packages."""
    template = ROOT / "harness" / "scaffold" / "templates" / "base" / "pyproject.toml.jinja"
    assert '\ndev = ["mypy' in template.read_text("utf-8") and '"pytest' in template.read_text("utf-8")


def logs_in(place: Place) -> None:
    hub_stand_in.hf("hf auth login --help")


def downloads(place: Place) -> None:
    """What the hub's own client takes; tests/test_hub.py and the tests below follow these commands to their end."""
    hub_stand_in.hf("hf download --help")


CASES: dict[str, Callable[[Place], None]] = {
    "harness ls commands lists those that plugins add.": succeeds("harness ls commands"),
    "harness ls --help": succeeds("harness ls --help"),
    "harness --help": succeeds("harness --help"),
    "harness ls tasks": succeeds("harness ls tasks"),
    "harness ls plugins": succeeds("harness ls plugins"),
    "harness ls executors": succeeds("harness ls executors"),
    "harness ls suites": succeeds("harness ls suites"),
    "harness ls …": lists,
    "harness ls KIND": lists,
    "harness show …": shows_a_task,
    "harness run": tampered,
    "harness validate …": tampered,
    "harness leaderboard build": builds_pages_of_results,
    "harness leaderboard build …": tampered,
    "harness leaderboard check": faulty_upload,
    "harness leaderboard check …": faulty_upload,
    "harness leaderboard publish": tampered,
    "harness run --rerun all": flagless,
    "harness run --include": has_option("harness run --include"),
    "harness train-dictionary": has_option("harness train-dictionary"),
    "harness train-dictionary --checkpoints": has_option("harness train-dictionary --checkpoints"),
    "harness check-statistics --dictionaries": succeeds("harness check-statistics --dictionaries"),
    "harness report-dictionary": has_option("harness report-dictionary"),
    "harness leaderboard make leaderboards/mosaic-faults": makes_a_board,
    "pip install 'sae-harness[train]'": is_extra("train"),
    "pip install 'sae-harness[fuzzy]'": is_extra("fuzzy"),
    "pip install 'sae-harness[embeddings]'": is_extra("embeddings"),
    "pip install 'sae-harness[gguf]'": is_extra("gguf"),
    "pip install 'sae-harness[gemma]'": is_extra("gemma"),
    "pip install 'sae-harness[big]'": is_extra("big"),
    "pip install 'sae-harness[ray]'": is_extra("ray"),
    "pip install 'sae-harness[erasure]'": is_extra("erasure"),
    "pip install …": brings_a_protocol,
    'pip install -e ".[dev]"': brings_pytest,
    "hf auth login": logs_in,
    "hf download … ……": downloads,
    "hf download … … …": downloads,
    "hf download ORG/REPO … --local-dir …": downloads,
    "python -m harness_minigemma.train --size …": is_module("python -m harness_minigemma.train --size …"),
    "python -m harness_minigemma.evaluate --size …": is_module(
        "python -m harness_minigemma.evaluate --size …"
    ),
    "python -m harness_minigemma.vision.train --model … --data-dir DIR": is_module(
        "python -m harness_minigemma.vision.train --model … --data-dir DIR"
    ),
    "python -m harness_behaviour.items": is_module("python -m harness_behaviour.items"),
    "python -m harness_mosaic.faults FOLDER": is_module("python -m harness_mosaic.faults FOLDER"),
}
"""Each command as the source spells it, and the test of it."""


def test_every_command_that_a_message_names_has_a_test() -> None:
    assert {name: where for name, where in commands().items() if name not in CASES} == {}
    assert CASES.keys() <= commands().keys()


@pytest.mark.parametrize("check", dict.fromkeys(CASES.values()), ids=lambda check: check.__name__)
def test_a_command_that_a_message_names_does_what_it_says(
    place: Place, check: Callable[[Place], None]
) -> None:
    check(place)


# ── open_clip's files ────────────────────────────────────────────────────────────────────────────────────

CLIP = ROOT / "plugins" / "harness_minigemma" / "weights" / "miniclip"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_stand_in.Hub]:
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as served:
        yield served


def clip_files(tokenizer: str) -> dict[str, bytes]:
    """An OpenCLIP model whose text tower names its tokenizer."""
    files = {path.name: path.read_bytes() for path in CLIP.iterdir()}
    config = json.loads(files["open_clip_config.json"])
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = tokenizer
    return files | {"open_clip_config.json": json.dumps(config).encode()}


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [("ok", "there is no repository 'org/words' on the hub"), (503, "the hub cannot be asked")],
)
def test_a_tokenizer_that_is_not_there_is_told_apart_from_a_hub_that_cannot_be_asked(
    hub: hub_stand_in.Hub, behaviour: str | int, said: str
) -> None:
    hub.add("org/clip", {name: data for name, data in clip_files("org/words").items() if "token" not in name})
    model = harness.open(device="cpu").registry.choose("models", "hf-hub:org/clip").make()
    hub.behaviour = behaviour
    with pytest.raises(harness.UnavailableError) as caught:
        model.tokenize_prompts(["a photo"])
    assert said in str(caught.value) and "its tokenizer 'org/words'" in str(caught.value)


@pytest.mark.parametrize("where", ["my clip", "hf-hub:org/clip"])
def test_after_the_commands_for_an_open_clip_model_it_tells_classes_offline(
    hub: hub_stand_in.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    files = clip_files("org/words")
    words = {name: data for name, data in files.items() if "token" in name}
    hub.add("org/words", words | {"config.json": b'{"model_type": "gemma2"}', "model.safetensors": b"large"})
    hub.add("org/clip", {name: data for name, data in files.items() if name not in words})
    monkeypatch.chdir(tmp_path)
    Path("my clip").mkdir()
    Path("my clip", "open_clip_config.json").write_bytes(files["open_clip_config.json"])
    registry = harness.open(device="cpu").registry

    def place() -> Any:
        ref = where if ":" in where else f"./{where}"
        model, site = registry.choose("models", ref).make(), harness.Site.parse("vision.resid_post.0")
        model.identity(site)
        return registry.choose("representations", "zero_shot").make().at(model, site)

    placed, told = hub_stand_in.follow(place, monkeypatch)
    assert placed.for_task and told
    assert not list(tmp_path.rglob("model.safetensors"))
