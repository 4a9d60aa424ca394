"""`harness cache`: what it counts, what it finds, what it takes, and what it never touches."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.cache import AGES, SIZES, read_amount
from harness.storage import cache as housekeeping
from harness.storage.atomic import hold_alone, whole_file
from harness.storage.cache_place import IN_USE
from harness.storage.feature_store import FeatureStore

DAY = 86400.0


@pytest.fixture
def store(own_cache: Path) -> FeatureStore:
    return FeatureStore(own_cache)


def key(number: int) -> str:
    return f"{number:064x}"


def fill(
    store: FeatureStore, number: int, *, days: float = 2.0, complete: bool = True, rows: int = 4
) -> Path:
    """A feature set of about 16 kB, in two shards, last used so many days ago; its folder."""
    values = np.random.default_rng(number).random((rows, 1000), dtype=np.float32)
    for part in np.array_split(np.arange(rows), 2):
        store.write(key(number), part.tolist(), values[part])
    if complete:
        of = {"task": "toy", "model": "m", "representation": "hidden" if number % 2 else "sae"}
        store.complete(key(number), {"rows": rows, "of": of})
    folder = store.root / "features" / key(number)
    age(folder, days)
    return folder


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    for file in [*path.rglob("*"), path]:
        os.utime(file, (then, then))


def files(store: FeatureStore) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and path.parent.name != IN_USE
    }


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


# ── info ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_info_counts_sets_files_and_bytes_by_what_they_are_of(
    store: FeatureStore, harness_command: Any
) -> None:
    for number in (1, 2, 3):
        fill(store, number, days=number)
    fill(store, 4, complete=False)
    store.write_batches(key(9), [[0, 1]])
    told = harness_command("cache", "info", "--json")
    assert told.code == 0
    (facts,) = told.rows
    assert (facts["complete"], facts["incomplete"]) == (3, 1)
    assert facts["files"] == len(files(store))
    assert facts["bytes"] == sum(map(len, files(store).values()))
    assert facts["oldest"] < facts["newest"]
    sets = {row["what"]: row["sets"] for row in facts["of"]}
    assert sets == {"toy, m, hidden": 2, "toy, m, sae": 1, "features, incomplete": 1, "plans": 1}
    assert sum(row["bytes"] for row in facts["of"]) == facts["bytes"]
    shown = harness_command("cache", "info").out
    assert "3 complete, 1 incomplete" in shown and "2 × toy, m, hidden" in shown and str(store.root) in shown


def test_an_empty_cache_is_empty_and_one_that_is_not_there_is_missing(
    store: FeatureStore, harness_command: Any, tmp_path: Path
) -> None:
    assert "0 complete, 0 incomplete" in harness_command("cache", "info").out
    for command in (["info"], ["verify"], ["prune", "--all"]):
        told = harness_command("cache", *command, "--cache-dir", tmp_path / "nowhere")
        assert (told.code, told.said) == (3, [f"harness: there is no cache in '{tmp_path / 'nowhere'}'"])
    assert not (tmp_path / "nowhere").exists()


def test_a_run_says_what_its_features_are_of(
    toy_task: Path, toy_suite: Path, harness_command: Any, store: FeatureStore
) -> None:
    told = harness_command("run", toy_suite, "--include", toy_task, "-o", "out", "-d", "cpu")
    assert told.code == 0, told.err
    (path,) = store.root.glob("features/*/complete.json")
    assert json.loads(path.read_text())["of"] == {
        "task": "toy_task",
        "model": "minigemma-s",
        "site": "resid_post.1",
        "representation": "hidden",
        "pooling": "mean",
    }
    assert "1 × toy_task, minigemma-s, hidden" in harness_command("cache", "info").out


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────


def flip(path: Path) -> None:
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (flip, "is not what its name says"),
    "the end": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not what its name says"),
    "everything": (lambda path: path.write_bytes(b""), "is not what its name says"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_names_a_damaged_shard_and_changes_nothing(
    store: FeatureStore, harness_command: Any, damage: str
) -> None:
    folder = fill(store, 1)
    fill(store, 2)
    assert (
        harness_command("cache", "verify").out == "6 files, all sound\n"
    )  # read once before, as a run would
    hurt, problem = DAMAGE[damage]
    hurt(shards(folder)[0])
    before = files(store)
    told = harness_command("cache", "verify")
    assert told.code == 4
    assert told.out == f"{shards(folder)[0]}: {problem}\n"
    sentence = f"harness: 1 damaged of 6 files in the cache '{store.root}': --remove takes them away"
    assert told.said == [sentence]
    assert files(store) == before


def test_verify_takes_damage_away_when_asked_and_the_rest_stays(
    store: FeatureStore, harness_command: Any
) -> None:
    folder, other = fill(store, 1), fill(store, 2)
    victim, kept = shards(folder)
    flip(victim)
    told = harness_command("cache", "verify", "--remove", "--json")
    assert told.code == 4
    (facts,) = told.rows
    assert facts["damaged"] == {str(victim): "is not what its name says"} and facts["removed"]
    assert list(folder.iterdir()) == [kept] and len(list(other.iterdir())) == 3
    assert not store.is_complete(key(1)) and store.is_complete(key(2))
    assert harness_command("cache", "verify").code == 0


def test_verify_finds_what_has_the_right_checksum_and_is_wrong_all_the_same(
    store: FeatureStore, harness_command: Any
) -> None:
    import hashlib

    folder = fill(store, 1)
    for data in (b"no safetensors", b"\x02\0\0\0\0\0\0\0{}"):
        (folder / f"{hashlib.sha256(data).hexdigest()}.safetensors").write_bytes(data)
    gone = fill(store, 2)
    shards(gone)[0].unlink()
    (fill(store, 3) / "complete.json").write_text("")
    store.write_batches(key(9), [[0]])
    plan = store.root / "plans" / f"{key(9)}.json"
    plan.write_text("{}")
    told = harness_command("cache", "verify", "--remove", "--json")
    assert told.code == 4
    assert sorted(said.partition(":")[0] for said in told.rows[0]["damaged"].values()) == [
        "holds no rows of features",
        "holds no rows of features",
        "is no batch plan",
        "is not JSON",
        "tells of 4 rows, and the shards hold 2",
    ]
    assert len(shards(folder)) == 2 and not plan.exists()
    assert harness_command("cache", "verify").code == 0


def test_what_was_fitted_is_looked_after_like_features(store: FeatureStore, harness_command: Any) -> None:
    import hashlib

    from safetensors.numpy import save

    data = save({"mean": np.zeros(3, dtype=np.float32)})
    path = store.root / "fitted" / key(5) / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert harness_command("cache", "info", "--json").rows[0]["of"] == [
        {"what": "fitted", "sets": 1, "bytes": len(data)}
    ]
    assert harness_command("cache", "verify").code == 0
    junk = path.with_name(f"{hashlib.sha256(b'junk').hexdigest()}.safetensors")
    junk.write_bytes(b"junk")
    flip(path)
    told = harness_command("cache", "verify", "--json")
    assert told.code == 4
    assert told.rows[0]["damaged"] == {
        str(path): "is not what its name says",
        str(junk): "is not a safetensors file: SafetensorError: Error while deserializing: header too small",
    }
    assert harness_command("cache", "prune", "--incomplete", "--json").rows[0]["taken"] == []
    assert harness_command("cache", "prune", "--all", "--json").rows[0]["taken"] == [str(path.parent)]


# ── prune ────────────────────────────────────────────────────────────────────────────────────────────────


def taken(told: Any) -> list[int]:
    return sorted(int(Path(path).name, 16) for path in told.rows[0]["taken"])


def test_prune_takes_what_was_not_used_for_so_long(store: FeatureStore, harness_command: Any) -> None:
    folders = {number: fill(store, number, days=10 * number) for number in (1, 2, 3, 4)}
    before = files(store)
    told = harness_command("cache", "prune", "--older-than", "25d", "--dry-run", "--json")
    assert (taken(told), files(store)) == ([3, 4], before)
    size = sum(path.stat().st_size for number in (3, 4) for path in folders[number].iterdir())
    assert told.rows[0]["bytes"] == size
    told = harness_command("cache", "prune", "--older-than", "25d", "--json")
    assert (told.code, taken(told), told.rows[0]["bytes"]) == (0, [3, 4], size)
    assert [folders[number].exists() for number in (1, 2, 3, 4)] == [True, True, False, False]


def test_what_is_dated_in_the_future_counts_as_used_now_and_grows_old_from_then(
    store: FeatureStore, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = fill(store, 1, days=-400)
    fill(store, 2, days=40)
    told = harness_command("cache", "prune", "--older-than", "30d", "--dry-run", "--json")
    assert (taken(told), told.rows[0]["redated"]) == ([2], [str(ahead)])
    assert max(path.stat().st_mtime for path in ahead.iterdir()) > time.time() + 300 * DAY
    told = harness_command("cache", "prune", "--older-than", "30d")
    assert "1 were dated in the future, and count as used now" in told.out
    later = time.time() + 31 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    with store.in_use():
        assert taken(harness_command("cache", "prune", "--older-than", "30d", "--json")) == [1]


def test_what_is_dated_in_the_future_is_no_exception_to_a_size(
    store: FeatureStore, harness_command: Any
) -> None:
    fill(store, 1, days=-400)
    fill(store, 2, days=2)
    assert taken(harness_command("cache", "prune", "--max-size", "20kB", "--json")) == [2]
    assert taken(harness_command("cache", "prune", "--max-size", "0B", "--json")) == [1]


def test_reading_features_makes_them_used(store: FeatureStore, harness_command: Any) -> None:
    fill(store, 1, days=40)
    fill(store, 2, days=40)
    assert store.read(key(1), 4) is not None
    assert taken(harness_command("cache", "prune", "--older-than", "30d", "--json")) == [2]


def test_prune_takes_the_least_recently_used_until_the_size_is_met(
    store: FeatureStore, harness_command: Any
) -> None:
    for number, days in ((1, 5), (2, 50), (3, 20), (4, 30)):
        fill(store, number, days=days)
    told = harness_command("cache", "prune", "--max-size", "40kB", "--json")
    assert taken(told) == [2, 4]
    assert 30_000 < sum(map(len, files(store).values())) <= 40_000
    assert taken(harness_command("cache", "prune", "--max-size", "40kB", "--json")) == []
    assert taken(harness_command("cache", "prune", "--max-size", "0B", "--json")) == [1, 3]


def test_prune_takes_what_is_incomplete_and_what_killed_writers_left(
    store: FeatureStore, harness_command: Any
) -> None:
    whole, half = fill(store, 1), fill(store, 2, complete=False)
    left = [whole / ".tmp-a", half / ".tmp-b"]
    for path in left:
        path.write_bytes(b"half a shard")
    told = harness_command("cache", "prune", "--incomplete")
    assert told.code == 0 and told.out.splitlines()[-1].endswith("freed")
    assert whole.exists() and not half.exists() and not left[0].exists()
    assert store.read(key(1), 4) is not None


def test_prune_takes_everything_that_is_the_stores_and_nothing_else(
    store: FeatureStore, harness_command: Any
) -> None:
    fill(store, 1)
    fill(store, 2, complete=False)
    store.write_batches(key(3), [[0]])
    mine = [store.root / "features" / "notes" / "mine.safetensors", store.root / "thesis.tex"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    told = harness_command("cache", "prune", "--all")
    assert told.code == 0
    assert sorted(files(store)) == sorted(map(str, mine))


def test_prune_spares_what_a_run_may_just_be_writing(store: FeatureStore, harness_command: Any) -> None:
    old, new = fill(store, 1, days=2), fill(store, 2, days=0, complete=False)
    with store.in_use():
        told = harness_command("cache", "prune", "--all", "--json")
        assert taken(told) == [1]
        assert told.rows[0]["spared"] == [str(new)]
        assert "1 stay: a run uses the cache" in harness_command("cache", "prune", "--incomplete").out
        assert "1 stay" in harness_command("cache", "prune", "--max-size", "1B").out
    assert not old.exists() and new.exists()
    assert taken(harness_command("cache", "prune", "--all", "--json")) == [2]


def test_without_locks_prune_spares_what_is_new(
    store: FeatureStore, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    fill(store, 1, days=0)
    fill(store, 2, days=1)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert taken(harness_command("cache", "prune", "--all", "--json")) == [2]


HOLDER = """
import sys, time
from pathlib import Path
from harness.storage.feature_store import FeatureStore
with FeatureStore(Path(sys.argv[1])).in_use():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_does_not_keep_the_cache_in_use(store: FeatureStore, harness_command: Any) -> None:
    fill(store, 1, days=0)
    with subprocess.Popen([sys.executable, "-c", HOLDER, store.root], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with store.in_use():  # any number of runs share it
            pass
        assert taken(harness_command("cache", "prune", "--all", "--json")) == []
        holder.kill()
        holder.wait()
    assert taken(harness_command("cache", "prune", "--all", "--json")) == [1]
    assert [path.suffix for path in (store.root / IN_USE).iterdir()] == [""]  # the mark it left is gone


def test_a_run_waits_while_the_cache_is_pruned(store: FeatureStore) -> None:
    began = threading.Event()

    def use() -> None:
        with store.in_use():
            began.set()

    with hold_alone(store.root / IN_USE) as alone:
        assert alone
        run = threading.Thread(target=use)
        run.start()
        assert not began.wait(0.2)
    run.join()
    assert began.is_set()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say what to prune: --older-than AGE, --max-size SIZE, --incomplete or --all"),
        (["--older-than", "30"], "'30' is not of the form 30d or 12h"),
        (["--older-than", "-3d"], "'-3d' is not of the form"),
        (["--older-than", "3y"], "(units: s, m, h, d, w)"),
        (["--max-size", "20"], "'20' is not of the form 20GB or 500MB"),
        (["--max-size", "many GB"], "'many GB' is not of the form"),
        (["--max-size", "nanGB"], "'nanGB' is not of the form"),
        (["--max-size", "1e3GB"], "'1e3GB' is not of the form"),
    ],
)
def test_what_cannot_be_pruned_is_one_sentence(
    store: FeatureStore, harness_command: Any, arguments: list[str], sentence: str
) -> None:
    fill(store, 1)
    before = files(store)
    told = harness_command("cache", "prune", *arguments)
    assert told.code == 2 and len(told.said) == 1 and sentence in told.said[0]
    assert files(store) == before


