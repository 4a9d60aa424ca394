"""Results of patching: one JSON file for each, the page made of all of them, and the claim that they bear on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import Claim, ResultPage, escape_markdown, markdown_table, read_result, write_result
from harness_patching.result import AGAINST, Curve, Edge, Result

WORK = "Cunningham et al. 2023"
CLAIMED = "features of a dictionary localise a behaviour in fewer units than other decompositions do"

NONE = "—"
"""Text of a value that is not there."""

SHOWN = 10
"""Edges that the page shows; the file has all of them."""

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
    own, other = result.find("dictionary"), result.find_nearest()
    return Claim(
        work=WORK,
        claimed=f"{CLAIMED} ({result.behaviour})",
        model=result.model,
        measure=f"area under KL recovered against patched features, {result.dictionary} at {result.site}",
        measured=own.kl_area if own else None,
        n=result.n_measured,
        items="items",
        control=f"as many {AGAINST[other.name]}" if other else "",
        control_value=other.kl_area if other else None,
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
        *AGAINST,
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
        lines += [_describe_edges(result), _list_edges(result.edges)]
    return "\n\n".join(lines)


def _describe_edges(result: Result) -> str:
    """Return what the table of edges shows, and how many are told apart from their controls."""
    told = sum(edge.lead is not None and edge.lead.lower > 0 for edge in result.edges)
    return escape_markdown(
        f"Edges of the dictionary from features at {result.site} to features at {result.later_site}, in shares of the "
        "difference in logits: what the earlier feature recovers alone, and what of it by way of the later one. A "
        "placebo is another feature at the later site, among those whose difference between prompts and twins is "
        f"nearest. {told} of {len(result.edges)} edges are above their placebo by the interval of the difference. "
        f"The {min(SHOWN, len(result.edges))} largest:"
    )


def _list_edges(edges: Sequence[Edge]) -> str:
    """Return the largest edges as a table."""
    largest = sorted(edges, key=lambda edge: -abs(edge.effect.value))[:SHOWN]
    heads = (
        "from",
        "alone",
        "to",
        "by way of it",
        "share of alone",
        "placebo",
        "by way of that",
        "edge minus it",
    )
    return markdown_table(heads, map(_spell_edge, largest))


def _spell_edge(edge: Edge) -> tuple[str, ...]:
    alone, share = edge.alone, NONE
    # Of an effect that may be nothing a share says nothing.
    if alone is not None and (alone.lower > 0 or alone.upper < 0):
        share = f"{edge.effect.value / alone.value:.0%}"
    return (
        str(edge.earlier),
        str(alone or NONE),
        str(edge.later),
        str(edge.effect),
        share,
        NONE if edge.placebo is None else str(edge.placebo),
        str(edge.placebo_effect or NONE),
        str(edge.lead or NONE),
    )


def _line(curve: Curve, name: str, result: Result) -> tuple[str, ...]:
    area = curve.kl_area if name == "kl" else curve.logit_area
    difference = next((getattr(one, name) for one in result.differences if one.against == curve.name), None)
    values = (f"{getattr(point, name).value:.3f}" for point in curve.points)
    return (curve.name, *values, str(area), str(difference) if difference else NONE)


def _summarize(result: Result) -> tuple[str, ...]:
    areas = [result.find(name) for name in ("dictionary", *AGAINST)]
    return (
        result.behaviour,
        result.model,
        result.site,
        str(result.accuracy or NONE),
        str(result.n_measured),
        *(str(curve.kl_area) if curve else NONE for curve in areas),
        result.verdict,
        f"{result.cpu_minutes:.1f}",
    )
