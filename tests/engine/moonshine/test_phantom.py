"""Text that the model makes up where nobody speaks; with settings of the test's own."""

from __future__ import annotations

import pytest

from stream_server.engine.moonshine.phantom import PhantomSettings, is_phantom

SETTINGS = PhantomSettings(
    phrases=frozenset({"you", "thank you"}),
    seconds_per_word=1.0,
    unlikely_phrase=-0.5,
    unlikely=-1.5,
    unlikely_loop=-1.0,
)


@pytest.mark.parametrize(
    ("text", "seconds", "logprob", "looped", "phantom"),
    [
        ("", 5.0, -9.0, True, False),
        ("You", 3.0, -0.1, False, True),
        ("You.", 0.5, -0.1, False, False),
        ("You", 0.5, -0.6, False, True),
        ("Thank you!", 1.9, -0.1, False, False),
        ("Thank you!", 2.1, -0.1, False, True),
        ("You there", 30.0, -0.1, False, False),
        ("♪ ♪", 1.0, -0.1, False, True),
        ("...", 1.0, -0.1, False, True),
        ("A whole sentence.", 1.0, -1.6, False, True),
        ("A whole sentence.", 1.0, -1.4, False, False),
        ("A whole, a whole, a whole", 1.0, -1.1, True, True),
        ("A whole, a whole, a whole", 1.0, -0.9, True, False),
    ],
)
def test_is_phantom(text: str, seconds: float, logprob: float, looped: bool, phantom: bool) -> None:
    assert is_phantom(text, seconds, logprob, looped, SETTINGS) is phantom
