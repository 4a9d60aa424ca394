"""Results of annotating prompts: one JSON file for each, the page made of all of them, and the claims they bear on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness import Claim, ResultPage, Score, escape_markdown, markdown_table, read_result, write_result
from harness_annotation.result import Arm, Comparison, Result, Threshold, Way

WORK = "Wang et al. 2025"
CLAIMED = "annotating prompts by the features of a misunderstanding improves a model's answers"

NONE = "—"
"""Text of a value that was not measured."""

METHOD = """\
Items are halved by whole problem templates. On the **first half** a probe of the dictionary's features tells the
answers that the plain prompt gets right from those that it gets wrong. On the **second half** each prompt is annotated
by the explanations of those of the found features that fire on it, and answered again. In the same words are
annotated: *placebo*, as many other features of near mean activation; *random*, random words of equal number and length;
*tfidf*, the words that speak most for right or wrong in a TF-IDF rule; *oracle*, the hint that comes with an item. A
model whose accuracy is not above chance by its interval, or for which the smallest gain that the items would show is
above 10 points, is not testable, and no claim stands. The claim holds if annotation by features is better than the
plain prompt, random words and placebo features, by McNemar's exact test after Holm and by an interval over templates;
it does not hold if a gain of 10 points over one of them is ruled out. The page on interpretation says how each number
is made.
"""


def describe(paths: Sequence[Path]) -> ResultPage:
    """Return the page of results, with the claims they bear on. Raise UnavailableError for a file that is none."""
    results = read_results(paths)
    return ResultPage(markdown=to_page(results), claims=tuple(_claims(results)))


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Return the results in files, by items and model. Raise UnavailableError for a file that holds none."""
    found = [read_result(path, Result, command="annotate-prompts") for path in paths]
    return sorted(found, key=lambda one: (one.items, one.model, one.site, one.dictionary))


def write(result: Result, folder: Path) -> Path:
    """Write a result into a folder, in place of an earlier one of the same items, model and site; return its path."""
    return write_result(
        result, folder, "annotation", result.items, result.model, result.site, result.dictionary
    )


def _claims(results: Sequence[Result]) -> Iterator[Claim]:
    seen = set()
    for result in results:
        for way in result.ways:
            yield _claim(result, way)
        key = (result.model, result.site, result.dictionary)
        if (
            result.thresholds and key not in seen
        ):  # the dictionary's values are those of its report, whatever the items
            seen.add(key)
            yield from (_threshold_claim(result, one) for one in result.thresholds)


def _claim(result: Result, way: Way) -> Claim:
    """Return the claim of one way: measured is the gain, or the accuracy where that is not above chance."""
    arms = {arm.name: arm for arm in way.arms}
    gain, placebo = (arms[name].gain if name in arms else None for name in ("features", "placebo"))
    what = f"of answers to {result.items} {_name_way(way)}"
    chance = Score(value=way.chance)
    return Claim(
        work=WORK,
        claimed=CLAIMED,
        model=result.model,
        measure=f"gain in accuracy {what}" if gain else f"accuracy {what}, with the plain prompt",
        measured=gain or way.accuracy,
        n=way.n,
        items="items",
        control="annotation by placebo features" if gain else "chance",
        control_value=placebo if gain and placebo else chance,
        verdict=way.verdict,
        reason=way.reason,
        cpu_minutes=result.cpu_minutes,
        device=result.device,
    )


def _threshold_claim(result: Result, threshold: Threshold) -> Claim:
    return Claim(
        work=WORK,
        claimed=threshold.claimed,
        model=result.model,
        measure=f"{threshold.name}, of {result.dictionary} at {result.site}",
        measured=Score(value=threshold.value),
        n=result.report_tokens,
        items="tokens",
        control="",
        verdict="holds" if threshold.met else "does not hold",
        reason=f"the dictionary report has {threshold.value:.4f}",
        cpu_minutes=result.cpu_minutes,
        device=result.device,
    )


