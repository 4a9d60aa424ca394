"""Model cards of dictionary folders, from training records and reports. Nothing here runs a model.

    python -m harness_minigemma.scope --size m

Beside every params.npz are `training.json`, written by `harness train-dictionary`, and `report.json`, the output of
`harness report-dictionary … --json` on the corpus' held-out text (`make family` makes both).
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness_minigemma.card import table
from harness_minigemma.model import SIZES, WEIGHTS
from harness_minigemma.tokenizer import replace_text

Reported = tuple[str, dict[str, Any], dict[str, Any]]
"""Folder of a dictionary below the scope's folder, its training record, and its report."""


def read_reports(scope: Path) -> list[Reported]:
    """Read every dictionary of the folder, by layer and width; raise SystemExit if one has no report."""
    found = []
    for path in scope.glob("layer_*/width_*/average_l0_*/params.npz"):
        folder = path.parent
        missing = [name for name in ("training.json", "report.json") if not (folder / name).is_file()]
        if missing:
            raise SystemExit(f"{folder.relative_to(scope)} has no {missing[0]}: see `make family`")
        training, reported = (
            json.loads((folder / name).read_text("utf-8")) for name in ("training.json", "report.json")
        )
        found.append((folder.relative_to(scope).as_posix(), training, reported))
    if not found:
        raise SystemExit(f"{scope.name} holds no dictionaries")
    return sorted(found, key=lambda one: (int(one[2]["site"].rpartition(".")[2]), one[2]["width"]))


def scope_card(name: str, found: Sequence[Reported], *, provisional: bool) -> str:
    """Return the README.md of a folder of dictionaries."""
    tokens = min(reported["tokens"] for _, _, reported in found)
    sections = [
        f"# {name}-scope",
        *(
            ["**PROVISIONAL**: of provisional weights, to be trained anew with them on a GPU."]
            if provisional
            else []
        ),
        f"Sparse autoencoders of the residual stream of `{name}` in Gemma Scope's format: "
        "`layer_<L>/width_<w>/average_l0_<n>/params.npz` with `W_enc`, `W_dec`, `b_enc`, `b_dec`, `threshold` in "
        "float16. The input is the raw output of block `L` (`model.layers[L]`), `<bos>` left out.",
        "```\npre = x @ W_enc + b_enc\nf   = relu(pre) * (pre > threshold)\nx'  = f @ W_dec + b_dec\n```",
        "## Training",
        "By `harness train-dictionary` (sae-lens' BatchTopK trainer; one threshold for all features was set "
        "afterwards), on the corpus that the model was trained on:",
        table(("dictionary", "tokens", "minutes", "hardware", "date"), training_rows(found)),
        "## Held-out text",
        f"By `harness report-dictionary` on {tokens:,} tokens of the corpus' validation split. Explained variance is "
        "about the mean; *recovered* is the share of the next-token loss lost by ablating to the mean that is won "
        "back when the reconstruction takes the activations' place; *dead* features never fire on that text.",
        table(
            ("dictionary", "explained variance", "median", "L0", "L0 / width", "dead", "recovered", "validated"),
            [own_row(folder, reported) for folder, _, reported in found],
        ),
        "The same site through other representations, as many numbers a token, with the best affine decoder:",
        table(
            ("dictionary", "arm", "explained variance", "recovered"),
            [row for folder, _, reported in found for row in other_rows(folder, reported)],
        ),
        "*validated*: of features with enough activations, the share whose strongest ones share a token, a token "
        "before or a place in the text, as precisely in text that had no part in finding that.",
        f"Data, licence and attribution: the card of `{name}`.",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def training_rows(found: Sequence[Reported]) -> Iterator[tuple[str, ...]]:
    """Yield the table row of each dictionary's training."""
    for folder, training, _ in found:
        yield (
            f"`{folder}`",
            f"{training['tokens']:,}",
            f"{training['seconds'] / 60:.0f}",
            training["hardware"],
            training["date"][:10],
        )


def own_row(folder: str, reported: dict[str, Any]) -> tuple[str, ...]:
    """Return the table row of a dictionary's own measurements."""
    own = reported["arms"][0]
    return (
        f"`{folder}`",
        f"{own['explained_variance']:.3f}",
        f"{own['median_explained_variance']:.3f}",
        f"{own['l0']:.1f}",
        f"{reported['l0_share']:.2%}",
        f"{reported['dead']:.1%}",
        f"{own['recovered']:.3f}",
        f"{reported['validation']['validated']:.1%}",
    )


def other_rows(folder: str, reported: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the table rows of other representations of the same activations."""
    for arm in reported["arms"][1:]:
        if arm["name"] not in ("identity", "mean") and arm["explained_variance"] is not None:
            yield f"`{folder}`", arm["name"], f"{arm['explained_variance']:.3f}", f"{arm['recovered']:.3f}"


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the family's weights")
    arguments = parser.parse_args(argv)
    model = arguments.weights / f"minigemma-{arguments.size}"
    scope = model.with_name(f"{model.name}-scope")
    training = json.loads((model / "training.json").read_text("utf-8"))
    text = scope_card(model.name, read_reports(scope), provisional=training["provisional"])
    replace_text(scope / "README.md", text)


if __name__ == "__main__":
    main()
