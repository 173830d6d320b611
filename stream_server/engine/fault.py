"""What goes wrong on a device, in the engine's own words. Imports torch: only recognizers that run on it use this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError

# Whatever is not an allocation of torch's own on a card says so by its text alone.
_FULL = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "DefaultCPUAllocator")
_LOST = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS", "CUFFT_")


@contextmanager
def device_faults() -> Iterator[None]:
    """Around work on a device: out of memory becomes `DeviceMemoryError`, a device error `DeviceLostError`.

    After an error of CUDA's own the process cannot use the card any more (the context is lost), so there is nothing to
    be retried.
    """
    try:
        yield
    except MemoryError as error:
        raise DeviceMemoryError("this machine has no memory for it") from error
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _FULL):
            raise DeviceMemoryError(_first_line(text)) from error
        if isinstance(error, torch.AcceleratorError) or any(sign in text for sign in _LOST):
            raise DeviceLostError(_first_line(text)) from error
        raise


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
