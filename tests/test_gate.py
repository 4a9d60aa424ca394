"""Right pairings of model and dictionary pass the gate, and wrong ones are flagged, in runs of the real command.

`python -m pytest tests/test_gate.py -s -k table` prints what was measured and decided for each pairing.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness_saes.gemma_scope import load

import harness
from harness.api.data import Site
from harness.api.errors import UnavailableError
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.fidelity import explained_by_chance, measure, measure_fit
from harness.dictionaries.gate import LEAST_VARIANCE, Fidelity, judge, neighbours, not_measurable
from harness.features.activations import read_sample

WEIGHTS = Path(__file__).parent.parent / "plugins" / "harness_minigemma" / "weights"
SITE = Site(kind="resid_post", layer=1)


def stored(model: str, layer: int, width: str) -> Path:
    """The folder of one of the family's dictionaries."""
    (folder,) = (WEIGHTS / f"{model}-scope" / f"layer_{layer}" / f"width_{width}").glob("average_l0_*")
    return folder


def scaled(folder: Path, to: Path, factor: float) -> Path:
    """The same dictionary for activations `factor` times as large: what it should be given, it then is not."""
    to = to / f"{factor:g}" / Path(*folder.parts[-3:])
    to.mkdir(parents=True)
    with np.load(folder / "params.npz") as arrays:
        kept = {name: arrays[name].astype(np.float32) for name in arrays}
    for name in ("b_enc", "b_dec", "threshold"):
        kept[name] *= factor
    np.savez(to / "params.npz", **kept)
    return to


def drawn(folder: Path, to: Path) -> Path:
    """Random weights of the same shapes and sizes."""
    to = to / "drawn" / Path(*folder.parts[-3:])
    to.mkdir(parents=True)
    random = np.random.default_rng(0)
    with np.load(folder / "params.npz") as arrays:
        kept = {name: random.permuted(arrays[name].ravel()).reshape(arrays[name].shape) for name in arrays}
    np.savez(to / "params.npz", **kept)
    return to


def run(harness_command, folder: str, model: str, representation: str, *more: str, site: str = SITE) -> list:
    told = harness_command(
        "run", "quickstart", "-t", "quickstart_topic", "-m", model, "-L", "200", "-o", folder,
        "--set", f'models=[{{ref: "{model}", sites: ["{site}"]}}]',
        "--set", f'representations=["{representation}"]', "--set", "poolings=[mean]", "--set", "transforms=[none]",
        "--set", "classifiers=[{name: logreg, C: 1.0}]",  # what a gate says depends on no probe
        *more,
    )  # fmt: skip
    lines = Path(folder, "results.jsonl").read_text().splitlines()
    return [told, *(json.loads(line) for line in lines)]


SMALL, LARGE = ("minigemma-s", "512"), ("minigemma-m", "1k")

RIGHT = {
    "s, layer 0": (*SMALL, 0, 0),
    "s, layer 1": (*SMALL, 1, 1),
    "s, layer 2": (*SMALL, 2, 2),
    "m, layer 1": (*LARGE, 1, 1),
    "m, layer 2": (*LARGE, 2, 2),
    "m, layer 4": (*LARGE, 4, 4),
}
WRONG_LAYER = {
    "s, layer 1 read at 0": (*SMALL, 1, 0),
    "s, layer 1 read at 2": (*SMALL, 1, 2),
    "s, layer 2 read at 3, the last": (*SMALL, 2, 3),
    "m, layer 2 read at 1": (*LARGE, 2, 1),
    "m, layer 2 read at 3": (*LARGE, 2, 3),
    "m, layer 4 read at 2": (*LARGE, 4, 2),
    "m, layer 1 read at 5": (*LARGE, 1, 5),
}


def line(name: str, fidelity: dict) -> str:
    shown = ("explained_variance", "below", "above", "halved", "doubled", "outside", "l0", "published_l0")
    numbers = ["—" if fidelity[key] is None else f"{fidelity[key]:.2f}" for key in shown]
    reasons = "; ".join(fidelity["reasons"].values())
    return f"| {' | '.join([name, *numbers, fidelity['verdict'], reasons])} |"


@pytest.fixture(scope="module")
def table():
    """Lines that are printed when all tests of the module are done: while they run, output is captured."""
    lines: list[str] = []
    yield lines
    head = "| pairing | EV | one down | one up | ×½ | ×2 | BOS | L0 | published | verdict | reasons |"
    print("", head, "|---" * 11 + "|", *lines, sep="\n")


