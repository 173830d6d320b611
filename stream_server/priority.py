"""Gives way to live callers: how a process or a thread takes processor time only when nobody else wants it."""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """The lowest priority the machine knows, for this thread and those it starts."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # not Linux, or not allowed
        with suppress(OSError):
            os.nice(19)
