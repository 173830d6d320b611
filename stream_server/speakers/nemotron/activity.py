"""Makes turns of what the model says of every frame: how likely each speaker speaks in it. It knows no model.

Breaths and short stops inside a turn are bridged, and a flicker is no turn: see `span.bridged`.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.span import bridged, runs
from stream_server.speakers.turn import Span, Turn, label_of

Logits: TypeAlias = NDArray[np.float16] | NDArray[np.float32]


def turns_of(logits: Logits, frame_ms: float, num_speakers: int | None = None) -> tuple[Turn, ...]:
    """Who spoke when, in order of time, labelled in order of first speech.

    Args:
        logits: [frames, speakers]; above 0 that speaker rather speaks than not.
        frame_ms: how long a frame is.
        num_speakers: how many there are, where it is known. Of more, those with most speech are kept, and each frame
            of the others goes to whoever of those is most likely in it.
    """
    active = logits > 0
    if num_speakers is not None:
        active = _of_most_speech(logits, active, num_speakers)
    spans = [_spans(active[:, speaker], frame_ms) for speaker in range(active.shape[1])]
    heard = sorted(filter(None, spans), key=lambda own: own[0])
    return tuple(sorted(Turn(*span, label_of(index)) for index, own in enumerate(heard) for span in own))


def _of_most_speech(logits: Logits, active: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """``active`` of the ``count`` speakers with most speech, who take over the speech of the others."""
    ranked = np.argsort(-active.sum(axis=0), kind="stable")
    kept, others = ranked[:count], ranked[count:]
    taken = np.flatnonzero(active[:, others].any(axis=1))
    merged = active[:, kept]
    merged[taken, logits[np.ix_(taken, kept)].argmax(axis=1)] = True
    return merged


def _spans(active: NDArray[np.bool_], frame_ms: float) -> list[Span]:
    """The turns of a speaker, as beginnings and ends in ms."""
    return bridged((round(start * frame_ms), round(end * frame_ms)) for start, end in runs(active))
