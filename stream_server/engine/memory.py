"""Memory that was freed goes back to the operating system. It knows the C library, and nothing of who used it."""

from __future__ import annotations

import ctypes
import gc


def release_memory() -> None:
    """Give back what is free. The GNU C library keeps it otherwise: 0.1 GB after a model was loaded. It takes
    milliseconds; elsewhere it does nothing."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # not the GNU C library
        return
