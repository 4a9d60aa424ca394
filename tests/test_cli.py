"""The command line from outside: every mistake is one sentence with its exit code, and costs no earlier result."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

CHEAP = ("-p", "no:progress")


@pytest.fixture
def texts(write):
    """Three texts as JSON lines."""
    return write(
        "texts.jsonl", "".join(json.dumps({"id": row, "text": f"text {row}"}) + "\n" for row in range(3))
    )


def refused(result, code, sentence):
    """Whether a command ended in one sentence on stderr, with nothing on stdout and this exit code."""
    assert result.code == code, (result.code, result.err)
    (line,) = result.said
    assert line.startswith("harness: ")
    assert sentence in line
    assert "Traceback" not in result.err
    assert result.out == ""


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────


def test_help_lists_every_command_with_its_own_help(harness_command):
    from harness.cli import COMMANDS

    for arguments in (["--help"], ["-h"], []):
        told = harness_command(*arguments)
        assert told.code == 0
        assert all(name in told.out for name in COMMANDS)
    for name in COMMANDS:
        told = harness_command(name, "--help")
        assert told.code == 0
        assert f"harness {name}" in told.out


def test_help_imports_two_libraries_and_no_room_that_needs_another():
    """What is imported takes the time, on any machine. All else, and every plugin, waits for its command."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nfrom harness.cli import execute\nexecute(['--help'])\n{MODULES}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    modules = told.stderr.split()
    packages = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    # Beside pluggy and click: `rfc8785` has one module; a finder of editable installs comes with the interpreter.
    assert {name for name in packages if not name.startswith("_")} == {
        "harness",
        "click",
        "pluggy",
        "rfc8785",
    }
    assert len([name for name in modules if name.startswith("harness")]) <= 30


MODULES = "print(*sys.modules, file=sys.stderr)"


def test_the_version_is_that_of_the_distribution(harness_command):
    from importlib.metadata import version

    assert harness_command("--version").out.strip().endswith(version("sae-harness"))


KINDS = ("tasks", "suites", "models", "representations", "poolings", "transforms", "classifiers", "plugins")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_one_object_a_line(harness_command, kind):
    listed = harness_command("ls", kind, "--json")
    assert (listed.code, listed.err) == (0, "")
    assert listed.rows
    for row in listed.rows:
        assert {"name", "origin", "summary"} <= set(row)
        assert row["name"] in harness_command("ls", kind).out if row is listed.rows[0] else True


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("logreg", ["classifier", "sae-harness", "C=10.0, max_iter=1000"]),
        ("sms_spam", ["task", "licence", "citation", "CC BY"]),
        ("quickstart", ["quickstart_tone", "minigemma-s"]),
        ("random_sae", ["representation", "k=32"]),
    ],
)
def test_one_thing_is_shown_whole(harness_command, name, facts):
    shown = harness_command("show", name)
    assert shown.code == 0
    for fact in facts:
        assert fact in shown.out
    assert json.loads(harness_command("show", name, "--json").out)["name"] == name


def test_a_plan_counts_cells_and_writes_nothing(harness_command, toy_suite, toy_task, tmp_path):
    before = sorted(tmp_path.iterdir())
    planned = harness_command("plan", toy_suite, "--include", toy_task, "--json")
    assert (planned.code, planned.err) == (0, "")
    assert planned.rows[0]["total"]["cells"] == 2
    assert sorted(tmp_path.iterdir()) == before


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────