@pytest.mark.slow
@pytest.mark.long
def test_the_table_of_right_and_wrong_pairings(harness_command, tmp_path, table):
    folder = stored("minigemma-s", 1, "512")
    other = stored("minigemma-m", 2, "1k")
    pairings = {
        **{
            name: (model, f"{stored(model, layer, width)}[any_site=true]", at, None)
            for name, (model, width, layer, at) in (RIGHT | WRONG_LAYER).items()
        },
        "s, activations doubled": ("minigemma-s", f"{scaled(folder, tmp_path, 0.5)}", 1, "scale"),
        "s, activations halved": ("minigemma-s", f"{scaled(folder, tmp_path, 2.0)}", 1, "scale"),
        "m, activations a tenth": ("minigemma-m", f"{scaled(other, tmp_path, 10.0)}", 2, "variance"),
        "s, dictionary of random weights": ("minigemma-s", f"{drawn(folder, tmp_path)}", 1, "variance"),
        "m, dictionary of random weights": ("minigemma-m", f"{drawn(other, tmp_path)}", 2, "variance"),
        "s, model of random weights": ("minigemma-s[random_weights=0]", str(folder), 1, "variance"),
        "m, model of random weights": ("minigemma-m[random_weights=0]", str(other), 2, "variance"),
    }  # fmt: skip
    for number, (name, (model, representation, at, rule)) in enumerate(pairings.items()):
        told, record = run(harness_command, f"run-{number}", model, representation, site=f"resid_post.{at}")
        assert told.code == 0
        fidelity = record["fidelity"]
        table.append(line(name, fidelity))
        wanted = "ok" if name in RIGHT else "flagged"
        assert fidelity["verdict"] == wanted, (name, fidelity)
        if name in WRONG_LAYER:
            assert "layer" in fidelity["reasons"] or fidelity["explained_variance"] < LEAST_VARIANCE
        if rule:
            assert rule in fidelity["reasons"], (name, fidelity)
    _, record = run(
        harness_command, "run-all", "minigemma-m", str(other), "--set", "tokens=all", site="resid_post.2"
    )
    table.append(line("m, layer 2, tokens=all (BOS included)", record["fidelity"]))
    assert "outside" in record["fidelity"]["reasons"]


