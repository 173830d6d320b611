"""What one process needs to tell speakers apart and to know them: each model is loaded when it is first asked for.

It knows which setting means which model, and nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from stream_server.engine.device import DeviceError, resolve_device
from stream_server.engine.hub import CheckpointError
from stream_server.engine.moonshine.asset import AssetError
from stream_server.settings import Settings
from stream_server.speakers.ability import EMBEDDED, OFF
from stream_server.speakers.community.analysis import Analyzer
from stream_server.speakers.community.diarizer import CommunityDiarizer
from stream_server.speakers.community.network import CommunityEmbedder, Segmentation
from stream_server.speakers.diarizer import Diarizer, DiarizerError
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.live import LiveDiarization
from stream_server.speakers.loading import load_embedder
from stream_server.speakers.process import ProcessDiarizer

Model = TypeVar("Model")


class Speakers:
    """May be used by several threads. Whoever asks for a model waits for that one only.

    ``apart``: files are diarized in processes of their own, where live callers are served in this one.
    """

    def __init__(self, settings: Settings, *, apart: bool = False) -> None:
        self._settings = settings
        self._apart = apart
        self._processes: ProcessDiarizer | None = None
        self._analyzer = _Once(_load_analyzer)
        self._embedder = _Once(lambda: load_embedder(settings))
        self._diarizer = _Once(self._load_diarizer)

    def diarizer(self) -> Diarizer:
        """What files are diarized by.

        Raises:
            DiarizerError: it is switched off, or cannot be loaded; the message says what to do.
        """
        return self._diarizer.get()

    def embedded_diarizer(self) -> Diarizer:
        """What short samples are looked through by, in this process and whatever files are diarized by.

        Raises:
            DiarizerError: they are not there.
        """
        return CommunityDiarizer(self._analyzer.get())

    def embedder(self) -> Embedder:
        """What voices are recognized by.

        Raises:
            EmbedderError: as `load_embedder`.
        """
        return self._embedder.get()

    def live(self) -> LiveDiarization:
        """A diarization of one channel of one caller.

        Raises:
            DiarizerError: the embedded models are not there.
        """
        return LiveDiarization(self._analyzer.get())

    def close(self) -> None:
        """End what was started."""
        if self._processes is not None:
            self._processes.close()

    def _load_diarizer(self) -> Diarizer:
        name = self._settings.diarizer
        if name == OFF:
            raise DiarizerError("diarization is switched off on this server (diarizer=off)")
        if name == EMBEDDED and self._apart:
            self._processes = ProcessDiarizer(CommunityDiarizer.name, load_community)
            return self._processes
        if name == EMBEDDED:
            return CommunityDiarizer(self._analyzer.get())
        try:
            device = resolve_device(self._settings.device)
            from stream_server.speakers.nemotron.diarizer import load_nemotron_diarizer

            return load_nemotron_diarizer(name, device)
        except (CheckpointError, DeviceError, ImportError) as error:
            raise DiarizerError(str(error)) from error


class _Once(Generic[Model]):
    """A model that is loaded when it is first asked for. A load that has failed is tried again by who asks afterwards;
    those who were waiting for it have failed too, for a load can take minutes, and they are many."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load
        self._lock = Lock()
        self._model: Model | None = None
        self._failures = 0
        self._failure: Exception | None = None

    def get(self) -> Model:
        known = self._failures
        with self._lock:
            if self._model is not None:
                return self._model
            if self._failure is not None and self._failures > known:
                raise self._failure.with_traceback(None)
            try:
                self._model = self._load()
            except Exception as error:
                self._failures, self._failure = self._failures + 1, error
                raise
            self._failure = None  # it holds on to all that its load had in hand
            return self._model


def load_speakers(settings: Settings, *, apart: bool = False) -> Speakers:
    """Cheap: nothing is loaded yet."""
    return Speakers(settings, apart=apart)


def load_community() -> CommunityDiarizer:
    """The embedded diarizer; a function of this module, so that another process can be told to call it.

    Raises:
        DiarizerError: the models are not there.
    """
    return CommunityDiarizer(_load_analyzer())


def _load_analyzer() -> Analyzer:
    try:
        return Analyzer(Segmentation(), CommunityEmbedder())
    except AssetError as error:
        raise DiarizerError(str(error)) from error
