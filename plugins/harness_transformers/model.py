"""A Hugging Face decoder as a model: what is known without weights, and loading as deep as a site needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Conversation, MissingError, Site, Tokens, UsageError
from harness_transformers.answering import AnsweringTransformer, answering_files, ending_tokens
from harness_transformers.chat import ChatTemplate
from harness_transformers.drawing import check_seed, draw_part, draw_tensors
from harness_transformers.encoding import encode_chat, encode_plain
from harness_transformers.forward import LoadedTransformer
from harness_transformers.languages import read_languages
from harness_transformers.opening import (
    build_skeleton,
    build_whole_skeleton,
    first_line,
    quiet,
    read_config,
    read_tokenizer,
)
from harness_transformers.references import Files
from harness_transformers.splicing import SplicedTransformer
from harness_transformers.structure import KINDS, Layout, Place, find_place, truncate
from harness_transformers.weights import needed_shards, read_head, read_tensors

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2")
UNCUT = ("num_kv_shared_layers", "hidden_size_per_layer_input")
"""Settings whose presence ties every block to the number of blocks (Gemma 3n, Gemma 4): never truncated."""
TEMPLATES = ("none", "chat")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
TEMPLATE_FILE = "chat_template.jinja"


class TransformersModel:
    """An opened model: everything that can be known of it without its weights."""

    def __init__(
        self,
        files: Files,
        *,
        dtype: str,
        attention: str,
        max_length: int,
        template: str,
        random_weights: int | None,
    ) -> None:
        self.name = files.name
        self._files = files
        _check_choice(self.name, "dtype", dtype, DTYPES)
        _check_choice(self.name, "attention", attention, ATTENTION)
        _check_choice(self.name, "template", template, TEMPLATES)
        check_seed(self.name, random_weights)
        self._seed = random_weights
        config = read_config(files)
        self.architecture = str(config.model_type)
        self._config = config.get_text_config()
        self.n_layers = int(self._config.num_hidden_layers)
        if attention == "sdpa" and getattr(self._config, "attn_logit_softcapping", None):
            raise UsageError(
                f"model '{self.name}' caps its attention logits: attention=sdpa would not, use eager"
            )
        self._dtype, self._attention = dtype, attention
        self._skeleton, self._layout = build_skeleton(self.name, self._config, attention)
        self.n_parameters = sum(p.numel() for p in self._blocks(self._skeleton).parameters())
        chat = template == "chat"
        # Where there is one, it is read in place of the template in tokenizer_config.json.
        named = (*TOKENIZER_FILES, TEMPLATE_FILE) if chat else TOKENIZER_FILES
        self._tokenizer_files = [file for file in named if files.find(file)]
        self._tokenizer = read_tokenizer(files)
        self._template = ChatTemplate(self.name, self._tokenizer) if chat else None
        self._max_length = self._usable_length(max_length)

    @cached_property
    def languages(self) -> Mapping[str, float]:
        """Megabytes of the training text by BCP-47 tag; empty where the model's card does not say, or weights are
        random.
        """
        return read_languages(self._files) if self._seed is None else {}

    def width(self, site: Site) -> int:
        """Size of the activations at `site`; UsageError when the model has no such site."""
        return self._place(self._skeleton, site).width

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Files that can influence `site`, by content, and how they are used."""
        self.width(site)
        names = ["config.json", *self._tokenizer_files]
        if self._seed is None:
            names += needed_shards(self._files, self._layout, self._depth([site]))
        return {
            "kind": "transformers",
            "files": self._files.hashes(names),
            "dtype": self._dtype,
            "attention": self._attention,
            "max_length": self._max_length,
            "template": self._template and self._template.identity,
            # What a seed draws may change with torch or transformers, but not into a worse control: a new version
            # of either is no reason to do every result anew (nor is it with random_sae). A run records which it had.
            **({} if self._seed is None else {"random_weights": self._seed}),
        }

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """One Tokens for each text or conversation; special tokens written out in a text are ordinary text."""
        for number, one in enumerate(inputs):
            _check_text(self.name, number, one)
        if len(inputs) == 0:
            return []
        if self._template is None:
            return encode_plain(self._tokenizer, inputs, max_length=self._max_length)
        return encode_chat(self._tokenizer, self._template, inputs, max_length=self._max_length)

    def load(self, sites: Sequence[Site], device: str) -> LoadedTransformer:
        """The blocks up to the deepest of `sites`, in memory."""
        for site in sites:
            self.width(site)
        depth = self._depth(sites)
        model, faulty = self._fill(
            type(self._skeleton), truncate(self._config, depth), self._tensors(self._layout, depth)
        )
        self._check_complete(name for name in faulty if name.split(".")[0] in self._layout.parts)
        self._check_finite(model.to(device))
        self._check_sums(model, sites)
        return LoadedTransformer(model, {site: self._place(model, site) for site in sites})

    def load_whole(self, site: Site, device: str) -> SplicedTransformer:
        """The language model to its end, in memory; UsageError when it has no head that gives logits."""
        return self._load_whole(site, device)[1]

    def answering_identity(self) -> Mapping[str, Any]:
        """Files that can influence an answer, by content, and how they are used."""
        identity = self.identity(self._last_site)
        names = answering_files(self._files, weights=self._seed is None)
        return {**identity, "files": {**identity["files"], **self._files.hashes(names)}}

    def load_answering(self, device: str) -> AnsweringTransformer:
        """The language model to its end, in memory, to answer prompts; UsageError as for `load_whole`."""
        model, spliced = self._load_whole(self._last_site, device)
        return AnsweringTransformer(
            self.name,
            model,
            spliced,
            tokenizer=self._tokenizer,
            template=self._template,
            max_length=self._max_length,
            ends=ending_tokens(self._files, self._config, self._tokenizer),
        )

    @property
    def _last_site(self) -> Site:
        return Site(kind="resid_post", layer=self.n_layers - 1)

    def _load_whole(self, site: Site, device: str) -> tuple[Any, SplicedTransformer]:
        self.width(site)
        skeleton = build_whole_skeleton(
            self.name, self._config, self._attention, decoder=type(self._skeleton)
        )
        model, faulty = self._fill(
            type(skeleton), truncate(self._config, self.n_layers), self._whole_tensors(skeleton)
        )
        self._check_complete(faulty)
        decoder = model.to(device).base_model
        self._check_finite(model)
        self._check_sums(decoder, [site])
        self._check_causal(decoder)
        holder = decoder.get_submodule(self._layout.blocks.rpartition(".")[0])
        return model, SplicedTransformer(model, holder, self._place(decoder, site))

    def _depth(self, sites: Sequence[Site]) -> int:
        """How many blocks must be loaded for the sites."""
        if any(getattr(self._config, key, None) for key in UNCUT):
            return self.n_layers
        return max(site.layer for site in sites) + 1

    def _blocks(self, model: nn.Module) -> nn.Module:
        return model.get_submodule(self._layout.blocks)

    def _place(self, model: nn.Module, site: Site) -> Place:
        refusal = f"model '{self.name}' has no site '{site}'"
        if site.tower or site.kind not in KINDS:
            raise UsageError(f"{refusal}: it has {', '.join(f'{kind}.LAYER' for kind in KINDS)}")
        if not 0 <= site.layer < self.n_layers:
            raise UsageError(f"{refusal}: its layers are 0 to {self.n_layers - 1}")
        block = self._blocks(model).get_submodule(str(site.layer))
        place = find_place(block, site.kind, self._config.hidden_size)
        if place is None:
            raise UsageError(f"{refusal}: its block {site.layer} has no part that gives {site.kind}")
        return place

    def _tensors(self, layout: Layout, depth: int) -> dict[str, torch.Tensor]:
        """The weights of the first `depth` blocks and of the other parts of a layout, read or drawn."""
        if self._seed is None:
            return read_tensors(self._files, layout, depth)
        return draw_tensors(
            self.name, self._skeleton, layout, depth, seed=self._seed, dtype=getattr(torch, self._dtype)
        )

    def _whole_tensors(self, skeleton: Any) -> dict[str, torch.Tensor]:
        """All weights of a language model, by their names in it."""
        parts = frozenset(name.split(".")[0] for name, _ in self._skeleton.named_parameters())
        layout = dataclasses.replace(self._layout, parts=parts)
        decoder = self._tensors(layout, self.n_layers)
        return {
            **{f"{skeleton.base_model_prefix}.{name}": tensor for name, tensor in decoder.items()},
            **self._head_tensors(skeleton, layout),
        }

    def _head_tensors(self, skeleton: Any, layout: Layout) -> dict[str, torch.Tensor]:
        """The weights of a language model beside its decoder, read or drawn; a tied one may not be among them."""
        inside = f"{skeleton.base_model_prefix}."
        if self._seed is None:
            names = [name for name in skeleton.state_dict() if not name.startswith(inside)]
            return read_head(self._files, layout, names)
        own = [name for name, _ in skeleton.named_parameters() if not name.startswith(inside)]
        drawn: dict[str, torch.Tensor] = {}
        for part in {name.split(".")[0]: None for name in own}:
            drawn |= draw_part(self.name, skeleton, part, seed=self._seed, dtype=getattr(torch, self._dtype))
        return {name: drawn[name] for name in own}

    def _fill(self, kind: Any, config: Any, tensors: dict[str, torch.Tensor]) -> tuple[Any, set[str]]:
        """A model of this class with these weights, in evaluation mode, on the CPU, in the dtype asked for; and the
        names of the weights that were missing or misshapen.
        """
        try:
            with quiet():
                model, report = kind.from_pretrained(
                    None,
                    config=config,
                    state_dict=tensors,
                    dtype=getattr(torch, self._dtype),
                    attn_implementation=self._attention,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
        except (ValueError, RuntimeError) as error:
            raise MissingError(
                f"model '{self.name}': its weights cannot be loaded: {first_line(error)}"
            ) from error
        return model, {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}

    def _check_complete(self, faulty: Iterable[str]) -> None:
        """Never run on what was filled in at random."""
        for name in sorted(faulty):
            raise MissingError(
                f"model '{self.name}': its weights lack {name}, or have it in another shape than "
                f"config.json says: fetch a checkpoint that fits"
            )

    def _check_finite(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise MissingError(
                    f"model '{self.name}': {name} has values that are not finite in {self._dtype}: "
                    f"fetch the weights again, or use another dtype"
                )

    def _check_sums(self, model: nn.Module, sites: Sequence[Site]) -> None:
        for layer in sorted({site.layer for site in sites if site.kind in ("attn_out", "mlp_out")}):
            self._check_sum(model, layer)

    @torch.inference_mode()
    def _check_sum(self, model: nn.Module, layer: int) -> None:
        """Whether block output = block input + attn_out + mlp_out: some families scale what they add."""
        block = self._blocks(model).get_submodule(str(layer))
        places = {
            "before": Place(module=block, side="input", width=self._config.hidden_size),
            **{kind: self._place(model, Site(kind=kind, layer=layer)) for kind in ("attn_out", "mlp_out")},
            "after": self._place(model, Site(kind="resid_post", layer=layer)),
        }
        read = LoadedTransformer(model, places).forward([self._probe(range(8))])
        terms = [read[name].float() for name in ("before", "attn_out", "mlp_out")]
        tolerance = 1e-3 if self._dtype == "float32" else 2e-2  # of the terms, which may cancel
        if (read["after"].float() - sum(terms)).norm() > tolerance * sum(term.norm() for term in terms):
            raise UsageError(
                f"model '{self.name}' adds something else to its residual stream than the outputs of "
                f"attention and MLP, so it has no sites attn_out and mlp_out: use resid_post or attn_z"
            )

    @torch.inference_mode()
    def _check_causal(self, model: nn.Module) -> None:
        """Whether no token sees what comes after it: the blocks of BERT and its like have causal heads as well."""
        last = self._place(model, Site(kind="resid_post", layer=self.n_layers - 1))
        read = LoadedTransformer(model, {"last": last})
        one, two = (read.forward([self._probe([*range(7), end])])["last"][:-1].float() for end in (7, 8))
        tolerance = 1e-4 if self._dtype == "float32" else 1e-2
        if (one - two).norm() > tolerance * one.norm():
            raise UsageError(
                f"model '{self.name}' gives no next-token losses: its tokens see what comes after them"
            )

    def _probe(self, ids: Sequence[int]) -> Tokens:
        return Tokens(ids=np.array(ids) % self._config.vocab_size, content=np.ones(len(ids), dtype=np.bool_))

    def _usable_length(self, asked: int) -> int:
        """The maximum length asked for, but not more than the model has positions."""
        least = self._tokenizer.num_special_tokens_to_add() + 1
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < least:
            raise UsageError(f"model '{self.name}' takes a max_length of at least {least}, not {asked!r}")
        return min(asked, getattr(self._config, "max_position_embeddings", None) or asked)


def _check_choice(name: str, parameter: str, given: Any, known: Sequence[str]) -> None:
    if given not in known:
        raise UsageError(f"model '{name}' takes {parameter} {', '.join(known)}, not {given!r}")


def _check_text(name: str, number: int, one: Any) -> None:
    if not isinstance(one, str | Conversation):
        raise UsageError(f"model '{name}' reads text, and input {number} is {type(one).__name__}")
    try:
        str(one).encode()
    except UnicodeEncodeError:
        raise UsageError(f"model '{name}' reads text, and input {number} is not valid Unicode") from None
