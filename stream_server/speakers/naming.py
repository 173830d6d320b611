"""Gives the speakers of a recording the names under which their voices are known. It does not know how they were told
apart, nor what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.file import AudioFile, read_audio
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.registry import Voices
from stream_server.speakers.sample import SHORTEST_SEC
from stream_server.speakers.solo import length, longest_spans, solo_spans
from stream_server.speakers.turn import UNKNOWN, Span, Turn

MOST_SPEECH_MS: Final = 20_000
"""What is listened to of each speaker."""

_MS: Final = 16
"""Samples in a millisecond."""


def name_speakers(
    turns: Sequence[Turn],
    audio: AudioFile,
    voices: Voices,
    embedder: Embedder,
    *,
    check: Callable[[], None] = lambda: None,
) -> Mapping[str, str]:
    """The name of each label of ``turns`` whose voice is one of ``voices``; whom nobody knows is left out, so that
    `stream_server.speakers.turn.renamed` keeps the label. No two labels get the same name: the surer one has it.

    audio: the recording; it is read a second time, all channels as one, and little of it is kept. voices: of this
    ``embedder``. check: called about once for each second that is read; what it raises ends the work.

    Raises:
        EmbedderError: the model has failed.
        UnsupportedAudio, OSError: the recording cannot be read.
    """
    wanted = {label: longest_spans(spans, MOST_SPEECH_MS) for label, spans in solo_spans(turns).items()}
    wanted = {label: spans for label, spans in wanted.items() if sum(map(length, spans)) >= SHORTEST_SEC * 1000}
    if not voices.names or not wanted:
        return {}
    named: dict[str, tuple[float, str]] = {}
    for label, speech in _collect(audio, wanted, check).items():
        check()
        name, confidence = voices.identify(embedder.embed(speech))
        if name != UNKNOWN and confidence > named.get(name, (0.0, ""))[0]:
            named[name] = confidence, label
    return {label: name for name, (_, label) in named.items()}


def _collect(
    audio: AudioFile, wanted: Mapping[str, Iterable[Span]], check: Callable[[], None]
) -> dict[str, NDArray[np.float32]]:
    """The audio of the spans of each label, one behind the other. Read no further than the last of them."""
    todo = sorted((start * _MS, end * _MS, label) for label, spans in wanted.items() for start, end in spans)
    last = max(end for _, end, _ in todo)
    heard: dict[str, list[NDArray[np.float32]]] = {label: [] for label in wanted}
    begin = 0
    with closing(read_audio(audio)) as blocks:
        for block in blocks:
            check()
            samples = block.mean(axis=0)
            end = begin + len(samples)
            for start, stop, label in todo:
                if start < end and stop > begin:
                    heard[label].append(samples[max(0, start - begin) : stop - begin].copy())
            begin = end
            if begin >= last:
                break
    return {label: np.concatenate(pieces) for label, pieces in heard.items() if pieces}
