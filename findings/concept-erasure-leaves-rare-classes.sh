#!/usr/bin/env bash
# concept-erasure 0.2.4, LeaceEraser.fit(x, z): a class with few rows, and classes given by their numbers.
#
# Expected: after LEACE the means of all classes are equal on the rows that it was fitted on, whatever the shares of classes.
# Seen: with the default svd_tol=0.01 a class of 8 rows in 3,000 keeps its whole mean difference, without a word: its
# singular value is below the tolerance, which is one of covariances, not of correlations. With svd_tol=1e-6 it goes.
# And class numbers 0, 1, 2 are taken for a quantity: one direction goes, and the three means stay apart; one-hot labels
# make them equal.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet concept-erasure==0.2.4 torch numpy
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from concept_erasure import LeaceEraser


def spread(x: torch.Tensor, z: torch.Tensor) -> float:
    """Return the largest distance of a class mean from the mean of all."""
    return max(float((x[z == number].mean(0) - x.mean(0)).norm()) for number in z.unique())


torch.manual_seed(0)
x = torch.randn(3000, 8, dtype=torch.float64)
rare = (torch.arange(3000) < 8).long()
x[:8, 0] += 3
one_hot = torch.nn.functional.one_hot(rare, 2)
seen = {"before": spread(x, rare)}
for tolerance in (0.01, 1e-6):
    seen[f"svd_tol={tolerance}"] = spread(LeaceEraser.fit(x, one_hot, svd_tol=tolerance)(x), rare)
print({name: round(value, 6) for name, value in seen.items()})
assert seen["svd_tol=0.01"] > 0.9 * seen["before"], "rare classes are erased now"
assert seen["svd_tol=1e-06"] < 1e-9

numbers = torch.randint(0, 3, (3000,))
x = torch.randn(3000, 8, dtype=torch.float64) + 2 * torch.randn(3, 8, dtype=torch.float64)[numbers]
left = {name: spread(LeaceEraser.fit(x, z)(x), numbers) for name, z in (
    ("class numbers", numbers), ("one-hot", torch.nn.functional.one_hot(numbers, 3)),
)}
print({name: round(value, 6) for name, value in left.items()})
assert left["class numbers"] > 1, "class numbers are taken for classes now"
assert left["one-hot"] < 1e-9
PYTHON
