"""Tokenizer of a model read by the library tokenizers alone, where transformers would leave it as its file has it.

To read a tokenizer by transformers takes seconds of imports. Its general class takes tokenizer.json as it is, unless
tokenizer_config.json names tokens or settings beyond it: those tokenizers are left to transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from harness import HarnessError, parsing
from harness_transformers.opening import TEMPLATE_FILE, TOKENIZER_FILES, check_growth, opening_files
from harness_transformers.references import Files

GENERAL = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of transformers for a tokenizer of any model, by their former and their present name."""

MOST_TOKENS = 100_000
"""Vocabulary above which transformers looks for a fault of some files of Mistral, and mends it."""


def _is_text(value: Any) -> bool:
    return type(value) is str


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_NAMED_LISTS = ("additional_special_tokens", "extra_special_tokens")
_KNOWN: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_NAMED, _is_text),
    **dict.fromkeys(_NAMED_LISTS, _are_texts),
    "backend": lambda value: value == "tokenizers",
    "chat_template": _is_text,
    "clean_up_tokenization_spaces": lambda value: type(value) is bool,
    "model_input_names": _are_texts,
    "model_max_length": lambda value: type(value) is int and value > 0,
    "padding_side": lambda value: value in ("left", "right"),
    "processor_class": _is_text,
    "tokenizer_class": lambda value: value in GENERAL,
}
"""Settings that leave the ids of a text alone, with the values that are taken as they are."""


class PlainTokenizer:
    """Tokenizer with those methods of transformers' class that encode texts: their results are the same."""

    def __init__(self, backend: Any, bos_token: str | None) -> None:
        self.backend_tokenizer = backend
        self.bos_token_id: int | None = None if bos_token is None else backend.token_to_id(bos_token)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        truncation: bool = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
        verbose: bool = True,
    ) -> Any:
        """Return an object whose `encodings` are those of the texts, or of the one text."""
        backend = self.backend_tokenizer
        if truncation:
            backend.enable_truncation(max_length, stride=0, strategy="longest_first", direction="right")
        else:
            backend.no_truncation()
        backend.encode_special_tokens = split_special_tokens
        many = [texts] if isinstance(texts, str) else list(texts)
        return SimpleNamespace(encodings=backend.encode_batch(many, add_special_tokens=add_special_tokens))

    def num_special_tokens_to_add(self) -> int:
        """Return how many special tokens a text gets."""
        return int(self.backend_tokenizer.num_special_tokens_to_add(False))

    def convert_ids_to_tokens(self, number: int) -> str | None:
        """Return the token of an id; None if there is none."""
        token: str | None = self.backend_tokenizer.id_to_token(number)
        return token


def read_plain_tokenizer(files: Files) -> PlainTokenizer | None:
    """Read a model's tokenizer; return None for one that transformers has to read, or to refuse.

    Raise UnavailableError for a normalizer that may fill the memory, as `read_tokenizer` does.
    """
    used, others = TOKENIZER_FILES[:2], TOKENIZER_FILES[2:]
    if not all(map(files.find, used)) or any(map(files.find, (*others, TEMPLATE_FILE))):
        return None
    settings = files.read_json("tokenizer_config.json") or {}
    if "tokenizer_class" not in settings or not settings.keys() <= _KNOWN.keys():
        return None
    if not all(_KNOWN[key](value) for key, value in settings.items()):
        return None
    if (read := _read(files)) is None:
        return None
    backend, special = read
    named = [settings[key] for key in _NAMED if key in settings]
    named += [token for key in _NAMED_LISTS for token in settings.get(key, ())]
    if not special.issuperset(named):  # transformers adds what is not there
        return None
    check_growth(files.name, backend)
    return PlainTokenizer(backend, settings.get("bos_token"))


def _read(files: Files) -> tuple[Any, frozenset[str]] | None:
    """Return the tokenizer in tokenizer.json and its special tokens; None where transformers changes it, or has to tell
    why it cannot be read.
    """
    with opening_files(files, "tokenizer.json", "tokenizer_config.json") as path:
        try:
            with parsing("tokenizer.json"):
                return _parse(path.read_bytes())
        except HarnessError:
            return None


@lru_cache(maxsize=1)
def _parse(content: bytes) -> tuple[Any, frozenset[str]] | None:
    """Return what `_read` does, which the models of one family share: every call sets what it depends on."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_buffer(content)
    if backend.post_processor is None or backend.truncation or backend.padding:
        return None
    if backend.get_vocab_size() > MOST_TOKENS:
        return None
    return backend, frozenset(
        one.content for one in backend.get_added_tokens_decoder().values() if one.special
    )
