"""Model cards in Markdown, from facts and measured numbers. Nothing here runs a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness_minigemma.corpus import DUPLICATE_BYTES, ENGLISH_SHARE, Heldout
from harness_minigemma.model import Size

HEADLINE_BYTES = 100_000
"""Held-out bytes that a language needs to count in the mean."""

SCRIPTS = {("zh", "bible_ChiUn"): "zh-Hant"}
"""Tags of corpus parts in another script than the rest of their language."""

USUAL_SCRIPTS = {"zh": "zh-Hans"}
"""Tags with the usual script, for languages that have tags by script."""

LICENCE = (
    "The weights may be used under CC BY-SA 4.0, the licence of the texts among these that ask for the same in "
    "return, with the attributions above."
)
"""Licence of the weights."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Held-out bits per byte by model name and language, and the text they were measured on."""

    heldout: dict[str, Heldout]
    scores: dict[str, dict[str, float]]

    @property
    def headline(self) -> list[str]:
        """Languages with enough text for the mean, most text first."""
        return [language for language in self.scored if self.heldout[language].size >= HEADLINE_BYTES]

    @property
    def scored(self) -> list[str]:
        """Languages with any text, most text first."""
        some = [language for language, text in self.heldout.items() if text.size]
        return sorted(some, key=lambda language: -self.heldout[language].size)

    def mean_by_bytes(self, name: str) -> float:
        """Return the total bits of headline text over its total bytes."""
        sizes = {language: self.heldout[language].size for language in self.headline}
        bits = sum(size * self.scores[name][language] for language, size in sizes.items())
        return bits / sum(sizes.values())

    def mean_by_language(self, name: str) -> float:
        """Return the mean over headline languages, equally weighted."""
        return sum(self.scores[name][language] for language in self.headline) / len(self.headline)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a model other than scores; `training` is its training record."""

    name: str
    parameters: tuple[int, int]
    training: dict[str, Any]
    manifest: list[dict[str, Any]]


def model_card(facts: Facts, result: Comparison, *, baseline: str) -> str:
    """Return the README.md of a model folder, with the scores of `baseline` beside the model's own."""
    names = [facts.name, baseline]
    others = [language for language in result.scored if language not in result.headline]
    head = ("language", "bytes scored", "bytes removed", *names)
    sections = [
        f"# {facts.name}",
        *provisional(facts),
        describe_model(facts),
        'Load it with `attn_implementation="eager"`: others may skip the attention soft-cap.',
        "## Training",
        describe_training(facts.training),
        "## Held-out bits per byte",
        describe_measurement(facts, result, baseline=baseline),
        table(head, language_rows(result, result.headline, names) + mean_rows(result, names)),
        f"Languages with less than {HEADLINE_BYTES // 1000} kB of held-out text, often a single document:",
        table(head, language_rows(result, others, names)),
        "## Data",
        f"English is {ENGLISH_SHARE:.0%} of what was seen; the other languages share the rest by the square root "
        "of their size.",
        table(("source", "register", "languages", "licence", "attribution"), source_rows(facts.manifest)),
        LICENCE,
        "The tokenizer is byte-level BPE learnt on the same text; it is lossless.",
    ]
    return with_languages("\n\n".join(sections) + "\n", facts.manifest)


def with_languages(card: str, manifest: list[dict[str, Any]]) -> str:
    """Add front matter with the megabytes of training text in each language.

    Return the card unchanged if the manifest does not state sizes.
    """
    if any("mb_raw" not in part for part in manifest) or not manifest:
        return card
    front = yaml.safe_dump(
        {"language": sorted({part["lang"] for part in manifest}), "language_megabytes": megabytes(manifest)},
        sort_keys=False,
        allow_unicode=True,
    )
    return f"---\n{front}---\n\n{without_front_matter(card)}"


def without_front_matter(card: str) -> str:
    """Return the card without front matter."""
    if not card.startswith("---\n"):
        return card
    return card.split("\n---\n", 1)[-1].lstrip("\n")


def megabytes(manifest: list[dict[str, Any]]) -> dict[str, float]:
    """Return megabytes of text by language, largest first.

    A language that has tags by script counts in total and by script.
    """
    sizes: dict[str, float] = {}
    for part in manifest:
        language = part["lang"]
        script = SCRIPTS.get((language, part.get("source", "")), USUAL_SCRIPTS.get(language))
        for tag in (language, *([script] if script else [])):
            sizes[tag] = sizes.get(tag, 0.0) + part["mb_raw"]
    return {tag: round(size, 2) for tag, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))}


