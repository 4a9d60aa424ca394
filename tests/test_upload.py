"""Boards in, what others may see of them out: whole, checked, and nothing that was not asked for."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import yaml
from hub_stand_in import Hub
from test_publish import make_run

from harness.api.errors import GateError, UsageError
from harness.leaderboard import build, publish, write
from harness.leaderboard.upload.board import read_run
from harness.leaderboard.upload.changes import LIST, Uploaded
from harness.leaderboard.upload.hub import HubTarget
from harness.leaderboard.upload.secrets import check_no_secrets
from harness.probing.attribution import TopFeature
from harness.runs.layout import place_confusion, place_sheet

TOKEN = "hf_" + "aBcD" * 8
SAID = "an insult that somebody wrote"
SMALL: dict[str, Any] = {
    "n": 30,
    "tasks": ("spam",),
    "poolings": ("max",),
    "representations": ("hidden", "sae"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published board, small."""
    place = tmp_path_factory.mktemp("boards")
    publish(make_run(place / "run", **SMALL), place / "toy", name="first")
    return place / "toy"


@pytest.fixture
def board(original: Path, tmp_path: Path) -> Path:
    """A copy of the published board that a test may change, beside it."""
    return Path(shutil.copytree(original, tmp_path / "toy"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that takes uploads with TOKEN."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # As HF_HUB_VERBOSITY of the command line says to a client that is imported after it.
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", logging.CRITICAL)
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as served:
        served.token = TOKEN
        yield served


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, without the list of an upload."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != LIST}


def listed(files: dict[str, bytes]) -> Uploaded | None:
    return Uploaded.read(json.loads(files[LIST]))


# ── to a folder ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_gets_the_board_byte_for_byte_and_it_is_sound_there(board, harness_command, tmp_path):
    done = harness_command("upload", board, "--to", "site/toy")
    assert done.code == 0, done.err
    sent = contents(tmp_path / "site/toy")
    assert sent.pop("index.html")
    assert sent == contents(board)
    assert harness_command("leaderboard", "check", "site/toy").code == 0
    found = json.loads(Path("site/toy", LIST).read_text())
    assert found["board"] == "toy" and {*found["files"]} == {*sent, "index.html"}


def test_a_dry_run_lists_the_files_with_their_sizes_and_what_stays_and_writes_nothing(board, harness_command):
    (board / "notes.txt").write_text("mine")
    told = harness_command("upload", board, "--to", "site", "--dry-run")
    assert told.code == 0 and not Path("site").exists()
    lines = {
        name: int(size.replace(",", ""))
        for size, name in (line.split() for line in told.out.splitlines()[:-1])
    }
    assert lines.pop("index.html")
    assert lines == {name: len(data) for name, data in contents(board).items() if name != "notes.txt"}
    assert "harness: left out: notes.txt: it is no file of the board" in told.said


def test_a_second_upload_of_the_same_writes_nothing(board, harness_command):
    harness_command("upload", board, "--to", "site")
    before = {path: path.stat().st_mtime_ns for path in Path("site").iterdir()}
    assert harness_command("upload", board, "--to", "site").out.endswith("site: 0 files written, 0 removed\n")
    assert {path: path.stat().st_mtime_ns for path in Path("site").iterdir()} == before


def test_files_of_others_stay_and_own_ones_that_are_no_longer_there_go(board, harness_command, tmp_path):
    site = tmp_path / "site"
    harness_command("upload", board, "--to", site)
    publish(make_run(tmp_path / "run", luck=1, **SMALL), board, name="second", replace=True)
    assert harness_command("upload", board, "--to", site).code == 0
    assert not (site / "first.jsonl").exists() and (site / "second.jsonl").is_file()
    (site / "CNAME").write_text("example.org")
    refused = harness_command("upload", board, "--to", site)
    assert (
        refused.code == 2 and "holds other files (CNAME): with --replace" in refused.err and refused.out == ""
    )
    assert harness_command("upload", board, "--to", site, "--replace").code == 0
    assert (site / "CNAME").read_text() == "example.org"


def test_another_board_takes_the_place_of_one_only_if_asked(board, harness_command, tmp_path):
    harness_command("upload", board, "--to", "site")
    board.rename(tmp_path / "other")
    refused = harness_command("upload", "other", "--to", "site")
    assert (
        refused.code == 2 and "holds the board 'toy': with --replace 'other' takes its place" in refused.err
    )
    assert harness_command("upload", "other", "--to", "site", "--replace").code == 0


def test_a_file_that_was_changed_by_hand_is_not_removed(board, harness_command, tmp_path):
    harness_command("upload", board, "--to", "site")
    Path("site/first.env.json").write_text("{}")
    publish(make_run(tmp_path / "run", luck=1, **SMALL), board, name="second", replace=True)
    assert harness_command("upload", board, "--to", "site").code == 0
    assert Path("site/first.env.json").read_text() == "{}" and not Path("site/first.jsonl").exists()


def test_a_list_that_names_files_outside_removes_nothing_there(board, harness_command, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    digest = Uploaded.of("toy", {"x": b"mine"}).files["x"]
    Path("site").mkdir()
    Path("site", LIST).write_text(json.dumps({"board": "toy", "files": {"../outside.txt": digest}}))
    assert harness_command("upload", board, "--to", "site").code == 0
    assert outside.read_text() == "mine"


def test_a_link_below_the_target_is_not_followed(board, harness_command, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (board / "matrix").mkdir()
    harness_command("upload", board, "--to", "site")
    Path("site/leaderboard.md").unlink()
    (tmp_path / "elsewhere/page.md").write_text("mine")
    Path("site/leaderboard.md").symlink_to(tmp_path / "elsewhere/page.md")
    assert harness_command("upload", board, "--to", "site").code == 0
    assert (tmp_path / "elsewhere/page.md").read_text() == "mine" and not Path(
        "site/leaderboard.md"
    ).is_symlink()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["toy", "--to", "toy"], 2, "'toy' is the folder of the board itself: name another with --to"),
        (["toy", "--to", "file"], 3, "'file' is a file, not a folder"),
        (["toy", "--to", "run"], 2, "'run' is a run folder"),
        (["file", "--to", "site"], 3, "'file' is a file: name the folder of a board or of a run"),
        (["nothing", "--to", "site"], 3, "'nothing' holds no board of a run or of published runs"),
        ([".", "--to", "site"], 3, "'.' holds no board of a run or of published runs: name one of toy"),
        (["toy", "--to", "site", "--private"], 2, "--private goes with a target on the hub"),
        (["toy", "--to", "site", "--licence", "mit"], 2, "--licence goes with a target on the hub"),
        (["toy", "--to", "hf://datasets/a/b", "--licence", "a: b"], 2, "'a: b' is no id of a licence"),
        (["toy", "--to", "hf://models/a/b"], 2, "'hf://models/a/b' names no place on the hub"),
        (["toy", "--to", "hf://spaces/b"], 2, "write hf://spaces/OWNER/NAME or hf://datasets/OWNER/NAME"),
        (["toy", "--to", "hf://spaces/a/../b"], 2, "names no place on the hub"),
        (["toy", "--to", "hf://spaces/a/b"], 3, "to which nothing is sent (--offline, HF_HUB_OFFLINE)"),
    ],
)
def test_what_cannot_be_uploaded_is_one_sentence(board, harness_command, tmp_path, arguments, code, said):
    (tmp_path / "file").write_text("")
    make_run(tmp_path / "run", **SMALL)
    refused = harness_command("upload", *arguments)
    assert refused.code == code and said in refused.said[-1]
    assert not Path("site").exists()


# ── what is checked first ────────────────────────────────────────────────────────────────────────────────


def test_a_board_with_a_fault_is_not_uploaded(board, harness_command):
    (board / "leaderboard.csv").write_text("rank\n1\n")
    refused = harness_command("upload", board, "--to", "site")
    assert refused.code == 4 and not Path("site").exists()
    assert "leaderboard.csv' is not what the published runs give" in refused.err
    assert f"`harness leaderboard check {board}` tells all" in refused.err


def test_a_file_that_links_out_of_the_board_is_not_read(board, harness_command, tmp_path):
    page = board / "leaderboard.md"
    (tmp_path / "page.md").write_bytes(page.read_bytes())
    page.unlink()
    page.symlink_to(tmp_path / "page.md")
    refused = harness_command("upload", board, "--to", "site")
    assert refused.code == 3 and "leads out of its folder" in refused.err


@pytest.mark.parametrize(
    "text",
    [TOKEN, "a token of the environment", "ghp_" + "x1" * 18, "file:///home/anna/models/x", "C:\\Users\\anna\\x",
     '"C:\\\\Users\\\\anna"', "see /Users/anna/models", "{home}/models/x"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["md", "gz", "parquet"])
def test_no_token_and_no_home_folder_leaves(monkeypatch, tmp_path, text, kind):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setenv("SOME_API_KEY", "a token of the environment")
    monkeypatch.setenv("HOME", "/srv/anna")
    text = text.format(home="/srv/anna") if "{home}" in text else text
    data = f"before {text} after".encode()
    if kind == "gz":
        data = gzip.compress(data)
    if kind == "parquet":
        pq.write_table(pa.table({"a": [[["fine"], [data.decode()]]]}), tmp_path / "x", compression="zstd")
        data = (tmp_path / "x").read_bytes()
    with pytest.raises(GateError, match=f"'x.{kind}' (holds a token|names the home folder)") as caught:
        check_no_secrets({"fine.md": b"fine", f"x.{kind}": data})
    assert TOKEN not in str(caught.value) and "a token of" not in str(caught.value)


def test_what_only_looks_like_a_secret_is_sent(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "1")
    monkeypatch.setenv("HOME", "/")
    text = "1 hf_hub https://example.org/home/page/1 ~/home/x/y rates/Users/a/b hf_abc AKIA tokens /home"
    check_no_secrets({"x.md": text.encode(), "x.png": bytes(range(256))})


def test_a_board_with_a_path_of_the_home_folder_is_refused_by_the_name_of_the_file(harness_command, tmp_path):
    run = make_run(tmp_path / "run", model="/home/anna/models/mine", **SMALL)
    publish(run, tmp_path / "toy", name="first")
    refused = harness_command("upload", "toy", "--to", "site")
    assert refused.code == 4 and not Path("site").exists()
    assert "'first.jsonl' names the home folder '/home/anna', so nothing is uploaded" in refused.err


# ── of a run folder ──────────────────────────────────────────────────────────────────────────────────────


def run_with_texts(path: Path) -> Any:
    """A run whose records hold a text of the data, with pictures of two cells."""
    used = TopFeature(feature=3, label="yes", weight=1.0, effect=1.0, means={"yes": 1.0}, snippets=(SAID,))
    run = make_run(path, used=(used,), **SMALL)
    for record in run.records():
        for place in (place_confusion(path, record.cell_id), place_sheet(path, record.cell_id, 3)):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"\x89PNG of " + record.cell_id.encode())
    return run


def test_a_run_gives_its_board_without_texts_and_pictures_unless_they_are_asked_for(tmp_path):
    run = run_with_texts(tmp_path / "run")
    content = read_run(run, lambda run: ())
    assert content.board == "run" and {*content.files} == {
        *("leaderboard.md", "leaderboard.csv", "leaderboard-tasks.csv", "leaderboard-features.md"),
        *("leaderboard.html", "leaderboard.json", "leaderboard.tex", "leaderboard.parquet"),
        "leaderboard-tasks.parquet",
    }
    assert not any(SAID.encode() in data or b"pictures/" in data for data in content.files.values())
    assert content.left_out.keys() >= {"results.jsonl", "predictions/", "run.json", "pictures/"}
    assert "--with-texts" in content.left_out["pictures/"]

    whole = read_run(run, lambda run: (), with_texts=True)
    page = whole.files["leaderboard-features.md"].decode()
    assert SAID in page
    pictures = {name for name in whole.files if name.startswith("pictures/")}
    assert pictures and all(f"({name})" in page for name in pictures)
    assert not {"results.jsonl", "run.json"} & {*whole.files} and "pictures/" not in whole.left_out


def test_a_run_is_uploaded_with_what_its_page_states(tmp_path):
    run = run_with_texts(tmp_path / "run")
    write(build([run]), run.path, stated={"author": "A. B", "licence": "CC BY 4.0"})
    page = read_run(run, lambda run: ()).files["leaderboard.html"]
    assert b'<meta name="author" content="A. B">' in page and b"<dd>CC BY 4.0</dd>" in page


def test_the_page_of_a_run_is_that_of_the_run_and_the_same_each_time(tmp_path):
    run = run_with_texts(tmp_path / "my-run")
    facts = {"cores": 7, "cpu": "abacus", "distributions": {"torch": "2.15.0"}, "python": "3.11.7"}
    (run.path / "env.json").write_text(json.dumps(facts))
    first, again = (read_run(run, lambda run: ()) for _ in range(2))
    page = first.files["leaderboard.html"].decode()
    assert '<th scope="row">my-run</th>' in page
    assert "7 cores of a CPU (abacus)" in page and "Python 3.11.7, torch 2.15.0" in page
    assert first.files == again.files  # nothing of it is of the folder in which it is made


def test_a_run_is_checked_as_before_it_is_published(harness_command, tmp_path):
    rows = [
        {"text": f"{'warm' if i % 2 else 'cold'} day {i}", "label": "ab"[i * 7 % 5 % 2]} for i in range(60)
    ]
    Path("toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("toy.yaml").write_text("name: toy\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n")
    Path("suite.yaml").write_text("name: small\ntasks: [toy]\nrepresentations: [text_length, majority]\n")
    machine = ("--include", "toy.yaml")
    assert harness_command("run", "suite.yaml", *machine, "-o", "run", "-d", "cpu").code == 0
    done = harness_command("upload", "run", "--to", "site", *machine)
    assert done.code == 0, done.err
    assert {*contents(Path("site"))} == {
        "index.html",
        *(path.name for path in Path("run").glob("leaderboard*")),
    }
    (first, second, *_) = sorted(Path("run/predictions").glob("*.parquet"))
    shutil.copy(first, second)
    refused = harness_command("upload", "run", "--to", "other", *machine)
    assert refused.code == 4 and "(`harness validate run` tells all)" in refused.err
    assert not Path("other").exists()


# ── to the hub ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["spaces", "datasets"])
def test_the_hub_receives_the_board_byte_for_byte(board, hub, harness_command, kind):
    done = harness_command("upload", board, "--to", f"hf://{kind}/me/board", "--licence", "cc-by-4.0")
    assert done.code == 0, done.err
    assert done.out.endswith(f"https://huggingface.co/{kind}/me/board: uploaded\n")
    files = dict(hub.repositories["me/board"])
    assert files.pop(".gitattributes")
    assert listed(files) == Uploaded.of("toy", {name: data for name, data in files.items() if name != LIST})
    card = files.pop("README.md").decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    if kind == "spaces":
        assert front["sdk"] == "static" and front["app_file"] == "index.html" and files.pop("index.html")
    else:
        assert {each["config_name"] for each in front["configs"]} == {"leaderboard", "tasks", "predictions"}
        for each in front["configs"]:
            names = each["data_files"]
            assert {names} if isinstance(names, str) else {*names} <= {*files}
    del files[LIST]
    assert files == contents(board)
    assert "me/board" not in hub.private and not done.said[1:]


def test_a_second_upload_sends_nothing_that_is_there_and_makes_no_commit(board, hub, harness_command):
    upload = ("upload", board, "--to", "hf://datasets/me/board")
    assert harness_command(*upload).code == 0
    commit = hub.commit("me/board")
    hub.asked.clear()
    done = harness_command(*upload)
    assert done.code == 0 and done.out.endswith("nothing has changed\n")
    assert not any("/commit/" in asked or asked.startswith("PUT") for asked in hub.asked)
    assert hub.commit("me/board") == commit


def test_a_new_run_takes_the_place_of_what_was_uploaded_and_nothing_else(
    board, hub, harness_command, tmp_path
):
    upload = ("upload", board, "--to", "hf://datasets/me/board")
    harness_command(*upload)
    publish(make_run(tmp_path / "run", luck=1, **SMALL), board, name="second", replace=True)
    assert harness_command(*upload).code == 0
    files = {*hub.repositories["me/board"]}
    assert "first.jsonl" not in files and "second.jsonl" in files
    hub.repositories["me/board"]["own.txt"] = b"mine"
    refused = harness_command(*upload)
    assert refused.code == 2 and "holds other files (own.txt): with --replace" in refused.err
    assert harness_command(*upload, "--replace").code == 0
    assert hub.repositories["me/board"]["own.txt"] == b"mine"


def test_a_dry_run_sends_nothing_and_needs_no_token(board, hub, harness_command, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    told = harness_command("upload", board, "--to", "hf://spaces/me/board", "--dry-run")
    assert told.code == 0 and "README.md" in told.out and hub.asked == []


def test_without_a_token_or_offline_nothing_is_asked(board, hub, harness_command, monkeypatch):
    upload = ("upload", board, "--to", "hf://spaces/me/board")
    told = harness_command(*upload, "--offline")
    assert told.code == 3 and "--offline" in told.said[-1] and len(told.said) == 1
    hub_stand_in.go(monkeypatch, offline=False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(board / "none"))
    told = harness_command(*upload)
    assert told.code == 3 and "log in with `hf auth login`, or set HF_TOKEN" in told.err
    assert hub.asked == []


def test_a_private_repository_is_made_and_a_public_one_is_not_taken_for_it(board, hub, harness_command):
    upload = ("upload", board, "--to", "hf://datasets/me/board", "--private")
    assert harness_command(*upload).code == 0 and hub.private == {"me/board"}
    hub.private.clear()
    refused = harness_command(*upload)
    assert refused.code == 2 and "is there already and is public" in refused.err


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [
        ("create", 403, "the token may not write to me/board"),
        ("create", 401, "the hub does not take the token"),
        ("create", 409, "there is no repository 'me/board' that this token may see"),
        ("ask", 403, "the token may not write to me/board"),
        ("large", 500, "the hub answers with status 500"),
        ("commit", 403, "the token may not write to me/board"),
        ("commit", 409, "somebody else has changed it meanwhile: run the same command again"),
        ("commit", 500, "the hub answers with status 500 (no commit): try again later"),
    ],
)
def test_each_refusal_of_the_hub_is_a_sentence_of_its_own(board, hub, harness_command, step, status, said):
    hub.refusals[step] = status
    refused = harness_command("upload", board, "--to", "hf://datasets/me/board")
    assert refused.code == 3 and len(refused.said) == 1
    assert refused.said[0].startswith("harness: nothing was uploaded to 'hf://datasets/me/board': " + said)
    assert TOKEN not in refused.err + refused.out
    assert not {*hub.repositories.get("me/board", {})} - {".gitattributes"}


def test_a_wrong_token_and_a_card_that_the_hub_refuses_are_told(board, hub, harness_command):
    upload = ("upload", board, "--to", "hf://datasets/me/board")
    refused = harness_command(*upload, "--licence", "none-such")
    assert refused.code == 3 and 'the hub refuses what was sent ("license" must be one of mit' in refused.err
    hub.token = "another"
    refused = harness_command(*upload)
    assert refused.code == 3 and "the hub does not take the token" in refused.err


def test_a_commit_of_somebody_else_meanwhile_is_not_overwritten(board, hub, harness_command, tmp_path):
    upload = ("upload", board, "--to", "hf://datasets/me/board")
    harness_command(*upload)
    publish(make_run(tmp_path / "run", luck=1, **SMALL), board, name="second", replace=True)
    hub.before["commit"] = lambda: hub.repositories["me/board"].update({"README.md": b"theirs"})
    refused = harness_command(*upload)
    assert refused.code == 3 and "somebody else has changed it meanwhile" in refused.err
    assert hub.repositories["me/board"]["README.md"] == b"theirs"


def test_a_file_that_the_repository_ignores_is_named(board, hub, harness_command):
    hub.add("me/board", {".gitignore": b"leaderboard.csv"})
    refused = harness_command("upload", board, "--to", "hf://datasets/me/board", "--replace")
    assert refused.code == 3 and "was written without leaderboard.csv: remove its .gitignore" in refused.err


def test_an_upload_that_is_interrupted_leaves_nothing(board, hub, harness_command):
    def interrupt() -> None:
        # The main thread waits for the answer meanwhile: an interruption that found it elsewhere might be lost there.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)

    hub.before["ask"] = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of a shell may ignore it
    try:
        ended = harness_command("upload", board, "--to", "hf://datasets/me/board")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.code == 130 and "the same command starts again" in ended.err
    assert {*hub.repositories["me/board"]} == {".gitattributes"}
    hub.before.clear()
    assert harness_command("upload", board, "--to", "hf://datasets/me/board").code == 0
    assert {*contents(board)} <= {*hub.repositories["me/board"]}


def test_no_server_is_a_sentence(board, hub, harness_command, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    refused = harness_command("upload", board, "--to", "hf://spaces/me/board")
    assert refused.code == 3 and "the hub cannot be asked" in refused.said[-1]


@pytest.mark.parametrize(
    "text", ["hf://spaces/a", "hf://spaces/a/b/c", "hf://datasets/a--b/c", "hf://buckets/a/b"]
)
def test_a_target_is_a_space_or_a_dataset(text):
    with pytest.raises(UsageError):
        HubTarget.parse(text)
    assert str(HubTarget.parse("hf://spaces/a/b.c-d_e/")) == "hf://spaces/a/b.c-d_e"
