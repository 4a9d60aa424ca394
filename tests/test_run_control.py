"""What a run does again, where it stops, what it leaves out, and how it says so."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import harness.runs.folder
from harness import leaderboard
from harness.runs.folder import RunFolder

ARMS = ["--set", "representations=[tfidf, majority, text_length]"]

SICK = """
import os, pathlib
import harness
from sklearn.linear_model import LogisticRegression

class Sick(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        if pathlib.Path("sick").exists():
            raise RuntimeError(f"cannot be fitted to {X.shape[0]} rows" if "ROWS" in os.environ else "sick today")
        return super().fit(X, y)

@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="sick", summary="", make=lambda: Sick())]
"""


@pytest.fixture
def run(harness_command, toy_suite, toy_task):
    """`harness run` of the toy suite's arms without a model into the folder `out`."""

    def call(*words: object):
        return harness_command(
            "run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu", *ARMS, *words
        )

    return call


@pytest.fixture
def sick(install, tmp_path):
    """A classifier that fails as long as the file `sick` is there."""
    install(SICK, name="sickness")
    (tmp_path / "sick").touch()
    return ["--set", "classifiers=[logreg, sick]"]


def records(folder: str = "out") -> dict[str, list[dict[str, Any]]]:
    """Every line of results.jsonl, by cell."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in Path(folder, "results.jsonl").read_text().splitlines():
        lines.setdefault(json.loads(line)["cell_id"], []).append(json.loads(line))
    return lines


def about(folder: str = "out") -> dict[str, Any]:
    return dict(json.loads(Path(folder, "run.json").read_text()))


# ── what is done again ───────────────────────────────────────────────────────────────────────────────────


def test_failed_cells_alone_are_done_again(run, sick):
    assert run(*sick).code == 1
    Path("sick").unlink()
    assert run(*sick).code == 0
    lines = records()
    assert {cell[0]["status"] for cell in lines.values()} == {"ok", "failed"}
    for first, *later in lines.values():
        assert [line["status"] for line in later] == (["ok"] if first["status"] == "failed" else [])


def test_never_leaves_failed_cells_as_they_are_and_still_ends_with_1(run, sick):
    assert run(*sick).code == 1
    before = Path("out/results.jsonl").read_bytes()
    Path("sick").unlink()
    told = run(*sick, "--rerun", "never", "--json")
    assert told.code == 1
    assert (told.rows[0]["ok"], told.rows[0]["failed"], told.rows[0]["skipped"]) == (3, 3, 6)
    assert Path("out/results.jsonl").read_bytes() == before
    assert about()["status"] == "failed"


def test_never_still_runs_what_was_never_run(run):
    assert run().code == 0
    results = Path("out/results.jsonl")
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:1]))
    assert run("--rerun", "never").code == 0
    assert len(records()) == 3


def test_all_does_every_cell_anew_and_the_later_line_counts(run, sick):
    Path("sick").unlink()
    assert run(*sick).code == 0
    Path("sick").touch()
    assert run(*sick, "--rerun", "all").code == 1
    lines = records()
    assert {len(cell) for cell in lines.values()} == {2}
    kept = {record.cell_id: record.status for record in RunFolder(Path("out")).records()}
    assert kept == {name: cell[1]["status"] for name, cell in lines.items()}
    assert sorted(kept.values()) == ["failed"] * 3 + ["ok"] * 3


def test_all_reads_features_from_the_cache(harness_command, toy_suite, toy_task):
    words = ["run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu", "--json"]
    first, again = harness_command(*words), harness_command(*words, "--rerun", "all")
    assert (first.code, again.code) == (0, 0)
    assert first.rows[0]["tokens"] > 0
    assert (again.rows[0]["tokens"], again.rows[0]["skipped"]) == (0, 0)
    for one, two in records().values():
        assert one["metrics"] == two["metrics"]


def test_another_word_than_the_three_is_refused(run):
    told = run("--rerun", "some")
    assert (told.code, len(told.said)) == (2, 1)


# ── where it stops ───────────────────────────────────────────────────────────────────────────────────────


def test_fail_fast_stops_at_the_first_failed_cell_and_what_is_done_stays(run, sick):
    told = run(*sick, "--fail-fast", "--json")
    assert told.code == 1
    summary = told.rows[0]
    assert (summary["failed"], summary["ok"] + summary["pending"]) == (1, 5)
    assert summary["pending"] > 0
    statuses = [cell[0]["status"] for cell in records().values()]
    assert statuses.index("failed") == len(statuses) - 1
    assert about()["status"] == "stopped"
    Path("sick").unlink()
    assert run(*sick, "--fail-fast").code == 0
    assert (len(records()), about()["status"]) == (6, "finished")


def test_tokens_of_what_was_done_count_where_a_run_stops(harness_command, toy_suite, toy_task, monkeypatch):
    from harness.runs.bundle_run import BundleRun
    from harness.runs.context import Stopped

    def pretend(bundle: BundleRun) -> None:
        asked.append(bundle)
        if len(asked) > 1:
            raise Stopped
        bundle.count(1000)

    asked: list[BundleRun] = []
    monkeypatch.setattr(BundleRun, "start", pretend)
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu", "--json")
    assert (len(asked), told.rows[0]["tokens"]) == (2, 1000)


def test_distributions_without_a_name_are_left_out_and_the_first_of_two_is_imported(tmp_path, monkeypatch):
    from harness.runs.environment import _versions

    (tmp_path / "nameless-1.0.egg-info").write_text("")
    for number, folder in enumerate(("second", "first")):
        made = tmp_path / folder / f"twin-{number}.0.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: twin\nVersion: {number}.0\n\nVersion: 7"
        )
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = _versions()
    assert found["twin"] == "1.0"
    assert None not in found and list(found) == sorted(found)


def test_a_board_of_a_run_that_stopped_is_flagged_as_unfinished(run, sick):
    assert run(*sick, "--fail-fast").code == 1
    rows = leaderboard.build([RunFolder(Path("out"))]).rows
    assert all("unfinished" in row.flags for row in rows)


# ── what is left out ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def second(write):
    """`second(rows)` is a task beside the toy task, with these rows as its data; None is no data at all."""
    task = write("second.yaml", "name: second\nsource: {file: second.jsonl}\nlicence: CC0\ncitation: none\n")

    def put(rows: list[dict[str, Any]] | None) -> list[object]:
        if rows is not None:
            write("second.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return ["--include", task, "-t", "second", "-t", "toy_task"]

    return put


GOOD = [{"text": f"{'up' if i % 2 else 'down'} the hill {i}", "label": "ud"[i % 2]} for i in range(60)]

UNFIT: dict[str, tuple[list[dict[str, Any]] | None, str]] = {
    "no file": (None, "there is no file"),
    "no rows": ([], "second"),
    "one class": ([{**row, "label": "u"} for row in GOOD], "has one class only"),
    "no labels": ([{"text": row["text"]} for row in GOOD], "has no column 'label'"),
    "a row without a label": ([*GOOD, {"text": "one more", "label": None}], "has no label"),
    "numbers for texts": ([{**row, "text": 7} for row in GOOD], "is int, not text"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_task_without_fit_data_is_left_out_and_the_others_are_run(run, second, unfit):
    rows, sentence = UNFIT[unfit]
    told = run(*second(rows))
    assert told.code == 1
    lines = [line for line in told.said if line.startswith("harness: left out: ")]
    assert len(lines) == 1
    assert "task 'second'" in lines[0]
    assert sentence in lines[0]
    assert "3 cells, 1 left out" in told.out
    assert {cell[0]["task"] for cell in records().values()} == {"toy_task"}
    assert list(about()["left_out"]) == ["second"]
    assert f"harness: left out: {about()['left_out']['second']}" == lines[0]
    assert about()["status"] == "failed"
    events = [json.loads(line) for line in Path("out/events.jsonl").read_text().splitlines()]
    assert [event["name"] for event in events if event["event"] == "left_out"] == ["second"]
    board = leaderboard.build([RunFolder(Path("out"))])
    assert all("unfinished" in row.flags for row in board.rows)


def test_the_same_command_runs_a_task_whose_data_has_come(run, second):
    words = second(None)
    assert run(*words).code == 1
    before = Path("out/results.jsonl").read_bytes()
    second(GOOD)
    assert run(*words).code == 0
    after = Path("out/results.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 6
    assert about()["left_out"] == {}
    assert not any("unfinished" in row.flags for row in leaderboard.build([RunFolder(Path("out"))]).rows)


def test_what_a_task_had_stays_while_its_data_is_away(run, second, tmp_path):
    words = second(GOOD)
    assert run(*words).code == 0
    before = Path("out/results.jsonl").read_bytes()
    (tmp_path / "second.jsonl").rename(tmp_path / "away.jsonl")
    told = run(*words, "--json")
    assert (told.code, told.rows[0]["ok"], told.rows[0]["pending"]) == (1, 6, 0)
    assert Path("out/results.jsonl").read_bytes() == before
    assert {task.name for task in leaderboard.build([RunFolder(Path("out"))]).tasks} == {"toy_task", "second"}


def test_when_nothing_remains_the_sentence_ends_it(run, second):
    words = second(None)
    told = run(*[word for word in words if word not in ("toy_task",)][:-1])  # the second task alone
    assert (told.code, len(told.said)) == (3, 1)
    assert "task 'second': there is no file" in told.err
    assert not Path("out").exists()


def test_fail_fast_does_not_begin_what_lacks_something(run, second):
    told = run(*second(None), "--fail-fast")
    assert (told.code, len(told.said)) == (3, 1)
    assert told.said[0].startswith("harness: task 'second': there is no file")
    assert not Path("out").exists()


def test_a_wrong_name_is_still_refused_before_anything_is_run(run, second):
    told = run(*second(None), "-t", "no_such_task")
    assert (told.code, len(told.said)) == (2, 1)
    assert not Path("out").exists()


def test_a_plan_names_what_it_would_leave_out_and_ends_with_3(harness_command, toy_suite, toy_task, second):
    words = ["plan", toy_suite, "--include", toy_task, "-d", "cpu", *ARMS, *second(None)]
    told = harness_command(*words, "--json")
    assert told.code == 3
    assert told.rows[0]["left_out"].keys() == {"second"}
    assert told.rows[0]["total"]["cells"] == 3
    assert (
        harness_command(*words).said
        == told.said
        == [f"harness: left out: {told.rows[0]['left_out']['second']}"]
    )


def test_a_model_that_cannot_be_had_is_left_out_with_its_cells_only(harness_command, toy_suite, toy_task):
    models = ["-m", "minigemma-s", "-m", "no-such-org/no-such-model"]
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu", *models)
    assert told.code == 1
    assert about()["left_out"].keys() == {"no-such-org/no-such-model"}
    assert {cell[0]["model"] for cell in records().values()} == {"minigemma-s", None}


def test_a_model_without_its_weights_is_left_out_and_no_task_with_it(
    harness_command, toy_suite, toy_task, tmp_path
):
    import shutil

    import harness_minigemma

    folder = Path(harness_minigemma.__file__).parent / "weights" / "minigemma-s"
    shutil.copytree(folder, tmp_path / "bare")
    weights = tmp_path / "bare" / "model.safetensors"
    weights.rename(tmp_path / "away")
    words = ["run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu"]
    models = (
        "{ref: minigemma-s, sites: [resid_post.1]}, {ref: ./bare, sites: [resid_post.1], max_length: 200}"
    )
    words += ["--set", f"models=[{models}]", "--json"]
    told = harness_command(*words)
    assert (told.code, told.rows[0]["ok"]) == (1, 2)
    assert about()["left_out"].keys() == {"./bare"}
    assert {cell[0]["status"] for cell in records().values()} == {"ok"}
    (tmp_path / "away").rename(weights)
    told = harness_command(*words)
    assert (told.code, told.rows[0]["ok"], told.rows[0]["skipped"]) == (0, 3, 2)
    weights.rename(tmp_path / "away")
    told = harness_command(*words)
    assert (told.code, told.rows[0]["ok"]) == (1, 3)  # what it had stays


def test_a_dictionary_that_cannot_be_had_is_left_out_at_its_place_only(
    harness_command, install, toy_suite, toy_task
):
    install(
        "import harness\n"
        "class Shy:\n"
        "    def at(self, model, site):\n"
        "        if site.layer == 1:\n"
        "            raise harness.UnavailableError('shy has lost its weights')\n"
        "        return 'random_sae[width=96,k=8]'\n"
        "@harness.hookimpl\n"
        "def harness_representations():\n"
        "    return [harness.RepresentationSpec(name='shy', summary='', needs='tokens', make=Shy)]\n"
    )
    words = ["--set", "representations=[hidden, shy]", "--set", "models.0.sites=['resid_post.[0,1]']"]
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu", *words)
    assert told.code == 1
    assert about()["left_out"] == {"shy at resid_post.1 of minigemma-s": "shy has lost its weights"}
    found = {(cell[0]["representation"], cell[0]["site"]) for cell in records().values()}
    assert found == {("hidden", "resid_post.0"), ("hidden", "resid_post.1"), ("shy", "resid_post.0")}


def test_a_text_that_a_model_cannot_read_leaves_its_task_out(harness_command, install, toy_suite, toy_task):
    install(
        "import harness\n"
        "class Deaf:\n"
        "    name, architecture, n_layers, n_parameters = 'deaf', 'none', 2, 1\n"
        "    def width(self, site): return 4\n"
        "    def identity(self, site): return {}\n"
        "    def tokenize(self, inputs): raise ValueError('what?')\n"
        "@harness.hookimpl\n"
        "def harness_models():\n"
        "    return [harness.ModelSpec(name='deaf', summary='', make=Deaf)]\n"
    )
    told = harness_command("run", toy_suite, "--include", toy_task, "-d", "cpu", "-m", "deaf")
    assert (told.code, len(told.said)) == (3, 1)
    assert "task 'toy_task' cannot be read by model 'deaf': ValueError: what?" in told.err


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_says_what_failed_by_error_and_the_command_that_runs_it_again(run, sick, second):
    words = [*second(None), *sick]
    told = run(*words, "--rerun", "all")
    assert told.code == 1
    assert "3 cells, 3 failed, 1 left out" in told.out
    assert told.out.splitlines()[-1] == str(Path("out/leaderboard.html"))
    assert "failed (3 cells): RuntimeError: sick today" in told.said
    [line] = [line for line in told.said if line.startswith("what is missing is run by: ")]
    again = shlex.split(line.removeprefix("what is missing is run by: "))
    assert again[:2] == ["harness", "run"]
    assert again[again.index("-o") : again.index("-o") + 2] == ["-o", "out"]

    Path("sick").unlink()
    second(GOOD)
    before = Path("out/results.jsonl").read_bytes()
    from harness.cli import execute

    assert execute(again[1:]) == 0
    after = Path("out/results.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") - before.count(b"\n") == 3 + 6


def test_the_end_is_told_as_json_too(run, sick, second):
    told = run(*second(None), *sick, "--json")
    [summary] = told.rows
    assert summary["folder"] == "out"
    assert summary["leaderboard"] == str(Path("out/leaderboard.md"))
    assert (summary["ok"], summary["failed"], summary["pending"]) == (3, 3, 0)
    assert summary["errors"] == {"RuntimeError: sick today": 3}
    assert summary["left_out"].keys() == {"second"}
    assert shlex.split(summary["again"])[:2] == ["harness", "run"]
    Path("sick").unlink()
    second(GOOD)
    [summary] = run(*second(GOOD), *sick, "--json").rows
    assert (summary["again"], summary["errors"], summary["left_out"]) == (None, {}, {})


def test_the_table_at_the_end_shows_parameters_in_brackets(harness_command, toy_suite, toy_task):
    words = ["--set", "representations=['random_sae[width=96,k=8]']", "-d", "cpu"]
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", *words)
    assert "random_sae[width=96,k=8]" in told.out


def test_run_json_holds_the_words_of_the_command(run):
    assert run().code == 0
    argv = about()["argv"]
    assert argv[0] == "run"
    assert argv[argv.index("-o") + 1] == "out"


# ── what is not to be published, and asking nobody ───────────────────────────────────────────────────────


def test_a_limited_run_is_marked_in_every_record_and_on_its_board(run):
    assert run("-L", "20").code == 0
    assert all("limited" in cell[0]["flags"] for cell in records().values())
    rows = leaderboard.build([RunFolder(Path("out"))]).rows
    assert all("limited" in row.flags for row in rows)


NO_NETWORK = """
import socket

