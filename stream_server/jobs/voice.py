"""The voices by which a job's speakers are called by name: those that came with the request, and those of the project.

It does not know how voices are found in a recording, nor how alike two of them are.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.jobs.job import KnownVoice, TranscriptionOptions
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.registry import SpeakerRegistry, Voices

_VECTOR: Final = np.dtype("<f4")


def known_voice(name: str, vector: NDArray[np.float32], embedder: Embedder) -> KnownVoice:
    """Somebody's voice, as the options of a job carry it."""
    return KnownVoice(
        name=name, embedder=embedder.name, vector=b64encode(vector.astype(_VECTOR).tobytes()).decode("ascii")
    )


def wants_names(options: TranscriptionOptions) -> bool:
    """Whether speakers are to be called by name."""
    return options.identify_speakers or bool(options.known_voices)


def voices_of(options: TranscriptionOptions, key: str, registry: SpeakerRegistry, embedder: Embedder) -> Voices:
    """Whom the speakers may be. Who came with the request goes before the one of the same name in the project.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
    """
    known = {voice.name: _decoded(voice) for voice in options.known_voices if voice.embedder == embedder.name}
    if options.identify_speakers:
        registered = registry.voices(key, options.project, embedder)
        known |= {
            name: center for name, center in zip(registered.names, registered.centers, strict=True) if name not in known
        }
    return Voices(tuple(known), np.array(list(known.values()), np.float32), embedder.calibration)


def _decoded(voice: KnownVoice) -> NDArray[np.float32]:
    return np.frombuffer(b64decode(voice.vector), _VECTOR).astype(np.float32)
