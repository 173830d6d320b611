"""Kills a thread from outside, as little else in Python can."""

from __future__ import annotations

import ctypes
import threading


def kill_thread(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have ``error`` raised in the thread, wherever it is, as soon as it runs Python again."""
    assert thread.ident is not None
    reached = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
    assert reached == 1