def to_page(results: Sequence[Result]) -> str:
    """Return the page of several results."""
    head = (
        "items",
        "model",
        "site",
        "asked",
        "n",
        "accuracy",
        "chance",
        "smallest gain",
        "gain",
        "placebo",
        "verdict",
    )
    summary = markdown_table(head, [_summarize(result, way) for result in results for way in result.ways])
    parts = ["# Annotating prompts by features", METHOD.strip(), summary, *map(to_markdown, results)]
    return "\n\n".join(parts) + "\n"


def to_markdown(result: Result) -> str:
    """Return one result as a section."""
    title = f"{result.items} on {result.model}, {result.site}"
    made = (
        f"Features of {result.dictionary}; explanations: {result.explanations}; solved items shown: {result.shots}; "
        f"{result.cpu_minutes:.1f} CPU minutes on {result.device}."
    )
    lines = [f"## {escape_markdown(title)}", escape_markdown(made)]
    if result.thresholds:
        lines.append(
            markdown_table(
                ("what Wang et al. (2025) ask of a dictionary", "measure", "dictionary report", "met?"),
                [(one.claimed, one.name, f"{one.value:.4f}", _yes(one.met)) for one in result.thresholds],
            )
        )
    return "\n\n".join([*lines, *(part for way in result.ways for part in _describe_way(way))])


def _describe_way(way: Way) -> Iterator[str]:
    yield f"### Asked {_name_way(way)}"
    yield f"**Does annotation by features mend answers? {escape_markdown(f'{way.verdict}: {way.reason}')}.**"
    said = [f"{way.n} items of {way.templates} templates; without the text, accuracy is {way.blind:.3f}"]
    if way.probe_auroc:
        said.append(
            f"a probe of the features tells right from wrong answers with an AUROC of {way.probe_auroc}"
        )
    if way.detectable_gain is not None and way.churn is not None:
        said.append(
            f"annotations that say nothing turn {way.churn:.1%} of answers back and forth: the smallest gain that "
            f"would show is {100 * way.detectable_gain:.1f} points"
        )
    yield f"{'; '.join(said)}."
    yield markdown_table(("prompt", "accuracy", "gain", "annotated", "example"), map(_arm_line, way.arms))
    if way.comparisons:
        yield markdown_table(
            (
                "features against",
                "gain",
                "only features right",
                "only control right",
                "p",
                "p by Holm",
                "judgement",
            ),
            map(_comparison_line, way.comparisons),
        )
    if way.features:
        yield markdown_table(
            ("feature", "speaks for", "explanation"),
            [(str(one.number), one.speaks_for, ", ".join(one.explanation) or NONE) for one in way.features],
        )


def _summarize(result: Result, way: Way) -> tuple[str, ...]:
    gains = {arm.name: str(arm.gain) for arm in way.arms if arm.gain}
    least = NONE if way.detectable_gain is None else f"{100 * way.detectable_gain:.1f} points"
    return (
        result.items,
        result.model,
        result.site,
        _name_way(way),
        str(way.n),
        str(way.accuracy),
        f"{way.chance:.3f}",
        least,
        gains.get("features", NONE),
        gains.get("placebo", NONE),
        way.verdict,
    )


def _arm_line(arm: Arm) -> tuple[str, ...]:
    gain = str(arm.gain) if arm.gain else NONE
    return arm.name, str(arm.accuracy), gain, f"{arm.annotated:.0%}", arm.example or NONE


def _comparison_line(one: Comparison) -> tuple[str, ...]:
    counts = (str(one.only_features), str(one.only_control))
    return one.against, str(one.gain), *counts, f"{one.p:.4f}", f"{one.p_holm:.4f}", one.judgement


def _name_way(way: Way) -> str:
    return f"by {way.way} ({way.form}{', calibrated' if way.calibrated else ''})"


def _yes(met: bool) -> str:
    return "yes" if met else "no"
