from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from stream_protocol import Init
from stream_protocol.messages import CONFIG_FIELDS, Configure, Flush


def init(**fields: Any) -> Init:
    return Init.model_validate(fields)


def test_defaults_are_those_of_the_specification() -> None:
    message = init()
    assert (message.language, message.sample_rate, message.dtype, message.channels) == ("auto", 16000, "float32", 1)
    assert (message.chunk_size_sec, message.silence_threshold_sec, message.max_segment_sec) == (0.5, 0.8, 20)
    assert (message.inactivity_timeout, message.max_connection_duration) == (300, 3600)
    assert (message.partials, message.words, message.acks, message.keyterms) == (True, True, False, [])
    assert (message.model, message.vad, message.session_id, message.last_seq) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("chunk_size_sec", 0.08, 5),
        ("silence_threshold_sec", 0.1, 10),
        ("max_segment_sec", 2, 60),
        ("inactivity_timeout", 1, 3600),
        ("max_connection_duration", 1, 86400),
    ],
)
def test_numbers_are_moved_into_their_range(field: str, low: float, high: float) -> None:
    for given, kept in [(-1e300, low), (low, low), (high, high), (2**64 - 1, high), (1e300, high)]:
        assert getattr(init(**{field: given}), field) == kept
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            init(**{field: value})


def test_configure_clamps_as_init_does_and_leaves_the_rest_open() -> None:
    message = Configure.model_validate(
        {"type": "configure", "chunk_size_sec": 0, "max_segment_sec": 1e9, "words": None}
    )
    assert message.model_fields_set == {"type", "chunk_size_sec", "max_segment_sec"}
    assert (message.chunk_size_sec, message.max_segment_sec, message.words) == (0.08, 60, None)


def test_the_audio_format_is_not_clamped() -> None:
    message = init(sample_rate=-5, channels=900, dtype="nonsense")
    assert (message.sample_rate, message.channels, message.dtype) == (-5, 900, "nonsense")


def test_last_seq_is_never_negative() -> None:
    assert init(last_seq=-3).last_seq == 0


def test_null_means_the_default() -> None:
    fields = dict.fromkeys(Init.model_fields)
    assert init(**fields) == init()
    assert init(**fields).model_fields_set == set()


def test_unknown_fields_are_named_null_or_not() -> None:
    assert init(zebra=1, apple=None, words=None).ignored == ("apple", "zebra")
    assert init().ignored == ()


def test_the_names_of_unknown_fields_are_bounded() -> None:
    ignored = init(**{f"{number:04d}" + "x" * 500: 1 for number in range(500)}).ignored
    assert len(ignored) == 100
    assert all(len(name) == 100 for name in ignored)


def test_keyterms_are_bounded() -> None:
    assert init(keyterms=[" a ", "", " ", "b"]).keyterms == ["a", "b"]
    assert init(keyterms=["x" * 500] * 500).keyterms == ["x" * 100] * 100
    assert init().keyterms is not init().keyterms


@pytest.mark.parametrize("value", [1.0, True, [1], {"a": 1}])
def test_a_flush_id_is_an_integer_or_a_string(value: object) -> None:
    with pytest.raises(ValidationError):
        Flush.model_validate({"type": "flush", "id": value})
    assert Flush.model_validate({"type": "flush"}).id is None


def test_keys_do_not_show_in_logs() -> None:
    shown = repr(init(api_key="sk_secret", resume_token="r_secret"))
    assert "secret" not in shown


def test_config_holds_settings_and_no_keys() -> None:
    assert set(Init.model_fields) - set(CONFIG_FIELDS) == {"type", "api_key", "session_id", "resume_token", "last_seq"}


def test_the_published_shunyalabs_client_is_understood() -> None:
    """Its configuration frame, as `StreamingConfig.to_ws_payload` builds it: no type, these fields."""
    payload = {
        "language": "auto",
        "sample_rate": 16000,
        "dtype": "int16",
        "chunk_size_sec": 1.0,
        "silence_threshold_sec": 0.5,
    }
    message = Init.model_validate_json(json.dumps(payload))
    assert message.model_fields_set == payload.keys()
    assert message.ignored == ()
