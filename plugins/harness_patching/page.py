"""Results of patching: one JSON file for each, the page made of all of them, and the claim that they bear on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import Claim, ResultPage, escape_markdown, markdown_table, read_result, write_result
from harness_patching.result import Curve, Result

WORK = "Cunningham et al. 2023"
CLAIMED = "features of a dictionary localise a behaviour in fewer units than other decompositions do"

NONE = "—"
"""Text of a value that is not there."""

METHOD = """\
A behaviour is asked in prompts, each with a counterfactual twin of the same number of tokens to which the other
answer is right. The model reads the twin, and features at one site are given the values that they have in the prompt.
*KL recovered* is 1 − KL(prompt ‖ patched) / KL(prompt ‖ twin) of the next token, *logits* the share of the difference
in logits between both answers: 0 is the twin, 1 the prompt, and above 1 or below 0 is possible. Features of every arm
are chosen by attribution (gradient times difference) on one half of templates and words, and everything is measured on
the other. The *area* is the mean over the numbers of patched features. Intervals of 95 % are over the words that decide
an item, such as its subject, with all of its prompts. A model that does not tell prompts from twins better than by
chance, by the interval of its accuracy, shows no behaviour, and no claim stands. *All features* leaves what the
dictionary does not reconstruct (the error node) as in the twin; *reconstruction spliced in* is what the dictionary
costs where nothing is patched. The harness's page on interpretation says how each number is made.
"""


def describe(paths: Sequence[Path]) -> ResultPage:
    """Return the page of results, with the claim that each bears on. Raise UnavailableError for a file that is none."""
    results = read_results(paths)
    return ResultPage(markdown=to_page(results), claims=tuple(map(_claim, results)))


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Return the results in files, by behaviour and model. Raise UnavailableError for a file that holds none."""
    found = [read_result(path, Result, command="patch") for path in paths]
    return sorted(found, key=lambda one: (one.behaviour, one.model, one.site, one.dictionary))


def write(result: Result, folder: Path) -> Path:
    """Write a result into a folder, in place of an earlier one of the same behaviour, model, site and dictionary;
    return its path.
    """
    return write_result(
        result, folder, "patching", result.behaviour, result.model, result.site, result.dictionary
    )


def _claim(result: Result) -> Claim:
    own, pca = result.find("dictionary"), result.find("pca")
    return Claim(
        work=WORK,
        claimed=f"{CLAIMED} ({result.behaviour})",
        model=result.model,
        measure=f"area under KL recovered against patched features, {result.dictionary} at {result.site}",
        measured=own.kl_area if own else None,
        n=result.n_measured,
        items="items",
        control="as many principal components" if pca else "",
        control_value=pca.kl_area if pca else None,
        verdict=result.verdict,
        reason=result.reason,
        cpu_minutes=result.cpu_minutes,
        device=result.device,
    )


def to_page(results: Sequence[Result]) -> str:
    """Return the page of several results."""
    heads = (
        "behaviour",
        "model",
        "site",
        "accuracy",
        "items",
        "area: dictionary",
        "pca",
        "verdict",
        "CPU minutes",
    )
    summary = markdown_table(heads, map(_summarize, results)) if results else "There are no results."
    return (
        "\n\n".join(
            ["# Behaviours localised by patching", METHOD.strip(), summary, *map(to_markdown, results)]
        )
        + "\n"
    )


def to_markdown(result: Result) -> str:
    """Return one result as a section."""
    lines = [
        f"## {escape_markdown(f'{result.behaviour} on {result.model}, {result.site}')}",
        escape_markdown(
            f"{result.summary} Features of {result.dictionary}; {result.n_choosing} items to choose features on, "
            f"{result.n_measured} to measure on, {result.n_left_out} left out, whose answers are no single tokens or "
            f"whose twin has another length; accuracy {result.accuracy or NONE}; {result.cpu_minutes:.1f} CPU minutes "
            f"on {result.device}."
        ),
        "**Does the dictionary localise it in fewer features than each other arm? "
        f"{escape_markdown(f'{result.verdict}: {result.reason}')}.**",
    ]
    if result.curves:
        sizes = [point.patched for point in result.curves[0].points]
        for title, name in (("KL recovered", "kl"), ("logits", "logits")):
            heads = (title, *map(str, sizes), "area", "dictionary minus it")
            lines.append(markdown_table(heads, (_line(curve, name, result) for curve in result.curves)))
        nodes = [(node.name, str(node.kl), str(node.logits)) for node in result.nodes]
        lines.append(markdown_table(("of the dictionary", "KL recovered", "logits"), nodes))
    if result.edges:
        edges = [(str(edge.earlier), str(edge.later), str(edge.effect)) for edge in result.edges]
        lines += [f"Edges from features at {result.site} to features at {result.later_site}:"]
        lines += [markdown_table(("from", "to", "logits"), edges)]
    return "\n\n".join(lines)


def _line(curve: Curve, name: str, result: Result) -> tuple[str, ...]:
    area = curve.kl_area if name == "kl" else curve.logit_area
    difference = next((getattr(one, name) for one in result.differences if one.against == curve.name), None)
    values = (f"{getattr(point, name).value:.3f}" for point in curve.points)
    return (curve.name, *values, str(area), str(difference) if difference else NONE)


def _summarize(result: Result) -> tuple[str, ...]:
    own, pca = (result.find(name) for name in ("dictionary", "pca"))
    return (
        result.behaviour,
        result.model,
        result.site,
        str(result.accuracy or NONE),
        str(result.n_measured),
        str(own.kl_area) if own else NONE,
        str(pca.kl_area) if pca else NONE,
        result.verdict,
        f"{result.cpu_minutes:.1f}",
    )
