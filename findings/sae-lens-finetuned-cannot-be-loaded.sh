#!/usr/bin/env bash
# sae-lens 5.10.7, SAE.save_model() and SAE.load_from_disk() with finetuning_scaling_factor=True.
#
# Expected: a dictionary that save_model writes is one that load_from_disk reads.
# Seen: the factors are saved under the name finetuning_scaling_factor, and the loader knows scaling_factor alone: it sets
# the option to False and then refuses the file. Version 6 drops the option and refuses it too. Here both names are read;
# the factors count for the decoder alone.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sae-lens==5.10.7 pyarrow==21.0.0
"$folder/venv/bin/python" - "$folder/sae" <<'PYTHON'
import sys

import sae_lens

config = sae_lens.SAEConfig(
    architecture="standard", d_in=4, d_sae=8, activation_fn_str="relu", apply_b_dec_to_input=True,
    finetuning_scaling_factor=True, context_size=128, model_name="toy", hook_name="blocks.0.hook_resid_post",
    hook_layer=0, hook_head_index=None, prepend_bos=True, dataset_path="", dataset_trust_remote_code=False,
    normalize_activations="none", dtype="float32", device="cpu", sae_lens_training_version=None,
)
sae_lens.SAE(config).save_model(sys.argv[1])
try:
    sae_lens.SAE.load_from_disk(sys.argv[1])
except RuntimeError as error:
    print(error)
    assert "finetuning_scaling_factor" in str(error)
else:
    sys.exit("sae-lens behaves differently now")
PYTHON