def test_a_flagged_dictionary_is_flagged_wherever_it_is_shown(harness_command):
    folder = stored("minigemma-s", 2, "512")
    told, record = run(
        harness_command,
        "out",
        "minigemma-s",
        f"{folder}[any_site=true]",
        "--strict-gate",
        site="resid_post.1",
    )
    assert told.code == 4
    assert "1 cells, 1 flagged" in told.out
    assert record["status"] == "ok"
    assert record["flags"] == ["any-site", "limited", "fidelity:layer"]
    assert record["fidelity"]["published_l0"] == float(folder.name.removeprefix("average_l0_"))
    assert record["fidelity"]["above"] > record["fidelity"]["explained_variance"]
    board = Path("out/leaderboard.md").read_text()
    assert "fidelity:layer" in board
    assert "flagged: explains" in board
    assert "| published | other b_dec | random directions | dead | fidelity |" in board
    with Path("out/leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["fidelity"] == "flagged"
    assert float(row["explained_variance"]) == pytest.approx(
        record["fidelity"]["explained_variance"], abs=1e-6
    )


def test_the_gate_alone_makes_no_exit_code_and_strictness_does_not_hide_what_is_right(harness_command):
    folder = stored("minigemma-s", 2, "512")
    told, _ = run(harness_command, "wrong", "minigemma-s", f"{folder}[any_site=true]", site="resid_post.1")
    assert told.code == 0
    told, record = run(
        harness_command, "right", "minigemma-s", str(folder), "--strict-gate", site="resid_post.2"
    )
    assert told.code == 0
    assert record["fidelity"]["verdict"] == "ok"
    assert record["flags"] == ["limited"]


def test_what_was_measured_is_not_measured_again(harness_command):
    folder = stored("minigemma-s", 1, "512")
    told, record = run(harness_command, "first", "minigemma-s", str(folder), site="resid_post.1")
    assert " 0 tokens" not in told.out
    told, again = run(harness_command, "second", "minigemma-s", str(folder), site="resid_post.1")
    assert " 0 tokens through models" in told.out
    assert again["fidelity"] == record["fidelity"]
    events = [json.loads(one)["event"] for one in Path("second/events.jsonl").read_text().splitlines()]
    assert "measured" not in events
    assert harness_command("cache", "verify").code == 0


def test_damage_to_what_was_measured_is_found_and_measured_again(harness_command, own_cache):
    folder = stored("minigemma-s", 1, "512")
    _, record = run(harness_command, "first", "minigemma-s", str(folder), site="resid_post.1")
    (path,) = (own_cache / "fidelity").glob("*/*.safetensors")
    path.write_bytes(path.read_bytes().replace(b"explained", b"exp1ained"))
    assert harness_command("cache", "verify").code == 4
    _, again = run(harness_command, "second", "minigemma-s", str(folder), site="resid_post.1")
    assert again["fidelity"] == record["fidelity"]


def test_what_cannot_be_measured_says_why_and_other_sites_have_no_neighbours(harness_command):
    for number, (representation, reason) in enumerate(
        {
            "random_sae[k=4]": "it has no decoder",
            "hidden": None,
        }.items()
    ):
        _, record = run(harness_command, f"run-{number}", "minigemma-s", representation, site="resid_post.1")
        verdict = "not measurable" if reason else "not measured"
        assert record["fidelity"]["verdict"] == verdict
        assert list(record["fidelity"]["reasons"].values()) == ([reason] if reason else [])
    folder = stored("minigemma-s", 1, "512")
    _, record = run(harness_command, "mlp", "minigemma-s", f"{folder}[any_site=true]", site="mlp_out.1")
    assert (record["fidelity"]["below"], record["fidelity"]["above"]) == (None, None)
    assert "variance" in record["fidelity"]["reasons"]


def test_a_decoder_that_is_missing_or_broken_ends_nothing(harness_command, tmp_path):
    source = stored("minigemma-s", 1, "512")
    to = tmp_path / "scope" / Path(*source.parts[-3:])
    to.mkdir(parents=True)
    with np.load(source / "params.npz") as arrays:
        np.savez(to / "params.npz", **{name: arrays[name] for name in arrays if name != "W_dec"})
    told, record = run(harness_command, "out", "minigemma-s", str(to), site="resid_post.1")
    assert (told.code, record["status"]) == (0, "ok")
    assert record["fidelity"]["verdict"] == "not measurable"
    assert "W_dec" in record["fidelity"]["reasons"]["unmeasured"]


def test_a_model_without_its_deeper_weights_is_measured_without_the_layer_above(harness_command, tmp_path):
    """As in a hub cache that holds only the shards that a shallow site needs."""
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(WEIGHTS / "minigemma-s", model)
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    shallow = {
        name: one
        for name, one in tensors.items()
        if "embed" in name or ".layers.0." in name or ".layers.1." in name
    }
    save_file(shallow, model / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    names = dict.fromkeys(shallow, "model-00001-of-00002.safetensors")
    deeper = dict.fromkeys(tensors.keys() - shallow.keys(), "model-00002-of-00002.safetensors")
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": names | deeper})
    )
    folder = stored("minigemma-s", 1, "512")
    told, record = run(harness_command, "out", str(model), str(folder), site="resid_post.1")
    assert told.code == 0
    assert record["fidelity"]["verdict"] == "ok"
    assert record["fidelity"]["above"] is None
    assert record["fidelity"]["below"] is not None


# ── faults of files that publish nothing ─────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def sampled():
    """Activations `[tokens, d]` of the quickstart's topics at every site of an embedded model."""
    lines = (WEIGHTS.parents[2] / "tasks/harness_quickstart/data/quickstart_topic.jsonl").read_text("utf-8")
    texts = [json.loads(one)["text"] for one in lines.splitlines()[:25]]
    registry = harness.open(device="cpu").registry
    found = {}

    def read(name: str) -> dict[Site, torch.Tensor]:
        if name not in found:
            model = registry.choose("models", name).make()
            sites = [Site(kind="resid_post", layer=layer) for layer in range(model.n_layers)]
            tokens = model.tokenize(texts)
            found[name] = read_sample(model.load(sites, "cpu"), tokens, sites, batch_size=32, device="cpu")
        return found[name]

    return read


FAULTS = {
    "thresholds of −1": (lambda one: replace(one, threshold=-torch.ones(one.width)), "thresholds"),
    "thresholds of 0": (lambda one: replace(one, threshold=torch.zeros(one.width)), "thresholds"),
    "saved for x − b_dec": (lambda one: replace(one, b_enc=one.b_enc + one.b_dec @ one.W_enc), "b_dec"),
    "saved for x, read as for x − b_dec": (lambda one: replace(one, subtract=one.b_dec), "b_dec"),
}


@pytest.mark.parametrize(
    "folder", sorted(WEIGHTS.glob("minigemma-?-scope/*/*/*")), ids=lambda path: "/".join(path.parts[-4:-1])
)
def test_every_embedded_dictionary_is_right_without_a_published_l0_and_each_fault_has_its_name(
    sampled, folder
):
    scope, layer = folder.parts[-4], int(folder.parts[-3].removeprefix("layer_"))
    sample, site = sampled(scope.removesuffix("-scope")), Site(kind="resid_post", layer=layer)
    good = load(folder / "params.npz", name=str(folder), device="cpu", decoder=True)
    content = torch.ones(len(sample[site]), dtype=torch.bool)

    def verdict(dictionary: Dictionary, seen: dict[Site, torch.Tensor]) -> Fidelity:
        return judge(measure(dictionary, seen, site, content=content, published_l0=None))

    right = verdict(good, sample)
    assert right.reasons == {}
    assert right.verdict == "ok"
    for name, (spoil, rule) in FAULTS.items():
        wrong = verdict(spoil(good), {site: sample[site]})
        assert rule in wrong.reasons, (name, wrong)
        assert wrong.reasons[rule].endswith("?")


def test_a_file_saved_for_the_other_convention_is_flagged_and_read_right_when_told(harness_command, tmp_path):
    source = stored("minigemma-m", 2, "1k")
    with np.load(source / "params.npz") as arrays:
        good = {name: arrays[name].astype(np.float32) for name in arrays}
    (tmp_path / "mine").mkdir()
    np.savez(
        tmp_path / "mine" / "params.npz", **{**good, "b_enc": good["b_enc"] + good["b_dec"] @ good["W_enc"]}
    )
    site = "resid_post.2"
    told, wrong = run(harness_command, "wrong", "minigemma-m", f"{tmp_path}/mine", "--strict-gate", site=site)
    assert told.code == 4
    assert "fidelity:b_dec" in wrong["flags"]
    assert wrong["fidelity"]["reasons"]["b_dec"].endswith("as it is read: saved for x − b_dec?")
    reference = f"{tmp_path}/mine[subtract_b_dec=true]"
    told, right = run(harness_command, "told", "minigemma-m", reference, "--strict-gate", site=site)
    assert (told.code, right["fidelity"]["verdict"]) == (0, "ok")
    _, plain = run(harness_command, "plain", "minigemma-m", str(source), site=site)
    assert right["predictions_hash"] == plain["predictions_hash"]
    assert right["fidelity"]["l0"] == pytest.approx(plain["fidelity"]["l0"], rel=1e-3)


@pytest.mark.parametrize(
    ("width", "k", "d"), [(512, 9, 64), (1024, 20, 128), (4096, 20, 128), (1024, 126, 128), (600, 300, 256)]
)
def test_random_directions_explain_what_is_expected_of_them(width, k, d):
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(width, d, generator=generator), dim=1)
    x = torch.randn(400, d, generator=generator) * torch.logspace(-2, 1, d)  # no sphere
    x -= x.mean(0)
    encoder = Dictionary(
        name="random",
        width=width,
        activation="topk",
        k=k,
        W_enc=directions.T.contiguous(),
        b_enc=torch.zeros(width),
        W_dec=directions,
        b_dec=torch.zeros(d),
    )
    rebuilt, _ = encoder.rebuild(x, width)
    scale = (rebuilt * x).sum() / rebuilt.square().sum()
    seen = 1 - (x - scale * rebuilt).square().sum() / x.square().sum()
    assert explained_by_chance(k, width=width, d_in=d) == pytest.approx(float(seen), abs=0.03)


