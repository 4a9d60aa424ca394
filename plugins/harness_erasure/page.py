"""Results of erasures: one JSON file for each, the page made of all of them, and the claim that they bear on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import Claim, ResultPage, escape_markdown, markdown_table, read_result, write_result
from harness_erasure.result import NOT_TESTABLE, Arm, Result

WORK = "Cunningham et al. 2023"
CLAIMED = "ablating few features removes a concept with a smaller edit than ablating a direction (less than rank one)"

NONE = "—"
"""Text of a value that is not measurable."""

METHOD = """\
Each eraser is fitted on one half of the training rows. A **fresh** logistic regression, trained on the other half, is
scored on test rows, by AUROC with a 95 % interval: ½ is chance, however rare a class is. *Same rows* is a probe trained
on the eraser's own rows: after LEACE it has nothing to learn there, by construction, whatever is left. *Edited* is the
share of test tokens that an eraser changes, *edit* the mean of ‖x − x'‖ / ‖x‖, *Δ loss* the increase in next-token loss
in nats with the eraser spliced in, on test texts, and *perplexity* its exponential, the factor; *KL* is KL(original ‖
erased) of the predictions of the same tokens, in nats a token: it sees changes that make one text likelier and another
less so. *placebo* are as many other features of the nearest mean activation, and further ones until their edit is as
large, or none is left. A concept that a probe does not find before erasure, by intervals of AUROC and of balanced
accuracy, is not testable, and no claim stands. The harness's page on interpretation says how each number is made.
"""


def describe(paths: Sequence[Path]) -> ResultPage:
    """Return the page of results, with the claim that each bears on. Raise UnavailableError for a file that is none."""
    results = read_results(paths)
    return ResultPage(markdown=to_page(results), claims=tuple(map(_claim, results)))


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Return the results in files, by task and model. Raise UnavailableError for a file that holds none."""
    found = [read_result(path, Result, command="erase-concept") for path in paths]
    return sorted(found, key=lambda one: (one.task, one.model, one.site, one.dictionary or ""))


def write(result: Result, folder: Path) -> Path:
    """Write a result into a folder, in place of an earlier one of the same task, model, site and dictionary; return
    its path.
    """
    dictionary = [result.dictionary] if result.dictionary else []
    return write_result(result, folder, "erasure", result.task, result.model, result.site, *dictionary)


def _claim(result: Result) -> Claim:
    """Return the claim of a result: measured is what a fresh probe finds without the features, where fewest erase."""
    arm = _decisive(result, "features")
    placebos = dict(zip(result.find("features"), result.find("placebo"), strict=True))
    placebo = placebos[arm] if arm else None
    return Claim(
        work=WORK,
        claimed=CLAIMED,
        model=result.model,
        measure=f"AUROC of a fresh probe for {result.task} without {arm.size if arm else 0} features, at {result.site}",
        measured=arm.auroc if arm else None,
        n=result.rows_test,
        items="test rows",
        control=_spell_placebo(arm, placebo) if arm and placebo else "",
        control_value=placebo.auroc if placebo else None,
        verdict=result.claim,
        reason=result.reason,
        cpu_minutes=result.cpu_minutes,
        device=result.device,
    )


def _spell_placebo(arm: Arm, placebo: Arm) -> str:
    """Return how far placebo features are a control: their edit is smaller where no more of them were left."""
    assert arm.cost is not None and placebo.cost is not None  # those of every eraser are measured
    return f"placebo features (edit {placebo.cost.edit:.3f} of a token's norm, the features' {arm.cost.edit:.3f})"


def _decisive(result: Result, name: str) -> Arm | None:
    """Return the smallest arm of a name that erases, else the largest; None where nothing was there to erase."""
    found = result.find(name)
    if not found or result.arms[0].verdict == NOT_TESTABLE:
        return None
    return next((arm for arm in found if arm.verdict == "erased"), found[-1])


def to_page(results: Sequence[Result]) -> str:
    """Return the page of several results."""
    summary = markdown_table(
        (
            "task",
            "model",
            "site",
            "before",
            "LEACE",
            "features",
            "placebo",
            "does the claim hold?",
            "CPU minutes",
        ),
        map(_summarize, results),
    )
    parts = ["# Erasing a concept", METHOD.strip(), summary, *map(to_markdown, results)]
    return "\n\n".join(parts) + "\n"


def to_markdown(result: Result) -> str:
    """Return one result as a section."""
    dictionary = f", features of {result.dictionary}" if result.dictionary else ""
    classes = f"{len(result.classes)} classes"
    lines = [
        f"## {escape_markdown(f'{result.task} on {result.model}, {result.site}')}",
        f"{classes}{escape_markdown(dictionary)}; {result.rows_eraser:,} rows to fit erasers, {result.rows_probe:,} to"
        f" train fresh probes, {result.rows_test:,} to test; chance is {result.chance:.3f}; {result.sample_tokens:,}"
        f" tokens edited, losses of {result.loss_tokens:,}; {result.cpu_minutes:.1f} CPU minutes on {result.device}.",
        f"**Does removing few features erase the concept with a smaller edit than LEACE? {_spell_claim(result)}.**",
        markdown_table(
            (
                "eraser",
                "size",
                "AUROC",
                "balanced accuracy",
                "macro-F1",
                "same rows",
                "edited",
                "edit",
                "Δ loss",
                "perplexity",
                "KL",
                "verdict",
            ),
            map(_line, result.arms),
        ),
    ]
    return "\n\n".join(lines)


def _summarize(result: Result) -> tuple[str, ...]:
    def best(name: str) -> str:
        arm = _decisive(result, name)
        return f"{arm.size}: {arm.auroc}" if arm else NONE

    return (
        result.task,
        result.model,
        result.site,
        str(result.arms[0].auroc),
        best("leace"),
        best("features"),
        best("placebo"),
        result.claim,
        f"{result.cpu_minutes:.1f}",
    )


def _line(arm: Arm) -> tuple[str, ...]:
    cost = arm.cost
    return (
        arm.name,
        _spell_size(arm),
        str(arm.auroc),
        str(arm.balanced_accuracy),
        f"{arm.macro_f1.value:.3f}",
        f"{arm.same_rows.value:.3f}",
        f"{cost.tokens_edited:.1%}" if cost else NONE,
        f"{cost.edit:.4f}" if cost else NONE,
        str(cost.loss) if cost and cost.loss else NONE,
        f"× {math.exp(min(cost.loss.value, 99)):.3g}" if cost and cost.loss else NONE,
        str(cost.kl) if cost and cost.kl else NONE,
        arm.verdict or "control",
    )


def _spell_size(arm: Arm) -> str:
    if len(arm.features) > arm.size:
        return f"{arm.size} ({len(arm.features)} features)"
    return str(arm.size or NONE)


def _spell_claim(result: Result) -> str:
    return escape_markdown(f"{result.claim}: {result.reason}")
