"""Memory that was freed goes back to the operating system. It knows the GNU C library, and nothing of who used it;
elsewhere nothing here does anything.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_TRIM_THRESHOLD: Final = -1  # names of mallopt(3)
_MMAP_THRESHOLD: Final = -3

_LARGE: Final = 2**20
_LARGEST: Final = 2**25
"""The most that the library ever takes from its heap by itself; it moves there when large pieces come and go."""


def release_memory() -> None:
    """Give back what is free. The GNU C library keeps it otherwise: 0.1 GB after a model was loaded. It takes
    milliseconds."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return


def large_pieces_apart(apart: bool) -> None:
    """Whether large pieces come from the system and go back there at once, or from the heap as usual. The former while
    a server starts: 40 MB less are left lying between what stays. The latter is faster for what comes and goes in a
    step.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE if apart else _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, 2 * (_LARGE if apart else _LARGEST))
    except (AttributeError, OSError):
        return
