"""Prompts for class names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness import TaskSpec, UsageError, did_you_mean

TEMPLATES = ("a photo of a {}.",)
"""Templates of a task that has none of its own."""


def make_prompts(spec: TaskSpec, classes: Sequence[str]) -> list[list[str]]:
    """Return for each class every template of the task, filled with the class's name.

    Raise UsageError for a template without `{}`, and for the name of an unknown class if some class has no
    name.
    """
    templates = spec.templates or TEMPLATES
    for template in templates:
        if "{}" not in template:
            raise UsageError(
                f"template '{template}' of task '{spec.name}' has no {{}} for the name of a class"
            )
    # If every class has a name, an unknown name is that of a class without rows.
    unnamed = [label for label in classes if label not in spec.class_names]
    strange = spec.class_names.keys() - {*classes, *spec.labels.values()}
    if unnamed and strange:
        raise UsageError(
            f"task '{spec.name}' has a name for '{min(strange)}', which is none of its classes"
            f"{did_you_mean(min(strange), unnamed)}"
        )
    names = [spec.class_names.get(label, to_words(label)) for label in classes]
    return [[template.replace("{}", name) for template in templates] for name in names]


def to_words(label: str) -> str:
    """Split `great_dane` or `GreatDane` into words."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", label)
    return " ".join(apart.replace("_", " ").split())