USAGE = {
    "an unknown command": (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
    "an unknown option": (["run", "quickstart", "--colour"], "No such option"),
    "no suite": (["run"], "Missing argument 'SUITE'"),
    "no kind": (["ls"], "Missing argument"),
    "an unknown kind": (["ls", "flowers"], "there is no kind 'flowers'; known: "),
    "an unknown suite": (
        ["run", "quickstrat"],
        "there is no suite 'quickstrat', and no such file; did you mean",
    ),
    "an unknown thing": (["show", "logrge"], "nothing is called 'logrge'; did you mean 'logreg'?"),
    "no leaderboard command": (["leaderboard"], "Missing command"),
}


@pytest.mark.parametrize("mistake", USAGE)
def test_a_command_line_that_cannot_work_ends_with_2(harness_command, mistake):
    arguments, sentence = USAGE[mistake]
    refused(harness_command(*arguments), 2, sentence)


PLANNED = {
    "an unknown task": (["-t", "sms_spma"], 2, "there is no task 'sms_spma'; did you mean 'sms_spam'?"),
    "an unknown model": (
        ["-m", "minigema-s"],
        2,
        "there is no model 'minigema-s'; did you mean 'minigemma-s'?",
    ),
    "an unknown representation": (
        ["--set", "representations=[hiden]"],
        2,
        "no representation 'hiden'; did you",
    ),
    "an unknown pooling": (
        ["--set", "poolings=[avg]"],
        2,
        "there is no pooling 'avg'; known: max, last, mean, count, first and 2 more (`harness ls poolings`",
    ),
    "an unknown transform": (
        ["--set", "transforms=[non]"],
        2,
        "there is no transform 'non'; did you mean 'none'?",
    ),
    "an unknown classifier": (
        ["--set", "classifiers=[logreq]"],
        2,
        "no classifier 'logreq'; did you mean 'logreg'",
    ),
    "an unknown parameter": (
        ["--set", "classifiers=[{name: logreg, c: 1}]"],
        2,
        "has no parameter 'c'; it takes: C, max_iter",
    ),
    "a parameter of a model": (
        ["-m", "minigemma-s[dtyp=x]"],
        2,
        "has no parameter 'dtyp'; did you mean 'dtype'?",
    ),
    "a bad value of a model": (
        ["-m", "minigemma-s[dtype=int3]"],
        2,
        "takes dtype float32, bfloat16, float16",
    ),
    "a value without meaning": (["--set", "poolings=['count(t=.nan)']"], 2, "cannot take t=nan"),
    "an unknown kind of site": (
        ["--set", "models.0.sites=resid_pre.1"],
        2,
        "has no site 'resid_pre.1': the residual stream before block 1 is that after block 0",
    ),
    "a site too deep": (
        ["--set", "models.0.sites=resid_post.4"],
        2,
        "no site 'resid_post.4': its layers are 0 to 3",
    ),
    "a site without a layer": (["--set", "models.0.sites=resid_post"], 2, "is not of the form KIND.LAYER"),
    "a negative layer": (["--set", "models.0.sites=resid_post.-1"], 2, "'-1' is neither a layer nor a depth"),
    "a depth beyond the model": (
        ["--set", "models.0.sites=resid_post.101%"],
        2,
        "neither a layer nor a depth",
    ),
    "a limit of none": (["-L", "0"], 2, "0 is not in the range x>=1"),
    "seeds of none": (["--seeds", "0"], 2, "0 is not in the range x>=1"),
    "a device of no kind": (["-d", "tpu"], 2, "device 'tpu' is none of auto, cpu, cuda, cuda:N"),
    "a device without its number": (["-d", "cuda:x"], 2, "device 'cuda:x' is none of"),
    "a device that is not there": (["-d", "cuda:99"], 3, "device 'cuda:99' is not there"),
    "a data folder that is not there": (
        ["--data-dir", "nowhere"],
        3,
        "the data folder 'nowhere' does not exist",
    ),
    "a task file that is not there": (["--include", "nowhere.yaml"], 3, "task 'nowhere.yaml' cannot be read"),
    "data that is nowhere": (["-t", "sms_spam"], 3, "task 'sms_spam'"),
    "a model that is not in the cache": (["-m", "no-such-org/no-such-model"], 3, "no-such-org/no-such-model"),
    "no models": (["--set", "models=[]"], 2, "has representations that need a model, but no models"),
    "nothing to do": (
        ["--set", "poolings=[]", "--set", "representations=[hidden]"],
        2,
        "poolings must not be empty",
    ),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("mistake", PLANNED)
def test_a_plan_that_cannot_work_ends_before_anything_is_written(
    harness_command, toy_suite, toy_task, mistake, command, own_cache, tmp_path
):
    arguments, code, sentence = PLANNED[mistake]
    before = sorted(tmp_path.iterdir())
    refused(harness_command(command, toy_suite, "--include", toy_task, *arguments), code, sentence)
    assert sorted(tmp_path.iterdir()) == before
    assert not list(own_cache.glob("features/*"))


@pytest.mark.parametrize("size", ["0", "-1", "two", "1.5", "²", ""])
def test_a_batch_size_that_is_no_number_is_refused(harness_command, toy_suite, toy_task, size):
    told = harness_command("run", toy_suite, "--include", toy_task, "-b", size)
    refused(told, 2, f"'{size}' is neither auto nor a positive number")


def dictionary(folder, *, d_in, width=16):
    """A folder in the Gemma Scope layout with one dictionary for layer 1."""
    place = folder / "layer_1" / f"width_{width}" / "average_l0_4"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savez(
        place / "params.npz",
        W_enc=rng.normal(size=(d_in, width)).astype("f4"),
        W_dec=rng.normal(size=(width, d_in)).astype("f4"),
        b_enc=np.zeros(width, "f4"),
        b_dec=np.zeros(d_in, "f4"),
        threshold=np.full(width, 0.1, "f4"),
    )
    return folder


def test_a_dictionary_of_another_width_is_refused_before_any_weight_is_loaded(
    harness_command, toy_suite, toy_task, tmp_path
):
    scope = dictionary(tmp_path / "scope", d_in=32)
    arguments = ["plan", toy_suite, "--include", toy_task, "--set", f"representations=['{scope}']"]
    refused(
        harness_command(*arguments),
        2,
        "reads activations of size 32, but site 'resid_post.1' of model 'minigemma-s' has size 64",
    )


def test_a_dictionary_of_another_layer_is_refused(harness_command, toy_suite, toy_task, tmp_path):
    scope = dictionary(tmp_path / "scope", d_in=64)
    arguments = ["plan", toy_suite, "--include", toy_task, "--set", f"representations=['{scope}']"]
    assert harness_command(*arguments).code == 0
    told = harness_command(*arguments, "--set", "models.0.sites=resid_post.2")
    refused(told, 2, "has no dictionary for 'resid_post.2'; its layers: 1")


def test_a_broken_suite_and_a_broken_task_name_their_lines(harness_command, write, toy_suite, toy_task):
    suite = write("bad.yaml", toy_suite.read_text().replace("version: 1", "version: one"))
    refused(harness_command("plan", suite, "--include", toy_task), 2, f"suite '{suite}' line 2: version: ")
    task = write("bad_task.yaml", toy_task.read_text().replace("licence", "license"))
    refused(harness_command("plan", toy_suite, "--include", task), 2, f"task '{task}' line 3: ")


# ── features ─────────────────────────────────────────────────────────────────────────────────────────────


def features(harness_command, source, output, *more):
    return harness_command(
        "features", "-m", "minigemma-s", "--site", "resid_post.1", "--input", source, "-o", output, *more
    )


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ('{"text": "a"}\n\n{"txt": "b"}\n', 'line 3 has no "text"'),
        ('{"text": "a"}\n["b"]\n', 'line 2 has no "text"'),
        ('{"text": 7}\n', 'line 1 has no "text"'),
        ("plain text\n", "line 1 is not JSON"),
        ("\n\n", "holds no texts"),
        ("", "holds no texts"),
    ],
)
def test_an_input_line_that_is_no_text_is_named(harness_command, write, lines, sentence):
    told = features(harness_command, write("bad.jsonl", lines), "out.npy")
    refused(told, 2, sentence)
    assert not Path("out.npy").exists()


