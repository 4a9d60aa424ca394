"""A BCP-47 tag in, the script that the language is written in out."""

from __future__ import annotations

_SCRIPTS = {
    "Latn": "af az bm ca ceb cs cy da de en es et eu fi fr ga gl ha hr hu id ig is it jv lg ln lt lv mg ms mt nb nl nn "
    "no ny om pcm pl pt ro rw sk sl sn so sq st su sv sw tl tn tr ts tw uz vi wo xh yo zu",
    "Cyrl": "be bg kk ky mk mn ru sr tg tt uk",
    "Arab": "ar arq ary arz ckb fa ps sd ug ur",
    "Deva": "bho hi mai mr ne sa",
    "Hani": "yue zh",
    "Beng": "as bn",
    "Ethi": "am ti",
    "Hebr": "he yi",
    "Armn": "hy",
    "Geor": "ka",
    "Grek": "el",
    "Gujr": "gu",
    "Guru": "pa",
    "Jpan": "ja",
    "Khmr": "km",
    "Knda": "kn",
    "Kore": "ko",
    "Laoo": "lo",
    "Mlym": "ml",
    "Mymr": "my",
    "Orya": "or",
    "Sinh": "si",
    "Taml": "ta",
    "Telu": "te",
    "Thai": "th",
}
_BY_LANGUAGE = {language: script for script, languages in _SCRIPTS.items() for language in languages.split()}
_HAN = ("Hans", "Hant")


def script_of(tag: str) -> str | None:
    """The script that a tag names (`hi-Latn`), else the one its language is mostly written in (ISO 15924 codes, after
    CLDR's likely subtags); both forms of Han are one. None where that is not known here.
    """
    language, *more = tag.split("-")
    named = next((part.title() for part in more if len(part) == 4 and part.isalpha()), None)
    if named is None:
        return _BY_LANGUAGE.get(language.lower())
    return "Hani" if named in _HAN else named
