"""Names of SAELens' releases and of Neuronpedia's sources: what they mean, offline, and what is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import torch
from harness_saes import published as known
from harness_saes import releases
from harness_saes.formats import FORMATS
from interop.case import distance, read_golden

import harness
from harness.session import open as open_session

GOLDEN = Path(__file__).parent / "golden" / "sae_lens"


@pytest.fixture(scope="module")
def table() -> Mapping[str, Mapping[str, releases.Entry]]:
    if releases.find_table() is None:
        pytest.skip("sae-lens is in the extra [train]")
    return releases.read_table("x")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of four entries in place of the real one."""
    path = tmp_path / releases.TABLE
    path.write_text(
        """
toy-res:
  model: toy
  repo_id: someone/toy
  conversion_func: null
  config_overrides: {model_from_pretrained_kwargs: {center_writing_weights: true}, model_name: gpt2}
  saes:
  - {id: blocks.3.hook_resid_post, path: one, l0: 12, neuronpedia: toy/3-res}
  - {id: b, path: two, neuronpedia: toy/3-twice, norm_scaling_factor: 0.5}
  - {id: c, path: layer_3/width_16k/average_l0_9, neuronpedia: toy/3-twice}
  - {id: d, path: layer_2/width_16k/average_l0_9, neuronpedia: toy/20-res-16k__l0-9}
"""
    )
    monkeypatch.setattr(releases, "find_table", lambda: path)
    return path


def refusal(ref: str) -> str:
    with pytest.raises(harness.UsageError) as caught:
        releases.resolve(ref)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ── the real table ───────────────────────────────────────────────────────────────────────────────────────


def test_every_entry_means_a_reference_or_is_refused_by_what_it_is(table: Any) -> None:
    counts: Counter[str] = Counter()
    known = {kind.kind for kind in FORMATS}
    made: set[str] = set()
    for entry in (entry for release in table.values() for entry in release.values()):
        try:
            spec = releases.resolve(entry.name)
        except harness.UsageError as error:
            said = str(error)
            if "for which there is no reader here" in said:
                assert releases._FORMATS.get(entry.function, "") not in known, said
            else:
                assert (
                    "transcoder" in said or entry.function in releases._REFUSED or "the embedding" in said
                ), said
            counts[f"refused:{entry.function}"] += 1
        else:
            assert entry.reference() in spec.summary
            if entry.release not in made:
                assert spec.make() is not None
                made.add(entry.release)
            counts[f"read:{entry.function}"] += 1
    assert sum(counts.values()) > 13_000
    assert counts["read:gemma_2"] > 2_800 and counts["read:gemma_3"] > 5_200 and counts["read:"] > 290
    assert counts["refused:"] == 0 and counts["refused:gemma_2"] == 8


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        (
            "saelens:gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical",
            "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82",
        ),
        (
            "saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre",
            "jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre",
        ),
        (
            "saelens:gemma-scope-2-270m-pt-res/layer_9_width_16k_l0_medium",
            "google/gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium",
        ),
        ("saelens:gpt2-small-res-jb@v1/blocks.8.hook_resid_pre", "jbloom/GPT2-Small-SAEs-Reformatted@v1/blocks.8"),
        ("neuronpedia:gemma-2-2b/12-gemmascope-res-16k", "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0"),
        ("neuronpedia:gpt2-small/8-res-jb", "jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre"),
    ],
)  # fmt: skip
def test_a_name_means_one_place_on_the_hub(table: Any, name: str, reference: str) -> None:
    assert releases.resolve(name).summary.startswith(reference)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saelens:gemma-scope-2b-pt-resi/x", "has no release 'gemma-scope-2b-pt-resi'; did you mean"),
        ("saelens:gpt2-small-res-jb", "is a release of 13: name one, such as saelens:gpt2-small-res-jb/blocks.0."),
        ("saelens:gpt2-small-res-jb/blocks.8.hook_resid_post", "or 'blocks.8.hook_resid_pre'?"),
        ("saelens:gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76", "is a transcoder"),
        ("saelens:gemma-scope-2-1b-it-transcoders-all/layer_0_width_16k_l0_big", "is a transcoder"),
        ("saelens:mwhanna-qwen3-4b-transcoders/layer_0", "is a transcoder"),
        ("saelens:temporal-sae-gemma-2-2b/blocks.12.hook_resid_post", "architecture temporal"),
        ("saelens:gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", "reads the embedding, which is no site"),
        ("neuronpedia:gpt2-small/8-res-jp", "no source 'gpt2-small/8-res-jp' of Neuronpedia; did you mean"),
        ("neuronpedia:gemma-2-9b/20-gemmascope-res-131k__l0-10", "which is of layer 2 and not 20"),
        ("neuronpedia:gemma-2-9b/20-gemmascope-res-131k__l0-12", "which is of L0 114 and not 12"),
    ],
)  # fmt: skip
def test_a_name_that_means_nothing_that_is_read_is_refused_in_a_sentence(
    table: Any, name: str, said: str
) -> None:
    assert said in refusal(name)


