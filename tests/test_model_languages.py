"""What languages a model says it has seen: from the front matter of its card, and never at the price of loading."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from harness_minigemma import WEIGHTS, card
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api.data import Site
from harness.api.protocols import Model, Multilingual
from harness.registry.catalog import Registry
from harness.session import open_registry

SITE = Site(kind="resid_post", layer=1)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return open_registry()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """minigemma-s without its card."""
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / "minigemma-s", folder)
    (folder / "README.md").unlink()
    return folder


def open_model(registry: Registry, reference: str | Path) -> Multilingual:
    model = registry.choose("models", str(reference)).make()
    assert isinstance(model, Multilingual) and isinstance(model, Model)
    return model


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_the_embedded_models_say_what_they_were_trained_on(registry: Registry, size: str) -> None:
    seen = open_model(registry, f"minigemma-{size}").languages
    assert len(seen) == 31
    assert max(seen, key=lambda tag: seen[tag]) == "en"
    # One Bible is in traditional characters.
    assert seen["zh"] == pytest.approx(seen["zh-Hans"] + seen["zh-Hant"]) and 0 < seen["zh-Hant"] < 4
    assert not {"hi-Latn", "yo", "ig", "ha", "rw"} & set(seen)
    assert all(size > 0 for size in seen.values())


def test_random_weights_have_seen_nothing_to_speak_of(registry: Registry) -> None:
    assert open_model(registry, "minigemma-s[random_weights=0]").languages == {}


def test_a_card_is_no_part_of_a_models_identity(registry: Registry, checkpoint: Path) -> None:
    without = open_model(registry, checkpoint)
    assert without.languages == {}
    before = without.identity(SITE)
    (checkpoint / "README.md").write_text("---\nlanguage_megabytes: {en: 3}\n---\n# A model\n", "utf-8")
    after = open_model(registry, checkpoint)
    assert after.languages == {"en": 3.0}
    assert after.identity(SITE) == before


def test_norwegian_needs_no_quotation_marks_in_a_card(registry: Registry, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("---\nlanguage_megabytes: {en: 3, no: 4}\n---\n", "utf-8")
    assert open_model(registry, checkpoint).languages == {"en": 3.0, "no": 4.0}


BROKEN = {
    "no front matter": "# A model\n",
    "front matter without end": "---\nlanguage_megabytes: {en: 3}\n",
    "front matter further down": "# A model\n---\nlanguage_megabytes: {en: 3}\n---\n",
    "languages without amounts": "---\nlanguage: [en, de]\n---\n",
    "no mapping": "---\n- en\n- de\n---\n",
    "amounts that are a list": "---\nlanguage_megabytes: [en, de]\n---\n",
    "no YAML": "---\nlanguage_megabytes: {en: [\n---\n",
    "an unknown tag of YAML": "---\nlanguage_megabytes: !!python/object:os.system {en: 3}\n---\n",
    "a date that is none": "---\nlanguage_megabytes: {en: 2026-02-31}\n---\n",
    "Norwegian twice": "---\nlanguage_megabytes: {'no': 3, no: 4}\n---\n",
    "a negative amount": "---\nlanguage_megabytes: {en: -3}\n---\n",
    "no number": "---\nlanguage_megabytes: {en: much}\n---\n",
    "a truth value": "---\nlanguage_megabytes: {en: true}\n---\n",
    "not finite": "---\nlanguage_megabytes: {en: .nan, de: .inf}\n---\n",
    "no tag": "---\nlanguage_megabytes: {English: 3}\n---\n",
    "brackets without end": "---\nx: " + "[" * 5000 + "\n---\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_card_that_says_no_amounts_says_nothing(registry: Registry, checkpoint: Path, text: str) -> None:
    (checkpoint / "README.md").write_text(text, "utf-8")
    assert open_model(registry, checkpoint).languages == {}


@pytest.mark.parametrize("content", [b"", b"---\n\xff\xfe\n---\n", b"\x00" * 100])
def test_a_card_that_is_no_text_says_nothing(registry: Registry, checkpoint: Path, content: bytes) -> None:
    (checkpoint / "README.md").write_bytes(content)
    assert open_model(registry, checkpoint).languages == {}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_no_front_matter_stops_a_model(registry: Registry, checkpoint: Path, text: str) -> None:
    path = checkpoint / "README.md"
    path.write_bytes(f"---\n{text}\n---\n".encode("utf-8", "surrogatepass"))
    assert all(isinstance(size, float) for size in open_model(registry, checkpoint).languages.values())


@pytest.mark.parametrize("text", [
    "---\r\nlanguage_megabytes:\r\n  en: 3\r\n  'no': 0.5\r\n---\r\n# A model\r\n",
    "\ufeff---\nlanguage_megabytes: {en: 3, 'no': 0.5}\n---  \n",
])  # fmt: skip
def test_line_ends_and_byte_order_marks_do_not_matter(
    registry: Registry, checkpoint: Path, text: str
) -> None:
    (checkpoint / "README.md").write_bytes(text.encode())
    assert open_model(registry, checkpoint).languages == {"en": 3.0, "no": 0.5}


PARTS = [{"lang": "en", "mb_raw": 2.5}, {"lang": "zh", "mb_raw": 1.25}, {"lang": "en", "mb_raw": 0.75},
         {"lang": "zh", "source": "bible_ChiUn", "mb_raw": 1.0}, {"lang": "no", "mb_raw": 0.1}]  # fmt: skip


def test_a_card_gets_the_languages_of_the_corpus_once(registry: Registry, checkpoint: Path) -> None:
    plain = "# minigemma-x\n\n---\n\nText.\n"
    once = card.with_languages(plain, PARTS)
    assert once.endswith("\n---\n\n" + plain)
    assert card.with_languages(once, PARTS) == once
    assert card.without_front_matter(once) == plain
    (checkpoint / "README.md").write_text(once, "utf-8")
    assert open_model(registry, checkpoint).languages == {
        "en": 3.25,
        "zh": 2.25,
        "zh-Hans": 1.25,
        "zh-Hant": 1.0,
        "no": 0.1,
    }


def test_a_manifest_without_amounts_gives_no_front_matter() -> None:
    assert card.with_languages("# A\n", []) == card.with_languages("# A\n", [{"lang": "en"}]) == "# A\n"
