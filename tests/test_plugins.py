"""Strangers' plugins: whatever one does wrong, it is named in one line and stops nobody else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BUILT_IN_TASKS = {"quickstart_roles", "quickstart_tone", "quickstart_topic", "sms_spam"}

POOLING = "harness.PoolingSpec(name='{}', summary='a toy', make=lambda: None)"

GOOD = f"""
import harness

@harness.hookimpl
def harness_poolings():
    return [{POOLING.format("toy_pooling")}]
"""

BAD: dict[str, tuple[str, str]] = {
    "a syntax error": ("def (:", "cannot be imported: SyntaxError"),
    "a missing package": ("import no_such_package", "cannot be imported: ModuleNotFoundError: No module"),
    "an exit at import": ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
    "an error of several lines": (
        "raise RuntimeError('first line\\nsecond line')",
        "cannot be imported: RuntimeError: first line",
    ),
    "a misspelt hook": (
        f"import harness\n@harness.hookimpl\ndef harness_poolngs(): return [{POOLING.format('toy_pooling')}]",
        "implements the hook 'harness_poolngs', which does not exist; did you mean 'harness_poolings'?",
    ),
    "a wrong argument of a hook": (
        GOOD + "\n@harness.hookimpl\ndef harness_run_started(event, colour): pass",
        "declares a hook wrongly: .*harness_run_started.*colour",
    ),
    "an argument of an offering hook": (
        "import harness\n@harness.hookimpl\ndef harness_poolings(config): return []",
        "declares a hook wrongly: .*harness_poolings.*config",
    ),
    "a hook that raises": (
        GOOD + "\n@harness.hookimpl\ndef harness_models(): raise KeyError('oh no')",
        "failed in its hook 'harness_models': KeyError: 'oh no'",
    ),
    "a hook that exits": (
        GOOD + "\n@harness.hookimpl\ndef harness_models(): raise SystemExit(0)",
        "failed in its hook 'harness_models': SystemExit: 0",
    ),
    "a generator that raises on its way": (
        GOOD + "\n@harness.hookimpl\ndef harness_models():\n    yield from ()\n    raise ValueError('late')",
        "failed in its hook 'harness_models': ValueError: late",
    ),
    "a hook that returns no list": (
        GOOD + "\n@harness.hookimpl\ndef harness_models(): return 7",
        "failed in its hook 'harness_models': TypeError: 'int' object is not iterable",
    ),
    "a hook that returns nothing": (
        GOOD + "\n@harness.hookimpl\ndef harness_models(): pass",
        "failed in its hook 'harness_models': TypeError: 'NoneType' object is not iterable",
    ),
    "a hook that yields something else": (
        GOOD + f"\n@harness.hookimpl\ndef harness_models(): return [{POOLING.format('other')}]",
        "returned PoolingSpec from its hook 'harness_models', which must yield ModelSpec",
    ),
    "a suite given as text": (
        GOOD + "\n@harness.hookimpl\ndef harness_suites(): return ['a.yaml']",
        "returned str from its hook 'harness_suites', which must yield Path",
    ),
    "a spec without a factory": (
        GOOD
        + "\n@harness.hookimpl\ndef harness_models(): return [harness.ModelSpec(name='half', summary='')]",
        "failed in its hook 'harness_models': TypeError: ModelSpec 'half' needs either make or alias_of",
    ),
    "the same offer twice": (
        f"import harness\nspec = {POOLING.format('toy_pooling')}\n"
        "@harness.hookimpl\ndef harness_poolings(): return [spec, spec]",
        "offers 'toy_pooling' twice in its hook 'harness_poolings'",
    ),
    "a factory without a signature": (
        "import harness\n@harness.hookimpl\n"
        "def harness_poolings(): return [harness.PoolingSpec(name='toy_pooling', summary='', make=int)]",
        "offers 'toy_pooling' in its hook 'harness_poolings' with a factory that has no signature",
    ),
    "a factory that cannot be called": (
        "import harness\n@harness.hookimpl\n"
        "def harness_poolings(): return [harness.PoolingSpec(name='toy_pooling', summary='', make=3)]",
        "offers 'toy_pooling' in its hook 'harness_poolings' with a factory that has no signature",
    ),
    "a hook without its mark": (
        GOOD + "\ndef harness_models(): return []",
        "has a function 'harness_models' that is not marked with harness.hookimpl",
    ),
    "a hook that is no function": (
        GOOD + "\nharness_models = [1]",
        "failed in its hook 'harness_models': TypeError: 'list' object is not callable",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_plugin_is_left_out_whole_and_named_in_one_line(fault, harness_command, install):
    source, problem = BAD[fault]
    install(source)
    listed = harness_command("ls", "tasks", "--json")
    assert listed.code == 0
    assert {row["name"] for row in listed.rows} >= BUILT_IN_TASKS
    (line,) = listed.said
    assert line.startswith("harness: plugin 'toy' (toy 1.0) ")
    assert _matches(problem, line), line


@pytest.mark.parametrize("fault", BAD)
def test_nothing_of_a_bad_plugin_is_half_registered(fault, harness_command, install):
    install(BAD[fault][0])
    assert "toy_pooling" not in harness_command("ls", "poolings").out
    plugins = harness_command("ls", "plugins", "--json")
    assert plugins.code == 0
    status = {row["name"]: row["status"] for row in plugins.rows}
    assert status.pop("toy") == "left out"
    assert set(status.values()) == {"loaded"}
    (row,) = (row for row in plugins.rows if row["name"] == "toy")
    assert row["origin"] == "toy 1.0"
    assert _matches(BAD[fault][1], str(row["summary"]))


@pytest.mark.parametrize("fault", ["a missing package", "a misspelt hook", "a hook that raises"])
def test_the_doctor_lists_what_was_left_out_and_ends_with_3(fault, harness_command, install):
    install(BAD[fault][0])
    told = harness_command("doctor", "--json")
    assert told.code == 3
    (left_out,) = told.rows[0]["left_out"]
    assert left_out.startswith("plugin 'toy' (toy 1.0) ")
    assert _matches(BAD[fault][1], left_out)
    said = harness_command("doctor")
    assert said.code == 3
    assert [line for line in said.out.splitlines() if line.startswith("left out")]


def test_the_doctor_is_content_without_faults(harness_command, install):
    install(GOOD)
    told = harness_command("doctor", "--json")
    assert told.code == 0
    assert told.rows[0]["left_out"] == []
    assert told.rows[0]["plugins"]["toy"] == "toy 1.0"


def test_a_good_plugin_is_listed_with_its_distribution(harness_command, install):
    install(GOOD)
    listed = harness_command("ls", "poolings", "--json")
    assert {"name": "toy_pooling", "origin": "toy (toy 1.0)", "summary": "a toy"} in listed.rows
    assert listed.err == ""


def test_two_offers_under_one_name_are_both_unusable_and_both_owners_are_named(
    harness_command, install, toy_suite, toy_task
):
    install(GOOD.replace("toy_pooling", "max"))
    listed = harness_command("ls", "poolings")
    assert listed.code == 0
    (line,) = listed.said
    assert "'max'" in line
    assert "plugin 'toy' (toy 1.0)" in line
    assert "plugin 'poolings' (sae-harness " in line
    assert harness_command("doctor").code == 3

    used = harness_command("plan", toy_suite, "--include", toy_task, "--set", "poolings=[max]")
    assert used.code == 2
    assert used.said[-1].startswith("harness: pooling 'max' is offered by plugin 'poolings' (sae-harness ")
    assert "plugin 'toy' (toy 1.0): disable one with -p no:NAME" in used.said[-1]

    assert harness_command("plan", toy_suite, "--include", toy_task).code == 0
    settled = harness_command(
        "-p", "no:toy", "plan", toy_suite, "--include", toy_task, "--set", "poolings=[max]"
    )
    assert (settled.code, settled.err) == (0, "")


def test_a_second_plugin_under_a_used_name_is_left_out(harness_command, install):
    install(GOOD, points="text = toy_module")
    listed = harness_command("ls", "poolings")
    (line,) = listed.said
    assert line.startswith("harness: plugin 'text' (toy 1.0) has the name of another plugin, of sae-harness ")
    assert "toy_pooling" not in listed.out
    assert "sms_spam" in harness_command("ls", "tasks").out
    assert harness_command("doctor").code == 3


def test_one_module_under_two_names_is_loaded_once(harness_command, install):
    install(GOOD, points="toy = toy_module\nzoo = toy_module")
    listed = harness_command("ls", "poolings")
    assert listed.said == ["harness: plugin 'zoo' (toy 1.0) is the same module as plugin 'toy' (toy 1.0)"]
    assert listed.out.count("toy_pooling") == 1


def test_a_plugin_whose_attributes_raise_stops_nobody_else(harness_command, install):
    install(
        "class Plugin:\n    @property\n    def nasty(self): raise RuntimeError('no looking')\nplugin = Plugin()",
        points="toy = toy_module:plugin",
    )
    listed = harness_command("ls", "tasks")
    assert listed.said == ["harness: plugin 'toy' (toy 1.0) cannot be inspected: RuntimeError: no looking"]
    assert "sms_spam" in listed.out


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        ("toy = no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("toy = toy_module:absent", "cannot be imported: AttributeError"),
        ("toy = not a reference!", "cannot be imported: "),
    ],
)
def test_an_entry_point_that_leads_nowhere_stops_nobody_else(harness_command, install, point, problem):
    install(GOOD, points=point)
    listed = harness_command("ls", "tasks")
    (line,) = listed.said
    assert line.startswith(f"harness: plugin 'toy' (toy 1.0) {problem}")
    assert listed.code == 0


def test_every_bad_plugin_among_several_is_named_and_the_good_one_works(harness_command, install):
    install("raise ValueError('one')", name="first")
    install("raise ValueError('two')", name="second")
    install(GOOD, name="third")
    listed = harness_command("ls", "poolings")
    assert [line.split("'")[1] for line in listed.said] == ["first", "second"]
    assert "toy_pooling" in listed.out


# ── what goes wrong later ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", ["RuntimeError('oh no')", "SystemExit(0)"])
def test_an_observer_that_raises_is_named_once_and_the_run_ends_well(
    harness_command, install, toy_suite, toy_task, error
):
    install(f"import harness\n@harness.hookimpl\ndef harness_cell_finished(event): raise {error}")
    done = harness_command("-p", "no:progress", "run", toy_suite, "--include", toy_task, "-o", "out")
    (line,) = done.said
    assert line.startswith("harness: plugin 'toy' (toy 1.0) failed in its hook 'harness_cell_finished': ")
    assert done.code == 0
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 2


def test_an_observer_that_raises_disturbs_no_other_observer(harness_command, install, toy_suite, toy_task):
    install("import harness\n@harness.hookimpl\ndef harness_cell_finished(event): 1 / 0", name="bad")
    install(
        "import harness\nfrom pathlib import Path\n@harness.hookimpl\ndef harness_cell_finished(event):\n"
        "    with Path('seen.txt').open('a') as file: print(event.status, file=file)",
        name="good",
    )
    harness_command("-p", "no:progress", "run", toy_suite, "--include", toy_task, "-o", "out")
    assert Path("seen.txt").read_text().split() == ["ok", "ok"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise RuntimeError('oh no')", "failed in its hook 'harness_resolve_model': RuntimeError: oh no"),
        ("raise SystemExit(0)", "failed in its hook 'harness_resolve_model': SystemExit: 0"),
        ("return 'minigemma-s'", "returned str from its hook 'harness_resolve_model'"),
    ],
)
def test_a_resolver_that_misbehaves_is_named_and_the_next_is_asked(
    harness_command, install, toy_suite, toy_task, body, problem
):
    import harness_minigemma

    install(f"import harness\n@harness.hookimpl(tryfirst=True)\ndef harness_resolve_model(ref): {body}")
    weights = harness_minigemma.WEIGHTS / "minigemma-s"
    planned = harness_command("plan", toy_suite, "--include", toy_task, "-m", weights, "-m", "minigemma-m")
    assert planned.said == [f"harness: plugin 'toy' (toy 1.0) {problem}"]
    assert planned.code == 0


def test_a_factory_that_raises_anything_is_the_plugins_fault_and_not_the_harnesss(
    harness_command, install, toy_suite, toy_task
):
    install(
        "import harness\ndef make(): raise LookupError('no table')\n@harness.hookimpl\n"
        "def harness_poolings(): return [harness.PoolingSpec(name='toy_pooling', summary='', make=make)]"
    )
    planned = harness_command("plan", toy_suite, "--include", toy_task, "--set", "poolings=[toy_pooling]")
    assert planned.code == 2
    assert planned.said == ["harness: pooling 'toy_pooling' (toy 1.0) cannot be made: LookupError: no table"]


def test_a_factory_that_lacks_a_package_ends_with_3(harness_command, install, toy_suite, toy_task):
    install(
        "import harness\ndef make(): import no_such_package\n@harness.hookimpl\n"
        "def harness_poolings(): return [harness.PoolingSpec(name='toy_pooling', summary='', make=make)]"
    )
    planned = harness_command("plan", toy_suite, "--include", toy_task, "--set", "poolings=[toy_pooling]")
    assert planned.code == 3
    assert planned.said == [
        "harness: pooling 'toy_pooling' (toy 1.0) needs a package that cannot be imported: "
        "No module named 'no_such_package'"
    ]


# ── which plugins are loaded ─────────────────────────────────────────────────────────────────────────────


def _loaded(harness_command, *arguments):
    listed = harness_command(*arguments, "ls", "plugins", "--json")
    assert listed.code == 0
    return {row["name"] for row in listed.rows if row["status"] == "loaded"}


def test_HARNESS_PLUGINS_none_loads_nothing(harness_command, install, monkeypatch):
    install("raise RuntimeError('imported all the same')")
    monkeypatch.setenv("HARNESS_PLUGINS", "none")
    assert _loaded(harness_command) == set()
    assert harness_command("ls", "tasks").out == ""


def test_HARNESS_PLUGINS_loads_those_it_names(harness_command, monkeypatch):
    monkeypatch.setenv("HARNESS_PLUGINS", "text, poolings")
    assert _loaded(harness_command) == {"text", "poolings"}
    monkeypatch.setenv("HARNESS_PLUGINS", "all")
    assert _loaded(harness_command) > {"text", "poolings", "saes"}


def test_no_NAME_leaves_a_plugin_out_unimported(harness_command, install):
    install("raise RuntimeError('imported all the same')")
    listed = harness_command("-p", "no:toy", "-p", "no:text", "ls", "plugins", "--json")
    names = {row["name"] for row in listed.rows}
    assert not names & {"toy", "text"}
    assert "poolings" in names
    assert listed.err == ""


@pytest.mark.parametrize("how", ["environment", "option"])
def test_a_plugin_name_that_nobody_has_is_an_error_with_the_nearest(harness_command, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("HARNESS_PLUGINS", "texd")
        result = harness_command("ls", "tasks")
    else:
        result = harness_command("-p", "no:texd", "ls", "tasks")
    assert result.code == 2
    assert result.said == ["harness: no installed plugin is called 'texd'; did you mean 'text'?"]


def test_a_module_named_on_the_command_line_is_a_plugin(harness_command, monkeypatch, write, tmp_path):
    write("loose/loose_plugin.py", GOOD)
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    listed = harness_command("-p", "loose_plugin", "ls", "poolings", "--json")
    origin = {row["name"]: row["origin"] for row in listed.rows}
    assert origin["toy_pooling"].startswith("loose_plugin (loose_plugin@")
    write("loose/loose_plugin.py", GOOD + "# edited")
    (line,) = harness_command("-p", "loose_plugin", "ls", "poolings").said
    assert line.endswith("was edited after it was imported: start Python anew")
    del sys.modules["loose_plugin"]
    [edited] = [
        row
        for row in harness_command("-p", "loose_plugin", "ls", "poolings", "--json").rows
        if row["name"] == "toy_pooling"
    ]
    assert edited["origin"] != origin["toy_pooling"], (
        "results of the file before its edit would pass for this one's"
    )
    monkeypatch.setenv("HARNESS_PLUGINS", "none")
    assert _loaded(harness_command, "-p", "loose_plugin") == {"loose_plugin"}


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner", ".", "harness_text.no_such"])
def test_a_module_named_on_the_command_line_that_is_not_there_is_missing(harness_command, module):
    listed = harness_command("-p", module, "ls", "tasks")
    assert (listed.code, listed.out) == (3, "")
    assert listed.said == [f"harness: there is no module '{module}' to load as a plugin"]


def test_a_module_named_on_the_command_line_that_is_broken_is_left_out(
    harness_command, write, monkeypatch, tmp_path
):
    write("loose/broken_plugin.py", "import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    listed = harness_command("-p", "broken_plugin", "ls", "tasks")
    (line,) = listed.said
    assert line.startswith("harness: plugin 'broken_plugin' (broken_plugin@")
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_package'" in line
    assert listed.code == 0


def test_naming_an_installed_plugin_again_by_its_module_changes_nothing(harness_command):
    listed = harness_command("-p", "harness_text", "ls", "tasks")
    assert listed.code == 0
    (line,) = listed.said
    assert "plugin 'harness_text' (harness_text@" in line and "is the same module as plugin 'text'" in line
    assert listed.out == harness_command("ls", "tasks").out


def _matches(pattern: str, text: str) -> bool:
    """`pattern` stands in `text`; `.*` for anything in between."""
    place = 0
    for part in pattern.split(".*"):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True
