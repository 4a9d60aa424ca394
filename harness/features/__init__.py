"""Pooled features: token sets, sampling, activations, the forward pass, fitted representations.

Encoded inputs and a loaded model enter; pooled rows leave."""
