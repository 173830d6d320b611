"""The halves of the network against transformers' implementation on the same weights; that they can be captured."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")

from stream_server.engine.moonshine.architecture import LAYERS, count_frames
from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.tensor.decoder import Decoder, Memory
from stream_server.engine.moonshine.tensor.encoder import Encoder
from stream_server.engine.moonshine.tokenizer import START
from stream_server.engine.moonshine.weight import Weights, load_weights
from tests.engine.moonshine.conftest import Excerpt

CPU = torch.device("cpu")
IDS = [START, 739, 471, 278, 1900, 310]


@cache
def halves(assets: Assets) -> tuple[Weights, Weights]:
    return load_weights(assets.encoder), load_weights(assets.decoder)


@pytest.fixture(scope="module")
def weights(assets: Assets) -> tuple[Weights, Weights]:
    return halves(assets)


@pytest.fixture(scope="module")
def encoder(weights: tuple[Weights, Weights]) -> Encoder:
    return Encoder(*weights, CPU, torch.float32)


@pytest.fixture(scope="module")
def decoder(weights: tuple[Weights, Weights]) -> Decoder:
    return Decoder(weights[1], CPU, torch.float32)


@pytest.fixture(scope="module")
def clips(excerpt: Excerpt) -> list[NDArray[np.float32]]:
    return [excerpt("two_cities.wav", 0, 4.2), excerpt("beckett.wav", 0, 2.5), np.zeros(4000, np.float32)]


@pytest.fixture(scope="module")
def oracle(weights: tuple[Weights, Weights]) -> Any:
    """transformers' model with these weights."""
    transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")
    config = transformers.MoonshineConfig(
        hidden_size=288, intermediate_size=1152, partial_rotary_factor=0.9, pad_head_dim_to_multiple_of=8
    )
    config._attn_implementation = "eager"
    model = transformers.MoonshineForConditionalGeneration(config).eval()
    state = {}
    for half, found in zip(("encoder", "decoder"), weights, strict=True):
        own = model.state_dict()
        for name, linear in found.linears.items():
            state[f"model.{half}.{name}.weight"] = torch.from_numpy(linear.dequantize().T.copy())
        for name, array in found.arrays.items():
            key = f"model.{half}.{name}"
            if key in own:
                state[key] = torch.from_numpy(array.copy()).reshape(own[key].shape)
    head = state.pop("model.decoder.proj_out.weight")
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = head
    model.load_state_dict(state, strict=True)
    return model


