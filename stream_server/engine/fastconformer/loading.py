"""From a checkpoint to a recognizer: reads the files, fills the device, and offers as many streams as fit."""

from __future__ import annotations

import gc
import logging
from contextlib import suppress
from pathlib import Path

import torch

from stream_server.engine.device import DeviceError
from stream_server.engine.fastconformer.checkpoint import load_into, load_weights
from stream_server.engine.fastconformer.configuration import FastConformerConfig, read_config
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.keyterm import KeytermTable
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.state import State
from stream_server.engine.fastconformer.text import Vocabulary
from stream_server.engine.fault import device_faults
from stream_server.engine.hub import CheckpointError
from stream_server.engine.recognizer import DeviceMemoryError

logger = logging.getLogger(__name__)


def load_fastconformer(
    name: str, folder: Path, device: str, max_streams: int, settings: FastConformerSettings
) -> FastConformerRecognizer:
    """Load the checkpoint in ``folder``; it is served as ``name``. bfloat16 on a card, float32 on the CPU.

    Raises:
        CheckpointError: the files are not what they should be.
        DeviceError: the device has no room for the model and one stream.
        DeviceLostError: the device failed.
    """
    config = read_config(folder)
    vocabulary = Vocabulary.load(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    _check_vocabulary(vocabulary, config, folder)
    model = load_model(config, folder, device, dtype)
    runner = _make_runner(model, torch.device(device), dtype, max_streams, settings)
    offered, each = runner.state.slots, runner.state.bytes_per_stream / 1e6
    logger.info("%s on %s: %d streams of %.2f MB each", name, device, offered, each)
    if offered < max_streams:
        logger.warning("there is memory for %d streams, not for the %d asked for", offered, max_streams)
    return FastConformerRecognizer(name, runner, vocabulary, settings)


def _check_vocabulary(vocabulary: Vocabulary, config: FastConformerConfig, folder: Path) -> None:
    """That text and weights belong together. Special tokens may have numbers that the model never emits."""
    spelled = vocabulary.pieces.keys() | vocabulary.bytes.keys()
    highest, blank = max(spelled), config.transducer.blank
    if highest >= config.transducer.vocabulary:
        raise CheckpointError(
            f"the tokenizer in {folder} has a token {highest}, the model only {config.transducer.vocabulary}: "
            "are both of the same checkpoint?"
        )
    if blank in spelled:
        raise CheckpointError(f"the tokenizer in {folder} spells token {blank}, which is the blank of the model")


def _make_runner(
    model: FastConformer, device: torch.device, dtype: torch.dtype, max_streams: int, settings: FastConformerSettings
) -> Runner:
    """A runner that has taken its memory, for as many streams as fit. Raises DeviceError if not even one does."""
    streams = max_streams
    while True:
        state, keyterms = allocate(model.config, device, dtype, streams, settings)
        runner = Runner(model, state, keyterms, settings)
        try:
            runner.warm_up()
            return runner
        except DeviceMemoryError:
            streams = state.slots // 2  # steps need more than was left for them
            del runner, state, keyterms


def load_model(config: FastConformerConfig, folder: Path, device: str, dtype: torch.dtype) -> FastConformer:
    """The model alone, ready for use.

    Raises:
        CheckpointError, DeviceError: as `load_weights`.
        DeviceMemoryError, DeviceLostError: the device has no room for it, or failed.
    """
    with device_faults():
        weights = load_weights(folder, device, dtype)
        with torch.device("meta"):
            model = FastConformer(config)
        load_into(model, weights)
        model.prepare()
    return model


def allocate(
    config: FastConformerConfig,
    device: torch.device,
    dtype: torch.dtype,
    max_streams: int,
    settings: FastConformerSettings,
) -> tuple[State, KeytermTable]:
    """Slots for as many streams as are wanted, or as the device has room for beside what steps need."""
    streams = max_streams
    each = State.bytes_for(config, dtype) + KeytermTable.bytes_for(settings.keyterms)
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # what loading, or an attempt with more streams, has left
        free, _ = torch.cuda.mem_get_info(device)
        room = free - min(settings.graph_bytes + settings.reserve_bytes, free // 2)
        streams = min(max_streams, room // each - 1)  # one more is scratch
    while streams > 0:
        with suppress(DeviceMemoryError), device_faults():
            return (  # in one expression, so that the former is not kept where the latter does not fit
                State.allocate(config, streams, device, dtype),
                KeytermTable(settings.keyterms, config.transducer, streams + 1, device),
            )
        streams //= 2
    raise DeviceError(f"{device} has no room for a single stream of {each / 1e6:.2f} MB beside the model")