def test_an_input_that_is_not_utf_8_is_refused(harness_command, tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"text": "Müller"}'.encode("latin-1"))
    refused(
        features(harness_command, "latin.jsonl", "out.npy"),
        2,
        "'latin.jsonl' cannot be read: it is not UTF-8",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nowhere.jsonl", "out.npy"], 3, "'nowhere.jsonl' cannot be read"),
        ([".", "out.npy"], 3, "'.' cannot be read"),
        (["texts.jsonl", "out.csv"], 2, "'out.csv' must end in .npz (CSR) or .npy (dense)"),
        (["texts.jsonl", "out.npy", "--pooling", "avg"], 2, "there is no pooling 'avg'"),
        (["texts.jsonl", "out.npy", "--representation", "tfid"], 2, "there is no representation 'tfid'"),
        (["texts.jsonl", "out.npy", "--dtype", "int3"], 2, "takes dtype float32"),
        (["texts.jsonl", "out.npy", "-b", "none"], 2, "'none' is neither auto nor a positive number"),
        (["texts.jsonl", "out.npy", "-d", "cuda:99"], 3, "device 'cuda:99' is not there"),
        (["texts.jsonl", "texts.jsonl/out.npy"], 3, "cannot be written"),
    ],
)
def test_features_that_cannot_be_made_leave_no_file(harness_command, texts, arguments, code, sentence):
    before = texts.read_bytes()
    refused(features(harness_command, *arguments), code, sentence)
    assert texts.read_bytes() == before
    assert not list(Path().glob("out.*"))
    assert not list(Path().glob(".tmp-*"))


