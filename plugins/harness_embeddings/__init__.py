"""A sentence embedding: what a user without dictionaries would train a classifier on.

It reads texts and no model of a suite. The weights come with a package of the extra `[embeddings]`.
"""

from __future__ import annotations

import harness

HARNESS_API = 1


def _sentence_embedding() -> harness.IdentifiedRepresentation:
    from harness_embeddings.sentence import SentenceEmbedding, find_model

    return SentenceEmbedding(find_model())


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="sentence_embedding",
            summary="embedding of the whole text by all-MiniLM-L6-v2, a model for English; extra [embeddings]",
            make=_sentence_embedding,
            needs="text",
        )
    ]