def provisional(facts: Facts) -> list[str]:
    """Return the warning above provisional weights, if they are."""
    if not facts.training["provisional"]:
        return []
    return ["**PROVISIONAL**: trained on a CPU, to be replaced by weights trained on a GPU."]


def describe_model(facts: Facts) -> str:
    """Return the paragraph on the model and its purpose."""
    size = Size(**facts.training["settings"]["size"])
    embedding, other = facts.parameters
    return (
        f"A toy Gemma 2: {size.layers} blocks of {size.width} dimensions, {size.heads} query and "
        f"{size.key_heads} key heads, {other:,} parameters besides the {embedding:,} of the tied embedding; "
        f"vocabulary 8,192, at most {facts.training['settings']['context']} positions, a sliding window of 64 "
        "in every other block, attention and final logits soft-capped as in Gemma 2. It exists so that software "
        "for sparse autoencoders can be tried and tested without a download. It is no useful language model."
    )


def describe_training(training: dict[str, Any]) -> str:
    """Return the list on the run that made the weights."""
    settings = training["settings"]
    size = settings["size"]
    known = [f", {name} {training[name]}" for name in ("torch", "transformers") if name in training]
    versions = "".join(known)
    return "\n".join(
        [
            f"- {training['tokens']:,} tokens in {training['steps']:,} steps of {settings['batch_rows']} "
            f"sequences of {settings['context']} tokens, seed {settings['seed']}, on {training['hardware']} in "
            f"{training['seconds'] / 60:.0f} minutes; {training['date']}{versions}.",
            f"- {training['optimizer']}, peak learning rate {size['learning_rate']:g}: warm-up, constant, "
            "1 - sqrt decay.",
            f"- {'bfloat16 autocast' if settings['bfloat16'] else 'float32'}; exported as bfloat16.",
            f"- Recipe: `python -m harness_minigemma.train --size {size['name']}`; numbers: "
            f"`python -m harness_minigemma.evaluate --size {size['name']}`.",
        ]
    )


def describe_measurement(facts: Facts, result: Comparison, *, baseline: str) -> str:
    """Return the paragraph on the scored text and the method."""
    return (
        f"{describe_text(result)} The model reads windows of {facts.training['settings']['context']} tokens "
        f"of one document, each beginning with `<bos>`. Beside it stands a byte {baseline} model with Witten-Bell "
        "smoothing, fitted to the whole training split and scored on the same text. Lower is better."
    )


def describe_text(result: Comparison) -> str:
    """Return two sentences on the held-out text."""
    removed = sum(text.removed for text in result.heldout.values())
    left = sum(text.size for text in result.heldout.values())
    return (
        f"The corpus' validation split, documents held out whole (a long work is cut into several, of which "
        f"others may be training text). Lines of more than {DUPLICATE_BYTES} bytes that stand in the training "
        f"text of the same language, or earlier in the held-out text, are removed: {removed:,} bytes, which "
        f"leaves {left:,}."
    )


def language_rows(
    result: Comparison, languages: Sequence[str], names: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return a row per language: bytes scored, bytes removed, and bits per byte of each model."""
    return [
        (
            language,
            f"{result.heldout[language].size:,}",
            f"{result.heldout[language].removed:,}",
            *(f"{result.scores[name][language]:.3f}" for name in names),
        )
        for language in languages
    ]


def mean_rows(result: Comparison, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return rows of the means over headline languages, by bytes and by language; none if there are none."""
    if not result.headline:
        return []
    size = sum(result.heldout[language].size for language in result.headline)
    removed = sum(result.heldout[language].removed for language in result.headline)
    return [
        (
            "mean by bytes",
            f"{size:,}",
            f"{removed:,}",
            *(f"{result.mean_by_bytes(name):.3f}" for name in names),
        ),
        ("mean by language", "", "", *(f"{result.mean_by_language(name):.3f}" for name in names)),
    ]


def source_rows(manifest: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row per source, register and licence, with all its languages."""
    languages: dict[tuple[str, ...], list[str]] = {}
    for part in manifest:
        repository = str(part["repo"]).split(" ")[0]
        key = (repository, part["register"], part["licence"], part["attribution"] or repository)
        found = languages.setdefault(key, [])
        if part["lang"] not in found:
            found.append(part["lang"])
    return [(key[0], key[1], " ".join(found), *key[2:]) for key, found in languages.items()]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
