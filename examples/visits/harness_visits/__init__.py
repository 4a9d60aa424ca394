"""A task in three languages, from a CSV: is a sentence on a visit praise or a complaint?"""

from __future__ import annotations

from pathlib import Path

import harness

HARNESS_API = 1


@harness.hookimpl
def harness_tasks() -> list[harness.TaskSpec]:
    return [
        harness.TaskSpec(
            name="visits",
            version=1,
            summary="Is a sentence on a visit praise or a complaint? In three languages.",
            source=harness.FileSource(file=Path(__file__).with_name("visits.csv")),
            # Places and translations of one statement are one group: all of them stand on one side of a split.
            columns=harness.Columns(split=None, language="language", group="item"),
            languages=("en", "de", "es"),
            licence="CC0-1.0",
            citation="harness-visits, an example of sae-harness",
        )
    ]
