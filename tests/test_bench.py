"""The command `bench`: its arms compute the same rows, and its report says what was compared."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import harness
from harness.benchmark import arms, rounds
from harness.benchmark.setting import Asked, Setting, make_setting
from harness.cli.bench import command
from harness.features.featurize import stack


@pytest.fixture(scope="module")
def setting() -> Setting:
    sites = ("resid_post.25%", "resid_post.50%")
    asked = Asked(model="shape:toy", sites=sites, widths=(512, 1024), n_texts=9, device="cpu")
    return make_setting(asked, harness.open(device="cpu").registry)


def gather(setting: Setting) -> dict[str, Any]:
    """The harness's rows by feature key, in the order of the texts."""
    pooled = arms.Harness(setting=setting).rows()
    order = np.argsort([row for batch in pooled for row in batch.rows])
    return {
        key: stack([batch.features[key] for batch in pooled])[order].toarray() for key in pooled[0].features
    }


@pytest.mark.parametrize("name", arms.LOOPS)
def test_a_loop_gives_the_rows_of_the_harness(setting: Setting, name: str) -> None:
    pytest.importorskip("sae_lens") if name == "sae-lens" else None
    own, loop = gather(setting), arms.make_loop(setting, name)[0]()
    assert {f"{layer}-{width}-{pooling}" for layer, width, pooling in loop} == set(own)
    for (layer, width, pooling), rows in loop.items():
        same = np.isclose(rows, own[f"{layer}-{width}-{pooling}"], rtol=1e-5, atol=1e-4)
        assert same.mean() > 0.999  # at a threshold rounding decides, and batches are others


def test_the_limit_multiplies_the_activations_of_each_site_with_its_encoders(setting: Setting) -> None:
    limit = arms.make_limit(setting)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    limit._multiply = lambda x, weight: seen.append((x.clone(), weight))  # type: ignore[method-assign]  (a spy)
    limit.run()
    batch = [setting.tokens[row] for row in setting.batches[0]]
    wanted = setting.loaded.forward(batch)
    assert len(seen) == len(setting.batches) * len(setting.dictionaries)
    first = seen[: len(setting.dictionaries)]
    for (layer, width), (x, weight) in zip(setting.dictionaries, first, strict=True):
        (site,) = [one for one in setting.sites if one.layer == layer]
        torch.testing.assert_close(x, wanted[site])
        assert weight is setting.dictionaries[layer, width].W_enc


def test_weights_that_are_drawn_are_for_measuring_alone() -> None:
    model = harness.open(device="cpu").registry.choose("models", "shape:toy").make()
    first = harness.Site.parse("resid_post.0")
    with pytest.raises(harness.UsageError, match="use harness bench"):
        model.identity(first)
    with pytest.raises(harness.UsageError, match=r"resid_post\.0 to resid_post\.3"):
        model.width(harness.Site.parse("resid_post.4"))
    assert len(model.tokenize(["a\ud800b c"])[0].ids) == 3


def test_a_ratio_is_of_the_arms_of_one_round() -> None:
    def seconds(*found: float) -> list[rounds.Seconds]:
        return [rounds.Seconds(wall=9.0, cpu=one) for one in found]

    ratio = rounds.compare(seconds(2.0, 30.0, 4.0), seconds(1.0, 10.0, 1.0), "cpu")
    assert (ratio.median, ratio.least, ratio.greatest) == (3.0, 2.0, 4.0)


def test_the_command_prints_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        "--shape",
        "toy",
        "--texts",
        "6",
        "--rounds",
        "1",
        "-d",
        "cpu",
        "--width",
        "512",
        "--against",
        "transformers-once",
    ]
    found = CliRunner().invoke(command, [*asked, "--json"], catch_exceptions=False)
    said = json.loads(found.output)
    assert said["setting"]["texts"] == 6 and said["setting"]["widths"] == [512]
    assert said["over_limit"]["median"] > 0 and said["times_faster"]["transformers-once"]["median"] > 0
    assert set(said["stages"]) >= {"forward", "write"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--model", "a", "--shape", "toy"], "use --model or --shape, not both"),
        (["--shape", "toy", "--width", "64", "--against", "mine", "-d", "cpu"], "there is no loop 'mine'"),
        (["--shape", "mine", "-d", "cpu"], "there is no shape 'mine'"),
        (["--shape", "toy", "--site", "mlp_out.0", "-d", "cpu"], "reads resid_post"),
    ],
)
def test_bad_input_gets_a_sentence(asked: list[str], said: str) -> None:
    found = CliRunner().invoke(command, asked)
    assert found.exception is not None and said in str(found.exception)
