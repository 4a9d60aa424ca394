"""An exported model, its dictionaries and a corpus in; held-out bits per byte and dictionary fidelity out.

    python -m harness_minigemma.evaluate --size m --corpus DIR [--write-card]

Prints the numbers and, if asked, writes them into the README.md of the model folder and of the dictionary
folder.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma2ForCausalLM

from harness_minigemma.card import Evaluation, Facts, dictionary_card, model_card
from harness_minigemma.corpus import find_corpus, mixture, read_manifest
from harness_minigemma.dictionaries import Fidelity, capture, heldout_inputs, load_dictionary, measure
from harness_minigemma.loss import bits_and_bytes
from harness_minigemma.model import SIZES, WEIGHTS, choose_device, count_parameters, load_model
from harness_minigemma.packing import Stream, cache_folder, heldout_batch, read_streams
from harness_minigemma.tokenizer import load_tokenizer, replace_text, token_bytes


def evaluate(
    folder: Path, scope: Path, corpus: Path, *, device: torch.device, cache: Path, context: int, rows: int
) -> Evaluation:
    """Measures a model folder and the dictionaries of a scope folder on held-out text."""
    model = load_model(folder, device)
    heldout = read_streams(corpus, folder, "validation", cache=cache)
    train = read_streams(corpus, folder, "train", cache=cache)
    shares = mixture({language: len(stream) for language, stream in train.items()})
    scores = score_languages(model, folder, heldout, context=context, rows=rows)
    known = sum(shares[language] for language in scores)
    return Evaluation(
        parameters=count_parameters(model),
        bits_per_byte=scores,
        mean_bits_per_byte=sum(shares[language] * score for language, (score, _) in scores.items()) / known,
        shares=shares,
        dictionaries=measure_dictionaries(model, scope, heldout, shares, context=context),
    )


def score_languages(
    model: Gemma2ForCausalLM, folder: Path, heldout: dict[str, Stream], *, context: int, rows: int
) -> dict[str, tuple[float, int]]:
    """(bits per byte, bytes scored) of every language that has a whole held-out sequence."""
    lengths = token_bytes(load_tokenizer(folder))
    scores = {}
    for language, stream in heldout.items():
        bits, size = bits_and_bytes(model, *heldout_batch(stream, context=context, rows=rows), lengths)
        if size:
            scores[language] = bits / size, size
    return scores


def measure_dictionaries(
    model: Gemma2ForCausalLM,
    scope: Path,
    heldout: dict[str, Stream],
    shares: dict[str, float],
    *,
    context: int,
) -> dict[str, Fidelity]:
    """The fidelity of every stored dictionary, named by its folder below the scope folder."""
    paths = {
        path.parent.relative_to(scope).as_posix(): path
        for path in sorted(scope.glob("layer_*/*/*/params.npz"))
    }
    layers = sorted({layer_of(name) for name in paths})
    activations = capture(model, layers, heldout_inputs(heldout, shares, context=context))
    device = model.lm_head.weight.device
    return {
        name: measure(load_dictionary(path, device), activations[layer_of(name)])
        for name, path in paths.items()
    }


def layer_of(name: str) -> int:
    """The block that a dictionary folder such as `layer_4/width_1k/average_l0_20` belongs to."""
    return int(name.split("/")[0].removeprefix("layer_"))


def read_training(state: Path) -> dict[str, Any]:
    """Settings and progress of the training run that a state folder holds."""
    path = state / "state.pt"
    if not path.exists():
        raise SystemExit(
            f"a card needs the training state, and {path} is missing; name its folder with --state"
        )
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return {"settings": content["settings"], **content["progress"]}


def print_evaluation(result: Evaluation) -> None:
    """The numbers as lines of text."""
    embedding, other = result.parameters
    print(f"parameters  embedding {embedding:,}  other {other:,}")
    for language, (score, size) in result.bits_per_byte.items():
        print(f"{language}  {score:.3f} bits per byte  ({size:,} bytes)")
    print(f"mixture  {result.mean_bits_per_byte:.3f} bits per byte")
    for name, fidelity in result.dictionaries.items():
        print(f"{name}  EV {fidelity.explained_variance:.3f}  L0 {fidelity.l0:.1f}  dead {fidelity.dead:.1%}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--corpus", help="corpus folder (default: HARNESS_CORPUS_DIR)")
    parser.add_argument("--model", type=Path, help="model folder (default: the plugin's own weights)")
    parser.add_argument("--scope", type=Path, help="dictionary folder (default: beside the model)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--rows", type=int, default=64, help="held-out sequences per language at most")
    parser.add_argument(
        "--write-card", action="store_true", help="write the numbers into the README.md files"
    )
    parser.add_argument(
        "--state", type=Path, help="training state that the card reports (default: the user's cache)"
    )
    parser.add_argument("--hardware", default="2 CPU cores", help="for the card")
    parser.add_argument("--date", default="2026-11-21", help="for the card")
    parser.add_argument("--final", action="store_true", help="the card does not call the weights provisional")
    arguments = parser.parse_args(argv)
    corpus = find_corpus(arguments.corpus)
    folder = arguments.model or WEIGHTS / f"minigemma-{arguments.size}"
    scope = arguments.scope or folder.with_name(f"{folder.name}-scope")
    result = evaluate(
        folder,
        scope,
        corpus,
        device=choose_device(arguments.device),
        cache=cache_folder(),
        context=arguments.context,
        rows=arguments.rows,
    )
    print_evaluation(result)
    if arguments.write_card:
        facts = Facts(
            name=folder.name,
            size=SIZES[arguments.size],
            training=read_training(arguments.state or cache_folder() / f"train-{arguments.size}-seed0"),
            manifest=read_manifest(corpus),
            hardware=arguments.hardware,
            date=arguments.date,
            provisional=not arguments.final,
        )
        replace_text(folder / "README.md", model_card(facts, result))
        replace_text(scope / "README.md", dictionary_card(facts, result))


if __name__ == "__main__":
    main()
