#!/usr/bin/env bash
# transformers 5.24.0, tokenizers 0.23.3: `add_bos_token: true` in tokenizer_config.json beside a tokenizer.json.
#
# Expected: a tokenizer whose configuration declares that BOS is added adds it, or loading says that it does not; what
# is saved again declares the same.
# Seen: where the rules in tokenizer.json do not add BOS, neither does the tokenizer, of the generic class and of
# Llama's; its attribute `add_bos_token` is False, nothing is said, and `save_pretrained` drops the declaration. A model
# trained with BOS then reads texts without it, and its activations differ.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 tokenizers==0.23.3
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

rules = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "river": 4}, unk_token="<unk>"))
rules.pre_tokenizer = pre_tokenizers.Whitespace()
rules.add_special_tokens(["<unk>", "<s>", "</s>"])
seen = {}
for name in ("PreTrainedTokenizerFast", "LlamaTokenizer"):
    source, saved = Path(name), Path(f"{name}-saved")
    source.mkdir()
    rules.save(str(source / "tokenizer.json"))
    declared = {"tokenizer_class": name, "bos_token": "<s>", "unk_token": "<unk>", "add_bos_token": True}
    (source / "tokenizer_config.json").write_text(json.dumps(declared))
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(saved)
    kept = "add_bos_token" in json.loads((saved / "tokenizer_config.json").read_text())
    seen[name] = (tokenizer.bos_token_id in tokenizer("a").input_ids, tokenizer.add_bos_token, kept)
print(seen)
assert set(seen.values()) == {(False, False, False)}, "transformers treats a declared BOS differently now"
PYTHON
