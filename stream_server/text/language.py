"""Language codes: one spelling for each, names for people, and which of two codes mean the same.

BCP 47 tags and ISO 639 codes are taken, in any case and with either hyphen; the tables are those of `langcodes` (IANA
registry and CLDR). It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import langcodes

from stream_server.jobs.error import JobError, Reason


def normalize_language(code: str, *, parameter: str | None = None) -> str:
    """The tag in its usual form: ``eng`` is ``en``, ``zh_cn`` is ``zh-CN``, ``iw`` is ``he``.

    Raises:
        JobError: INVALID_PARAMETER: there is no such language.
    """
    if (tag := _standardize(code)) is None:
        raise JobError(
            Reason.INVALID_PARAMETER,
            f"{code[:40]!r} is not a language code: use BCP 47 or ISO 639, such as en, pt-BR or lb",
            parameter=parameter,
        )
    return tag


def language_name(code: str) -> str:
    """The English name: ``lb`` is ``Luxembourgish``, ``pt-BR`` is ``Portuguese (Brazil)``.

    What is no language code, such as ``auto``, comes back as it is.
    """
    tag = _standardize(code)
    return code if tag is None else langcodes.Language.get(tag).display_name()


def is_same_language(first: str, second: str) -> bool:
    """Whether nothing is to be translated between them: one language in one script, whatever the region."""
    key = _key(first)
    return key is not None and key == _key(second)


def find_language(wanted: str, codes: Iterable[str]) -> str | None:
    """Which of ``codes`` stands for ``wanted``, in whatever spelling (``deu_Latn`` for ``de-AT``); None for none.

    The very tag wins over another region. A language that is close by, as German is to Luxembourgish, does not do.
    """
    tag, key = _standardize(wanted), _key(wanted)
    if key is None:
        return None
    listed = list(codes)
    exact = (code for code in listed if _standardize(code) == tag)
    alike = (code for code in listed if _key(code) == key)
    return next(exact, None) or next(alike, None)


@lru_cache(maxsize=1024)
def _standardize(code: str) -> str | None:
    try:
        tag = langcodes.standardize_tag(code)
        language = langcodes.Language.get(tag)
    except ValueError:  # langcodes' own LanguageTagError is one
        return None
    return tag if language.language and language.is_valid() else None


@lru_cache(maxsize=1024)
def _key(code: str) -> tuple[str, str] | None:
    """Language and script: models name a member (``arb``, ``cmn``) where people name the whole (``ar``, ``zh``)."""
    if (tag := _standardize(code)) is None:
        return None
    language = langcodes.Language.get(tag).prefer_macrolanguage().maximize()
    return str(language.language), str(language.script)
