"""What a log record looks like, and what it must not hold."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from stream_server.log import configure_logging
configure_logging("info", {format!r})
def fail(key):
    raise ValueError("went wrong")
try:
    fail("sk-very-private")
except ValueError:
    logging.getLogger("stream_server.test").exception("a session failed", extra={{"session_id": "abc"}})
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_says_where_and_not_what_variables_held(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(format=form)], capture_output=True, text=True, check=True
    )
    assert "went wrong" in done.stderr
    assert "fail" in done.stderr
    assert "abc" in done.stderr
    assert "\x1b" not in done.stderr, "colours are for terminals"
    # The source line that holds the key may be shown; the value of the variable must not be.
    assert "key = " not in done.stderr
    assert '"key"' not in done.stderr
    if form == "json":
        record = json.loads(done.stderr)
        assert record["session_id"] == "abc"
        assert record["exception"][0]["exc_type"] == "ValueError"


FAULT = """
import logging
from sqlalchemy.exc import OperationalError
from stream_server.log import configure_logging
configure_logging("info", {format!r})
error = OperationalError("SELECT 1", {{}}, Exception("no such table"), code="e3q8")
logging.getLogger("stream_server.test").warning("the database cannot be used: %s", error)
logging.getLogger("stream_server.test").warning("the database cannot be used", extra={{"error": str(error)}})
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_of_several_lines_is_one_record_and_one_line(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", FAULT.format(format=form)], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr.count("no such table") == 2
    assert "Background on this error" not in done.stderr
