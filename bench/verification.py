"""What scores of voices of the same and of different people say: the equal error rate, and the curve of confidence.

It knows numbers only, neither audio nor models.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.speakers.embedder import Calibration

Scores = NDArray[np.float64]

_ROUNDS: Final = 50
_ENOUGH: Final = 1e-9


def equal_error(same: Scores, different: Scores) -> float:
    """The share of errors at the score where as many of the same person are refused as of different ones taken."""
    scores = np.concatenate([same, different])
    is_same = np.concatenate([np.ones(len(same), bool), np.zeros(len(different), bool)])
    order = np.argsort(scores, kind="stable")
    refused = np.cumsum(is_same[order]) / len(same)
    taken = 1 - np.cumsum(~is_same[order]) / len(different)
    at = int(np.argmin(np.abs(refused - taken)))
    return float((refused[at] + taken[at]) / 2)


def fit(same: Scores, different: Scores) -> Calibration:
    """Logistic regression, both kinds weighing the same, by Newton's method.

    Targets are not quite 0 and 1, as in Platt, "Probabilistic outputs for support vector machines" (1999): what is
    never wrong on so many trials is not taken to be never wrong.
    """
    scores = np.concatenate([same, different])
    targets = np.concatenate(
        [np.full(len(same), (len(same) + 1) / (len(same) + 2)), np.full(len(different), 1 / (len(different) + 2))]
    )
    weights = np.concatenate([np.full(len(same), 0.5 / len(same)), np.full(len(different), 0.5 / len(different))])
    middle, spread = scores.mean(), scores.std()
    inputs = np.stack([(scores - middle) / spread, np.ones(len(scores))])
    curve = np.zeros(2)
    for _ in range(_ROUNDS):
        values = 1 / (1 + np.exp(-curve @ inputs))
        gradient = inputs @ (weights * (values - targets))
        hessian = (inputs * (weights * values * (1 - values))) @ inputs.T + 1e-12 * np.eye(2)
        # A full step may be too far where almost nothing is wrong.
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 1.0 / float(np.abs(step).max()))
        curve -= step
        if float(np.abs(step).max()) < _ENOUGH:
            break
    return Calibration(threshold=float(middle - curve[1] / curve[0] * spread), slope=float(curve[0] / spread))
