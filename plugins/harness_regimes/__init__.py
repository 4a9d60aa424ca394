"""Training regimes: fewer, rarer, mislabelled or shifted training rows, and transfer between languages."""

from __future__ import annotations

from collections.abc import Callable

import harness

HARNESS_API = 1


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
    """Return the spec of a regime that makes one partition for each language tested."""
    return harness.RegimeSpec(name=name, summary=summary, make=make, moves_test=True, by_language=True)


@harness.hookimpl
def harness_regimes() -> list[harness.RegimeSpec]:
    return [
        harness.RegimeSpec(name="full", summary="every training row, as it is", make=_full, natural="task"),
        harness.RegimeSpec(name="size", summary="n training rows in the same class proportions", make=_size),
        harness.RegimeSpec(
            name="imbalance",
            summary="n training rows with a given share of the rarest class; test rows unchanged",
            make=_imbalance,
        ),
        harness.RegimeSpec(
            name="label_noise",
            summary="a share of training and validation labels made wrong; test labels unchanged",
            make=_label_noise,
        ),
        harness.RegimeSpec(
            name="longer",
            summary="trained on the shorter half of the texts, tested on the longer half of the test texts",
            make=_longer,
            moves_test=True,
        ),
        harness.RegimeSpec(
            name="native",
            summary="each language trained on its own rows",
            make=_native,
            moves_test=True,
            by_language=True,
            natural="language",
        ),
        _by_language(
            "zero_shot", "trained on one language, or on each, and tested on every other", _zero_shot
        ),
        _by_language("leave_one_out", "trained on all languages except the one tested", _leave_one_out),
        _by_language(
            "few_shot", "trained on one language and k rows of each label in the language tested", _few_shot
        ),
        _by_language(
            "translations",
            "each language trained on those of its rows that translate the training rows of another",
            _translations,
        ),
        _by_language("joint", "trained on all languages together, tested on each", _joint),
    ]
