"""Log-probabilities of tokens as one number."""

from __future__ import annotations

import math

import pytest

from stream_server.engine.likelihood import confidence, mean_logprob


def test_confidence_is_the_geometric_mean() -> None:
    assert confidence([]) == 0.0
    assert confidence([math.log(0.25), 0.0]) == pytest.approx(0.5)
    assert confidence([1e-7]) == 1.0  # what rounding may make of a certainty
    assert mean_logprob([-1.0, -3.0]) == -2.0
    assert mean_logprob(()) == 0.0
