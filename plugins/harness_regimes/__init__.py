"""Regimes: what is learnt from is less, rarer, wrong, of another kind or in another language than what is tested on."""

from __future__ import annotations

from collections.abc import Callable

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


def _native() -> harness.Regime:
    from harness_regimes.languages import Native

    return Native()


def _zero_shot(*, source: str | None = None) -> harness.Regime:
    from harness_regimes.languages import ZeroShot

    return ZeroShot(source)


def _leave_one_out(*, rows: int = 0) -> harness.Regime:
    from harness_regimes.languages import LeaveOneOut

    return LeaveOneOut(rows)


def _few_shot(*, k: int, source: str) -> harness.Regime:
    from harness_regimes.languages import FewShot

    return FewShot(k, source)


def _translations(*, source: str) -> harness.Regime:
    from harness_regimes.languages import Translations

    return Translations(source)


def _joint(*, rows: int = 0) -> harness.Regime:
    from harness_regimes.languages import Joint

    return Joint(rows)


def _by_language(name: str, summary: str, make: Callable[..., harness.Regime]) -> harness.RegimeSpec:
    return harness.RegimeSpec(name=name, summary=summary, make=make, moves_test=True, by_language=True)


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
        _by_language("native", "each language learnt from its own rows", _native),
        _by_language("zero_shot", "from one language, or from each, to every other", _zero_shot),
        _by_language("leave_one_out", "from all languages but the one that is tested on", _leave_one_out),
        _by_language(
            "few_shot", "from one language, and k rows of each label of the one that is tested on", _few_shot
        ),
        _by_language(
            "translations",
            "each language from those of its rows that translate what another is learnt from",
            _translations,
        ),
        _by_language("joint", "from all languages together to each of them", _joint),
    ]
