"""Conversion of a GGUF file to a Hugging Face folder: configuration, tokenizer, and weights dequantised to float32.

transformers reads such files too, for Gemma 3 270M in 75 seconds of computing and 3.8 GB, each time. Here its rules are
used once: its configuration of the metadata, its tokenizer, its names and its transposed, permuted and shifted weights.
The result lies in the cache, named by the hash of the file. A tensor that these rules do not know, or do not find, is
refused, where transformers itself drops it or draws it at random. What they leave out of the metadata is in
`gguf_settings` and `gguf_tokenizer`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import (
    ParseError,
    UnavailableError,
    cached_folder,
    check_memory,
    check_numbers,
    escape_markdown,
    hash_file,
    name_some,
    parsing,
    printable,
    unchanged,
)
from harness_transformers.gguf_file import GgufFile, open_gguf
from harness_transformers.gguf_settings import OTHER_RULES, ROPE_TENSOR, find_lost, take_over
from harness_transformers.gguf_tokenizer import check_words, complete, find_ends
from harness_transformers.silence import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

CONVERSION = 2
"""Version of the conversion: raise it where its result changes."""
RECORD = "conversion.json"
"""Name of the file that says from what a folder was converted."""
QUANTISED = "quantised"
"""Flag of results of a model whose weights were quantised before they came here."""
PLAIN = frozenset({"F32", "F16", "BF16", "F64"})
"""Types of tensors that lose nothing as float32."""
NOTICES = {
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
}
"""Licences, by their names on the hub → the notice that they ask for beside a model."""
INSTALL = "pip install 'sae-harness[gguf]'"
"""Command that installs what the conversion needs."""


def convert_once(name: str, path: Path) -> Path:
    """Return the folder in the cache with the converted model, and convert it if it is not there yet.

    Raise UnavailableError for a file that cannot be read, or without the package gguf.
    """
    sha256 = hash_file(path)
    with unchanged({path: sha256}):
        return cached_folder(
            {"gguf": sha256, "conversion": CONVERSION},
            lambda folder: _convert_loudly(name, path, folder, sha256),
            what=f"a model in GGUF as float32 ({path.name})",
        )


def read_note(record: Mapping[str, Any] | None) -> str | None:
    """Return the sentence on a converted model whose weights were quantised; None for any other."""
    kinds = (record or {}).get("types")
    lossy = [kind for kind in kinds if kind not in PLAIN] if isinstance(kinds, dict) else []
    if not lossy:
        return None
    return (
        f"was quantised ({', '.join(sorted(map(str, lossy)))}): its activations are not those of the original"
    )


def _convert_loudly(name: str, path: Path, folder: Path, sha256: str) -> None:
    """Convert, and tell on standard error that it takes a while, how long it took and what the file does not hold."""
    if find_spec("gguf") is None:
        raise UnavailableError(f"model '{name}' is in GGUF, which needs the package gguf: {INSTALL}")
    started = time.monotonic()
    file = open_gguf(name, path)
    n_bytes = 4 * sum(_size(stored.shape) for stored in file.tensors.values())
    _tell(f"model '{name}': converting {path.name} to float32, once, which takes {n_bytes / 1e9:.1f} GB")
    record = {"gguf": sha256, "conversion": CONVERSION, **convert(name, file, folder)}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(_write_card(file, record), "utf-8")
    lacks = "".join(f"; it holds no {one}" for one in record["lacks"])
    _tell(f"model '{name}': converted in {time.monotonic() - started:.0f} s{lacks}")
    if notice := _find_notice(file):
        _tell(f"model '{name}': {notice}")


def _tell(line: str) -> None:
    print(f"harness: {printable(line)}", file=sys.stderr)


def convert(name: str, file: GgufFile, folder: Path) -> dict[str, Any]:
    """Write the files of a Hugging Face model into a folder; return what there is to know about their origin."""
    import transformers

    check_memory(
        2 * 4 * max((_size(one.shape) for one in file.tensors.values()), default=0), f"model '{name}' would"
    )
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        # Alone in a folder: from files beside the model, transformers would read a chat template.
        (place / "model.gguf").symlink_to(file.path.resolve())
        config = _read_config(name, file, place)
        tokenizer = _read_tokenizer(name, file, config, place)
    tokenizer.save_pretrained(folder)
    has_template, ends = bool(tokenizer.chat_template), find_ends(tokenizer, file)
    del tokenizer  # 300 MB for the 262,144 tokens of a Gemma
    config.architectures = [_write_weights(name, file, config, folder / "model.safetensors")]
    config.dtype = "float32"
    _write_json(folder / "config.json", config.to_diff_dict(), drop="_name_or_path transformers_version")
    _clean_tokenizer_config(folder / "tokenizer_config.json")
    if ends not in ([], [config.eos_token_id]):  # else the configuration says it
        _write_json(folder / "generation_config.json", {"eos_token_id": ends}, drop="")
    return {
        "architecture": file.architecture,
        "types": dict(sorted(Counter(stored.kind_name for stored in file.tensors.values()).items())),
        "lacks": [] if has_template else ["chat template"],
        "merges": "the file's"
        if file.metadata.get("tokenizer.ggml.merges")
        else "from the order of its tokens",
        "transformers": transformers.__version__,
    }


# ── configuration and tokenizer ──────────────────────────────────────────────────────────────────────────


def _read_config(name: str, file: GgufFile, place: Path) -> PreTrainedConfig:
    """Return transformers' configuration of a file.

    It reads the metadata with the package gguf, which takes half a minute for a large vocabulary: so it is given a copy
    of the metadata without that.
    """
    import transformers

    if "token_embd.weight" not in file.tensors:
        raise UnavailableError(
            f"model '{name}': the GGUF file has no token_embd.weight, so it is no whole model"
        )
    said = (
        f"model '{name}': transformers {transformers.__version__} cannot read GGUF of {file.architecture!r}"
    )
    if file.architecture in OTHER_RULES:
        raise UnavailableError(
            f"{said} by the rules that are used here: name the same model with safetensors"
        )
    with parsing(said, hint="name the same model with safetensors"), quiet():
        _write_description(file, place / "description.gguf")
        config = transformers.AutoConfig.from_pretrained(
            place, gguf_file="description.gguf", local_files_only=True, trust_remote_code=False
        )
        check_numbers(config.to_dict(), f"model '{name}': the metadata of its GGUF file")
        take_over(config, file)
        if lost := find_lost(config, file):
            raise ParseError(f"its metadata says {name_some(lost)}, which would be lost")
    return config


def _write_description(file: GgufFile, path: Path) -> None:
    """Write a GGUF file with the metadata that no tokenizer reads, and the names of all tensors."""
    from gguf import GGUFValueType, GGUFWriter

    writer = GGUFWriter(path, file.architecture)
    for key, one in file.metadata.items():
        if key.startswith("tokenizer.") and one.of is not None:
            continue
        if key in ("general.architecture", "general.alignment") or one.value in (None, []):
            continue
        of = None if one.of is None else GGUFValueType(one.of)
        writer.add_key_value(key, one.value, GGUFValueType(one.kind), of)
    for tensor in file.tensors:
        writer.add_tensor(tensor, np.zeros(1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_tokenizer(name: str, file: GgufFile, config: PreTrainedConfig, place: Path) -> Any:
    """Return the tokenizer of `model.gguf` in a folder, of the class that transformers has for the model's type."""
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    said = f"model '{name}': transformers {transformers.__version__} cannot make a tokenizer of its GGUF file"
    with parsing(said, hint="name the same model with safetensors"), quiet():
        check_words(file)
        if config.model_type not in TOKENIZER_MAPPING_NAMES:
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
                place, gguf_file="model.gguf", local_files_only=True, trust_remote_code=False
            )
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                place,
                gguf_file="model.gguf",
                tokenizer_type=config.model_type,  # else it reads the whole metadata once more to find it
                local_files_only=True,
                trust_remote_code=False,
            )
        complete(tokenizer, file)
    return tokenizer


