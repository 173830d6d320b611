"""Blocking work from the event loop: once begun, it is finished, whoever hangs up meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def undivided(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run in a thread; a cancellation takes effect when it is through, so that what follows finds it done."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
