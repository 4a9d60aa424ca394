"""Scripts of languages, by the likely subtags of the Unicode CLDR."""

from __future__ import annotations

from langcodes import Language
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

_HAN = ("Hans", "Hant")


def script_of(tag: str) -> str | None:
    """Return the script that a BCP-47 tag names (`hi-Latn`), else the script its language is mostly written in, as an
    ISO 15924 code. Both forms of Han count as one, `Hani`. None where the language is unknown.
    """
    try:
        language = Language.get(tag)
    except LanguageTagError:
        return None
    if language.language not in LIKELY_SUBTAGS:  # Twi is known as a variety of Akan
        language = language.prefer_macrolanguage()
    if language.script is None and language.language not in LIKELY_SUBTAGS:
        return None  # `maximize` would take it for American English
    script = language.maximize().script
    return "Hani" if script in _HAN else script
