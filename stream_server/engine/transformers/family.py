"""Which architectures are served, and which class reads each. The checkpoint's own configuration decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCTC, AutoModelForRNNT, AutoModelForSpeechSeq2Seq, AutoModelForTDT

from stream_server.engine.hub import CheckpointError
from stream_server.engine.transformers.checkpoint import Checkpoint, load_checkpoint, read_config
from stream_server.engine.transformers.ctc import CtcModel
from stream_server.engine.transformers.reading import SegmentModel
from stream_server.engine.transformers.seq2seq import Seq2SeqModel
from stream_server.engine.transformers.settings import TransformersSettings
from stream_server.engine.transformers.transducer import TransducerModel


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures that are loaded and read alike: ``types`` as in the checkpoint's config, the class of transformers
    that loads them, and ours that reads."""

    types: tuple[str, ...]
    loader: Any
    make: Callable[[Checkpoint, TransformersSettings], SegmentModel]


FAMILIES = (
    Family(("whisper", "moonshine"), AutoModelForSpeechSeq2Seq, Seq2SeqModel),
    Family(("parakeet_ctc", "wav2vec2", "hubert"), AutoModelForCTC, lambda found, _: CtcModel(found)),
    Family(("parakeet_tdt",), AutoModelForTDT, lambda found, _: TransducerModel(found)),
    Family(("parakeet_rnnt",), AutoModelForRNNT, lambda found, _: TransducerModel(found)),
)


def load_model(
    folder: Path, name: str, device: torch.device, settings: TransformersSettings
) -> tuple[Checkpoint, SegmentModel]:
    """Load whatever the folder holds.

    Raises:
        CheckpointError: it cannot be loaded, or is of an architecture that is not served; the message lists those.
    """
    config = read_config(folder)
    for family in FAMILIES:
        if config.model_type in family.types:
            checkpoint = load_checkpoint(folder, name, config, family.loader, device)
            return checkpoint, family.make(checkpoint, settings)
    served = ", ".join(each for family in FAMILIES for each in family.types)
    raise CheckpointError(f"{name} is a {config.model_type!r} model; whole-segment models served: {served}")
