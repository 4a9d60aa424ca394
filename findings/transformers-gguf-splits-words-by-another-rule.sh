#!/usr/bin/env bash
# transformers 5.24.0, gguf 0.19.0: a tokenizer of bytes in a GGUF file whose `tokenizer.ggml.pre` is `smollm`.
#
# Expected: texts are split as the file says (each digit is a word of its own, as in SmolLM's tokenizer.json), or reading
# fails for a rule that transformers does not know.
# Seen: they are split by GPT-2's rule, which keeps digits together, so that merges join them; nothing is said. A model
# then reads other tokens than it was trained on wherever a text has numbers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 gguf==0.19.0 torch
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import gguf
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "20", "24", "<|endoftext|>"]
writer = gguf.GGUFWriter("toy.gguf", "llama")
for add, value in (
    (writer.add_block_count, 1),
    (writer.add_embedding_length, 64),
    (writer.add_feed_forward_length, 64),
    (writer.add_head_count, 4),
    (writer.add_context_length, 128),
    (writer.add_layer_norm_rms_eps, 1e-6),
    (writer.add_tokenizer_model, "gpt2"),
    (writer.add_tokenizer_pre, "smollm"),
    (writer.add_token_list, tokens),
    (writer.add_token_types, [1] * (len(tokens) - 1) + [3]),
    (writer.add_token_merges, ["2 0", "2 4"]),
    (writer.add_eos_token_id, len(tokens) - 1),
):
    add(value)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.close()
seen = AutoTokenizer.from_pretrained(".", gguf_file="toy.gguf").tokenize("in 2024")
print(seen)
assert seen == ["i", "n", "Ġ", "20", "24"], "transformers splits the texts of such a file differently now"
PYTHON
