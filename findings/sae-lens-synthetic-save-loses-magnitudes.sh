#!/usr/bin/env bash
# sae-lens 6.54.12, SyntheticModel.save() and SyntheticModel.load_from_disk() with magnitudes that differ from feature to
# feature, and the default seed.
#
# Expected: the model that is loaded is the one that was saved.
# Seen: feature vectors and firing probabilities are written, magnitudes are not. They are drawn anew from the configuration,
# and with the default seed, None, come out otherwise each time: two people who load one saved model train on data in which
# other features are large, and nothing says so. With a seed they are the same.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sae-lens==6.54.12
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from sae_lens.synthetic import FoldedNormalMagnitudeConfig, SyntheticModel, SyntheticModelConfig


def differences(seed):
    model = SyntheticModel(
        SyntheticModelConfig(
            num_features=64, hidden_dim=16, seed=seed, mean_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=1.0, std=0.5)
        )
    )
    place = f"{sys.argv[1]}/seed-{seed}"
    model.save(place)
    saved = model.activation_generator
    loaded = [SyntheticModel.load_from_disk(place).activation_generator for _ in range(2)]
    probability = max(float((one.firing_probabilities - saved.firing_probabilities).abs().max()) for one in loaded)
    magnitude = min(
        float((one.mean_firing_magnitudes - other.mean_firing_magnitudes).abs().max())
        for one, other in [(saved, loaded[0]), (saved, loaded[1]), (loaded[0], loaded[1])]
    )
    print(f"seed {seed}: firing probabilities differ by {probability:.3f}, magnitudes by {magnitude:.3f}")
    return probability, magnitude


assert differences(0) == (0, 0)
probability, magnitude = differences(None)
if probability or magnitude < 0.5:
    sys.exit("sae-lens behaves differently now")
PYTHON