def test_what_the_table_says_of_features_is_known_of_their_repositories_without_it(table: Any) -> None:
    keys = {key for said in known.LEFT_OUT.values() for key in said}
    entries = [one for release in table.values() for one in release.values() if not one.function]
    told = {
        one.repository: {key: one.overrides[key] for key in keys & one.overrides.keys()} for one in entries
    }
    assert {repository: said for repository, said in told.items() if said} == known.LEFT_OUT
    others = {key for one in entries for key in one.overrides} - keys
    assert others == {"dataset_path"}  # which changes no feature


def test_the_table_is_read_without_its_package(table: Any) -> None:
    code = "import sys; from harness_saes import releases; releases.read_table(''); sys.exit('sae_lens' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ── a small one ──────────────────────────────────────────────────────────────────────────────────────────


def test_without_the_package_a_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        harness.UnavailableError, match=r"is not installed: pip install 'sae-harness\[train\]'"
    ):
        releases.resolve("saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre")


@pytest.mark.parametrize("content", ["[]", "a: {saes: 3}", "a: {repo_id: x, saes: [{path: x}]}", "a: ["])
def test_a_broken_table_is_one_sentence(small: Path, content: str) -> None:
    small.write_text(content)
    releases._read.cache_clear()
    with pytest.raises(harness.UnavailableError, match=r"pretrained_saes\.yaml of sae-lens cannot be read"):
        releases.resolve("saelens:toy-res/b")


def test_a_source_beside_two_dictionaries_or_another_one_is_refused(small: Path) -> None:
    assert "stands beside several dictionaries: name one, saelens:toy-res/b, saelens:toy-res/c" in refusal(
        "neuronpedia:toy/3-twice"
    )
    assert "which is of layer 2 and not 20, so one of both is wrong" in refusal(
        "neuronpedia:toy/20-res-16k__l0-9"
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_stand_in.Hub]:
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as served:
        yield served


def published(folder: str, golden: str = "standard--x-less-b-dec") -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in (GOLDEN / golden).iterdir()}
    return {f"{folder}/{name}": data for name, data in files.items()}


def test_a_release_is_fetched_at_its_revision_file_by_file(
    hub: hub_stand_in.Hub, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"one/sparsity.safetensors": b"large", "one/examples.bin": b"large", "two/README.md": b"text"}
    hub.add("someone/toy", {**published("one", "before-6-0"), **published("two"), **more})
    commit = hub.commit("someone/toy")
    site = harness.Site.parse("resid_post.3")
    choice = open_session().registry.choose(
        "representations", f"saelens:toy-res@{commit}/blocks.3.hook_resid_post"
    )
    placed = choice.make().at(None, site)
    assert placed.reference == f"someone/toy@{commit}/one"
    assert (placed.published_l0, placed.link) == (12, "https://www.neuronpedia.org/toy/3-res/{feature}")
    case = read_golden(GOLDEN / "before-6-0.json")
    centred = case.x - case.x.mean(1, keepdim=True)
    plain = (
        open_session().registry.choose("representations", f"someone/toy@{commit}/one").make().at(None, site)
    )
    # What the table says of the model is what the config of a local folder would say.
    assert distance(plain.load("cpu").encode(case.x), case.features) < 1e-5
    assert distance(placed.load("cpu").encode(case.x), plain.load("cpu").encode(centred)) < 1e-5
    fetched = {path.rpartition("/resolve/")[2].partition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"one/cfg.json", "one/sae_weights.safetensors"} <= fetched
    assert not any("sparsity" in path or "examples" in path or path.startswith("two") for path in fetched)
    with pytest.raises(harness.UsageError, match=r"was trained on 'resid_post.3', not on 'resid_post.4'"):
        choice.make().at(None, harness.Site.parse("resid_post.4"))


def test_a_repository_whose_configs_leave_out_a_setting_is_read_with_it(hub: hub_stand_in.Hub) -> None:
    names = ("jbloom/GPT2-Small-SAEs-Reformatted", "someone/toy")
    for name in names:
        hub.add(name, published("one", "before-6-0"))
    made = [open_session().registry.choose("representations", f"{name}/one").make() for name in names]
    placed, plain = (each.at(None, harness.Site.parse("resid_post.3")) for each in made)
    x = torch.randn(4, 8)
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(placed.load("cpu").encode(x), plain.load("cpu").encode(centred))
    assert "its config leaves out model_from_pretrained_kwargs" in placed.notes[0] and not plain.notes
    assert placed.identity != plain.identity


def test_the_scale_of_a_release_is_that_of_the_table(hub: hub_stand_in.Hub, small: Path) -> None:
    files = published("two")
    said = {**json.loads(files["two/cfg.json"]), "normalize_activations": "expected_average_only_in"}
    config = json.dumps(said).encode()
    hub.add("someone/toy", {**files, "two/cfg.json": config})
    site, x = harness.Site.parse("resid_post.3"), torch.randn(3, 8)
    named = releases.resolve("saelens:toy-res/b")
    placed = named.make().at(None, site)
    raw = named.make(input_scale=1.0).at(None, site)
    assert isinstance(placed, harness.PlacedRepresentation) and isinstance(raw, harness.PlacedRepresentation)
    assert placed.load is not None and raw.load is not None
    torch.testing.assert_close(placed.load("cpu").encode(x), raw.load("cpu").encode(x * 0.5))
    assert placed.identity != raw.identity
