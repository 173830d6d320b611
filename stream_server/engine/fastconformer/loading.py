"""From a checkpoint to a recognizer: reads the files, fills the device, and offers as many streams as fit."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)


def load_fastconformer(
    name: str, folder: Path, device: str, max_streams: int, settings: FastConformerSettings
) -> FastConformerRecognizer:
    """Load the checkpoint in ``folder``; it is served as ``name``. bfloat16 on a card, float32 on the CPU.

    Raises:
        CheckpointError: the files are not what they should be.
        DeviceError: the device has no room for the model and one stream.
    """
    config = read_config(folder)
    vocabulary = Vocabulary.load(folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = load_model(config, folder, device, dtype)
    state, keyterms = allocate(config, torch.device(device), dtype, max_streams, settings)
    logger.info("%s on %s: %d streams of %.2f MB each", name, device, state.slots, state.bytes_per_stream / 1e6)
    return FastConformerRecognizer(name, Runner(model, state, keyterms, settings), vocabulary, settings)


def load_model(config: FastConformerConfig, folder: Path, device: str, dtype: torch.dtype) -> FastConformer:
    """The model alone, ready for use. Raises CheckpointError and DeviceError as `load_weights`."""
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
        free, _ = torch.cuda.mem_get_info(device)
        room = free - min(settings.graph_bytes + settings.reserve_bytes, free // 2)
        streams = min(max_streams, room // each - 1)  # one more is scratch
    while streams > 0:
        try:
            state = State.allocate(config, streams, device, dtype)
            keyterms = KeytermTable(settings.keyterms, config.transducer, streams + 1, device)
        except torch.OutOfMemoryError:
            streams //= 2
            continue
        if streams < max_streams:
            logger.warning(
                "there is memory for %d streams, not for the %d asked for (%.2f MB each)",
                streams,
                max_streams,
                each / 1e6,
            )
        return state, keyterms
    raise DeviceError(f"{device} has no room for a single stream of {each / 1e6:.2f} MB beside the model")
