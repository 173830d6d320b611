"""The sizes of a cache-aware FastConformer transducer, read from the files beside its weights.

Cache-aware FastConformer: Noroozi et al. 2023, arXiv:2312.17279. The files are those that transformers saves for
``nemotron_asr_streaming`` and ``nemotron3_5_asr``. Knows no tensors and no weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from stream_server.engine.hub import CheckpointError
from stream_server.engine.work import SAMPLE_RATE

PLAIN = "nemotron_asr_streaming"
PROMPTED = "nemotron3_5_asr"
ARCHITECTURES = (PLAIN, PROMPTED)
"""The model types of transformers that this engine runs; the second is told the language by a prompt."""

ACTIVATIONS = ("gelu", "relu", "silu", "tanh")
MEL_DTYPES = ("float32", "bfloat16", "float16")

LIMITS = {"max_symbols": 64, "layers": 256, "left": 4096, "n_fft": 8192, "subsampling_factor": 64}
"""The most there may be of what the weights do not bound. 64 labels in the 80 ms of a frame are beyond any speech, and
with more one stream could keep the device to itself; the others would make a start hang or exhaust the memory."""

LOOKAHEADS = (13, 6, 1, 0)
"""What the processors of both architectures assume where a checkpoint does not say."""

_Value = TypeVar("_Value", bool, int, float, str)


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """The log mel front end. Lengths are samples; ``mel_dtype`` is the precision filters and window are rounded to."""

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    mel_bins: int
    preemphasis: float
    mel_dtype: str


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The encoder. ``left`` and ``lookaheads`` count frames, which are what subsampling leaves.

    ``left``: how many frames before itself a frame may see. A lookahead of n means chunks of n + 1 frames.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    kernel: int
    left: int
    lookaheads: tuple[int, ...]
    default_lookahead: int
    mel_bins: int
    subsampling_factor: int
    subsampling_channels: int
    subsampling_kernel: int
    subsampling_stride: int
    scale_input: bool
    attention_bias: bool
    convolution_bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class TransducerConfig:
    """Predictor and joint network. ``vocabulary`` counts the blank too; ``max_symbols``: most labels of one frame."""

    vocabulary: int
    hidden: int
    layers: int
    blank: int
    max_symbols: int
    activation: str


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """The language prompt: ``dictionary`` maps tags to indices below ``count``; ``default`` is that of no language."""

    count: int
    intermediate: int
    default: int
    dictionary: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FastConformerConfig:
    """Everything about a checkpoint but its weights and its vocabulary. ``prompt`` is None for the plain kind."""

    model_type: str
    feature: FeatureConfig
    encoder: EncoderConfig
    transducer: TransducerConfig
    prompt: PromptConfig | None


def read_config(folder: Path) -> FastConformerConfig:
    """Read and check the configuration of the checkpoint in ``folder``.

    Raises:
        CheckpointError: a file is missing or unreadable, the architecture is another, or sizes contradict each other.
    """
    model = _read(folder / "config.json")
    model_type = model.values.get("model_type")
    if model_type not in ARCHITECTURES:
        raise CheckpointError(f"{folder} holds a {model_type!r} model; this engine runs {' and '.join(ARCHITECTURES)}")
    processor_file = folder / "processor_config.json"
    # Older checkpoints have only the feature extractor's own file.
    processor = _read(processor_file) if processor_file.exists() else _Section(str(processor_file), {})
    config = FastConformerConfig(
        model_type=str(model_type),
        feature=_feature(
            processor.section("feature_extractor")
            if "feature_extractor" in processor.values
            else _read(folder / "preprocessor_config.json")
        ),
        encoder=_encoder(model.section("encoder_config"), processor),
        transducer=TransducerConfig(
            vocabulary=model.get("vocab_size", int),
            hidden=model.get("decoder_hidden_size", int),
            layers=model.get("num_decoder_layers", int),
            blank=model.get("blank_token_id", int),
            max_symbols=model.get("max_symbols_per_step", int),
            activation=model.get("hidden_act", str),
        ),
        prompt=_prompt(model, processor) if model_type == PROMPTED else None,
    )
    for sound, complaint in _checks(config):
        if not sound:
            raise CheckpointError(f"the configuration in {folder} cannot be right: {complaint}")
    return config


@dataclass(frozen=True, slots=True)
class _Section:
    """A JSON object, and where it stands for messages."""

    place: str
    values: Mapping[str, object]

    def get(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        value = self.values.get(key, default)
        if kind is float and type(value) is int:
            return kind(value)
        # By its exact type: true is an int to isinstance.
        if type(value) is not kind:
            raise CheckpointError(f"{self.place}: {key} must be of type {kind.__name__}, found {value!r}")
        return value

    def section(self, key: str) -> _Section:
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.place}: {key} must be an object, found {value!r}")
        return _Section(f"{self.place}, {key}", value)


def _read(file: Path) -> _Section:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing: is this a checkpoint saved by transformers?") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} must hold a JSON object")
    return _Section(str(file), values)


def _feature(extractor: _Section) -> FeatureConfig:
    return FeatureConfig(
        sample_rate=extractor.get("sampling_rate", int),
        n_fft=extractor.get("n_fft", int),
        win_length=extractor.get("win_length", int),
        hop_length=extractor.get("hop_length", int),
        mel_bins=extractor.get("feature_size", int),
        # null means none
        preemphasis=0.0 if extractor.values.get("preemphasis", 0) is None else extractor.get("preemphasis", float),
        # Checkpoints saved before transformers had it do not name it.
        mel_dtype=extractor.get("mel_filters_dtype", str, "float32"),
    )


def _encoder(encoder: _Section, processor: _Section) -> EncoderConfig:
    lookaheads = processor.values.get("supported_num_lookahead_tokens")
    if lookaheads is None:
        lookaheads = encoder.values.get("supported_num_lookahead_tokens") or LOOKAHEADS
    if (
        not isinstance(lookaheads, list | tuple)
        or not lookaheads
        or any(type(value) is not int for value in lookaheads)
    ):
        raise CheckpointError(
            f"{processor.place}: supported_num_lookahead_tokens must list integers, found {lookaheads!r}"
        )
    default = processor.values.get("default_num_lookahead_tokens")
    return EncoderConfig(
        hidden=encoder.get("hidden_size", int),
        layers=encoder.get("num_hidden_layers", int),
        heads=encoder.get("num_attention_heads", int),
        intermediate=encoder.get("intermediate_size", int),
        kernel=encoder.get("conv_kernel_size", int),
        left=encoder.get("sliding_window", int) - 1,
        lookaheads=tuple(lookaheads),
        default_lookahead=lookaheads[0] if default is None else processor.get("default_num_lookahead_tokens", int),
        mel_bins=encoder.get("num_mel_bins", int),
        subsampling_factor=encoder.get("subsampling_factor", int),
        subsampling_channels=encoder.get("subsampling_conv_channels", int),
        subsampling_kernel=encoder.get("subsampling_conv_kernel_size", int),
        subsampling_stride=encoder.get("subsampling_conv_stride", int),
        scale_input=encoder.get("scale_input", bool),
        attention_bias=encoder.get("attention_bias", bool),
        convolution_bias=encoder.get("convolution_bias", bool),
        activation=encoder.get("hidden_act", str),
    )


def _prompt(model: _Section, processor: _Section) -> PromptConfig:
    dictionary = processor.section("prompt_dictionary")
    return PromptConfig(
        count=model.get("num_prompts", int),
        intermediate=model.get("prompt_intermediate_size", int),
        default=model.get("default_prompt_id", int),
        dictionary={language: dictionary.get(language, int) for language in dictionary.values},
    )


def _checks(config: FastConformerConfig) -> Iterator[tuple[bool, str]]:
    """What must hold, and what is wrong if it does not; a later one takes the earlier ones for granted."""
    feature, encoder, transducer, prompt = config.feature, config.encoder, config.transducer, config.prompt
    for part in (feature, encoder, transducer, prompt):
        for name, value in asdict(part).items() if part is not None else ():
            may_be_zero = name in ("preemphasis", "default_lookahead", "blank", "default")
            yield (isinstance(value, bool | str | tuple | dict) or value > 0 or may_be_zero, f"{name} is {value}")
            limit = LIMITS.get(name)
            yield limit is None or value <= limit, f"{name} is {value}, more than {limit}"
    yield feature.sample_rate == SAMPLE_RATE, f"{feature.sample_rate} Hz; the engine feeds {SAMPLE_RATE}"
    yield (
        feature.hop_length <= feature.win_length <= feature.n_fft,
        f"hop {feature.hop_length}, window {feature.win_length} and n_fft {feature.n_fft} must not decrease",
    )
    yield feature.mel_dtype in MEL_DTYPES, f"mel_filters_dtype {feature.mel_dtype!r} is none of {MEL_DTYPES}"
    yield (
        feature.mel_bins == encoder.mel_bins,
        f"the front end makes {feature.mel_bins} mel bins, the encoder takes {encoder.mel_bins}",
    )
    yield (
        encoder.hidden % encoder.heads == 0 and encoder.hidden % 2 == 0,
        f"hidden size {encoder.hidden} must be even and divide by {encoder.heads} heads",
    )
    factor, kernel, stride = encoder.subsampling_factor, encoder.subsampling_kernel, encoder.subsampling_stride
    # transformers takes log2 of the factor for the number of stages: each of them halves.
    yield (
        stride == 2 and factor > 1 and factor & (factor - 1) == 0,
        f"subsampling by {factor} is no number of stages of stride 2 (stride {stride})",
    )
    yield kernel >= stride, f"a subsampling kernel of {kernel} skips frames at stride {stride}"
    longest = max(encoder.lookaheads)
    yield min(encoder.lookaheads) >= 0, f"lookaheads {encoder.lookaheads} must not be negative"
    yield encoder.left > longest, f"{encoder.left} frames of left context do not hold a chunk of {longest + 1}"
    yield (
        encoder.default_lookahead in encoder.lookaheads,
        f"default lookahead {encoder.default_lookahead} is none of {encoder.lookaheads}",
    )
    yield 0 <= transducer.blank < transducer.vocabulary, f"blank {transducer.blank} is not in the vocabulary"
    for name in (encoder.activation, transducer.activation):
        yield name in ACTIVATIONS, f"activation {name!r} is none of {ACTIVATIONS}"
    if prompt is not None:
        for index in (prompt.default, *prompt.dictionary.values()):
            yield 0 <= index < prompt.count, f"prompt {index} is not among {prompt.count}"
