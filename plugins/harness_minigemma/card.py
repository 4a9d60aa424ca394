"""Facts and measured numbers in, Markdown of model and dictionary cards out. Nothing here runs a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness_minigemma.dictionaries import EXPANSION, Fidelity
from harness_minigemma.model import Size

LICENCE = (
    "The weights may be used under CC BY-SA 4.0, the licence of the texts among these that ask for the same in "
    "return, with the attributions above."
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The numbers of one model folder. `bits_per_byte` holds (score, bytes scored) by language."""

    parameters: tuple[int, int]
    bits_per_byte: dict[str, tuple[float, int]]
    mean_bits_per_byte: float
    shares: dict[str, float]
    dictionaries: dict[str, Fidelity]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a model besides its numbers."""

    name: str
    size: Size
    training: dict[str, Any]
    manifest: list[dict[str, Any]]
    hardware: str
    date: str
    provisional: bool


def model_card(facts: Facts, result: Evaluation) -> str:
    """The README.md of a model folder."""
    sections = [
        f"# {facts.name}",
        *provisional(facts),
        describe_model(facts.size, *result.parameters),
        'Load it with `attn_implementation="eager"`: others may skip the attention soft-cap.',
        "## Training",
        describe_training(facts),
        "## Held-out bits per byte",
        f"Mean over the training mixture: **{result.mean_bits_per_byte:.3f}**. Some languages have only a "
        "page of held-out text; those without a whole held-out sequence are not scored.",
        table(("language", "share of training", "bits per byte", "bytes scored"), language_rows(result)),
        "## Data",
        table(("source", "register", "languages", "licence", "attribution"), source_rows(facts.manifest)),
        LICENCE,
        "The tokenizer is byte-level BPE learnt on the same text; it is lossless.",
    ]
    return "\n\n".join(sections) + "\n"


def describe_model(size: Size, embedding: int, other: int) -> str:
    """What the model is and what it is for."""
    return (
        f"A toy Gemma 2: {size.layers} blocks of {size.width} dimensions, {size.heads} query and "
        f"{size.key_heads} key heads, {other:,} parameters besides the {embedding:,} of the tied embedding; "
        "vocabulary 8,192, at most 512 positions, a sliding window of 64 in every other block, attention and "
        "final logits soft-capped as in Gemma 2. It exists so that software for sparse autoencoders can be "
        "tried and tested without a download. It is no useful language model."
    )


def describe_training(facts: Facts) -> str:
    """The run that made the weights."""
    training = facts.training
    settings = training["settings"]
    return "\n".join(
        [
            f"- {training['tokens']:,} tokens in {training['step']:,} steps of {settings['batch_rows']} "
            f"sequences of {settings['context']} tokens, seed {settings['seed']}, on {facts.hardware} in "
            f"{training['seconds'] / 60:.0f} minutes; {facts.date}.",
            f"- AdamW, peak learning rate {settings['size']['learning_rate']:g}: warm-up, constant, "
            "1 - sqrt decay.",
            f"- {'bfloat16 autocast' if settings.get('bfloat16') else 'float32'}; exported as bfloat16.",
            f"- Positions from {settings['context']} on were never trained.",
            "- Recipe: `python -m harness_minigemma.train`; numbers: `python -m harness_minigemma.evaluate`.",
        ]
    )


def dictionary_card(facts: Facts, result: Evaluation) -> str:
    """The README.md of a dictionary folder."""
    rows = [
        (f"`{name}`", f"{fidelity.explained_variance:.3f}", f"{fidelity.l0:.1f}", f"{fidelity.dead:.1%}")
        for name, fidelity in result.dictionaries.items()
    ]
    tokens = max((fidelity.tokens for fidelity in result.dictionaries.values()), default=0)
    sections = [
        f"# {facts.name}-scope",
        *provisional(facts),
        f"Sparse autoencoders of the residual stream of `{facts.name}`, {EXPANSION} times as wide as the "
        "model, in Gemma Scope's format: `layer_<L>/width_<w>/average_l0_<n>/params.npz` with `W_enc`, "
        "`W_dec`, `b_enc`, `b_dec`, `threshold` in float16. The input is the raw output of block `L` "
        "(`model.layers[L]`).",
        "```\npre = x @ W_enc + b_enc\nf   = relu(pre) * (pre > threshold)\nx'  = f @ W_dec + b_dec\n```",
        "Trained with BatchTopK and an auxiliary loss on activations of the exported bfloat16 weights, run "
        "in float32, without `<bos>` positions; one threshold for all features was set afterwards "
        f"(`python -m harness_minigemma.dictionaries`; {facts.hardware}, {facts.date}).",
        f"Measured with the stored arrays on {tokens:,} held-out tokens; variance is about the mean; dead: "
        "never active on those tokens.",
        table(("dictionary", "explained variance", "L0", "dead"), rows),
        f"Data, licence and attribution: the card of `{facts.name}`.",
    ]
    return "\n\n".join(sections) + "\n"


def provisional(facts: Facts) -> list[str]:
    """The warning that stands above provisional weights."""
    if not facts.provisional:
        return []
    return [
        "**PROVISIONAL**: trained on a CPU for under an hour, to be replaced by weights trained on a GPU."
    ]


def language_rows(result: Evaluation) -> list[tuple[str, ...]]:
    """A row per training language, the largest share first."""
    rows: list[tuple[str, ...]] = []
    for language, share in sorted(result.shares.items(), key=lambda item: -item[1]):
        score, size = result.bits_per_byte.get(language, (None, 0))
        rows.append((language, f"{share:.1%}", "–" if score is None else f"{score:.3f}", f"{size:,}"))
    return rows


def source_rows(manifest: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row per source, register and licence, with all the languages it came in."""
    languages: dict[tuple[str, ...], list[str]] = {}
    for part in manifest:
        repository = str(part["repo"]).split(" ")[0]
        key = (repository, part["register"], part["licence"], part["attribution"] or repository)
        languages.setdefault(key, []).append(part["lang"])
    return [(key[0], key[1], " ".join(found), *key[2:]) for key, found in languages.items()]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