def refuse(*arguments, **options):
    with open({log!r}, "a") as file:
        file.write("asked\\n")
    raise OSError("no network in tests")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
"""


def run_without_network(
    words: list[str], folder: Path, write: Any
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """The command in a process that has no settings of the caller's and no network; whether it asked for one."""
    log = folder / "asked"
    write("site/sitecustomize.py", NO_NETWORK.format(log=str(log)))
    own = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own |= {"PYTHONPATH": f"{folder / 'site'}{os.pathsep}{own.get('PYTHONPATH', '')}", "HF_HOME": str(folder)}
    command = [sys.executable, "-m", "harness", *words]
    ended = subprocess.run(command, env=own, cwd=folder, capture_output=True, text=True, check=False)
    return ended, log.exists()


@pytest.mark.long
@pytest.mark.slow
def test_offline_asks_no_hub_for_a_dataset_a_model_or_a_dictionary(toy_suite, toy_task, write, tmp_path):
    far = "name: far\nsource: {hub: no-such-org/far, revision: '1234567'}\nlicence: CC0\ncitation: none\n"
    sae = "no-such-org/gemma-scope-2b-pt-res/layer_1/width_1k/average_l0_8"
    words = ["run", str(toy_suite), "--include", str(toy_task), "--include", str(write("far.yaml", far))]
    words += ["-t", "far", "-t", "toy_task", "-m", "minigemma-s", "-m", "no-such-org/no-such-model"]
    words += ["--set", f'representations=[hidden, "{sae}"]', "-d", "cpu", "-o", str(tmp_path / "out")]
    ended, asked = run_without_network([*words, "--offline"], tmp_path, write)
    assert ended.returncode == 1, ended.stderr
    assert about(str(tmp_path / "out"))["left_out"].keys() == {
        "far",
        "no-such-org/no-such-model",
        f"{sae} at resid_post.1 of minigemma-s",
    }
    assert not asked


