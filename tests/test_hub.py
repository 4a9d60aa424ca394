"""Files of the hub: what is not there, what cannot be asked, and commands in messages that do what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_stand_in
import numpy as np
import pytest
from hub_stand_in import Hub

import harness
from harness import Columns, DataError, HubFiles, HubSource, TaskSpec, UnavailableError
from harness.data.sources import read_source

MODEL = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights" / "minigemma-s"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as served:
        yield served


def files(repo: str = "org/name", revision: str | None = None) -> HubFiles:
    return HubFiles.at("model 'x'", repo, revision)


# ── not there, or not to be asked ────────────────────────────────────────────────────────────────────────


def test_what_the_hub_has_is_fetched_once_and_what_it_has_not_is_asked_once(hub: Hub) -> None:
    hub.add("org/name", {"a.json": b"{}", "b.safetensors": b"weights"})
    at = files().pinned("a.json")
    assert at.fetch("a.json").read_bytes() == b"{}"
    assert (at.is_there("b.safetensors"), at.is_there("c.json"), at.find("c.json")) == (True, False, None)
    (sha256,) = at.hashes("b.safetensors").values()
    assert len(sha256) == 64 and at.local("b.safetensors") is None
    hub.asked.clear()
    assert (at.find("a.json"), at.is_there("c.json")) == (at.local("a.json"), False)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("repo", "revision", "name", "sentence"),
    [
        ("org/name", None, "b.json", "has no file b.json on the hub: see https://huggingface.co/org/name"),
        (
            "org/none",
            None,
            "a.json",
            "there is no repository 'org/none' on the hub, or it is private: check the name",
        ),
        (
            "org/name",
            "v9",
            "a.json",
            "there is no revision 'v9' of 'org/name' on the hub: name none, or one that",
        ),
        (
            "org/gated",
            None,
            "a.json",
            "is gated: accept the terms at https://huggingface.co/org/gated and log in with",
        ),
    ],
)
def test_what_is_not_there_is_told_apart_from_a_hub_that_cannot_be_asked(
    hub: Hub, repo: str, revision: str | None, name: str, sentence: str
) -> None:
    hub.add("org/name", {"a.json": b"{}"})
    hub.add("org/gated", {"a.json": b"{}"})
    hub.gated.add("org/gated")
    with pytest.raises(UnavailableError) as caught:
        files(repo, revision).fetch(name)
    assert sentence in str(caught.value) and "cannot be asked" not in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (503, "it answers with status 503"),
        (404, "it answers with status 404"),
        ("stripped", "missing the 'X-Repo-Commit' header"),
        ("dead", "ConnectError"),
    ],
)
def test_a_hub_that_cannot_be_asked_never_counts_as_one_without_the_file(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, behaviour: str | int, reason: str
) -> None:
    hub.add("org/name", {"a.json": b"{}", "b.json": b"{}"})
    files().fetch("a.json")
    assert files().is_there("gone.json") is False
    if behaviour == "dead":
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{filename}"
        )
    else:
        hub.behaviour = behaviour
    for ask in (HubFiles.find, HubFiles.fetch, HubFiles.is_there):
        with pytest.raises(UnavailableError) as caught:
            ask(files(), "b.json")
        told = str(caught.value)
        assert "the hub cannot be asked for b.json" in told and reason in told and "--offline" in told
    assert files().fetch("a.json").read_bytes() == b"{}"  # what is cached needs no hub
    assert files().find("gone.json") is None  # and what it once had not


def test_a_cache_that_cannot_be_written_names_the_variable_of_another(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/name", {"a.json": b"{}"})
    (tmp_path / "hub").write_text("a file")
    with pytest.raises(
        UnavailableError, match=r"hub' cannot be written .*name another folder as HF_HUB_CACHE"
    ):
        files().fetch("a.json")


def test_a_file_that_a_cached_list_names_is_missed_offline_and_another_is_not(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/name", {"a.json": b"{}", "b.json": b"{}"})
    hub_stand_in.hf("hf download org/name --include a.json")
    hub_stand_in.go(monkeypatch, offline=True)
    assert files().find("a.json") and files().find("c.json") is None
    with pytest.raises(UnavailableError, match=r"run `hf download org/name b\.json`"):
        files().find("b.json")
    assert files().names() == (["a.json", "b.json"], True)


@pytest.mark.parametrize(
    ("repo", "behaviour", "sentence"),
    [
        ("org/none", "ok", "it is not on the hub, or it is private or gated: check the name"),
        (
            "org/gated",
            "ok",
            "accept the terms at https://huggingface.co/datasets/org/gated if there are any",
        ),
        ("org/name", 503, "the hub cannot be asked (it answers with status 503)"),
        ("org/name", "ok", "there is no revision 'v9' of 'org/name' on the hub"),
    ],
)
def test_a_dataset_that_is_not_there_is_told_apart_from_a_hub_that_cannot_be_asked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, repo: str, behaviour: str | int, sentence: str
) -> None:
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    hub.add("org/name", {"README.md": b"", "data.csv": b"text,label"})
    hub.add("org/gated", {"README.md": b""})
    hub.gated.add("org/gated")
    hub.behaviour = behaviour
    source = HubSource(hub=repo, revision="v9")
    about: Any = {"summary": "toy", "languages": ("en",), "licence": "CC0", "citation": "nobody"}
    spec = TaskSpec(name="toy", version=1, source=source, columns=Columns(), **about)
    with pytest.raises(DataError) as caught:
        read_source(spec, None)
    assert str(caught.value).startswith(f"task 'toy': the dataset '{repo}' cannot be loaded")
    assert sentence in str(caught.value)


# ── advice that works ────────────────────────────────────────────────────────────────────────────────────


def scope(folder: Path, *l0s: int, layer: int = 1, width: str = "16", d_in: int = 64) -> Path:
    """A repository laid out as Gemma Scope's."""
    random = np.random.default_rng(0)
    for l0 in l0s:
        inside = folder / f"layer_{layer}" / f"width_{width}" / f"average_l0_{l0}"
        inside.mkdir(parents=True)
        shapes = {"W_enc": (d_in, 16), "W_dec": (16, d_in), "b_enc": 16, "b_dec": d_in, "threshold": 16}
        arrays = {name: random.random(shape, dtype=np.float32) for name, shape in shapes.items()}
        np.savez(inside / "params.npz", **arrays)
    return folder


