"""The same random weights in transformers and in our model, and ways to drive both. Needs the gpu extra."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from stream_server.engine.fastconformer.configuration import FastConformerConfig, read_config
from stream_server.engine.fastconformer.encoder import FastConformer
from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.fastconformer.state import Rows, State
from stream_server.engine.work import SAMPLE_RATE
from tests.support.checkpoint import make_checkpoint

_KINDS: dict[str, dict[str, Any]] = {
    "nemotron_asr_streaming": {"lookaheads": (13, 6, 1, 0)},
    "nemotron3_5_asr": {"family": "nemotron3_5_asr", "lookaheads": (3, 0, 6, 13)},
    "plain and odd": {
        "lookaheads": (2, 4),
        "feature": {"mel_filters_dtype": "bfloat16", "n_fft": 400, "win_length": 320, "preemphasis": 0.9},
        "encoder": {
            "attention_bias": False,
            "convolution_bias": False,
            "scale_input": False,
            "sliding_window": 12,
            "conv_kernel_size": 5,
            "num_mel_bins": 11,
            "subsampling_factor": 4,
            "default_num_lookahead_tokens": 2,
        },
    },
}

FAMILIES = tuple(_KINDS)
"""The last has neither biases nor scaling, fewer stages and other lengths, and window and filters in bfloat16."""

CASES = [(family, lookahead + 1) for family, kind in _KINDS.items() for lookahead in kind["lookaheads"]]
"""Every family with every chunk size it supports."""


@dataclass(frozen=True)
class Pair:
    """One model in both makes, in float32 on the CPU."""

    oracle: Any
    extractor: Any
    config: FastConformerConfig
    ours: FastConformer

    @property
    def geometry(self) -> Geometry:
        return Geometry.of(self.config.feature, self.config.encoder)

    @property
    def prompts(self) -> int:
        return 1 if self.config.prompt is None else self.config.prompt.count

    def mel(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Mel frames [1, T, bins] of a whole segment by the feature extractor, and its mask."""
        out = self.extractor(audio.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return out["input_features"], out["attention_mask"]

    def project(self, frames: Tensor, chunk: int, prompt: int = 0, **inputs: Any) -> Any:
        """transformers' output for mel frames [1, T, bins]."""
        if self.config.prompt is not None:
            inputs["prompt_ids"] = torch.tensor([prompt])
        with torch.no_grad():
            return self.oracle.get_audio_features(frames, num_lookahead_tokens=chunk - 1, **inputs)

    def whole(self, audio: Tensor, chunk: int, prompt: int = 0) -> Tensor:
        """Projected frames [F, H] of a whole segment by transformers."""
        mel, mask = self.mel(audio)
        if not mask.any():
            return torch.zeros(0, self.config.transducer.hidden)
        out = self.project(mel, chunk, prompt, attention_mask=mask)
        frames: Tensor = out.pooler_output[0, : int(out.attention_mask.sum())]
        return frames

    def state(self, slots: int, dtype: torch.dtype = torch.float32) -> State:
        """Room for streams, with something left over in it as if others had been here."""
        state = State.allocate(self.config, slots, torch.device("cpu"), dtype)
        for name in state.__slots__:
            tensor = getattr(state, name)
            tensor.copy_(torch.randint(50, tensor.shape) if tensor.dtype == torch.int64 else torch.randn(tensor.shape))
        return state


@cache
def load_pair(family: str) -> Pair:
    """A model of one of ``FAMILIES``."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_checkpoint(Path(name), **_KINDS[family])
        config = read_config(folder)
        plain = config.prompt is None
        kind = transformers.NemotronAsrStreamingForRNNT if plain else transformers.Nemotron3_5AsrForRNNT
        oracle = kind.from_pretrained(folder).eval()
        extractor = transformers.NemotronAsrStreamingFeatureExtractor.from_pretrained(folder)
    return Pair(oracle, extractor, config, make_ours(config, oracle))


def make_ours(config: FastConformerConfig, oracle: Any, dtype: torch.dtype = torch.float32) -> FastConformer:
    """Our model with the weights of transformers'."""
    model = FastConformer(config)
    model.load_state_dict(oracle.state_dict())
    model.to(dtype).prepare()
    return model


def noise(samples: int, seed: int = 0) -> Tensor:
    """Noise of changing loudness with a silent stretch: frames that differ."""
    generator = torch.Generator().manual_seed(seed)
    steps = samples // 800 + 1
    loudness = (torch.rand(steps, generator=generator) - 0.2).clamp(min=0.0).repeat_interleave(800)[:samples]
    return torch.randn(samples, generator=generator) * loudness * 0.3


@dataclass(frozen=True)
class Chunk:
    """One row of a step, on the host."""

    audio: Tensor  # [samples of a chunk]
    first: bool
    last: bool
    samples: int
    frames: int


def cut(audio: Tensor, chunk: int, geometry: Geometry) -> Iterator[Chunk]:
    """A segment as the chunks that a runner would make of it."""
    size, done = geometry.chunk_samples(chunk), 0
    padded = torch.cat((torch.zeros(geometry.lead_samples), audio))
    for begin in range(0, len(padded) + 1, size):
        part = padded[begin : begin + size]
        last = len(part) < size
        frames = geometry.count_frames(len(audio)) - done if last else chunk
        filled = torch.zeros(size)
        filled[: len(part)] = part
        yield Chunk(filled, begin == 0, last, len(part), frames)
        done += frames


@dataclass
class Stream:
    """A caller: a slot, what is left to send, and what came back."""

    slot: int
    chunks: list[Chunk]
    reset: bool = True
    prompt: int = 0
    heard: list[Tensor] = field(default_factory=list)

    @property
    def frames(self) -> Tensor:
        return torch.cat(self.heard)


def take_step(model: FastConformer, state: State, streams: list[Stream], padding: int = 0) -> None:
    """Take the next chunk of each stream in one step, with ``padding`` rows more; writes the state."""
    chunks = [stream.chunks.pop(0) for stream in streams]
    size = len(chunks[0].audio)
    rows = Rows(
        slot=torch.tensor([stream.slot for stream in streams] + [state.scratch] * padding),
        first=torch.tensor([chunk.first for chunk in chunks] + [False] * padding),
        reset=torch.tensor(
            [chunk.first and stream.reset for chunk, stream in zip(chunks, streams, strict=True)] + [False] * padding
        ),
        last=torch.tensor([chunk.last for chunk in chunks] + [False] * padding),
        samples=torch.tensor([chunk.samples for chunk in chunks] + [0] * padding),
        frames=torch.tensor([chunk.frames for chunk in chunks] + [0] * padding),
        prompt=torch.tensor([stream.prompt for stream in streams] + [0] * padding),
    )
    audio = torch.cat((torch.stack([chunk.audio for chunk in chunks]), torch.zeros(padding, size)))
    encoded, update = model.encode(audio, rows, state)
    assert encoded.isfinite().all()  # of rows that yield nothing, too
    model.commit(rows, update, state)
    for row, (stream, chunk) in enumerate(zip(streams, chunks, strict=True)):
        stream.heard.append(encoded[row, : chunk.frames])


def run_alone(
    pair: Pair, state: State, audio: Tensor, chunk: int, *, slot: int = 0, reset: bool = True, prompt: int = 0
) -> Tensor:
    """Projected frames [F, H] of a segment, streamed by our model through one slot."""
    stream = Stream(slot, list(cut(audio, chunk, pair.geometry)), reset, prompt)
    while stream.chunks:
        take_step(pair.ours, state, [stream])
    return stream.frames
