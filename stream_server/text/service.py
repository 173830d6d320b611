"""The text services as one object for the worker: it knows what is configured, and loads it when it is first needed.

Blocking, and safe to use from several threads. What to ask of a language model stands in `analysis` and `translation`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Protocol

from stream_protocol.transcript import Transcript
from stream_server.engine.device import DeviceError, require_gpu_extra, resolve_device
from stream_server.engine.hub import CheckpointError
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Analysis
from stream_server.jobs.result import Findings
from stream_server.settings import Settings
from stream_server.text.ability import TextAbilities, text_abilities
from stream_server.text.analysis import analyse
from stream_server.text.chat import ChatClient
from stream_server.text.language import is_same_language
from stream_server.text.translation import ChatTranslator

logger = logging.getLogger(__name__)

Report = Callable[[float], None]
"""Called with the share that is done, from 0 to 1. What it raises ends the work."""
Alive = Callable[[], None]
"""Called several times a second while an endpoint is waited for. What it raises ends the work."""


class Translator(Protocol):
    """What turns texts into texts of another language."""

    def translate(self, texts: list[str], source: str, target: str, report: Report) -> list[str]:
        """One translation for each text, in order. ``source`` may be ``auto``.

        Raises:
            JobError: the pair is not covered, or the model cannot be reached or gives no usable answer.
        """
        ...


class TextServices:
    """Translations and findings, by whatever the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._abilities: TextAbilities = text_abilities(settings)
        self._lock = Lock()
        self._translator: Translator | None = None

    def translate(self, transcript: Transcript, target: str, report: Report, alive: Alive = lambda: None) -> Transcript:
        """The transcript in another language: its segments one for one, without words.

        Args:
            target: a language code; for the language the transcript is in, it comes back as it is.
            report: called with the share that is done, from 0 to 1.
            alive: see `Alive`.

        Raises:
            JobError: FEATURE_UNAVAILABLE, SERVICE_UNAVAILABLE or INTERNAL, with a message for the caller.
        """
        if is_same_language(transcript.language, target):
            report(1.0)
            return transcript
        if (reason := self._abilities.can_translate(transcript.language, target)) is not None:
            raise JobError(Reason.FEATURE_UNAVAILABLE, reason)
        spoken = [index for index, segment in enumerate(transcript.segments) if segment.text.strip()]
        texts = [transcript.segments[index].text for index in spoken]
        made = self._translator_for(alive).translate(texts, transcript.language, target, report) if texts else []
        translated = dict(zip(spoken, made, strict=True))
        segments = (
            replace(segment, text=translated.get(index, ""), words=())
            for index, segment in enumerate(transcript.segments)
        )
        report(1.0)
        return replace(transcript, segments=tuple(segments), language=target)

    def analyse(self, transcript: Transcript, analysis: Analysis, alive: Alive = lambda: None) -> Findings:
        """What was asked for of summary, sentiment, intent and normalized text. ``alive``: see `Alive`.

        Raises:
            JobError: FEATURE_UNAVAILABLE, SERVICE_UNAVAILABLE or INTERNAL, with a message for the caller.
        """
        if not analysis.is_wanted:
            return Findings()
        if (reason := self._abilities.can_analyse()) is not None:
            raise JobError(Reason.FEATURE_UNAVAILABLE, reason)
        return analyse(self._chat(alive), transcript, analysis)

    def close(self) -> None:
        self._translator = None

    def _chat(self, alive: Alive) -> ChatClient:
        settings = self._settings
        return ChatClient(
            settings.chat_url,
            settings.chat_model,
            api_key=settings.chat_api_key.get_secret_value(),
            timeout=settings.chat_timeout,
            alive=alive,
        )

    def _translator_for(self, alive: Alive) -> Translator:
        if self._abilities.translator == "chat":
            return ChatTranslator(self._chat(alive))
        with self._lock:  # a second job waits for the model that the first one loads
            if self._translator is None:
                self._translator = self._load_translator()
            return self._translator

    def _load_translator(self) -> Translator:
        name = self._settings.translation_model
        try:
            require_gpu_extra("torch", "transformers")
            from stream_server.text.seq2seq import load_translator

            return load_translator(name, resolve_device(self._settings.device))
        except DeviceError as error:
            logger.error("the translation model %s cannot be loaded: %s", name, error)
            raise JobError(Reason.SERVICE_UNAVAILABLE, f"the translation model cannot be loaded: {error}") from error
        except CheckpointError as error:  # names folders of this machine, which are none of the caller's business
            logger.error("the translation model cannot be loaded: %s", error)
            raise JobError(Reason.SERVICE_UNAVAILABLE, "the translation model cannot be loaded") from error


def load_text_services(settings: Settings) -> TextServices:
    """The services for a worker. Loads nothing yet: models are loaded by the first job that needs them."""
    return TextServices(settings)