@pytest.mark.long
@pytest.mark.slow
def test_without_offline_the_hub_is_asked(toy_suite, toy_task, write, tmp_path):
    words = [
        "plan",
        str(toy_suite),
        "--include",
        str(toy_task),
        "-d",
        "cpu",
        "-m",
        "no-such-org/no-such-model",
    ]
    ended, asked = run_without_network(words, tmp_path, write)
    assert ended.returncode == 3, ended.stderr
    assert asked


# ── being stopped ────────────────────────────────────────────────────────────────────────────────────────

SLOW = """
import os, pathlib, time
import harness, harness.runs.folder
from sklearn.linear_model import LogisticRegression

def wait(where):
    if os.environ.get("WAIT") == where:
        pathlib.Path("ready").touch()
        for _ in range(600):
            time.sleep(0.1)

class Slow(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        wait("probe")
        return super().fit(X, y)

write_json = harness.runs.folder.write_json

def write_slowly(path, value):
    if value.get("status") == "interrupted":
        pathlib.Path("saving").touch()
        time.sleep(1)
    write_json(path, value)

harness.runs.folder.write_json = write_slowly

@harness.hookimpl
def harness_batch_finished(event):
    wait("forward")

@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="slow", summary="", make=lambda: Slow())]
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["forward", "probe"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_signal_and_another_while_saving_leave_what_the_same_command_completes(
    monkeypatch, harness_command, install, toy_suite, toy_task, tmp_path, number, code, where
):
    install(SLOW, name="slowness")
    monkeypatch.setattr(
        "harness.runs.folder.write_json", harness.runs.folder.write_json
    )  # the plugin changes it here too
    words = ["run", str(toy_suite), "--include", str(toy_task), "-o", "out", "-d", "cpu", "-b", "5"]
    words += ["--set", "classifiers=[slow]"]
    child = start(words, tmp_path, WAIT=where)
    child.send_signal(number)
    wait_for(tmp_path / "saving", child)
    for again in (signal.SIGINT, signal.SIGTERM):  # an impatient user
        child.send_signal(again)
    _, err = child.communicate(timeout=300)
    assert child.returncode == code, err
    assert "the same command resumes" in err
    assert "Traceback" not in err
    assert about()["status"] == "interrupted"
    assert "process" not in about()
    assert not list(Path("out").rglob(".tmp*"))
    told = harness_command(*words, "--json")
    assert (told.code, told.rows[0]["ok"]) == (0, 2)
    assert about()["status"] == "finished"


def start(words: list[str], folder: Path, **settings: str) -> subprocess.Popen[str]:
    """The command in a process of its own, when it has made the file `ready`."""
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts this in the background has SIGINT ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(folder / "ready", child)
    return child


def wait_for(path: Path, child: subprocess.Popen[str]) -> None:
    """Until the child has made a file."""
    deadline = time.monotonic() + 500
    while not path.exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
