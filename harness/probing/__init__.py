"""Probes on pooled features: fit, selection on validation, test predictions, attribution.

Matrices and partitions enter; predictions, scores and the most influential features leave."""