def pad(clips: list[NDArray[np.float32]], samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = torch.zeros(len(clips), samples)
    for index, clip in enumerate(clips):
        batch[index, : len(clip)] = torch.from_numpy(clip.copy())
    return batch, torch.tensor([len(clip) for clip in clips])


def logits(decoder: Decoder, cross: torch.Tensor, frames: list[int], ids: list[int]) -> torch.Tensor:
    memory = Memory.allocate(len(frames), cross.shape[3], len(ids) + 3, CPU, torch.float32)
    memory.cross[:] = cross
    memory.frames[:] = torch.tensor(frames)
    tokens = torch.tensor([ids] * len(frames))
    # In two passes, the second over what the first has left in the cache.
    hidden = [
        decoder.read(part, torch.full((len(frames),), at), memory)
        for part, at in ((tokens[:, :2], 0), (tokens[:, 2:], 2))
    ]
    return decoder.logits(torch.cat(hidden, dim=1))


@torch.inference_mode()
def test_computes_what_transformers_does(
    oracle: Any, encoder: Encoder, decoder: Decoder, clips: list[NDArray[np.float32]]
) -> None:
    for clip in clips:
        audio, length = pad([clip], len(clip))
        expected = oracle.model.encoder(audio).last_hidden_state
        encoded = encoder.encode(audio, length)
        assert encoded.shape == (1, count_frames(len(clip)), 288)
        torch.testing.assert_close(encoded, expected, atol=1e-4, rtol=0)
        theirs = oracle(
            input_values=audio, decoder_input_ids=torch.tensor([IDS]), output_attentions=True, use_cache=False
        )
        ours = logits(decoder, encoder.cross(audio, length), [encoded.shape[1]], IDS)
        torch.testing.assert_close(ours, theirs.logits, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_what_is_padded_does_not_matter(encoder: Encoder, decoder: Decoder, clips: list[NDArray[np.float32]]) -> None:
    audio, lengths = pad(clips, 90_000)
    noise = torch.arange(90_000) >= lengths[:, None]
    together = encoder.cross(audio + noise * torch.randn(audio.shape), lengths)
    frames = [count_frames(len(clip)) for clip in clips]
    scores = logits(decoder, together, frames, IDS)
    for index, clip in enumerate(clips):
        alone = encoder.cross(*pad([clip], len(clip)))
        torch.testing.assert_close(together[:, index, :, : frames[index]], alone[:, 0], atol=2e-4, rtol=0)
        torch.testing.assert_close(scores[index], logits(decoder, alone, [frames[index]], IDS)[0], atol=2e-4, rtol=0)


@torch.inference_mode()
def test_where_a_head_looks_is_kept_by_position(
    oracle: Any, encoder: Encoder, decoder: Decoder, clips: list[NDArray[np.float32]]
) -> None:
    audio, length = pad(clips[:1], len(clips[0]))
    cross = encoder.cross(audio, length)
    memory = Memory.allocate(1, cross.shape[3], 20, CPU, torch.float32)
    memory.cross[:], memory.frames[:] = cross, cross.shape[3]
    decoder.read(torch.tensor([IDS]), torch.zeros(1, dtype=torch.int64), memory)
    theirs = oracle(
        input_values=audio, decoder_input_ids=torch.tensor([IDS]), output_attentions=True, use_cache=False
    ).cross_attentions
    for pointer, (layer, head) in enumerate(((4, 6), (3, 1))):
        torch.testing.assert_close(memory.looks[0, pointer, : len(IDS)], theirs[layer][0, head], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_steps_on_the_device_are_single_steps(
    encoder: Encoder, decoder: Decoder, clips: list[NDArray[np.float32]]
) -> None:
    cross = encoder.cross(*pad(clips[:2], 70_000))
    frames = torch.tensor([count_frames(len(clip)) for clip in clips[:2]])
    chosen = []
    for steps in (6, 1):
        memory = Memory.allocate(2, cross.shape[3], 10, CPU, torch.float32)
        memory.cross[:], memory.frames[:] = cross, frames
        token, start, found = torch.tensor([START, START]), torch.zeros(2, dtype=torch.int64), []
        for _ in range(6 // steps):
            found.append(decoder.greedy(token, start, memory, steps))
            token, start = found[-1][0, :, -1].long(), start + steps
        chosen.append(torch.cat(found, dim=2))
    assert chosen[0].shape == (2, 2, 6)
    torch.testing.assert_close(chosen[0], chosen[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.inference_mode()
def test_can_be_captured(weights: tuple[Weights, Weights], dtype: torch.dtype) -> None:
    """On a device without values whatever looks at one fails, and so does a tensor that was left on the host."""
    device = torch.device("meta")
    encoder = Encoder(*weights, device, dtype)
    decoder = Decoder(weights[1], device, dtype)
    cross = encoder.cross(torch.zeros(3, 32_000, device=device), torch.full((3,), 32_000, device=device))
    assert cross.shape == (2 * LAYERS, 3, 8, count_frames(32_000), 40)
    assert cross.dtype == dtype
    memory = Memory.allocate(3, cross.shape[3], 24, device, dtype)
    start = torch.zeros(3, dtype=torch.int64, device=device)
    hidden = decoder.read(torch.zeros(3, 16, dtype=torch.int64, device=device), start, memory)
    assert hidden.shape == (3, 16, 288)
    assert decoder.choose(hidden[:, 0]).shape == (2, 3)
    assert decoder.greedy(start, start, memory, 3).shape == (2, 3, 3)
