"""Reading a pickle of tensors without running it: what torch writes, and what somebody else may."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_server.speakers.resemblyzer.weight import MARK, VERSION, WeightError, read_weights

MACHINE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}


def first_format(checkpoint: Any) -> bytes:
    """As torch saved before 1.6."""
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    file = io.BytesIO()
    torch.save(checkpoint, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def pickles(*objects: Any) -> bytes:
    return b"".join(pickle.dumps(each, protocol=2) for each in objects)


def test_reads_what_torch_writes() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    layer = torch.nn.LSTM(3, 4, 2)
    whole = torch.arange(12.0)
    state = {**layer.state_dict(), "part": whole[4:10].view(2, 3), "again": whole, "one": torch.tensor(7.0)}
    found = read_weights(first_format({"step": 3, "model_state": state, "loss": [0.5, None]}), "model_state")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_it_is_run(tmp_path: Path) -> None:
    content = pickles(MARK, VERSION, MACHINE, {"model_state": Harmful(tmp_path / "made")}, [])
    with pytest.raises(WeightError, match=r"it asks for (posix|nt)\.mkdir, which is no part of a tensor"):
        read_weights(content, "model_state")
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_another_type_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    with pytest.raises(WeightError, match=r"torch\.LongStorage"):
        read_weights(first_format({"model_state": {"a": torch.arange(3)}}), "model_state")


def test_tensors_that_do_not_lie_in_one_piece_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    with pytest.raises(WeightError, match="one piece"):
        read_weights(first_format({"model_state": {"a": torch.ones(3, 2).t()}}), "model_state")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged: EOFError"),
        (b"PK\x03\x04", "damaged"),
        (pickles(MARK, VERSION + 1, MACHINE, {}, []), "first format"),
        (pickles(MARK, VERSION, {**MACHINE, "little_endian": False}, {}, []), "first format"),
        (pickles(MARK, VERSION, MACHINE, {}, []), "damaged: KeyError: 'model_state'"),
        (pickles(MARK, VERSION, MACHINE, {"model_state": {"a": 1.0}}, []), "something else than tensors"),
        (pickles(MARK, VERSION, MACHINE, {"model_state": {}}, ["key"]) + struct.pack("<q", 5), "damaged: KeyError"),
    ],
)
def test_what_is_no_such_file_is_an_error(content: bytes, reason: str) -> None:
    with pytest.raises(WeightError, match=reason):
        read_weights(content, "model_state")


def test_one_that_ends_early_is_an_error() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    content = first_format({"model_state": {"a": torch.ones(1000)}})
    with pytest.raises(WeightError):
        read_weights(content[:-100], "model_state")


def test_a_storage_of_another_size_than_announced_is_an_error() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    content = first_format({"model_state": {"a": torch.ones(1000)}})
    start = len(content) - 4000 - 8
    with pytest.raises(WeightError, match="a storage of 1000 numbers holds 1"):
        read_weights(content[:start] + struct.pack("<q", 1) + content[start + 8 :], "model_state")


def test_a_count_beyond_the_file_takes_no_memory() -> None:
    torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
    content = first_format({"model_state": {"a": torch.ones(1_000_000)}})
    assert read_weights(content, "model_state")["a"].size == 1_000_000
    with pytest.raises(WeightError, match="it speaks of 1000000 numbers, and is shorter than that"):
        read_weights(content[:2000], "model_state")
