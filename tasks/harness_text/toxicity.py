"""Four English sets with one question, toxic or not, and their ordered pairs: trained on one, tested on the other.

Their authors asked for different things (hate, offence, insults of the people a template names), so that their labels
agree only as far as `toxic` goes. A pair is tested on the target's official test rows, on which the target's own task
is tested too; on all rows where there is no official split by template. (Some of those rows are training rows of
`toxicity_madlibs`, which a plan that holds both names reports as leaks; no pair is trained on them.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from harness import Columns, TaskSpec

TOXIC, HARMLESS = "toxic", "not_toxic"


@dataclass(frozen=True, kw_only=True)
class _Set:
    """Mirrored set: its contents in words, the meaning of its labels here, its licence and citation."""

    mirror: str
    holds: str
    labels: dict[str, str]
    licence: str
    citation: str
    group: str | None = None
    language: str | None = None
    split: str | None = "split"

    def task(self, name: str, *, source: str | None = None) -> TaskSpec:
        """Return the set as a task of its own, or as one trained on the set `source`."""
        tested = {"split": "test"} if source and self.split else {}
        taught = f", by probes trained on toxicity_{source}" if source else ""
        return TaskSpec(
            name=f"toxicity_{name}_by_{source}" if source else f"toxicity_{name}",
            version=1,
            summary=f"Is {self.holds} toxic{taught}?",
            languages=("en",),
            licence=self.licence,
            citation=self.citation,
            columns=Columns(split=self.split, group=self.group),
            content_warning=True,
            mirror=self.mirror,
            where={**({"lang": self.language} if self.language else {}), **tested},
            labels=self.labels,
            trained_on=f"toxicity_{source}" if source else None,
        )


SETS = {
    "hatecheck": _Set(
        mirror="hatecheck",
        holds="a sentence written as a test of hate speech detectors",
        labels={"hateful": TOXIC, "non-hateful": HARMLESS},
        licence="CC BY 4.0",
        citation=(
            "Paul Röttger, Bertie Vidgen, Dong Nguyen, Zeerak Waseem, Helen Margetts, Janet B. Pierrehumbert "
            "(2021). HateCheck: Functional Tests for Hate Speech Detection Models. ACL-IJCNLP."
        ),
        group="templ_id",
    ),
    "davidson": _Set(
        mirror="davidson_hate",
        holds="a tweet with words of a hate lexicon",
        labels={"hate_speech": TOXIC, "offensive_language": TOXIC, "neither": HARMLESS},
        licence="MIT (repository); tweets under Twitter terms",
        citation=(
            "Thomas Davidson, Dana Warmsley, Michael Macy, Ingmar Weber (2017). Automated Hate Speech "
            "Detection and the Problem of Offensive Language. ICWSM."
        ),
    ),
    "stormfront": _Set(
        mirror="stormfront_hate",
        holds="a sentence of a white-supremacist forum",
        labels={"hate": TOXIC, "noHate": HARMLESS},
        licence="CC BY-SA 3.0 ES",
        citation=(
            "Ona de Gibert, Naiara Perez, Aitor García-Pablos, Montse Cuadros (2018). Hate Speech Dataset from "
            "a White Supremacy Forum. ALW2."
        ),
    ),
    # Six templates: split by template, and not by text as in its own split, few rows remain for testing.
    "madlibs": _Set(
        mirror="madlibs_toxicity",
        holds="a sentence from a template",
        labels={"toxic": TOXIC, "nontoxic": HARMLESS},
        licence="CC BY 4.0",
        citation=(
            "Lucas Dixon, John Li, Jeffrey Sorensen, Nithum Thain, Lucy Vasserman (2018). Measuring and Mitigating "
            "Unintended Bias in Text Classification. AIES."
        ),
        group="template",
        language="en",
        split=None,
    ),
}

TASKS = (
    *(one.task(name) for name, one in SETS.items()),
    *(SETS[target].task(target, source=source) for target, source in permutations(SETS, 2)),
)
