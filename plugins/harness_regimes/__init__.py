"""Regimes: what is learnt from is less, rarer, wrong, or of another kind than what is tested on."""

from __future__ import annotations

import harness


def _full() -> harness.Regime:
    from harness_regimes.rows import Full

    return Full()


def _size(*, n: int) -> harness.Regime:
    from harness_regimes.rows import Size

    return Size(n)


def _imbalance(*, share: float, n: int) -> harness.Regime:
    from harness_regimes.rows import Imbalance

    return Imbalance(share, n)


def _label_noise(*, rate: float) -> harness.Regime:
    from harness_regimes.rows import LabelNoise

    return LabelNoise(rate)


def _longer() -> harness.Regime:
    from harness_regimes.rows import Longer

    return Longer()


@harness.hookimpl
def harness_regimes() -> list[harness.RegimeSpec]:
    return [
        harness.RegimeSpec(name="full", summary="every training row, as it is", make=_full),
        harness.RegimeSpec(
            name="size", summary="n training rows, each class with its share of them", make=_size
        ),
        harness.RegimeSpec(
            name="imbalance",
            summary="n training rows, of which the rarest class has a share; tested as always",
            make=_imbalance,
        ),
        harness.RegimeSpec(
            name="label_noise",
            summary="a share of training and validation labels is wrong; test labels are right",
            make=_label_noise,
        ),
        harness.RegimeSpec(
            name="longer",
            summary="learnt from the shorter half of the texts, tested on the longer half of the test texts",
            make=_longer,
            moves_test=True,
        ),
    ]
