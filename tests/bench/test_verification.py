"""Equal error rates, and the curve of confidence."""

from __future__ import annotations

import numpy as np
import pytest

verification = pytest.importorskip("bench.verification", reason="the extra `bench` is not installed")


def normal(mean: float, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(int(100 * mean)).normal(mean, 0.1, count)


def test_errors_are_equally_many() -> None:
    """Two bells, each of which reaches over the middle with one in six."""
    assert verification.equal_error(normal(0.5), normal(0.3)) == pytest.approx(0.1587, abs=0.005)


def test_what_is_told_apart_has_no_errors() -> None:
    assert verification.equal_error(np.array([0.6, 0.7]), np.array([0.1, 0.5, 0.2])) == 0


def test_what_is_turned_around_has_nothing_else() -> None:
    assert verification.equal_error(np.array([0.1, 0.2]), np.array([0.6, 0.7])) == 1


def test_the_curve_is_that_of_the_bells_whatever_their_numbers() -> None:
    """Of two bells the odds are a logistic curve: its middle between them, its slope their distance by the variance."""
    fit = verification.fit(normal(0.5, 5_000), normal(0.3, 50_000))
    assert fit.threshold == pytest.approx(0.4, abs=0.01)
    assert fit.slope == pytest.approx(20, rel=0.1)


def test_what_is_told_apart_still_has_a_curve() -> None:
    fit = verification.fit(np.full(50, 0.8) + np.arange(50) / 1000, np.full(50, 0.2) - np.arange(50) / 1000)
    assert 0.3 < fit.threshold < 0.7
    assert 1 < fit.slope < 1000
    assert fit.confidence(0.8) > 0.95
