"""The settings of whole-segment models. No model, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_server.engine.commitment import CommitmentSettings
from stream_server.engine.work import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SilenceSettings:
    """When a whole reading is taken to be made up, as models of this kind do where nobody speaks.

    ``probability``: of silence, by the model itself, from which a reading below ``unlikely`` is made up (the rule of
    the Whisper paper, arXiv:2212.04356, section 4.5). Any reading below ``incredible`` is, and a loop below
    ``unlikely``. The last two are mean natural log-probabilities of the tokens that were not forced. Text without a
    letter or a digit, such as the notes that stand for music, is made up whatever its probability.
    """

    probability: float = 0.6
    unlikely: float = -0.5
    incredible: float = -2.0


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """How whole-segment models are run.

    ``languages``: the tags that the model speaks, where the checkpoint does not say. ``step_samples``: distance of the
    decodes that may commit; twice that of the embedded model, because a model with a fixed window pays for all of it
    each time. ``max_batch``: clips in one step; ``max_batch_cpu`` on a CPU, where a step takes as long as its clips one
    after another, so that more would only make finals wait.
    ``tokens_per_sec``: at most so many tokens for each second of audio, and ``least_tokens`` besides, so that a decoder
    that does not end is stopped. ``keyterm_tokens``: at most so many tokens of key terms are put before the text;
    a reading with key terms whose mean log-probability is below ``keyterm_doubt`` is compared with one without.
    ``commitment``: see `commitment.py`; the age of a word is how long ago one first stood in its place.
    """

    languages: tuple[str, ...] = ()
    step_samples: int = SAMPLE_RATE
    max_batch: int = 16
    max_batch_cpu: int = 2
    max_step_samples: int = 480 * SAMPLE_RATE
    max_segment_sec: float = 30.0
    tokens_per_sec: float = 12.0
    least_tokens: int = 16
    keyterm_tokens: int = 100
    keyterm_doubt: float = -0.5
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    silence: SilenceSettings = field(default_factory=SilenceSettings)
