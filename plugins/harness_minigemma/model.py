"""Gemma 2 configurations and models of the embedded family, and their folders on disk.

Only the dimensions are toy. Soft-capping, alternating sliding windows, grouped queries, pre- and post-norms
and tied embeddings are those of Gemma 2, and the code that runs is the one in transformers.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM

from harness_minigemma.tokenizer import BOS, EOS, FILES, PAD, VOCABULARY, replace_text

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of all embedded models and dictionaries."""
TOKENIZER = WEIGHTS / "minigemma-s"
"""Folder whose tokenizer every size shares."""
TRAINING = "training.json"
"""Name of the training record in a model folder."""
CONTEXT = 512
"""Default number of positions."""
HEAD_WIDTH = 32
"""Dimensions of one attention head."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Dimensions of one model of the family, and its peak learning rate."""

    name: str
    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    learning_rate: float


SIZES = {
    size.name: size
    for size in (
        Size(name="s", width=64, layers=4, heads=2, key_heads=1, inner=256, learning_rate=1.2e-2),
        Size(name="m", width=128, layers=6, heads=4, key_heads=2, inner=448, learning_rate=1.2e-2),
        Size(name="l", width=224, layers=8, heads=8, key_heads=2, inner=896, learning_rate=1e-2),
    )
}


def make_config(size: Size, *, context: int = CONTEXT) -> Gemma2Config:
    """Return the transformers configuration of a size for a training context of `context` positions."""
    return Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        head_dim=HEAD_WIDTH,
        query_pre_attn_scalar=HEAD_WIDTH,
        # Later positions are untrained: readers of this number truncate texts there.
        max_position_embeddings=context,
        sliding_window=64,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        # The default of 0.02 suits thousands of dimensions; here embeddings would start far below block outputs.
        initializer_range=0.5 * size.width**-0.5,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
        tie_word_embeddings=True,
        architectures=["Gemma2ForCausalLM"],
        dtype="bfloat16",
    )


def make_model(size: Size, *, seed: int) -> Gemma2ForCausalLM:
    """Return a new float32 model; the same seed gives the same weights on every device."""
    torch.manual_seed(seed)  # the model is made on the CPU, so that devices agree
    config = make_config(size)
    config.dtype = torch.float32
    # Eager attention is the only path that applies the logit soft-cap everywhere.
    config._attn_implementation = "eager"
    return Gemma2ForCausalLM(config)


def load_model(folder: Path, device: torch.device) -> Gemma2ForCausalLM:
    """Load an exported model as float32 with eager attention and frozen weights."""
    model = Gemma2ForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    )
    return model.to(device).eval().requires_grad_(False)


def save_model(
    size: Size, weights: dict[str, Tensor], folder: Path, *, tokenizer: Path, context: int
) -> None:
    """Write a Hugging Face folder in bfloat16; each file is replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if folder.resolve() != tokenizer.resolve():
            shutil.copyfile(tokenizer / name, folder / name)
    replace_text(folder / "config.json", make_config(size, context=context).to_json_string())
    # The output matrix is tied to the embedding, so it is not saved.
    own = {name: value for name, value in weights.items() if name != "lm_head.weight"}
    save_weights(own, folder / "model.safetensors", dtype=torch.bfloat16)


def save_weights(weights: Mapping[str, Tensor], path: Path, *, dtype: torch.dtype) -> None:
    """Write a safetensors file atomically in the given precision."""
    kept = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(kept, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    temporary.replace(path)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return (embedding, other) parameters; the tied output matrix counts once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    embedding = sum(value.numel() for name, value in model.named_parameters() if "embed_tokens" in name)
    return embedding, total - embedding


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA if available, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
