"""What goes wrong on a device, in the engine's own words. Imports torch: only recognizers that run on it use this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError


@contextmanager
def device_faults() -> Iterator[None]:
    """Around work on a device: out of memory becomes `DeviceMemoryError`, a device error `DeviceLostError`.

    After an error of CUDA's own the process cannot use the card any more (the context is lost), so there is nothing to
    be retried.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(_first_line(error)) from error
    except torch.AcceleratorError as error:
        raise DeviceLostError(_first_line(error)) from error
    except RuntimeError as error:  # libraries above the runtime have no type of their own
        if any(name in str(error) for name in ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "CUFFT_")):
            raise DeviceLostError(_first_line(error)) from error
        raise


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
