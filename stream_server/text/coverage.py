"""Which languages a translation checkpoint takes and gives, read from its small files. No weights, no torch.

A checkpoint says it in one of these places, looked for in this order:

- tokens for languages: ``>>deu<<`` in the ``vocab.json`` of a Marian model with many targets, put before the text;
  ``__de__`` (M2M100) and ``deu_Latn`` (NLLB) among the special tokens, one for the source and one for the target;
- ``source_lang`` and ``target_lang`` of a Marian model's ``tokenizer_config.json``;
- the name of a Marian model, ``opus-mt-en-de``, which its folder has or ``_name_or_path`` in ``config.json``.

Marian's names for groups of languages (``mul``, ``ROMANCE``, ``gmw``) name no language: such a source takes anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from stream_server.engine.hub import CONFIG, CheckpointError
from stream_server.jobs.error import JobError
from stream_server.text.language import find_language, language_name, normalize_language

Family = Literal["marian", "m2m_100", "nllb"]

TOKENS: Final[dict[Family, str]] = {"marian": ">>{}<<", "m2m_100": "__{}__", "nllb": "{}"}
"""How a family writes a language's code as a token."""

_CODES: Final[dict[Family, re.Pattern[str]]] = {
    "marian": re.compile(r">>([A-Za-z_]{2,16})<<"),
    "m2m_100": re.compile(r"__([a-z]{2,3})__"),
    "nllb": re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),
}
_NAME: Final = re.compile(r"opus[-_]mt[-_](?:tc[-_][a-z]+[-_](?:big[-_])?)?([A-Za-z_]{2,})-([A-Za-z_]{2,})$")


@dataclass(frozen=True, slots=True)
class Coverage:
    """``sources`` and ``targets`` are the checkpoint's own codes; empty where it does not say.

    ``tokens``: whether the target is chosen by a token. A model without has one target.
    """

    family: Family
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    tokens: bool

    def source(self, language: str) -> str | None:
        """The checkpoint's code for a source language, or None."""
        return find_language(language, self.sources)

    def target(self, language: str) -> str | None:
        """The checkpoint's code for a target language, or None."""
        return find_language(language, self.targets)

    def lacks(self, source: str, target: str) -> str | None:
        """Why this pair cannot be translated, or None. A source that is not known yet (``auto``) passes."""
        if self.targets and self.target(target) is None:
            return f"the translation model does not translate to {language_name(target)}{self._listed(self.targets)}"
        if self.sources and source != "auto" and self.source(source) is None:
            return f"the translation model does not translate from {language_name(source)}{self._listed(self.sources)}"
        return None

    @staticmethod
    def _listed(codes: tuple[str, ...]) -> str:
        return f", only {', '.join(codes)}" if len(codes) <= 12 else ""


def read_coverage(folder: Path) -> Coverage:
    """The coverage of the checkpoint in ``folder``. M2M100 may leave its codes to its tokenizer: then none are listed.

    Raises:
        CheckpointError: it is no translation model of a kind that is known, or does not say its languages.
    """
    config = _read(folder / CONFIG)
    kind, tokenizer = config.get("model_type"), _read(folder / "tokenizer_config.json", missing={})
    if kind == "m2m_100":
        special = list(_strings([tokenizer, _read(folder / "special_tokens_map.json", missing={})]))
        for family in ("nllb", "m2m_100"):
            if codes := _codes(family, special):
                return Coverage(family, codes, codes, tokens=True)
        return Coverage("nllb" if "Nllb" in str(tokenizer.get("tokenizer_class")) else "m2m_100", (), (), tokens=True)
    if kind != "marian":
        raise CheckpointError(f"{folder}: {kind!r} is not a translation model that is supported: Marian, M2M100, NLLB")
    named = coverage_by_name(folder.resolve().name) or coverage_by_name(str(config.get("_name_or_path", "")))
    source, target = (tokenizer.get(f"{side}_lang") for side in ("source", "target"))
    sources = _single(source) if source else named.sources if named else ()
    if targets := _codes("marian", list(_read(folder / "vocab.json"))):
        return Coverage("marian", sources, targets, tokens=True)
    # Without tokens there is one target, so that no name of a group can stand here.
    if not (targets := _language(target) or (named.targets if named else ())):
        raise CheckpointError(
            f"{folder} does not say which language it translates to: neither target_lang in tokenizer_config.json, nor "
            "its name (opus-mt-en-de)"
        )
    return Coverage("marian", sources, targets, tokens=False)


def coverage_by_name(name: str) -> Coverage | None:
    """The pair of languages in the name of a Marian model, such as ``Helsinki-NLP/opus-mt-en-de``, if it names one."""
    match = _NAME.search(name.partition("@")[0])
    if match is None or not (target := _single(match[2])):
        return None
    return Coverage("marian", _single(match[1]), target, tokens=False)


def _language(code: Any) -> tuple[str, ...]:
    try:
        return (code,) if isinstance(code, str) and normalize_language(code) else ()
    except JobError:
        return ()


def _single(code: Any) -> tuple[str, ...]:
    """The code if it surely names one language: those of groups have three letters or more, and no short form."""
    return tuple(code for code in _language(code) if len(normalize_language(code).partition("-")[0]) == 2)


def _codes(family: Family, tokens: list[str]) -> tuple[str, ...]:
    found = (_CODES[family].fullmatch(token) for token in tokens)
    return tuple(dict.fromkeys(match[1] for match in found if match))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _read(path: Path, *, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if missing is not None and not path.is_file():
        return missing
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} cannot be right: it holds no object")
    return document
