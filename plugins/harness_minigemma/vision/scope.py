"""Model cards of the vision models' dictionary folders, from training records.

python -m harness_minigemma.vision.scope
"""

import json
from pathlib import Path
from typing import Any

from harness_minigemma.card import table
from harness_minigemma.model import WEIGHTS
from harness_minigemma.tokenizer import replace_text

MODELS = ("miniclip", "minipaligemma")
"""Models with dictionaries."""


def scope_card(name: str, found: list[tuple[str, dict[str, Any]]]) -> str:
    """Return the README.md of a folder of dictionaries; `found` are their folders and training records."""
    rows = [
        (
            f"`{folder}`",
            training["site"],
            f"{training['tokens']:,}",
            f"{training['heldout']['explained_variance']:.3f}",
            f"{training['heldout']['median_explained_variance']:.3f}",
            f"{training['heldout']['l0']:.1f}",
            f"{training['heldout']['dead']:.1%}",
            f"{training['hardware']}, {training['date'][:10]}",
        )
        for folder, training in found
    ]
    images = min(training["images"]["count"] for _, training in found)
    sections = [
        f"# {name}-scope",
        "**PROVISIONAL**: of provisional weights, to be trained anew with them on a GPU.",
        f"Sparse autoencoders of image tokens of `{name}` in Gemma Scope's format (`params.npz` with `W_enc`, `W_dec`,"
        " `b_enc`, `b_dec`, `threshold` in float16), by `harness train-dictionary` on the training splits of eurosat"
        f" and omniglot_small ({images:,} images), which the model was trained on too.",
        table(
            ("dictionary", "site", "tokens", "explained variance", "median", "L0", "dead", "hardware"),
            rows,
        ),
        "Measured on the other splits of the same sets, about the mean. Other images lie elsewhere: the fidelity gate"
        " of every run says how far. *Dead* features fire on none of them.",
        f"Data, licence and attribution: the card of `{name}`.",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def read_dictionaries(scope: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read the training record of each dictionary of a folder, sorted by name."""
    return [
        (path.parent.relative_to(scope).as_posix(), json.loads(path.read_text("utf-8")))
        for path in sorted(scope.glob("layer_*/width_*/average_l0_*/training.json"))
    ]


def main() -> None:
    """Run the command line."""
    for name in MODELS:
        scope = WEIGHTS / f"{name}-scope"
        replace_text(scope / "README.md", scope_card(name, read_dictionaries(scope)))


if __name__ == "__main__":
    main()