def open_model(ref: str) -> Any:
    return harness.open(device="cpu").registry.choose("models", ref).make()


def features(representation: str, model: str = "minigemma-s") -> Any:
    session = harness.open(device="cpu")
    return session.features(
        ["one"], model=model, site="resid_post.1", representation=representation, pooling="mean"
    )


def test_after_the_commands_for_a_model_it_is_read_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/gemma", MODEL)
    found, told = hub_stand_in.follow(lambda: features("hidden", "org/gemma"), monkeypatch)
    assert np.array_equal(found, features("hidden"))
    assert told[0] == "hf download org/gemma --include '*.json' --include '*.jinja' --include README.md"
    assert len(told) == 2 and told[1].startswith("hf download org/gemma model.safetensors --revision ")


def test_a_plan_reads_the_hash_of_weights_from_the_hub_and_what_is_cached_needs_none(hub: Hub) -> None:
    hub.add("org/gemma", MODEL)
    site = harness.Site.parse("resid_post.1")
    wanted = open_model(str(MODEL)).identity(site)
    assert open_model("org/gemma").identity(site) == wanted
    assert not list((Path(hub.cache) / "models--org--gemma").glob("snapshots/*/model.safetensors"))
    hub_stand_in.hf("hf download org/gemma")
    hub.behaviour = 503
    model = open_model("org/gemma")
    assert model.identity(site) == wanted and model.load([site], "cpu")


@pytest.mark.parametrize(
    ("representation", "wanted"),
    [
        ("org/scope/layer_1/width_16/average_l0_30", "layer_1/width_16/average_l0_30/params.npz"),
        ("org/gemma-scope-own[width=16]", "--include 'layer_1/width_16/average_l0_*/params.npz'"),
        ("org/gemma-scope-own[width=16,l0=90]", "layer_1/width_16/average_l0_90/params.npz"),
        ("org/gemma-scope-own", "--include 'layer_1/width_*/average_l0_*/params.npz'"),
    ],
)
def test_after_the_command_for_a_dictionary_it_is_read_offline_as_online(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, representation: str, wanted: str
) -> None:
    repo = "/".join(representation.partition("[")[0].split("/")[:2])
    hub.add(repo, scope(tmp_path / "scope", 30, 90, 400))
    found, (told,) = hub_stand_in.follow(lambda: features(representation), monkeypatch)
    assert wanted in told
    hub_stand_in.go(monkeypatch, offline=False)
    assert (found != features(representation)).nnz == 0


def test_a_choice_among_cached_dictionaries_alone_is_said_and_recorded(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harness_command: Any,
    toy_task: Path,
    toy_suite: Path,
) -> None:
    hub.add("org/gemma-scope-own", scope(tmp_path / "scope", 30, 90))
    hub_stand_in.hf("hf download org/gemma-scope-own layer_1/width_16/average_l0_30/params.npz")
    hub_stand_in.go(monkeypatch, offline=True)
    arms = "representations=[hidden, org/gemma-scope-own]"
    ended = harness_command(
        "run", toy_suite, "--include", toy_task, "--set", arms, "-o", "out", "-d", "cpu", "-b", 10
    )
    assert ended.code == 0
    (said,) = [line for line in ended.said if "cache alone" in line]
    assert (
        "is layer_1/width_16/average_l0_30, chosen among those in the local hub cache alone (offline)" in said
    )
    rows = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    flags = {row["representation"]: row["flags"] for row in rows}
    assert "cached-choice" in flags["org/gemma-scope-own"] and "cached-choice" not in flags["hidden"]
    with pytest.raises(
        UnavailableError, match=r"average_l0_90/params\.npz`"
    ):  # exactly that one is not cached
        features("org/gemma-scope-own[l0=90,width=16]")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("adapter_config.json", "an adapter"),
        ("model-q4.gguf", "GGUF"),
        ("pytorch_model.bin", "pickled weights (pytorch_model.bin), which are never read"),
        ("model-00001-of-00002.safetensors", "shards of a model without model.safetensors.index.json"),
    ],
)
def test_a_repository_without_weights_that_are_read_is_said_to_be_what_it_is(
    hub: Hub, name: str, what: str
) -> None:
    config = {} if name == "adapter_config.json" else {"config.json": (MODEL / "config.json").read_bytes()}
    tokenizer = {"tokenizer.json": (MODEL / "tokenizer.json").read_bytes()}
    hub.add("org/other", {name: b"{}", **config, **tokenizer})
    with pytest.raises(UnavailableError) as caught:
        features("hidden", "org/other")
    assert what in str(caught.value) and "on the hub" in str(caught.value)
