"""Which models there are, and how a name becomes a recognizer.

A name is one of ours, a folder with a checkpoint, or a repository of the Hugging Face hub; what is in the checkpoint
decides which engine runs it. Recognizers that need torch are imported only when they are asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from stream_server.engine.device import DeviceError, require_gpu_extra, resolve_device
from stream_server.engine.fastconformer.configuration import ARCHITECTURES
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.hub import CheckpointError, find_checkpoint, is_folder
from stream_server.engine.memory import release_memory
from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError, Recognizer
from stream_server.engine.transformers.settings import TransformersSettings

MOONSHINE = "moonshine-tiny"

_EXTRA = ("torch", "transformers", "safetensors", "huggingface_hub", "tokenizers")


class UnknownModelError(Exception):
    """No model of that name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that is known to work: its name, what it speaks, one line about it."""

    name: str
    languages: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class RecognizerSettings:
    """How models are loaded. ``device``: auto, cpu, cuda or cuda:n. ``max_streams``: how many to make room for."""

    device: str = "auto"
    max_streams: int = 256
    moonshine: MoonshineSettings = field(default_factory=MoonshineSettings)
    fastconformer: FastConformerSettings = field(default_factory=FastConformerSettings)
    transformers: TransformersSettings = field(default_factory=TransformersSettings)


MODELS = (
    ModelEntry(MOONSHINE, ("en",), "Moonshine tiny, 27 M parameters, embedded: CPU, or GPU with the gpu extra"),
    ModelEntry(
        "nvidia/nemotron-speech-streaming-en-0.6b",
        ("en",),
        "Nemotron Speech Streaming, 0.6 B parameters, encodes every frame once: GPU",
    ),
    ModelEntry(
        "nvidia/nemotron-3.5-asr-streaming-0.6b",
        ("auto",),
        "Nemotron 3.5 ASR Streaming, 0.6 B parameters, 40 locales, encodes every frame once: GPU",
    ),
    ModelEntry(
        "openai/whisper-large-v3-turbo",
        ("auto",),
        "Whisper large v3 turbo, 0.8 B parameters, about 100 languages, whole segments: GPU",
    ),
)


def list_models() -> tuple[ModelEntry, ...]:
    """The models known to work. Others of the same architectures can be named too, by folder or hub repository."""
    return MODELS


def load_recognizer(name: str, settings: RecognizerSettings) -> Recognizer:
    """Load a model by name, folder or hub repository, and let it take the memory it needs.

    Raises:
        UnknownModelError: there is none of that name.
        DeviceError: the device cannot be used or has no room, or the gpu extra is missing.
        CheckpointError: the files of the model cannot be had or make no sense.
    """
    device = resolve_device(settings.device)
    try:
        recognizer = _load(name, device, settings)
    except DeviceMemoryError as error:
        raise DeviceError(f"{device} has no room for {name}: {error}") from error
    except DeviceLostError as error:
        raise DeviceError(f"{device} failed while {name} was loaded: {error}") from error
    release_memory()
    return recognizer


def _load(name: str, device: str, settings: RecognizerSettings) -> Recognizer:
    if name == MOONSHINE:
        return _load_moonshine(device, settings)
    local = is_folder(name)
    if not local and "/" not in name:
        known = ", ".join(entry.name for entry in MODELS)
        raise UnknownModelError(f"unknown model {name!r}: {known}, a folder, or another hub repository (owner/name)")
    require_gpu_extra(*_EXTRA)
    folder = find_checkpoint(name)
    served = folder.resolve().name if local else name  # callers need not see where things lie on this machine
    if _architecture(folder) in ARCHITECTURES:  # of the streaming engine; all others go to the whole-segment one
        from stream_server.engine.fastconformer.loading import load_fastconformer

        return load_fastconformer(served, folder, device, settings.max_streams, settings.fastconformer)
    from stream_server.engine.transformers.recognizer import load_transformers_recognizer

    return load_transformers_recognizer(served, folder, device, settings.transformers)


def _load_moonshine(device: str, settings: RecognizerSettings) -> Recognizer:
    if device == "cpu":
        recognizer = MoonshineRecognizer(find_assets(), settings.moonshine)
    else:
        from stream_server.engine.moonshine.tensor.recognizer import load_moonshine_torch

        recognizer = load_moonshine_torch(find_assets(), settings.moonshine, device)
    recognizer.warm_up()
    return recognizer


def _architecture(folder: Path) -> str:
    """The model type that a checkpoint says it is of."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not say what model this is: {error}") from error
    if not isinstance(said, str):
        raise CheckpointError(f"{folder / 'config.json'} does not say what model this is: model_type is {said!r}")
    return said
