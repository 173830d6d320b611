"""``stream-server serve`` with a model whose first step never ends: run as a program, with a port and a timeout."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stream_server.engine.recognizer import Task
from stream_server.engine.work import Hypothesis
from stream_server.log import configure_logging
from stream_server.server import create_server
from stream_server.settings import Settings
from tests.support.fake import FakeRecognizer


class Hanging(FakeRecognizer):
    """Hangs as a driver does: it gives the interpreter away and does not come back."""

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        time.sleep(10**6)
        raise AssertionError


def main(port: int, step_timeout: float) -> None:
    configure_logging("info", "json")
    settings = Settings.load(
        {}, port=port, step_timeout=step_timeout, data_dir=Path("/nowhere"), job_worker="off", admission="fixed"
    )
    server = create_server(settings, Hanging())
    server.owns_process = True
    server.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
