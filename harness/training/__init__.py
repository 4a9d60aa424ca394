"""Training of sparse autoencoders on a model's activations, in the form of Gemma Scope: `f = relu(pre) · (pre >
threshold)`, `pre = x W_enc + b_enc`, `x̂ = f W_dec + b_dec` on raw activations, decoder rows of unit norm.

One pass over the texts, or images, serves every site:

    job ─┬─ config             options of the training, with defaults
         ├─ images             files of images → training and held-out images (texts: harness.data.corpus)
         ├─ loop ─┬─ stream    inputs → tokens → activations → mixed batches
         │        ├─ learners  batches → parameters: sae-lens, or the tied dictionary
         │        └─ outcome   parameters → a dictionary, evaluated on held-out activations
         └─ files              dictionaries → Gemma Scope's layout
"""

import warnings
from typing import Any

from harness.training.config import ARCHITECTURES, TrainingConfig
from harness.training.job import train_dictionaries
from harness.training.loop import Progress, train
from harness.training.outcome import Trained

__all__ = ["ARCHITECTURES", "Progress", "Trained", "TrainingConfig", "train", "train_dictionaries"]


def __getattr__(name: str) -> Any:
    """Return a name by its earlier spelling, with a warning."""
    if name != "Recipe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("Recipe is called TrainingConfig", DeprecationWarning, stacklevel=2)
    return TrainingConfig
