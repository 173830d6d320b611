"""Reads tensors out of a file of torch's first format, without torch, and without running what is in it.

Such a file is several pickles one after the other: a mark, a version, a description of the machine, the objects, and
the names of the storages; then the storages themselves, each a count and its numbers. A pickle may name any function
and have it called: here it may name three things, which are replaced by our own. It knows nothing of what the tensors
are for.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MARK: Final = 0x1950A86A20F9469CFC6C
VERSION: Final = 1001

_Storage = NDArray[np.float32]


class WeightError(Exception):
    """The file is not what is read here; the message says where it is not."""


def read_weights(content: bytes, name: str) -> dict[str, NDArray[np.float32]]:
    """The tensors of the dictionary ``name`` of a checkpoint.

    Raises:
        WeightError: another format, damaged, or something in it that is no tensor of 32-bit floats.
    """
    try:
        return _read(io.BytesIO(content), name)
    except WeightError:
        raise
    except Exception as error:  # a pickle fails as it likes: there is no common class
        raise WeightError(f"damaged: {type(error).__name__}: {error}") from error


def _read(file: io.BytesIO, name: str) -> dict[str, NDArray[np.float32]]:
    storages: dict[str, _Storage] = {}
    mark, version, machine, checkpoint = (_Reader(file, storages).load() for _ in range(4))
    if mark != MARK or version != VERSION or not machine["little_endian"]:
        raise WeightError("not a file of torch's first format")
    # The objects came before the numbers, so that a storage is made empty, and filled now.
    for key in _Reader(file, storages).load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        if count != len(storage):
            raise WeightError(f"a storage of {len(storage)} numbers holds {count}")
        storage[:] = np.frombuffer(file.read(4 * count), "<f4")
    tensors = checkpoint[name]
    if not all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        raise WeightError(f"{name} holds something else than tensors")
    return dict(tensors)


class _Reader(pickle.Unpickler):
    """Makes arrays where the pickle speaks of tensors, and refuses what is no part of one."""

    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages
        self._size = len(file.getbuffer())

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "FloatStorage"): np.float32,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        }
        if (module, name) not in known:
            raise WeightError(f"it asks for {module}.{name}, which is no part of a tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or dtype is not np.float32 or view is not None:
            raise WeightError("it holds something else than tensors of 32-bit floats")
        if not 0 <= 4 * count <= self._size:
            raise WeightError(f"it speaks of {count} numbers, and is shorter than that")
        return self._storages.setdefault(key, np.zeros(count, np.float32))


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Storage:
    size = int(np.prod(shape))
    tensor = storage[offset : offset + size].reshape(shape)
    if offset < 0 or tuple(stride // 4 for stride in tensor.strides) != tuple(strides):
        raise WeightError("a tensor in it does not lie in one piece")
    return tensor
