"""Next-token loss from hidden states without a full `[tokens, vocabulary]` matrix.

With 8,192 tokens and 128 dimensions the output layer costs more than the blocks. Its gradient is computed
chunk by chunk while the logits are still in the CPU's cache, which makes training on a CPU feasible.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2ForCausalLM

CHUNK_CPU = 256
"""Tokens of a chunk on a CPU."""
CHUNK_CUDA = 8192
"""Tokens of a chunk on a GPU."""
# Sequences scored at once. On a CPU, larger logits are allocated again each time, which takes twice as long.
ROWS_CPU = 2
ROWS_CUDA = 16


class _SoftcappedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `cap * tanh(hidden @ embedding.T / cap)`, with gradients from the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, targets: Tensor, cap: float) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden)
        grad_embedding = torch.zeros_like(embedding)
        chunk = CHUNK_CUDA if hidden.is_cuda else CHUNK_CPU
        for start in range(0, len(hidden), chunk):
            rows, answer = hidden[start : start + chunk], targets[start : start + chunk, None]
            bounded = torch.tanh_((rows @ embedding.T).float().div_(cap))
            logits = bounded * cap
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(1, answer)).sum()
            # d loss / d raw logit = (softmax - onehot) * (1 - tanh²)
            slope = logits.sub_(normaliser).exp_()
            slope.scatter_add_(1, answer, torch.full_like(answer, -1, dtype=slope.dtype))
            slope.mul_(bounded.square_().neg_().add_(1.0))
            slope = slope.to(hidden.dtype)
            grad_hidden[start : start + chunk] = slope @ embedding
            grad_embedding += slope.T @ rows
        ctx.save_for_backward(grad_hidden.div_(len(hidden)), grad_embedding.div_(len(hidden)))
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_embedding = ctx.saved_tensors
        return grad_hidden * grad[0], grad_embedding * grad[0], None, None


def training_loss(model: Gemma2ForCausalLM, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean next-token loss in nats over `[rows, context]`."""
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    loss: Tensor = _SoftcappedCrossEntropy.apply(
        hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), model.config.final_logit_softcapping
    )
    return loss


@torch.no_grad()
def bits_and_bytes(
    model: Gemma2ForCausalLM, inputs: Tensor, targets: Tensor, byte_lengths: Sequence[int]
) -> tuple[float, int]:
    """Return the total bits of the text tokens in targets `[sequences, context]`, and their total bytes.

    Special tokens are left out of both.
    """
    device = model.lm_head.weight.device
    rows = ROWS_CUDA if device.type == "cuda" else ROWS_CPU
    lengths = torch.tensor(byte_lengths)
    bits, bytes_spelt = 0.0, 0
    for start in range(0, len(inputs), rows):
        answer = targets[start : start + rows]
        logits = model(input_ids=inputs[start : start + rows].to(device), use_cache=False).logits.float()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), answer.flatten().to(device), reduction="none"
        )
        spelt = lengths[answer.flatten()]
        bits += float(losses.cpu()[spelt > 0].double().sum()) / math.log(2)
        bytes_spelt += int(spelt.sum())
    return bits, bytes_spelt