def test_what_random_directions_explain_is_a_share_at_any_l0():
    shares = [
        explained_by_chance(l0, width=512, d_in=64) for l0 in (0.0, 0.01, 1.0, 9.0, 100.0, 511.0, 512.0)
    ]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] < 1.0


# ── the arithmetic ───────────────────────────────────────────────────────────────────────────────────────


def planted(width: int = 16, d: int = 16) -> tuple[Dictionary, torch.Tensor]:
    """A dictionary of orthogonal directions, and activations that it fits well but not wholly."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    fires = torch.rand(600, width, generator=generator) < 0.1
    strengths = (0.5 + torch.rand(600, width, generator=generator)) * fires
    x = strengths @ directions + 0.02 * torch.randn(600, d, generator=generator)
    dictionary = Dictionary(
        name="planted",
        width=width,
        activation="jumprelu",
        W_enc=directions.T.contiguous(),
        b_enc=torch.zeros(width),
        threshold=torch.full((width,), 0.3),
        W_dec=directions,
        b_dec=torch.zeros(d),
    )
    return dictionary, x


def test_explained_variance_and_l0_are_their_formulas_in_numpy():
    dictionary, x = planted()
    fit = measure_fit(dictionary, x)
    values = x.double().numpy()
    before = values @ dictionary.W_enc.double().numpy()
    features = np.maximum(before, 0) * (before > 0.3)
    left = values - features @ dictionary.W_dec.double().numpy()
    centred = values - values.mean(0)
    assert fit.explained_variance == pytest.approx(1 - (left**2).sum() / (centred**2).sum(), abs=1e-6)
    by_dimension = 1 - (left**2).sum(0) / (centred**2).sum(0)
    assert sorted(by_dimension)[(len(by_dimension) - 1) // 2] <= fit.median_explained_variance + 1e-5
    assert fit.l0 == pytest.approx((features > 0).sum(1).mean())
    assert fit.tokens == 600


def test_rebuilding_in_slices_is_rebuilding_at_once():
    dictionary, x = planted()
    whole, active = dictionary.rebuild(x, 16)
    for size in (1, 5, 15, 64):
        sliced, counted = dictionary.rebuild(x, size)
        torch.testing.assert_close(sliced, whole)
        assert counted == active
    with pytest.raises(UnavailableError, match="'planted' has no decoder"):
        replace(dictionary, W_dec=None).rebuild(x, 8)


def test_activations_that_never_vary_are_no_division_by_zero():
    dictionary, x = planted()
    x[:, 3] = 1.0
    assert np.isfinite(measure_fit(dictionary, x).median_explained_variance)
    fit = measure_fit(dictionary, torch.ones(4, 16))
    assert np.isfinite([fit.explained_variance, fit.median_explained_variance]).all()


def test_neighbours_stay_inside_the_model():
    assert [site.layer for site in neighbours(SITE, 4)] == [0, 1, 2]
    assert [site.layer for site in neighbours(replace(SITE, layer=0), 4)] == [0, 1]
    assert [site.layer for site in neighbours(replace(SITE, layer=3), 4)] == [2, 3]
    assert [site.layer for site in neighbours(replace(SITE, layer=0), 1)] == [0]
    assert neighbours(Site(kind="mlp_out", layer=1), 4) == (Site(kind="mlp_out", layer=1),)


def test_positions_outside_content_are_looked_at_apart():
    dictionary, x = planted()
    strange = torch.cat([x, 50 * torch.ones(20, 16)])
    content = torch.arange(len(strange)) < len(x)
    inside = measure(dictionary, {SITE: x}, SITE, content=content[: len(x)], published_l0=None)
    seen = measure(dictionary, {SITE: strange}, SITE, content=content, published_l0=None)
    assert seen.explained_variance == pytest.approx(inside.explained_variance)
    assert inside.outside is None
    assert "outside" in judge(seen).reasons
    assert judge(inside).verdict == "ok"


def measure_planted(dictionary, x) -> Fidelity:
    return measure(
        dictionary, {SITE: x}, SITE, content=torch.ones(len(x), dtype=torch.bool), published_l0=None
    )


def test_the_other_convention_of_b_dec_is_estimated_on_a_quarter_of_the_tokens():
    dictionary, x = planted()
    shifted = replace(dictionary, b_dec=torch.full((16,), 0.1))
    assert dictionary.with_other_reading() is None  # its b_dec is 0
    assert measure_planted(dictionary, x).other_reading is None
    for one in (shifted, replace(shifted, subtract=shifted.b_dec)):
        seen, other = measure_planted(one, x), one.with_other_reading()
        assert other is not None
        assert (one.subtract is None) == (other.subtract is not None)
        whole = measure_fit(other, x)
        assert seen.other_reading == pytest.approx(whole.explained_variance, abs=0.02)
        assert seen.other_l0 == pytest.approx(whole.l0, rel=0.2)


def test_an_autoencoder_that_is_no_dictionary_is_judged_by_what_it_rebuilds():
    dictionary, x = planted()

    class Plain:
        width = dictionary.width

        def encode(self, activations):
            return dictionary.encode(activations)

        def rebuild(self, activations, size):
            return dictionary.rebuild(activations, size)

    seen, known = measure_planted(Plain(), x), measure_planted(dictionary, x)
    assert (seen.dead, seen.other_reading, seen.unbounded, seen.subtracts) == (None, None, None, None)
    assert (seen.explained_variance, seen.l0, seen.random) == (
        known.explained_variance,
        known.l0,
        known.random,
    )
    assert judge(seen).verdict == "ok"
    assert (known.dead, known.unbounded) == (0.0, 0.0)


GOOD = Fidelity(
    explained_variance=0.8,
    median_explained_variance=0.8,
    l0=50.0,
    published_l0=60.0,
    below=0.7,
    above=0.75,
    halved=0.5,
    doubled=0.5,
    outside=None,
    tokens=4096,
    d_in=128,
    width=1024,
)


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({}, []),
        ({"below": None, "above": None, "published_l0": None}, []),
        (
            {"explained_variance": 0.2, "below": 0.1, "above": 0.1, "halved": 0.1, "doubled": 0.1},
            ["variance"],
        ),
        ({"above": 0.83}, ["layer"]),
        ({"below": 0.83}, ["layer"]),
        ({"above": 0.81}, []),
        # Gemma 3 270M, 11 attention sinks among 511 tokens: a dictionary one layer off, and at its own layer.
        ({"explained_variance": 0.976, "above": 0.980}, ["layer"]),
        ({"explained_variance": 0.987, "above": 0.994}, ["layer"]),
        ({"explained_variance": 0.980, "below": 0.976, "above": 0.975}, []),
        ({"explained_variance": 0.976, "doubled": 0.985}, ["scale"]),
        ({"explained_variance": 0.9991, "above": 0.9999}, []),
        ({"halved": 0.9}, ["scale"]),
        ({"doubled": 0.9}, ["scale"]),
        ({"l0": 151.0}, ["l0"]),
        ({"l0": 23.0}, ["l0"]),
        ({"l0": 149.0}, []),
        ({"outside": 0.7}, ["outside"]),
        ({"outside": 0.78}, []),
        ({"l0": 1000.0, "above": 0.9}, ["layer", "l0"]),
        ({"random": 0.81}, ["random"]),
        ({"random": 0.79}, []),
        ({"other_reading": 0.83, "subtracts": False}, ["b_dec"]),
        ({"other_reading": 0.83, "subtracts": True}, ["b_dec"]),
        ({"other_reading": 0.81}, []),
        ({"other_reading": 0.83, "above": 0.9}, ["layer"]),
        (
            {
                "explained_variance": 0.1,
                "other_reading": 0.4,
                "above": 0.1,
                "below": 0.1,
                "halved": 0.1,
                "doubled": 0.1,
            },
            ["variance"],
        ),
        ({"published_l0": None, "l0": 65.0, "unbounded": 0.0}, ["thresholds"]),
        ({"published_l0": None, "l0": 63.0, "unbounded": 0.0}, []),
        ({"published_l0": None, "l0": 33.0, "unbounded": 0.0, "width": 128}, ["thresholds"]),
        ({"published_l0": None, "l0": 1500.0}, []),
        ({"published_l0": 100.0, "l0": 120.0, "unbounded": 1.0}, []),
        ({"l0": 160.0, "unbounded": 1.0}, ["l0", "thresholds"]),
        ({"l0": 160.0, "unbounded": 0.0}, ["l0"]),
        ({"dead": 0.95}, ["dead"]),
        ({"dead": 0.85}, []),
        ({"dead": 0.95, "tokens": 100}, []),
    ],
)
def test_each_rule_has_its_reason(change, rules):
    judgement = judge(replace(GOOD, **change))
    assert list(judgement.reasons) == rules
    assert judgement.verdict == ("flagged" if rules else "ok")
    assert not_measurable("why").verdict == "not measurable"


def test_a_difference_that_two_decimals_do_not_show_has_three():
    (said,) = judge(replace(GOOD, explained_variance=0.976, above=0.980)).reasons.values()
    assert said == "explains 0.980 one layer up and 0.976 here: wrong site?"
    (said,) = judge(replace(GOOD, above=0.83)).reasons.values()
    assert said == "explains 0.83 one layer up and 0.80 here: wrong site?"
