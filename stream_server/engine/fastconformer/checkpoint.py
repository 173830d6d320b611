"""Moves the weights of a checkpoint into a module whose parameters are named as the checkpoint names them.

Knows files and tensors, not what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stream_server.engine.device import DeviceError
from stream_server.engine.hub import CheckpointError, read_shards

COMPUTED = (".inv_freq", ".num_batches_tracked")
"""Ends of the names of tensors that some checkpoints carry and nobody needs: they follow from the configuration."""

_NAMED = 4  # tensors that a message names


def load_weights(folder: Path, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Read every tensor of the checkpoint in ``folder`` onto ``device``, converted to ``dtype`` one by one.

    Raises:
        CheckpointError: a file is missing, damaged, or holds something other than finite floating point numbers.
        DeviceError: the weights do not fit into the device's memory.
    """
    weights: dict[str, Tensor] = {}
    for shard in read_shards(folder):
        try:
            with safe_open(folder / shard, framework="pt", device=device) as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    if not name.endswith(COMPUTED):
                        weights[name] = _converted(name, file.get_tensor(name), dtype)
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"the weights in {folder} do not fit into the free memory of {device}") from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{folder / shard} cannot be read; is it complete? ({error})") from error
    return weights


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(f"the weight {name} is {tensor.dtype}: quantized checkpoints cannot be served")
    # On the CPU the tensor is a view of the mapped file, which must not outlive this.
    tensor = tensor.to(dtype, copy=tensor.device.type == "cpu")
    # The smallest and the largest are not a number if any is not; no mask of the whole tensor is made.
    if tensor.numel() and not torch.stack(torch.aminmax(tensor)).isfinite().all():
        raise CheckpointError(f"the weight {name} holds numbers that are not finite: the checkpoint is broken")
    return tensor


def load_into(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make ``weights`` the parameters and buffers of ``module``, for inference. They are shared, not copied.

    ``module`` may have been built on torch's ``meta`` device; what the checkpoint does not hold (buffers that are not
    persistent) must then be made by the module itself afterwards.

    Raises:
        CheckpointError: tensors are missing, left over or of another shape; the message names some, with both shapes.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights]
    extra = [name for name in weights if name not in expected]
    misshapen = [
        f"{name} (expected {_shape(tensor)}, found {_shape(weights[name])})"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    faults = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in (("missing", missing), ("not known", extra), ("of another shape", misshapen))
        if names
    ]
    if faults:
        raise CheckpointError(f"the weights do not fit the configuration; tensors {'; '.join(faults)}")
    module.load_state_dict(dict(weights), assign=True)
    module.requires_grad_(False).eval()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
