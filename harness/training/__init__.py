"""Activations of a model in, sparse autoencoders of them out, in the form of Gemma Scope: `f = relu(pre) · (pre >
threshold)`, `pre = x W_enc + b_enc`, `x̂ = f W_dec + b_dec` on raw activations, decoder rows of unit norm.

One pass over the texts, or images, serves every site:

    job ─┬─ recipe             what is asked for
         ├─ images             files of images → what is learnt from, what is held out; of texts harness.texts does it
         ├─ loop ─┬─ stream    inputs → tokens → activations → mixed batches
         │        ├─ learners  batches → parameters: sae-lens, or the tied dictionary
         │        └─ outcome   parameters → a dictionary, and what it is worth
         └─ files              dictionaries → Gemma Scope's layout
"""

from harness.training.job import train_dictionaries
from harness.training.loop import Progress, train
from harness.training.outcome import Trained
from harness.training.recipe import ARCHITECTURES, Recipe

__all__ = ["ARCHITECTURES", "Progress", "Recipe", "Trained", "train", "train_dictionaries"]
