"""Which models there are, and how a name becomes a recognizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.recognizer import Recognizer


class UnknownModelError(Exception):
    """No model of that name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that can be served: its name, what it speaks, one line about it."""

    name: str
    languages: tuple[str, ...]
    description: str
    load: Callable[[MoonshineSettings], Recognizer]


def _load_moonshine(settings: MoonshineSettings) -> Recognizer:
    return MoonshineRecognizer(find_assets(), settings)


MODELS = (
    ModelEntry("moonshine-tiny", ("en",), "Moonshine tiny, 27 M parameters, English, embedded (CPU)", _load_moonshine),
)


def list_models() -> tuple[ModelEntry, ...]:
    """Every model that `load_recognizer` knows."""
    return MODELS


def load_recognizer(name: str, settings: MoonshineSettings) -> Recognizer:
    """Load a model by name.

    Raises:
        UnknownModelError: there is none of that name.
    """
    for entry in MODELS:
        if entry.name == name:
            return entry.load(settings)
    raise UnknownModelError(f"unknown model {name!r}; available: {', '.join(entry.name for entry in MODELS)}")