@given(number=st.integers(0, 10**6), unit=st.sampled_from([*SIZES]), upper=st.booleans())
def test_sizes_read_as_they_are_written(number: int, unit: str, upper: bool) -> None:
    text = f"{number}{unit.upper() if upper else unit}"
    assert read_amount(text, SIZES, "--max-size", "20GB") == number * SIZES[unit]
    assert read_amount(f"{number}.5 {unit}", SIZES, "--max-size", "20GB") == (number + 0.5) * SIZES[unit]


def test_ages_are_in_seconds() -> None:
    assert read_amount("1.5d", AGES, "--older-than", "30d") == 1.5 * DAY
    assert read_amount("2w", AGES, "--older-than", "30d") == 14 * DAY


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), share=st.floats(0, 1.2))
def test_pruning_to_a_size_leaves_at_most_it_and_the_most_recent(sizes: list[int], share: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, rows in enumerate(sizes):
            path = root / "plans" / f"{key(number)}.json"
            with whole_file(path) as temporary:
                temporary.write_bytes(b" " * rows)
            os.utime(path, (1000.0 + number, 1000.0 + number))
        limit = int(share * sum(sizes))
        pruned = housekeeping.prune(root, max_bytes=limit)
        left = [int(path.stem, 16) for path in sorted((root / "plans").iterdir())]
    assert left == list(range(len(sizes) - len(left), len(sizes)))
    assert sum(sizes[number] for number in left) <= limit
    assert pruned.bytes == sum(sizes) - sum(sizes[number] for number in left)
    if len(left) < len(sizes):  # no more than was needed
        assert sum(sizes[-len(left) - 1 :]) > limit
