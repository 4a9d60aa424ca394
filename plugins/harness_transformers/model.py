"""Hugging Face decoder, opened without weights and loaded only as deep as a site needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from harness import Conversation, Image, Site, Tokens, UnavailableError, UsageError, local_path
from harness_transformers.bos import FLAG, TextEncoder, class_of_type, describe_missing, find_declaration
from harness_transformers.card import read_languages
from harness_transformers.chat import ChatTemplate
from harness_transformers.conversion import QUANTISED, RECORD, read_note
from harness_transformers.kept import encode_once
from harness_transformers.opening import (
    TEMPLATE_FILE,
    TOKENIZER_FILES,
    build_skeleton,
    build_whole_skeleton,
    check_choice,
    check_computing,
    check_softcap,
    read_config,
    read_template,
    read_tokenizer,
)
from harness_transformers.plain_tokenizer import read_plain_tokenizer
from harness_transformers.references import Files
from harness_transformers.seeds import check_seed
from harness_transformers.sketch import Sketch
from harness_transformers.structure import (
    KINDS,
    Layout,
    Place,
    added_layers,
    locate,
    needed_depth,
    truncate,
)
from harness_transformers.weights import check_blocks, needed_shards, read_head, read_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harness_transformers.answering import AnsweringTransformer
    from harness_transformers.forward import LoadedTransformer
    from harness_transformers.splicing import SplicedTransformer

TEMPLATES = ("none", "chat", "PATH.jinja")
"""Choices of the parameter `template`; the last stands for any file of that suffix."""


class TransformersModel:
    """Opened decoder: everything that is known without its weights.

    Where its structure is known by a `sketch` of its configuration, only loading it imports transformers and torch.
    """

    def __init__(
        self,
        files: Files,
        sketch: Sketch | None,
        *,
        dtype: str,
        attention: str,
        max_length: int,
        template: str,
        system: str | None,
        bos: str | None,
        random_weights: int | None,
    ) -> None:
        self.name = files.name
        self._files = files
        check_computing(self.name, dtype=dtype, attention=attention)
        own = local_path(template) if str(template).endswith(".jinja") else None
        if own is None:
            check_choice(self.name, "template", template, TEMPLATES)
        if system is not None and template == "none":
            raise UsageError(
                f"model '{self.name}' takes system with template=chat or template=PATH.jinja alone"
            )
        check_seed(self.name, random_weights)
        self._seed = random_weights
        self._dtype, self._attention = dtype, attention
        self._sketch = sketch
        config = sketch or self._whole_config.get_text_config()
        self.architecture = sketch.model_type if sketch else str(self._whole_config.model_type)
        self.n_layers = int(config.n_layers if isinstance(config, Sketch) else config.num_hidden_layers)
        check_softcap(self.name, config, attention)
        if random_weights is None:
            check_blocks(files, self.n_layers)
        self._layout = sketch.layout if sketch else self._built[1]
        self.n_parameters = sketch.n_parameters if sketch else self._count_parameters()
        chat = template == "chat"  # else the tokenizer's template changes nothing
        # If TEMPLATE_FILE exists, it replaces the template in tokenizer_config.json.
        named = (*TOKENIZER_FILES, TEMPLATE_FILE) if chat else TOKENIZER_FILES
        self._tokenizer_files = [file for file in named if files.find(file)]
        self._template: ChatTemplate | None = None
        if chat or own is not None:
            text = None if own is None else read_template(self.name, own)
            self._template = ChatTemplate(self.name, self._tokenizer, system, own=text)
        # A template is written by transformers' tokenizer alone.
        plain = read_plain_tokenizer(files) if sketch and self._template is None else None
        tokenizer = plain or self._tokenizer
        self._reads_plainly = plain is not None
        self._n_embedded = (
            sketch.vocab_size if sketch else len(self._skeleton.get_parameter(self._layout.embedding))
        )
        self._encoder = TextEncoder(self.name, tokenizer, self._template, bos, n_embedded=self._n_embedded)
        self._bos = bos
        self._bos_declaration = find_declaration(
            files,
            tokenizer,
            named=None if sketch else getattr(self._whole_config, "tokenizer_class", None),
            of_type=lambda: sketch.tokenizer_class if sketch else class_of_type(self._whole_config),
        )
        self._max_length = self._usable_length(max_length, getattr(config, "max_position_embeddings", None))

    @cached_property
    def _whole_config(self) -> Any:
        """Configuration as transformers reads it; raise UsageError if it is not of a model of texts."""
        from harness_transformers.modality import check_reads_texts

        config = read_config(self._files)
        check_reads_texts(self.name, config)
        return config

    @property
    def _config(self) -> Any:
        return self._whole_config.get_text_config()

    @cached_property
    def _built(self) -> tuple[Any, Layout]:
        """The whole decoder on the meta device, and its layout."""
        return build_skeleton(self.name, self._config, self._attention)

    @cached_property
    def _skeleton(self) -> Any:
        model, layout = self._built
        # What was planned must be what is loaded, also where transformers has another model of this type by now.
        if self._sketch and (layout, self._count_parameters()) != (self._layout, self.n_parameters):
            raise UnavailableError(
                f"model '{self.name}': transformers builds another model of its config.json than the harness takes "
                f"it for: use a version of transformers that the harness was made for"
            )
        return model

    @cached_property
    def _tokenizer(self) -> Any:
        """Tokenizer of transformers."""
        return read_tokenizer(self._files)

    def _count_parameters(self) -> int:
        model, layout = self._built
        return sum(parameter.numel() for parameter in model.get_submodule(layout.blocks).parameters())

    @cached_property
    def languages(self) -> Mapping[str, float]:
        """Megabytes of training text by BCP-47 tag; empty if the card has none or weights are random."""
        return read_languages(self._files) if self._seed is None else {}

    def width(self, site: Site) -> int:
        """Return the size of activations at `site`; raise UsageError if the model has no such site."""
        sketched = self._sketch and self._sketch.width(site)
        return sketched or self._place(self._skeleton, site).width

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return hashes of the files that can influence `site`, and the options that can."""
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
            **({} if self._bos is None else {"bos": self._bos}),
            # The weights of a seed may change with the version of torch or transformers, but are as good a control:
            # versions are recorded by a run, not part of the identity (as for random_sae).
            **({} if self._seed is None else {"random_weights": self._seed}),
        }

    def flags(self, site: Site) -> Mapping[str, str]:
        """Return the flags of a BOS that is declared and not added, and of quantised weights, each with a sentence.

        A chat template decides about BOS itself; random weights were never quantised.
        """
        note = read_note(self._files.read_json(RECORD)) if self._seed is None else None
        found = {} if note is None else {QUANTISED: f"model '{self.name}' {note}"}
        is_decided = self._bos is not None or self._template is not None or self._encoder.adds_bos
        if not is_decided and self._bos_declaration is not None:
            found[FLAG] = describe_missing(self.name, self._bos_declaration)
        return found

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Return one Tokens for each text or conversation.

        Special tokens spelled out in a text are encoded as ordinary text.
        """
        for number, one in enumerate(inputs):
            _check_text(self.name, number, one)
        if len(inputs) == 0:
            return []
        encode = partial(self._encoder.encode, max_length=self._max_length)
        if not self._reads_plainly:
            return encode(inputs)
        files = tuple(self._files.hashes(self._tokenizer_files).items())
        return encode_once((files, self._bos, self._max_length, self._n_embedded), inputs, encode)

    def spell(self, tokens: Tokens) -> list[str]:
        """Return the text of each token, with the blank that it begins with."""
        from harness_transformers.spelling import spell

        return spell(self._tokenizer, tokens.ids.tolist())

    def load(self, sites: Sequence[Site], device: str) -> LoadedTransformer:
        """Load the blocks up to the deepest of `sites` onto a device."""
        from harness_transformers.filling import check_complete, settle
        from harness_transformers.forward import LoadedTransformer

        for site in sites:
            self.width(site)
        depth = self._depth(sites)
        model, faulty = self._fill(
            type(self._skeleton), truncate(self._config, depth), self._tensors(self._layout, depth)
        )
        check_complete(self.name, (name for name in faulty if name.split(".")[0] in self._layout.parts))
        settle(self.name, model, device, dtype=self._dtype, files=[self._files])
        self._check_sums(model, sites)
        return LoadedTransformer(model, {site: self._place(model, site) for site in sites})

    def load_whole(self, site: Site, device: str) -> SplicedTransformer:
        """Load the whole language model onto a device; raise UsageError if it has no causal head."""
        return self._load_whole(site, device)[1]

    def answering_identity(self) -> Mapping[str, Any]:
        """Return hashes of the files that can influence an answer, and the options that can."""
        from harness_transformers.answering import answering_files

        identity = self.identity(self._last_site)
        names = answering_files(self._files, weights=self._seed is None)
        return {**identity, "files": {**identity["files"], **self._files.hashes(names)}}

    def load_answering(self, device: str) -> AnsweringTransformer:
        """Load the whole language model to answer prompts; raise UsageError as `load_whole` does."""
        from harness_transformers.answering import AnsweringTransformer, ending_tokens

        model, spliced = self._load_whole(self._last_site, device)
        return AnsweringTransformer(
            self.name,
            model,
            spliced,
            tokenizer=self._tokenizer,
            encoder=self._encoder,
            template=self._template,
            max_length=self._max_length,
            ends=ending_tokens(self._files, self._config, self._tokenizer),
        )

    @property
    def _last_site(self) -> Site:
        return Site(kind="resid_post", layer=self.n_layers - 1)

    def _load_whole(self, site: Site, device: str) -> tuple[Any, SplicedTransformer]:
        from harness_transformers.filling import check_complete, settle
        from harness_transformers.splicing import SplicedTransformer

        self.width(site)
        skeleton = build_whole_skeleton(
            self.name, self._config, self._attention, decoder=type(self._skeleton)
        )
        model, faulty = self._fill(
            type(skeleton), truncate(self._config, self.n_layers), self._whole_tensors(skeleton)
        )
        check_complete(self.name, faulty)
        settle(self.name, model, device, dtype=self._dtype, files=[self._files])
        decoder = model.base_model
        self._check_sums(decoder, [site])
        self._check_causal(decoder)
        holder = decoder.get_submodule(self._layout.blocks.rpartition(".")[0])
        return model, SplicedTransformer(
            model, holder, self._place(decoder, site), find_place=lambda other: self._place(decoder, other)
        )

    def _depth(self, sites: Sequence[Site]) -> int:
        """Return the number of blocks to load for the sites."""
        return max(site.layer for site in sites) + 1 if self._sketch else needed_depth(self._config, sites)

    def _blocks(self, model: nn.Module) -> nn.Module:
        return model.get_submodule(self._layout.blocks)

    def _place(self, model: nn.Module, site: Site) -> Place:
        known = f"it has {', '.join(f'{kind}.LAYER' for kind in KINDS)}"
        if site.tower:
            raise UsageError(f"model '{self.name}' has no site '{site}': {known}")
        return locate(self.name, self._blocks(model), site, self._config.hidden_size, known)

    @property
    def _reading_dtype(self) -> torch.dtype | None:
        from harness_transformers.filling import reading_dtype

        return reading_dtype(self._skeleton, self._dtype)

    def _tensors(self, layout: Layout, depth: int) -> dict[str, torch.Tensor]:
        """Read or draw the weights of the first `depth` blocks and the layout's other parts."""
        if self._seed is None:
            return read_tensors(self._files, layout, depth, dtype=self._reading_dtype)
        import torch

        from harness_transformers.drawing import draw_tensors

        return draw_tensors(
            self.name, self._skeleton, layout, depth, seed=self._seed, dtype=getattr(torch, self._dtype)
        )

    def _whole_tensors(self, skeleton: Any) -> dict[str, torch.Tensor]:
        """Return all weights of a language model by their names in it."""
        parts = frozenset(name.split(".")[0] for name, _ in self._skeleton.named_parameters())
        layout = dataclasses.replace(self._layout, parts=parts)
        decoder = self._tensors(layout, self.n_layers)
        return {
            **{f"{skeleton.base_model_prefix}.{name}": tensor for name, tensor in decoder.items()},
            **self._head_tensors(skeleton, layout),
        }

    def _head_tensors(self, skeleton: Any, layout: Layout) -> dict[str, torch.Tensor]:
        """Read or draw the weights beside the decoder; tied weights may be absent."""
        inside = f"{skeleton.base_model_prefix}."
        if self._seed is None:
            names = [name for name in skeleton.state_dict() if not name.startswith(inside)]
            return read_head(self._files, layout, names, dtype=self._reading_dtype)
        import torch

        from harness_transformers.drawing import draw_part

        own = [name for name, _ in skeleton.named_parameters() if not name.startswith(inside)]
        drawn: dict[str, torch.Tensor] = {}
        for part in {name.split(".")[0]: None for name in own}:
            drawn |= draw_part(self.name, skeleton, part, seed=self._seed, dtype=getattr(torch, self._dtype))
        return {name: drawn[name] for name in own}

    def _fill(self, kind: Any, config: Any, tensors: dict[str, torch.Tensor]) -> tuple[Any, set[str]]:
        from harness_transformers.filling import fill

        return fill(self.name, kind, config, tensors, dtype=self._dtype, attention=self._attention)

    def _check_sums(self, model: nn.Module, sites: Sequence[Site]) -> None:
        from harness_transformers.filling import check_sum

        for layer in added_layers(sites):
            check_sum(self.name, model, self._blocks(model).get_submodule(str(layer)), self._dtype)

    def _check_causal(self, model: nn.Module) -> None:
        """Raise UsageError if a token depends on later ones: BERT and its like have causal heads too."""
        import torch

        from harness_transformers.filling import probe
        from harness_transformers.forward import LoadedTransformer

        last = self._place(model, self._last_site)
        read = LoadedTransformer(model, {"last": last})
        with torch.inference_mode():
            one, two = (
                read.forward([probe(self._config, [*range(7), end])])["last"][:-1].float() for end in (7, 8)
            )
        tolerance = 1e-4 if self._dtype == "float32" else 1e-2
        if (one - two).norm() > tolerance * one.norm():
            raise UsageError(
                f"model '{self.name}' gives no next-token losses: its tokens see what comes after them"
            )

    def _usable_length(self, asked: int, known: int | None) -> int:
        """Return the given maximum length, at most the number of the model's positions."""
        least = self._encoder.n_special + 1
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < least:
            raise UsageError(f"model '{self.name}' takes a max_length of at least {least}, not {asked!r}")
        positions = known or asked
        if positions < least:
            raise UnavailableError(
                f"model '{self.name}': its config.json says max_position_embeddings = {positions}, fewer than the "
                f"{least} that a text needs: fetch it again"
            )
        return min(asked, positions)


def _check_text(name: str, number: int, one: Any) -> None:
    if isinstance(one, Image):
        raise UsageError(
            f"model '{name}' reads text, and input {number} is an image: open it with modality=image"
        )
    if not isinstance(one, str | Conversation):
        raise UsageError(f"model '{name}' reads text, and input {number} is {type(one).__name__}")
    try:
        str(one).encode()
    except UnicodeEncodeError:
        raise UsageError(f"model '{name}' reads text, and input {number} is not valid Unicode") from None
