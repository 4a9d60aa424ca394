"""Representation that reads the output of a vision tower: its last hidden state, unchanged."""

from __future__ import annotations

import harness
from harness_transformers.image_encoder import ImageEncoder
from harness_transformers.vision import TOWER, VisionLanguageModel


class VisionOutput:
    """Last hidden state of the vision tower after its final norm, at whichever site is given."""

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        if not isinstance(model, VisionLanguageModel | ImageEncoder):
            raise harness.UsageError(
                f"vision_output is of a vision-language model with modality=image, or of an image encoder of "
                f"transformers, and model '{model.name}' is neither"
            )
        site = harness.Site(tower=TOWER, kind="output", layer=model.towers[TOWER] - 1)
        width = model.width(site)
        return harness.PlacedRepresentation(
            identity={"kind": "vision_output"},
            d_in=width,
            width=width,
            load=lambda device: harness.Dictionary(name="vision_output", width=width, activation="identity"),
            sparse=False,
            site=site,
        )