def _clean_tokenizer_config(path: Path) -> None:
    """Leave out of a tokenizer's configuration how it was opened, which its hash must not tell."""
    _write_json(
        path, json.loads(path.read_text("utf-8")), drop="is_local local_files_only name_or_path gguf_file"
    )


def _write_json(path: Path, content: Mapping[str, Any], *, drop: str) -> None:
    kept = {key: value for key, value in content.items() if key not in drop.split()}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────


def _write_weights(name: str, file: GgufFile, config: PreTrainedConfig, path: Path) -> str:
    """Write all weights of a language model as float32, one at a time; return the name of its class."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    skeleton = _build_skeleton(name, config)
    processor = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)(config=config.to_dict())
    # Of each module below these two it would build the table of all names anew, 10 seconds for 32 blocks.
    decoder = SimpleNamespace(
        config=skeleton.config, state_dict=skeleton.base_model.state_dict, named_children=dict
    )
    whole = SimpleNamespace(
        config=skeleton.config,
        state_dict=skeleton.state_dict,
        named_children=lambda: [(skeleton.base_model_prefix, decoder)],
    )
    names = get_gguf_hf_weights_map(whole, processor)
    unknown = [one for one in file.tensors if not {one, one.removesuffix(".weight")} & names.keys()]
    if unknown := [one for one in unknown if one != ROPE_TENSOR]:
        raise UnavailableError(
            f"model '{name}': the GGUF file holds {name_some(unknown)}, which transformers has no place for in "
            f"{type(skeleton).__name__}: name the same model with safetensors"
        )
    tied = getattr(skeleton, "all_tied_weights_keys", None) or {}
    wanted = {key: tuple(one.shape) for key, one in skeleton.state_dict().items() if key not in tied}
    made: dict[str, Any] = {"tensors": {}}  # where transformers puts the joined weights of experts
    with _writing(name, path, wanted) as write:
        for stored in file.tensors.values():
            if stored.name == ROPE_TENSOR:
                continue
            said = f"model '{name}': {stored.name} of the GGUF file does not fit its metadata"
            with parsing(said, hint="fetch it again"):
                found = processor.process(
                    weights=file.read(stored),
                    name=stored.name,
                    tensor_key_mapping=names,
                    parsed_parameters=made,
                )
            if found.name in names:
                write(names[found.name], found.weights)
        for key, tensor in made["tensors"].items():
            write(key, tensor.numpy())
    return type(skeleton).__name__


def _build_skeleton(name: str, config: PreTrainedConfig) -> Any:
    """Return the language model of a configuration on the meta device."""
    import torch
    import transformers

    said = f"model '{name}': transformers {transformers.__version__} has no language model of {config.model_type!r}"
    with parsing(said), quiet(), torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


@contextmanager
def _writing(name: str, path: Path, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[Any]:
    """Yield a function that writes one tensor of a safetensors file, whose header says all of them beforehand.

    The library itself wants all tensors at once, in memory. Raise UnavailableError for a tensor of another shape, and
    at the end where one was not written.
    """
    sizes = {key: 4 * _size(shape) for key, shape in wanted.items()}
    if (free := shutil.disk_usage(path.parent).free) < (needed := sum(sizes.values())):
        raise UnavailableError(
            f"model '{name}' takes {needed / 1e9:.1f} GB as float32, and its cache '{path.parents[2]}' has "
            f"{free / 1e9:.1f} GB left: make room there, or name another cache with --cache-dir or HARNESS_CACHE_DIR"
        )
    starts: dict[str, int] = {}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key, shape in wanted.items():
        starts[key], end = end, end + sizes[key]
        header[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [starts[key], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of their size
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)

        def write(key: str, tensor: np.ndarray[Any, Any]) -> None:
            if wanted.get(key) != tensor.shape:
                raise UnavailableError(
                    f"model '{name}': the GGUF file has {key} of shape {list(tensor.shape)}, and its metadata means "
                    f"{list(wanted.get(key, ()))}: fetch it again"
                )
            file.seek(8 + len(text) + starts.pop(key))
            np.ascontiguousarray(tensor, dtype="<f4").tofile(file)

        yield write
        if starts:
            raise UnavailableError(
                f"model '{name}': the GGUF file has no weights for {name_some(starts)}: fetch a whole one"
            )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


# ── card ─────────────────────────────────────────────────────────────────────────────────────────────────


def _find_notice(file: GgufFile) -> str:
    licence = file.get("general.license")
    return NOTICES.get(licence, "") if isinstance(licence, str) else ""


def _write_card(file: GgufFile, record: Mapping[str, Any]) -> str:
    """Return the README.md of a converted model."""
    import yaml

    licence = file.get("general.license")
    front = f"---\n{yaml.safe_dump({'license': licence})}---\n\n" if isinstance(licence, str) else ""
    told = {
        "licence": licence,
        "licence at": file.get("general.license.link"),
        "author": file.get("general.author"),
        "made from": file.get("general.base_model.0.repo_url") or file.get("general.source.url"),
    }
    types = ", ".join(f"{kind} ({count} tensors)" for kind, count in record["types"].items())
    lines = [
        f"# {escape_markdown(str(file.get('general.name') or 'A model in GGUF'))}",
        f"**{_find_notice(file)}**" if _find_notice(file) else "",
        f"Converted from a GGUF file (SHA-256 `{record['gguf']}`, architecture `{file.architecture}`) to float32 by "
        f"sae-harness, with the rules of transformers {record['transformers']}. The file stores {types}; what its "
        "quantisation lost is lost here too.",
        "\n".join(f"- {key}: {escape_markdown(str(value))}" for key, value in told.items() if value),
        f"The tokenizer's merges are {record['merges']}. "
        + "".join(f"The file holds no {one}. " for one in record["lacks"])
        + "Settings that it does not state are what llama.cpp concludes, or else the defaults of transformers' class.",
    ]
    return front + "\n\n".join(line for line in lines if line) + "\n"
