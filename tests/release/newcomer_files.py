"""Files of a newcomer: texts for a dictionary, a CSV with labels, and the task file that describes it."""

import csv
import random
from pathlib import Path

THINGS = (
    "soup",
    "tea",
    "bread",
    "chair",
    "lamp",
    "room",
    "garden",
    "train",
    "hotel",
    "film",
    "song",
    "phone",
)
WORDS = {
    "praise": ("warm", "lovely", "fresh", "bright", "quiet", "perfect", "friendly", "clean", "charming"),
    "complaint": ("cold", "awful", "stale", "broken", "noisy", "useless", "rude", "dirty", "boring"),
}
FRAMES = (
    "The {} was {}.",
    "I found the {} rather {}.",
    "Honestly, our {} seemed {} to me.",
    "They called the {} {}, and so do I.",
    "Last week this {} felt {} all day.",
)
TASK = """\
name: my_reviews
version: 1
source: {file: reviews.csv}
columns: {input: review, label: verdict, split: null}
languages: [en]
licence: CC0 1.0
citation: written by a newcomer
"""


def main() -> None:
    """Write texts/mine.txt, reviews.csv and reviews.yaml into the current folder."""
    draw = random.Random(0)

    def sentence(label: str) -> str:
        return draw.choice(FRAMES).format(draw.choice(THINGS), draw.choice(WORDS[label]))

    Path("texts").mkdir()
    texts = (f"{sentence('praise')} {sentence('complaint')}" for _ in range(4000))
    Path("texts/mine.txt").write_text("\n\n".join(texts), "utf-8")
    rows = {(sentence(label), label) for label in WORDS for _ in range(400)}
    with Path("reviews.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("review", "verdict"), *sorted(rows)])
    Path("reviews.yaml").write_text(TASK, "utf-8")


if __name__ == "__main__":
    main()