def test_a_refused_command_leaves_earlier_features_as_they_were(harness_command, texts, write):
    assert features(harness_command, texts, "out.npy").code == 0
    before = Path("out.npy").read_bytes()
    refused(features(harness_command, write("bad.jsonl", "nothing"), "out.npy"), 2, "line 1 is not JSON")
    assert Path("out.npy").read_bytes() == before


def test_features_come_one_row_for_each_line_in_their_order(harness_command, texts):
    told = features(harness_command, texts, "out.npy", "--json")
    assert (told.code, told.rows) == (0, [{"rows": 3, "features": 64}])
    matrix = np.load("out.npy")
    assert (matrix.shape, matrix.dtype) == ((3, 64), np.float32)


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def finished(harness_command, toy_suite, toy_task):
    """A finished run in `out` of arms that need no model, and the arguments that made it."""
    arms = ["--set", "representations=[tfidf, majority]"]
    arguments = [*CHEAP, "run", toy_suite, "--include", toy_task, "-o", "out", *arms]
    told = harness_command(*arguments)
    assert (told.code, told.err) == (0, "")
    return arguments


def contents(folder):
    """Every file of a folder with its bytes."""
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (["--seeds", "2"], "seeds"),
        (["-L", "20"], "limit"),
        (["--set", "models.0.sites=resid_post.2"], "models.0.sites.0"),
        (["--set", "poolings=[max]"], "poolings.0"),
        (["--set", "name=other"], "name"),
    ],
)
def test_another_suite_in_the_run_folder_is_refused_by_its_first_difference(
    harness_command, finished, change, field
):
    before = contents("out")
    told = harness_command(*finished, *change)
    refused(told, 2, f"'out' holds a run of another suite (it differs in {field}); choose another -o")
    assert contents("out") == before


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_mistake_touches_no_earlier_result(harness_command, finished, command):
    before = contents("out")
    arguments = [command if argument == "run" else argument for argument in finished]
    if command == "plan":
        arguments = arguments[: arguments.index("-o")]
    assert harness_command(*arguments, "-t", "nothing").code == 2
    assert harness_command(*arguments, "-d", "cuda:99").code == 3
    assert contents("out") == before


def test_the_same_command_again_does_nothing_twice(harness_command, finished):
    before = Path("out/results.jsonl").read_bytes()
    again = harness_command(*finished, "--json")
    assert again.code == 0
    assert (again.rows[0]["ok"], again.rows[0]["tokens"]) == (2, 0)
    assert Path("out/results.jsonl").read_bytes() == before


def test_a_run_folder_under_a_file_is_refused(harness_command, toy_suite, toy_task, write):
    write("file", "contents")
    told = harness_command(*CHEAP, "run", toy_suite, "--include", toy_task, "-o", "file/out")
    refused(told, 3, "the run folder 'file/out' cannot be made")
    told = harness_command(*CHEAP, "run", toy_suite, "--include", toy_task, "-o", "file")
    refused(told, 3, "the run folder 'file' cannot be made")
    assert Path("file").read_text() == "contents"


def test_a_cache_under_a_file_is_refused(harness_command, toy_suite, toy_task, write):
    write("file", "contents")
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "--cache-dir", "file/cache")
    refused(told, 3, "file/cache")
    assert not Path("out/results.jsonl").exists()


def test_a_run_is_listed_with_its_status(harness_command, toy_suite, toy_task):
    harness_command(*CHEAP, "run", toy_suite, "--include", toy_task, "--set", "representations=[majority]")
    assert harness_command("ls", "runs", "--json").rows == [
        {"name": "toy", "origin": "runs/toy", "summary": "toy: finished"}
    ]


def test_a_damaged_run_is_listed_as_such(harness_command, write):
    write("runs/cut/run.json", "{")
    write("runs/odd/run.json", "{}")
    cut, odd = harness_command("ls", "runs", "--json").rows
    assert "is damaged" in cut["summary"]
    assert "is damaged" in odd["summary"]


