from __future__ import annotations

from stream_protocol import ERROR_TABLE, ClientError, ErrorCode, ServerError, StreamError


def test_every_code_has_one_row_in_order() -> None:
    assert list(ERROR_TABLE) == list(ErrorCode)


def test_close_codes_may_be_sent_and_statuses_are_errors() -> None:
    for rule in ERROR_TABLE.values():
        # RFC 6455 7.4: 1000 to 1015 are the protocol's, of which these may stand in a frame; 4000 to 4999 are private.
        assert rule.close_code in {1002, 1003, 1009, 1011, 1012, 1013} or 4000 <= rule.close_code <= 4999
        assert 400 <= rule.http_status <= 599
        assert rule.meaning


def test_an_error_knows_its_row() -> None:
    error = ClientError(ErrorCode.RATE_LIMITED, "slow down", retry_after=2.5)
    assert error.rule is ERROR_TABLE[ErrorCode.RATE_LIMITED]
    assert (error.rule.close_code, error.retry_after, str(error)) == (4029, 2.5, "RATE_LIMITED: slow down")
    assert isinstance(error, StreamError)
    assert not isinstance(error, ServerError)
