#!/usr/bin/env bash
# sae-lens 6.54.12, SAE.load_from_disk(folder, converter=sparsify_disk_loader): checkpoints that eai-sparsify 1.3.3 saved.
#
# Expected: the converter for sparsify's checkpoints gives the features and reconstructions that sparsify gives.
# Seen: `num_latents: 0`, which sparsify writes unless a width is asked for, is taken for a width of 0, and W_dec, which is
# [latents, d_in] in the file, is transposed: both end in a size mismatch. Only one as wide as its input loads: its decoder
# is transposed then, and with `normalize_decoder` (the default) b_dec is not subtracted from the input, so that
# on random weights the same features are active on 30 % of tokens.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sae-lens==6.54.12 eai-sparsify==1.3.3
cd "$folder"
SPARSIFY_DISABLE_TRITON=1 "$folder/venv/bin/python" - <<'PYTHON'
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import sparsify_disk_loader
from sparsify import SparseCoder, SparseCoderConfig


@torch.no_grad()
def load(**settings: int | bool) -> str:
    """Return what becomes of a sparse coder with random weights."""
    torch.manual_seed(0)
    coder = SparseCoder(8, SparseCoderConfig(k=3, **settings))
    for parameter in coder.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    coder.save_to_disk("run/layers.3")
    x = torch.randn(64, 8)
    values, features, _ = coder.encode(x)
    try:
        sae = SAE.load_from_disk("run/layers.3", device="cpu", dtype="float32", converter=sparsify_disk_loader)
    except RuntimeError as error:
        assert "size mismatch for W_dec" in str(error)
        return "does not load"
    active = sae.encode(x) != 0
    wanted = torch.zeros(64, coder.num_latents).scatter(1, features, values) != 0
    same = (active == wanted).all(1).float().mean()
    off = (sae.decode(sae.encode(x)) - coder.decode(values, features)).abs().max()
    print(settings, f"same features active on {same:.0%} of tokens, reconstructions differ by up to {off:.1f}")
    return "is another one" if off > 1 else "loads"


seen = {
    "default width": load(expansion_factor=4),
    "given width": load(num_latents=32),
    "as wide as its input": load(num_latents=8),
    "the same, decoder not normalised": load(num_latents=8, normalize_decoder=False),
}
print(seen)
assert list(seen.values()) == ["does not load"] * 2 + ["is another one"] * 2, "sae-lens loads sparsify otherwise now"
PYTHON
