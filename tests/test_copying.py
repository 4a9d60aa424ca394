"""Weights are copied from their file piece by piece, and are what the library of the format gives."""

from __future__ import annotations

import pytest
import torch
from harness_transformers import copying
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import harness

TENSORS = {
    "matrix": torch.arange(77_000, dtype=torch.float32).reshape(1000, 77) / 7,
    "brain": torch.linspace(-3, 3, 50_001).bfloat16(),
    "half": torch.linspace(-3, 3, 999).half(),
    "double": torch.linspace(0, 1, 81, dtype=torch.float64).reshape(9, 9),
    "numbers": torch.arange(7),
    "truths": torch.tensor([True, False]),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "eighth": torch.linspace(-3, 3, 16).to(torch.float8_e4m3fn),
    "left": torch.zeros(5),
}


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("piece", [64, 1 << 24])
def test_copies_are_the_tensors_of_the_file(tmp_path, monkeypatch, dtype, piece):
    monkeypatch.setattr(copying, "PIECE", piece)
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    chosen = TENSORS.keys() - {"left"}
    found = dict(copying.copy_tensors(path, lambda names: chosen, dtype))
    assert found.keys() == chosen
    with safe_open(path, framework="pt") as file:
        for name, copy in found.items():
            wanted = file.get_tensor(name)
            wanted = wanted.to(dtype) if dtype is not None and wanted.is_floating_point() else wanted
            assert (copy.dtype, copy.shape) == (wanted.dtype, wanted.shape)
            assert torch.equal(copy.double(), wanted.double())
    path.write_bytes(b"")  # a copy has nothing of its file
    assert torch.equal(found["numbers"], TENSORS["numbers"])


def test_a_file_that_ends_early_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises((SafetensorError, harness.UnavailableError)):
        dict(copying.copy_tensors(path, lambda names: names, None))
