"""How sure a model is of what it has said: the log-probabilities of tokens, as one number. Knows no tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_logprob(logprobs: Sequence[float]) -> float:
    """Mean natural log-probability; 0 for none."""
    return sum(logprobs) / len(logprobs) if logprobs else 0.0


def confidence(logprobs: Sequence[float]) -> float:
    """Geometric mean of the tokens' probabilities, from 0 to 1; 0 where there is no token."""
    return min(1.0, math.exp(mean_logprob(logprobs))) if logprobs else 0.0
