"""Vision-language model for images, opened without weights and loaded only as deep as a site needs."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from harness import Image, Site, Tokens, UnavailableError, UsageError, parsing
from harness_transformers.bos import FLAG, class_of_type, describe_missing, find_declaration
from harness_transformers.card import read_tasks
from harness_transformers.conversion import QUANTISED, RECORD, read_note
from harness_transformers.opening import (
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    build_bare,
    check_computing,
    check_softcap,
    read_config,
)
from harness_transformers.references import Files, open_files
from harness_transformers.seeds import check_seed
from harness_transformers.sketch import SKETCHED_ATTENTION
from harness_transformers.structure import (
    KINDS,
    Layout,
    Place,
    added_layers,
    locate,
    needed_depth,
    truncate,
)
from harness_transformers.towers import check_reads_images, check_same_decoder, find_parts
from harness_transformers.vision_sketch import sketch_vision_language
from harness_transformers.weights import needed_shards, part_shards, read_part, read_tensors

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from torch import nn

    from harness_transformers.processing import Processing
    from harness_transformers.seeing import LoadedVisionLanguage

TOWER = "vision"
"""Name of the vision tower in sites."""


class VisionLanguageModel:
    """Opened vision-language model that reads images, each with the same prompt.

    Its sites are those of the language tower, and of the vision tower `vision.resid_post.L` and
    `vision.output.{n-1}` (the last hidden state after the final norm, which the projector reads). The content
    of an image is its image tokens. If the projector averages windows of k × k positions into one image
    token, as in Gemma 3, a row at a site of the vision tower is the mean of its window too.
    """

    def __init__(
        self,
        files: Files,
        *,
        dtype: str,
        attention: str,
        prompt: str,
        language_model: str | None,
        random_weights: int | None,
    ) -> None:
        self.name = files.name
        self._files = files
        check_computing(self.name, dtype=dtype, attention=attention)
        check_seed(self.name, random_weights)
        self._dtype, self._attention, self._seed = dtype, attention, random_weights
        self._prompt = _check_prompt(self.name, prompt)
        self._language_files = self._open_language(language_model)
        self._processor_files = [file for file in PROCESSOR_FILES if files.find(file)]
        self._tokenizer_files = [file for file in TOKENIZER_FILES if files.find(file)]
        sketched = None
        if attention in SKETCHED_ATTENTION:
            sketched = sketch_vision_language(files, self._language_files, prompt=self._prompt)
        self._sketch = sketched
        text = sketched.text if sketched else self._text
        self.n_layers = int(sketched.text.n_layers if sketched else self._text.num_hidden_layers)
        check_softcap(self.name, text, attention)
        self.architecture = (
            sketched.architecture
            if sketched
            else f"{self._config.model_type}+{self._config.get_text_config().model_type}"
        )
        self._parts = sketched.parts if sketched else find_parts(self.name, self._skeleton)
        self.n_parameters = sketched.text.n_parameters if sketched else self._count_parameters()
        self._n_vision_layers = sketched.n_vision_layers if sketched else int(self._vision.num_hidden_layers)
        self._ids = sketched.ids if sketched else self._read_ids()
        self._is_image = sketched.is_image if sketched else self._ids == self._config.image_token_id
        n_features, self._n_positions = self._count_features()
        self._check_ids(n_features)
        self.grid = _find_grid(self.name, n_features)

    @cached_property
    def _config(self) -> Any:
        """Configuration as transformers reads it, of a model of images and of the same decoder as `language_model`."""
        config = check_reads_images(self.name, read_config(self._files))
        if self._language_files is not self._files:
            language = self._language_files
            check_same_decoder(self.name, config.text_config, language.name, read_config(language))
        return config

    @property
    def _text(self) -> Any:
        return self._config.text_config

    @property
    def _vision(self) -> Any:
        return self._config.vision_config

    @cached_property
    def _skeleton(self) -> Any:
        """The whole model on the meta device."""
        return build_bare(self.name, self._config, self._attention)

    @cached_property
    def _processing(self) -> Processing:
        from harness_transformers.processing import Processing

        accepted = inspect.signature(self._skeleton.forward).parameters
        return Processing(self._files, prompt=self._prompt, accepted=accepted)

    def _read_ids(self) -> Any:
        return self._processing.inputs["input_ids"][0].numpy()

    def _count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._blocks(self._skeleton).parameters())

    def _check_sketch(self) -> None:
        """Raise UnavailableError unless what was planned is what transformers makes of the files."""
        planned = self._sketch
        if planned is None:
            return
        built = (find_parts(self.name, self._skeleton), self._count_parameters(), self._measure_features()[1])
        said = (planned.parts, planned.text.n_parameters, planned.n_positions)
        ids, backend = self._read_ids(), self._processing.backend
        if built != said or ids.tolist() != planned.ids.tolist() or backend != planned.backend:
            raise UnavailableError(
                f"model '{self.name}': transformers makes another model of its files than the harness takes it for: "
                f"use a version of transformers that the harness was made for"
            )

    @property
    def towers(self) -> Mapping[str, int]:
        """Number of blocks of the vision tower."""
        return {TOWER: self._n_vision_layers}

    @cached_property
    def seen_tasks(self) -> tuple[str, ...]:
        """Tasks that the model's card names under `datasets`; empty if weights are random."""
        return read_tasks(self._files) if self._seed is None else ()

    def width(self, site: Site) -> int:
        """Return the size of activations at `site`; raise UsageError if the model has no such site."""
        width = self._sketch and self._sketch.width(site)
        width = width or self._place(self._skeleton, site).width
        if site.tower:
            self._window(site)
        return width

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return hashes of the files that can influence `site`, and the options that can."""
        self.width(site)
        files = ["config.json", *self._processor_files]
        language: dict[str, Any] = {}
        if self._seed is None:
            files += needed_shards(self._files, *self._vision_needs([site]))
        if not site.tower:
            language["prompt"] = self._prompt
            files += self._tokenizer_files
            if self._seed is None:
                for part in self._parts.between:
                    files += part_shards(self._files, part)
                shards = needed_shards(self._language_files, self._parts.language_layout, self._depth([site]))
                if self._language_files is self._files:
                    files += shards
                else:
                    language["language_model"] = self._language_files.hashes(shards)
        return {
            "kind": "transformers",
            "modality": "image",
            "files": self._files.hashes(list(dict.fromkeys(files))),
            "resized_with": self._sketch.backend if self._sketch else self._processing.backend,
            "dtype": self._dtype,
            "attention": self._attention,
            **language,
            **({} if self._seed is None else {"random_weights": self._seed}),
        }

    def flags(self, site: Site) -> Mapping[str, str]:
        """Return the flags of a BOS that is declared and not among the tokens, and of quantised weights of the language
        tower, each with a sentence.
        """
        if site.tower:
            return {}
        language = self._language_files
        note = None if language is self._files else read_note(language.read_json(RECORD))
        found = {} if note is None else {QUANTISED: f"model '{language.name}' {note}"}
        if self._sketch:  # its processor writes BOS before every prompt
            return found
        processing = self._processing
        declaration = find_declaration(
            self._files,
            processing.tokenizer,
            named=getattr(self._config, "tokenizer_class", None),
            of_type=partial(class_of_type, self._config),
        )
        if declaration is not None and processing.tokenizer.bos_token_id not in self._ids:
            remedy = "write it into the prompt, before <image>"
            found[FLAG] = describe_missing(self.name, declaration, remedy=remedy)
        return found

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Return one Tokens for each image: all have the same ids, and the image tokens are content."""
        for number, one in enumerate(inputs):
            if not isinstance(one, Image):
                raise UsageError(
                    f"model '{self.name}' reads images, and input {number} is {type(one).__name__}"
                )
        return [Tokens(ids=self._ids, content=self._is_image, image=image) for image in inputs]

    def view(self, image: Image) -> PIL.Image.Image:
        """Return the image as resized for the model, without colour normalisation."""
        return self._processing.view(image)

    def load(self, sites: Sequence[Site], device: str) -> LoadedVisionLanguage:
        """Load what the sites need onto a device.

        For sites of the vision tower alone that is its first blocks; otherwise also the projector and the
        language tower's first blocks.
        """
        from harness_transformers.filling import check_sum, settle
        from harness_transformers.seeing import LoadedVisionLanguage

        for site in sites:
            self.width(site)
        self._check_sketch()
        alone = all(site.tower for site in sites)
        model = (self._load_vision if alone else self._load_all)(sites)
        files = (self._files, self._language_files)
        settle(self.name, model, device, dtype=self._dtype, files=files)
        if not alone:
            decoder = model.get_submodule(self._parts.language)
            for layer in added_layers(site for site in sites if not site.tower):
                check_sum(self.name, decoder, self._blocks(model)[layer], self._dtype)
        return LoadedVisionLanguage(
            self.name,
            model,
            {site: self._place(model, site) for site in sites},
            processing=self._processing,
            is_image=self._is_image,
            windows={site: self._window(site) for site in sites if site.tower},
            reads_text=not alone,
        )

    def _load_vision(self, sites: Sequence[Site]) -> Any:
        from harness_transformers.filling import check_complete

        layout, depth = self._vision_needs(sites)
        tower = self._skeleton.get_submodule(self._parts.vision)
        model, faulty = self._fill(
            type(tower), truncate(self._vision, depth), self._vision_tensors(layout, depth)
        )
        check_complete(self.name, (name for name in faulty if name.split(".")[0] in layout.parts))
        return model

    def _load_all(self, sites: Sequence[Site]) -> Any:
        from harness_transformers.filling import check_complete

        parts = self._parts
        depth = self._depth([site for site in sites if not site.tower])
        config = copy.deepcopy(self._config)
        config.text_config = truncate(self._text, depth)
        towers = {
            parts.vision: (parts.whole_vision, self._vision_tensors(*self._vision_needs(sites))),
            parts.language: (parts.language_layout, self._language_tensors(depth)),
        }
        tensors = self._projector_tensors()
        for part, (_, own) in towers.items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in own.items()}
        model, faulty = self._fill(type(self._skeleton), config, tensors)

        def is_needed(name: str) -> bool:
            part, _, inside = name.partition(".")
            return part not in towers or inside.split(".")[0] in towers[part][0].parts

        check_complete(self.name, filter(is_needed, faulty))
        return model

    def _fill(self, kind: Any, config: Any, tensors: dict[str, torch.Tensor]) -> tuple[Any, set[str]]:
        from harness_transformers.filling import fill

        return fill(self.name, kind, config, tensors, dtype=self._dtype, attention=self._attention)

    def _depth(self, sites: Sequence[Site]) -> int:
        """Return the number of blocks of the language tower to load for sites of it."""
        return max(site.layer for site in sites) + 1 if self._sketch else needed_depth(self._text, sites)

    @property
    def _reading_dtype(self) -> torch.dtype | None:
        from harness_transformers.filling import reading_dtype

        return reading_dtype(self._skeleton, self._dtype)

    def _vision_needs(self, sites: Sequence[Site]) -> tuple[Layout, int]:
        """Return the layout that the sites need of the vision tower, and the number of blocks."""
        if all(site.tower and site.kind == "resid_post" for site in sites):
            return self._parts.vision_layout, max(site.layer for site in sites) + 1
        return self._parts.whole_vision, self.towers[TOWER]

    def _vision_tensors(self, layout: Layout, depth: int) -> dict[str, torch.Tensor]:
        return self._tensors(self._files, self._parts.vision, layout, depth)

    def _language_tensors(self, depth: int) -> dict[str, torch.Tensor]:
        return self._tensors(self._language_files, self._parts.language, self._parts.language_layout, depth)

    def _tensors(self, files: Files, part: str, layout: Layout, depth: int) -> dict[str, torch.Tensor]:
        """Read or draw the weights of the first `depth` blocks of a tower and the layout's other parts."""
        if self._seed is None:
            return read_tensors(files, layout, depth, dtype=self._reading_dtype)
        import torch

        from harness_transformers.drawing import draw_tensors

        tower = self._skeleton.get_submodule(part)
        return draw_tensors(
            self.name, tower, layout, depth, seed=self._seed, dtype=getattr(torch, self._dtype)
        )

    def _projector_tensors(self) -> dict[str, torch.Tensor]:
        import torch

        from harness_transformers.drawing import draw_part

        tensors: dict[str, torch.Tensor] = {}
        for part in self._parts.between:
            if self._seed is None:
                tensors |= read_part(self._files, part, dtype=self._reading_dtype)
                continue
            drawn = draw_part(
                self.name, self._skeleton, part, seed=self._seed, dtype=getattr(torch, self._dtype)
            )
            if any(tensor.ndim > 1 and not tensor.any() for tensor in drawn.values()):
                raise UsageError(
                    f"model '{self.name}' with random_weights begins with a projector of zeros, which passes nothing "
                    f"of an image on: use a site of the vision tower, such as vision.resid_post.50%"
                )
            tensors |= drawn
        return tensors

    def _blocks(self, model: nn.Module) -> Any:
        """Return the blocks of the language tower."""
        return model.get_submodule(f"{self._parts.language}.{self._parts.language_layout.blocks}")

    def _place(self, model: nn.Module, site: Site) -> Place:
        """Return the place of a site in the whole model, or in its vision tower alone."""
        last = self.towers[TOWER] - 1
        kinds = [f"{kind}.LAYER" for kind in KINDS]
        known = f"it has {', '.join(kinds)}, {TOWER}.resid_post.LAYER and {TOWER}.output.{last}"
        if not site.tower:
            return locate(self.name, self._blocks(model), site, self._text.hidden_size, known)
        if site.tower != TOWER or site.kind not in ("resid_post", "output"):
            raise UsageError(f"model '{self.name}' has no site '{site}': {known}")
        tower = getattr(model, self._parts.vision, model)
        if site.kind == "output":
            if site.layer != last:
                raise UsageError(f"model '{self.name}' has no site '{site}': {known}")
            return Place(module=tower, side="output", width=self._vision.hidden_size)
        blocks = tower.get_submodule(self._parts.vision_layout.blocks)
        return locate(self.name, blocks, site, self._vision.hidden_size, known)

    def _window(self, site: Site) -> int:
        """Return the side, in positions of the vision tower, of the square that one image token covers."""
        n_tokens = self.grid[0] * self.grid[1]
        side = math.isqrt(self._n_positions)
        if side**2 != self._n_positions or side % self.grid[0]:
            raise UsageError(
                f"model '{self.name}' has no site '{site}': the {self._n_positions} positions of its vision "
                f"tower do not fall into {n_tokens} windows, one for each image token"
            )
        return side // self.grid[0]

    def _count_features(self) -> tuple[int, int]:
        """Return the number of image features for one image, and of positions of the vision tower."""
        if self._sketch:
            return int(self._is_image.sum()), self._sketch.n_positions
        return self._measure_features()

    def _measure_features(self) -> tuple[int, int]:
        import torch

        said = (
            f"model '{self.name}': its vision tower cannot take what its processor makes of an image, "
            f"{self._processing.size}"
        )
        with torch.inference_mode(), parsing(said, kind=UsageError):
            seen = self._skeleton.get_image_features(torch.empty(1, *self._processing.size, device="meta"))
            return len(torch.cat([*seen.pooler_output])), seen.last_hidden_state.shape[1]

    def _check_ids(self, n_features: int) -> None:
        if self._sketch:
            return
        n_tokens, n_positions = (
            int(self._is_image.sum()),
            getattr(self._text, "max_position_embeddings", None),
        )
        if n_tokens != n_features:
            raise UsageError(
                f"model '{self.name}': its processor gives {n_tokens} tokens for an image, and its projector "
                f"{n_features} features"
            )
        if n_positions and len(self._ids) > n_positions:
            raise UsageError(
                f"model '{self.name}' has {n_positions} positions, and image and prompt take {len(self._ids)}: "
                f"use a shorter prompt"
            )
        if (self._ids[~self._is_image] >= self._text.vocab_size).any():
            raise UsageError(
                f"model '{self.name}' has no embedding for some token of the prompt {self._prompt!r}: use another"
            )

    def _open_language(self, ref: str | None) -> Files:
        if ref is None:
            return self._files
        if not isinstance(ref, str):
            raise UsageError(f"model '{self.name}' takes a language_model by name or folder, not {ref!r}")
        if self._seed is not None:
            raise UsageError(f"model '{self.name}' takes language_model or random_weights, not both")
        return open_files(ref, beside=self._files)


def _check_prompt(name: str, prompt: Any) -> str:
    if isinstance(prompt, str) and prompt.encode(errors="ignore").decode() == prompt:
        return prompt
    raise UsageError(f"model '{name}' takes a prompt that is text, not {prompt!r}")


def _find_grid(name: str, n_tokens: int) -> tuple[int, int]:
    side = math.isqrt(n_tokens)
    if not n_tokens or side**2 != n_tokens:
        raise UsageError(f"model '{name}' has {n_tokens} tokens for an image, which are no square grid")
    return side, side
