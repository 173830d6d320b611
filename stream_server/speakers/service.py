"""What one process needs to tell speakers apart and to know them: each model is loaded when it is first asked for.

It knows which setting means which model, and nothing of what they do.
"""

from __future__ import annotations

from functools import cached_property
from threading import RLock

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


class Speakers:
    """May be used by several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = RLock()

    def diarizer(self) -> Diarizer:
        """What files are diarized by.

        Raises:
            DiarizerError: it is switched off, or cannot be loaded; the message says what to do.
        """
        with self._lock:
            return self._diarizer

    def embedder(self) -> Embedder:
        """What voices are recognized by.

        Raises:
            EmbedderError: as `load_embedder`.
        """
        with self._lock:
            return self._embedder

    def live(self) -> LiveDiarization:
        """A diarization of one channel of one caller.

        Raises:
            DiarizerError: the embedded models are not there.
        """
        with self._lock:
            return LiveDiarization(self._analyzer)

    @cached_property
    def _diarizer(self) -> Diarizer:
        name = self._settings.diarizer
        if name == OFF:
            raise DiarizerError("diarization is switched off on this server (diarizer=off)")
        if name == EMBEDDED:
            return CommunityDiarizer(self._analyzer)
        try:
            from stream_server.speakers.nemotron.diarizer import load_nemotron_diarizer

            return load_nemotron_diarizer(name, resolve_device(self._settings.device))
        except (CheckpointError, DeviceError) as error:
            raise DiarizerError(str(error)) from error

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self._settings)

    @cached_property
    def _analyzer(self) -> Analyzer:
        try:
            return Analyzer(Segmentation(), CommunityEmbedder())
        except AssetError as error:
            raise DiarizerError(str(error)) from error


def load_speakers(settings: Settings) -> Speakers:
    """Cheap: nothing is loaded yet."""
    return Speakers(settings)
