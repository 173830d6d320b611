"""A checkpoint of a whole-segment model, loaded: configuration, weights, feature extractor, vocabulary, languages.

Nothing outside the folder is read, and no code that lies in it is run. It does not know how a model is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import metadata_load
from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import set_tqdm_hook

from stream_server.engine.hub import CheckpointError
from stream_server.engine.transformers.vocabulary import Vocabulary
from stream_server.engine.work import SAMPLE_RATE, Audio

SHORTEST = SAMPLE_RATE // 4
"""Shorter clips are filled up with silence: convolutions need something to work on."""

_ONLY_TRAINED = "masked_spec_embed"
"""What wav2vec 2.0 puts in place of frames it hides in training; many checkpoints are saved without."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder held. ``model`` is on ``device`` in ``dtype`` and ready for inference; ``languages`` are those of
    the model card, or none."""

    name: str
    config: PreTrainedConfig
    model: Any  # the classes of the families share no type that names their parts
    extractor: Any
    tokenizer: Any
    vocabulary: Vocabulary
    languages: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype

    def features(self, clips: list[Audio]) -> dict[str, torch.Tensor]:
        """The model's inputs for clips of [n] float32 at 16 kHz: on the device, floats in the model's type."""
        has_window = hasattr(self.extractor, "n_samples")
        features = self.extractor(
            clips,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding="max_length" if has_window else "longest",
            # Whisper's extractor can work on the device; the others cannot, or do not say so.
            device=str(self.device) if has_window else "cpu",
        )
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            for name, value in features.items()
            if isinstance(value, torch.Tensor)
        }

    @property
    def frame(self) -> int:
        """Samples for each frame of the encoder."""
        if (samples := getattr(self.config, "inputs_to_logits_ratio", None)) is not None:
            return int(samples)
        return int(self.extractor.hop_length * self.config.encoder_config.subsampling_factor)


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        CheckpointError: there is none, or it is of a kind that transformers does not know.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what is in the file decides which class reads it, and what that raises
        raise CheckpointError(f"{folder}: no usable config.json: {_first_line(error)}") from error
    return config


def load_checkpoint(
    folder: Path, name: str, config: PreTrainedConfig, model_class: Any, device: torch.device
) -> Checkpoint:
    """Load everything. float32 on a CPU; bfloat16 on a GPU, or float16 where that has no bfloat16.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors are missing, extra, of another shape or not finite.
    """
    dtype = _dtype(device)
    extractor = load_extractor(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever the libraries under it raise for a damaged file: there is no common class
        raise CheckpointError(f"{folder}: cannot be loaded: {_first_line(error)}") from error
    model = load_weights(folder, config, model_class, device, dtype)
    vocabulary = Vocabulary.of(tokenizer, config.get_text_config(decoder=True).vocab_size)
    return Checkpoint(name, config, model, extractor, tokenizer, vocabulary, _card_languages(folder), device, dtype)


def load_extractor(folder: Path) -> Any:
    """What makes features of audio. Raises CheckpointError: there is none, or it is for another sample rate."""
    try:
        extractor = AutoFeatureExtractor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above
        raise CheckpointError(f"{folder}: cannot be loaded: {_first_line(error)}") from error
    if extractor.sampling_rate != SAMPLE_RATE:
        raise CheckpointError(f"{folder}: made for {extractor.sampling_rate} Hz; only {SAMPLE_RATE} Hz is supported")
    return extractor


def load_weights(
    folder: Path, config: PreTrainedConfig, model_class: Any, device: torch.device, dtype: torch.dtype
) -> Any:
    """The model alone, on its device and ready for inference.

    Raises:
        CheckpointError: the weights are missing or damaged, or some are missing, extra, of another shape or not finite.
    """
    try:
        with _no_bars():
            model, report = model_class.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are reported, and refused below
                output_loading_info=True,
            )
    except Exception as error:  # as above
        raise CheckpointError(f"{folder}: cannot be loaded: {_first_line(error)}") from error
    if missing := [name for name in report["missing_keys"] if not name.endswith(_ONLY_TRAINED)]:
        raise CheckpointError(f"{folder}: tensors are missing: {_some(missing)}")
    if report["mismatched_keys"]:
        raise CheckpointError(
            f"{folder}: tensors have another shape than config.json says: "
            + _some(name for name, *_ in report["mismatched_keys"])
        )
    if report["unexpected_keys"]:  # but for those that the class itself says do not matter
        raise CheckpointError(f"{folder}: tensors that the model has no place for: {_some(report['unexpected_keys'])}")
    _freeze(model, device)
    if broken := [name for name, tensor in model.state_dict().items() if not _is_finite(tensor)]:
        raise CheckpointError(f"{folder}: tensors hold numbers that are not finite: {_some(broken)}")
    return model


@contextmanager
def _no_bars() -> Iterator[None]:
    """transformers draws one for the weights, amid the log lines. Those of downloads are huggingface_hub's."""
    before = set_tqdm_hook(lambda make, args, kwargs: make(*args, **{**kwargs, "disable": True}))
    try:
        yield
    finally:
        set_tqdm_hook(before)


def _is_finite(tensor: torch.Tensor) -> bool:
    # The smallest and the largest are not a number if any is not; no mask of the whole tensor is made.
    return not (tensor.is_floating_point() and tensor.numel()) or bool(
        torch.stack(torch.aminmax(tensor)).isfinite().all()
    )


def _freeze(model: PreTrainedModel, device: torch.device) -> None:
    model.eval()  # type: ignore[no-untyped-call]
    model.requires_grad_(False)
    model.to(device)  # type: ignore[arg-type]


def _dtype(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):  # it is the current one that is asked
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _card_languages(folder: Path) -> tuple[str, ...]:
    """The languages in the head of the model card, if there is one."""
    card = folder / "README.md"
    try:
        head = metadata_load(card) if card.is_file() else None
    except Exception:  # whatever the YAML library under it raises; a card is not worth refusing a model for
        return ()
    said = (head or {}).get("language")
    languages = said if isinstance(said, list) else [said]
    return tuple(tag for tag in languages if isinstance(tag, str))


def pad_short(clip: Audio) -> Audio:
    """The clip, at least `SHORTEST` long."""
    return np.pad(clip, (0, max(0, SHORTEST - len(clip))))


def _some(names: Any) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
