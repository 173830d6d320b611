"""Which questions about speakers the settings allow, found out without loading a model: so it can be said at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_server.engine.device import DeviceError, require_gpu_extra
from stream_server.engine.moonshine.asset import AssetError
from stream_server.settings import Settings
from stream_server.speakers.community.asset import require_community

EMBEDDED: Final = "embedded"
RESEMBLYZER: Final = "resemblyzer"
OFF: Final = "off"

DIARIZER_EXTRA: Final = ("torch", "transformers", "safetensors", "huggingface_hub")
EMBEDDER_EXTRA: Final = ("torch", "transformers", "safetensors", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class SpeakerAbilities:
    """Three questions, each answered with None for yes or with the reason why not: whether the speakers of a file can
    be told apart, those of a live caller, and whether a voice can be recognized."""

    no_diarization: str | None
    no_live_diarization: str | None
    no_identification: str | None


def speaker_abilities(settings: Settings) -> SpeakerAbilities:
    """What the settings allow."""
    # Another machine does the jobs where the setting says so, and has its own packages and folders.
    is_elsewhere = settings.job_worker == "elsewhere"
    diarization = _lack("diarization", "diarizer", settings.diarizer, DIARIZER_EXTRA, is_elsewhere)
    # Live callers are diarized by the embedded models whatever files are diarized by: it is they that run on a CPU.
    live = diarization if settings.diarizer == OFF else _lack("diarization", "diarizer", EMBEDDED, (), False)
    embedding = settings.speaker_embedding
    identification = _lack("speaker identification", "speaker_embedding", embedding, EMBEDDER_EXTRA, False)
    return SpeakerAbilities(diarization, live, identification)


def _lack(what: str, setting: str, value: str, extra: tuple[str, ...], is_elsewhere: bool) -> str | None:
    if value == OFF:
        return f"{what} is switched off on this server ({setting}=off)"
    try:
        if value == EMBEDDED:
            require_community()
        elif value != RESEMBLYZER and Path(value).suffix != ".onnx" and not is_elsewhere:
            require_gpu_extra(*extra)
    except (AssetError, DeviceError) as error:
        return f"{what} is not available: {error}"
    return None
