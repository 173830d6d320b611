"""Which text services the settings allow, found out without loading a model: so the server can say it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stream_server.engine.device import DeviceError, require_gpu_extra
from stream_server.engine.hub import CheckpointError, is_folder
from stream_server.settings import Settings
from stream_server.text.coverage import Coverage, coverage_by_name, read_coverage
from stream_server.text.language import is_same_language

CHAT: Final = "an OpenAI-compatible endpoint: set chat_url (STREAM_SERVER_CHAT_URL)"
CHAT_MODEL: Final = "an endpoint's model is not set: set chat_model (STREAM_SERVER_CHAT_MODEL)"

NO_ANALYSIS: Final = f"summaries, sentiment, intent and normalized text need {CHAT}"
NO_TRANSLATION: Final = (
    f"translation needs a translation model: set translation_model (STREAM_SERVER_TRANSLATION_MODEL); or {CHAT}"
)


@dataclass(frozen=True, slots=True)
class TextAbilities:
    """What can be made of a text. Both questions are answered with None for yes, or with the reason why not.

    ``translator`` is what translates, if anything does. ``coverage`` says which languages its model covers, where that
    can be told from its files without loading it; else the worker finds out.
    """

    translator: Literal["model", "chat"] | None
    no_translation: str
    no_analysis: str | None
    coverage: Coverage | None = None

    def can_translate(self, source: str, target: str) -> str | None:
        """Codes as `normalize_language` gives them; ``source`` may be ``auto``, for what will be heard."""
        if is_same_language(source, target):
            return None
        if self.translator is None:
            return self.no_translation
        return None if self.coverage is None else self.coverage.lacks(source, target)

    def can_analyse(self) -> str | None:
        return self.no_analysis


def text_abilities(settings: Settings) -> TextAbilities:
    """What the settings allow. Reads at most a few small files of a checkpoint in a folder of this machine."""
    no_chat = CHAT_MODEL if settings.chat_url and not settings.chat_model else None
    no_analysis = no_chat if settings.chat_url else NO_ANALYSIS
    name = settings.translation_model
    if not name:
        translates = settings.chat_url and no_chat is None
        return TextAbilities("chat" if translates else None, no_chat or NO_TRANSLATION, no_analysis)
    if settings.job_worker != "elsewhere":  # another machine has its own packages and folders
        try:
            require_gpu_extra("torch", "transformers")
        except DeviceError as error:
            return TextAbilities(None, f"translation_model is set, but {error}", no_analysis)
    try:
        coverage = read_coverage(Path(name).expanduser()) if is_folder(name) else coverage_by_name(name)
    except CheckpointError:
        coverage = None  # the worker says what is wrong with it
    return TextAbilities("model", "", no_analysis, coverage)
