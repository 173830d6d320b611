"""In which script a language is written. It knows nothing of models."""

from __future__ import annotations

from dataclasses import dataclass

from langcodes import Language


@dataclass(frozen=True, slots=True)
class Script:
    """``code`` is that of ISO 15924, such as ``Deva``; ``name`` is English, such as ``Devanagari``."""

    code: str
    name: str


def script_of(tag: str) -> Script | None:
    """The script that a language is written in unless its tag says otherwise; None for what is no language."""
    try:
        language = Language.get(tag).maximize()
    except ValueError:  # langcodes' own LanguageTagError is one
        return None
    return Script(language.script, language.script_name()) if language.script else None
