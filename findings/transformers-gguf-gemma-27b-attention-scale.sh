#!/usr/bin/env bash
# transformers 5.24.0, gguf 0.19.0: Gemma 2 27B and Gemma 3 27B from a GGUF file.
#
# Expected: the configuration read from the file divides queries by the root of 144 and 168, as those of google/gemma-2-27b
# and google/gemma-3-27b-pt do (`query_pre_attn_scalar`, the width of the stream over the number of heads), or reading fails.
# Seen: it is 256 for both, the default of the class, which is right for the smaller models only; nothing is said. GGUF has no
# key for this number, and llama.cpp concludes it from the number of blocks. Attention is then flatter than the model's.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 gguf==0.19.0 torch
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import gguf
from transformers import AutoConfig

SIZES = {"gemma2": (46, 4608, 36864, 32, 16, 144), "gemma3": (62, 5376, 21504, 32, 16, 168)}
seen = {}
for architecture, (blocks, width, inner, heads, groups, scale) in SIZES.items():
    writer = gguf.GGUFWriter(f"{architecture}.gguf", architecture)
    writer.add_block_count(blocks)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(128)
    writer.add_value_length(128)
    writer.add_context_length(8192)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(4096 if architecture == "gemma2" else 1024)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<pad>", "<eos>", "<bos>"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    config = AutoConfig.from_pretrained(".", gguf_file=f"{architecture}.gguf")
    seen[architecture] = (config.num_hidden_layers, config.query_pre_attn_scalar)
    assert width // heads == scale
print(seen)
assert seen == {"gemma2": (46, 256), "gemma3": (62, 256)}, "transformers reads the scale of Gemma 27B differently now"
PYTHON
