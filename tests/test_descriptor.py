"""When file descriptors count as short; a server without any is in `tests/fault`."""

from __future__ import annotations

import logging
import os
import resource

import pytest

from stream_server.descriptor import DescriptorWatch


def test_a_shortage_is_said_once_and_its_end_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    counts = [10, 89, 90, 95, 85, 99, 79, 50, 90]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 1000))
    monkeypatch.setattr(os, "listdir", lambda path: list(range(counts.pop(0))))
    watch = DescriptorWatch()
    while counts:
        watch.look()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "ERROR"]
    assert "now 100" in caplog.messages[0]


def test_where_not_even_a_look_is_possible(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "listdir", refuse)
    DescriptorWatch().look()
    assert "file descriptors run out" in caplog.text