def test_a_failing_cell_ends_with_1_and_the_rest_is_saved(harness_command, install, toy_suite, toy_task):
    install(
        "import harness\nclass Broken:\n    def fit(self, X, y): raise RuntimeError('no fit')\n"
        "@harness.hookimpl\ndef harness_classifiers():\n"
        "    return [harness.ClassifierSpec(name='broken', summary='', make=Broken)]"
    )
    arguments = [*CHEAP, "run", toy_suite, "--include", toy_task, "-o", "out"]
    told = harness_command(*arguments, "--set", "classifiers=[broken, logreg]")
    assert told.code == 1
    records = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records if record["classifier"] == "logreg"] == ["ok", "ok"]
    assert {record["error"] for record in records if record["classifier"] == "broken"} == {
        "RuntimeError: no fit"
    }
    assert "4 cells" not in told.out
    assert "2 failed" in told.out
    assert json.loads(Path("out/run.json").read_text())["status"] == "failed"


def test_the_folder_of_a_leaderboard_must_hold_a_run(harness_command, tmp_path, write):
    (tmp_path / "empty").mkdir()
    refused(harness_command("leaderboard", "build", "empty"), 3, "there is no run in 'empty'")
    refused(harness_command("leaderboard", "build", "nowhere"), 3, "there is no run in 'nowhere'")
    write("broken/run.json", "{")
    refused(harness_command("leaderboard", "build", "broken"), 3, "run.json' is damaged (")
    write("newer/run.json", '{"schema_version": 999}')
    refused(harness_command("leaderboard", "build", "newer"), 3, "was written by a newer harness")
    refused(harness_command("leaderboard", "build"), 2, "Missing argument 'RUNS...'")


@pytest.mark.parametrize("text", ["null", "3"])
def test_a_run_json_that_is_no_object_is_damaged(harness_command, write, text):
    write("odd/run.json", text)
    refused(harness_command("leaderboard", "build", "odd"), 3, "run.json' is damaged (")


def test_several_runs_need_a_place_for_their_leaderboard(harness_command, finished):
    refused(harness_command("leaderboard", "build", "out", "out"), 2, "several runs need -o")
    Path("board").write_text("mine")
    refused(
        harness_command("leaderboard", "build", "out", "-o", "board"), 3, "'board' is a file, not a folder"
    )
    assert Path("board").read_text() == "mine"


# ── being stopped ────────────────────────────────────────────────────────────────────────────────────────

WAITING = """
import harness, pathlib, time

@harness.hookimpl
def harness_cell_finished(event):
    pathlib.Path("ready").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "harness: terminated; "), (signal.SIGINT, 130, "harness: interrupted; ")],
)
def test_a_run_that_is_stopped_says_so_in_one_sentence_and_resumes(
    harness_command, install, toy_suite, toy_task, tmp_path, number, code, said
):
    install(WAITING)
    arms = ["--set", "representations=[tfidf, majority]"]
    arguments = ["run", str(toy_suite), "--include", str(toy_task), "-o", "out", *arms]
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", *CHEAP, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts this in the background has SIGINT ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 500
        while not (tmp_path / "ready").exists():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    assert child.returncode == code
    assert err.split("\n") == ["", f"{said}what is done is saved, and the same command resumes", ""]
    assert out == ""
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["status"] == "interrupted"
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 1
    resumed = harness_command(*CHEAP, "-p", "no:toy", *arguments)
    assert resumed.code == 0
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2


def test_a_reader_that_goes_away_changes_no_exit_code():
    piped = f"({sys.executable} -m harness ls tasks; echo $? >&2) | true"
    ended = subprocess.run(piped, shell=True, capture_output=True, text=True, env={**os.environ})
    assert ended.stderr == "0\n"


def test_what_cannot_be_written_to_stdout_is_never_a_success():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "harness", "ls", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr


def test_a_bug_is_one_sentence_that_says_how_to_see_more(harness_command, monkeypatch):
    from harness.registry import opening

    def broken(*arguments):
        raise ZeroDivisionError("of the harness")

    monkeypatch.setattr(opening, "open_registry", broken)
    told = harness_command("ls", "tasks")
    refused(told, 70, "a bug in the harness: ZeroDivisionError: of the harness (HARNESS_DEBUG=1 shows where)")
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        harness_command("ls", "tasks")


def test_a_sentence_stays_one_line_whatever_stands_in_it(harness_command):
    told = harness_command("run", "a\nb")
    refused(told, 2, "there is no suite 'a b'")
    assert re.fullmatch(r"harness: [^\n]+\n", told.err)
