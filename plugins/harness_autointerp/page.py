"""Results of explaining features: one JSON file for each, the page of all of them, and the claims that they bear on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import Claim, ResultPage, escape_markdown, markdown_table, read_result, write_result
from harness_autointerp.result import Arm, Result, judge

WORK = "Cunningham et al. 2023"
CLAIMED = "features of a dictionary have a higher automatic interpretability score than {against}"

NONE = "—"
"""Text of a value that is not there."""

METHOD = """\
A feature is explained in words from fragments of one half of the texts, those on which it fires most and random ones.
The words are scored on fragments of the other half. *Simulation* is the correlation of activations with those that the
words lead to expect, over all tokens of top and random fragments (Bills et al. 2023): 0 is chance. *Detection* is the
balanced accuracy of telling top fragments from quiet ones, *fuzzing* that of telling right marks of tokens from wrong
ones (Paulo et al. 2024), ½ is chance; AUROC asks the same without a threshold. *Shuffled* are the explanations of other
features of the arm. Intervals of 95 % are over features. The scorer is tried first, on planted features, each of which
fires on one word and is explained by it: a score at which it does not beat chance is no evidence, and if it beats
chance at none that a verdict rests on, no claim stands. The harness's page on interpretation says how each number is
made.
"""


def describe(paths: Sequence[Path]) -> ResultPage:
    """Return the page of results, with the claims that they bear on. Raise UnavailableError for a file that is none."""
    results = read_results(paths)
    claims = tuple(_claim(result, arm) for result in results for arm in result.arms[1:])
    return ResultPage(markdown=to_page(results), claims=claims)


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Return the results in files, by task and model. Raise UnavailableError for a file that holds none."""
    found = [read_result(path, Result, command="autointerp") for path in paths]
    return sorted(found, key=lambda one: (one.task, one.model, one.site, one.explainer, one.scorer))


def write(result: Result, folder: Path) -> Path:
    """Write a result into a folder, in place of an earlier one of the same task, model, site, explainer and scorer;
    return its path.
    """
    parts = (result.task, result.model, result.site, result.arms[0].name, result.explainer, result.scorer)
    return write_result(result, folder, "autointerp", *parts)


def to_page(results: Sequence[Result]) -> str:
    """Return the page of several results."""
    summary = markdown_table(
        ("model", "site", "scorer", "score", "first arm", "its score", "against", "score of that", "verdict"),
        (_summarize(result, arm) for result in results for arm in result.arms[1:]),
    )
    shown = summary if results else "There are no results."
    parts = ["# Automatic interpretability", METHOD.strip(), shown, *map(to_markdown, results)]
    return "\n\n".join(parts) + "\n"


def _summarize(result: Result, against: Arm) -> tuple[str, ...]:
    name = result.find_leading()
    scores = [arm.scores.get(name or "") for arm in (result.arms[0], against)]
    own, other = (str(one.own) if one else NONE for one in scores)
    first = result.arms[0].name
    verdict = judge(result, against)[0]
    return (result.model, result.site, result.scorer, name or NONE, first, own, against.name, other, verdict)


def to_markdown(result: Result) -> str:
    """Return one result as a section."""
    leading = result.find_leading()
    able = (
        f"verdicts rest on {leading}"
        if leading
        else "it does not beat chance, so nothing is said of features"
    )
    lines = [
        f"## {escape_markdown(f'{result.arms[0].name} of {result.model}, {result.site}: {result.scorer}')}",
        escape_markdown(
            f"Fragments of {result.length} tokens of {result.task}: {result.fragments_explained:,} to explain from, "
            f"{result.fragments_scored:,} to score on; {result.top} top and {result.random} random ones of a feature "
            f"in each half; explained by {result.explainer}, scored by {result.scorer}; {result.cpu_minutes:.1f} CPU "
            f"minutes on {result.device}."
        ),
        f"The scorer, on planted features ({able}):",
        markdown_table(
            ("score", "right explanation", "that of another", "features"),
            (
                (name, str(one.own), str(one.shuffled), str(one.n))
                for name, one in result.scorer_scores.items()
            ),
        ),
        markdown_table(
            (
                "arm",
                "alive",
                "score",
                "own",
                "shuffled",
                "features",
                "first arm leads by",
                "is the lead real?",
            ),
            (row for arm in result.arms for row in _lines(result, arm)),
        ),
        *_show_examples(result.arms[0]),
    ]
    return "\n\n".join(lines)


def _lines(result: Result, arm: Arm) -> Iterable[tuple[str, ...]]:
    alive = f"{arm.alive:,} of {arm.width:,}" if arm.width else NONE
    if not arm.scores:
        yield (arm.name, alive, arm.note or NONE, *[NONE] * 5)
    for name, one in arm.scores.items():
        is_leading = arm is not result.arms[0] and name == result.find_leading()
        yield (
            arm.name,
            alive,
            name,
            str(one.own),
            str(one.shuffled),
            str(one.n),
            str(arm.lead[name]) if name in arm.lead else NONE,
            judge(result, arm)[0] if is_leading else NONE,
        )


def _show_examples(arm: Arm) -> Iterable[str]:
    if arm.examples:
        yield markdown_table(
            ("feature", "explanation", "scores"),
            (
                (
                    str(one.feature),
                    one.explanation,
                    ", ".join(f"{name} {value:.2f}" for name, value in one.scores.items()),
                )
                for one in arm.examples
            ),
        )


def _claim(result: Result, against: Arm) -> Claim:
    """Return the claim that the first arm's features score higher than those of another."""
    verdict, reason = judge(result, against)
    name = result.find_leading() or "detection"
    own, other = result.arms[0].scores.get(name), against.scores.get(name)
    return Claim(
        work=WORK,
        claimed=CLAIMED.format(against=against.name),
        model=result.model,
        measure=f"{name} of explanations by {result.explainer}, scored by {result.scorer}: {result.arms[0].name} at "
        f"{result.site}, texts of {result.task}",
        measured=own.own if own else None,
        n=own.n if own else 0,
        items="features",
        control=against.name,
        control_value=other.own if other else None,
        verdict=verdict,
        reason=reason,
        cpu_minutes=result.cpu_minutes,
        device=result.device,
    )
