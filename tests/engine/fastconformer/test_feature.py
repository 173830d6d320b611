"""The front end, chunk by chunk, against transformers' feature extractor over the whole segment."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the gpu extra is not installed")
transformers = pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.fastconformer.configuration import EncoderConfig, FeatureConfig
from stream_server.engine.fastconformer.feature import Features, count_frames, mel_filters
from stream_server.engine.fastconformer.geometry import Geometry
from tests.engine.fastconformer.oracle import FAMILIES, Pair, cut, load_pair, noise

USUAL = (1, 2, 7, 14)


def feature(bins: int = 128, n_fft: int = 512, dtype: str = "float32") -> FeatureConfig:
    return FeatureConfig(16000, n_fft, 400, 160, bins, 0.97, dtype)


def encoder(factor: int = 8, kernel: int = 3) -> EncoderConfig:
    return EncoderConfig(
        32, 1, 2, 32, 9, 70, (13, 6, 1, 0), 13, 16, factor, 8, kernel, 2, True, True, True, "silu"
    )  # fmt: skip


@pytest.mark.parametrize(("bins", "n_fft"), [(128, 512), (80, 512), (16, 400), (64, 1024)])
def test_filters_equal_the_extractor(bins: int, n_fft: int) -> None:
    extractor = transformers.NemotronAsrStreamingFeatureExtractor(feature_size=bins, n_fft=n_fft)
    ours = torch.from_numpy(mel_filters(feature(bins, n_fft)))
    torch.testing.assert_close(ours, extractor.mel_filters.T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_filters_and_window_are_rounded_as_the_checkpoint_says(dtype: str) -> None:
    features = Features(feature(dtype=dtype), encoder())
    for constant in (features.filters, features.window):
        assert constant.dtype == torch.float32
        assert torch.equal(constant, constant.to(getattr(torch, dtype)).float())
        assert torch.equal(constant, constant.bfloat16().float()) == (dtype == "bfloat16")


def test_lengths_of_the_usual_configuration() -> None:
    features = Features(feature(), encoder())
    assert features.lead_samples == 8 * 160 - 200
    assert features.tail_samples == 14 * 160 - 1080 + 200 + 1
    assert features.chunk_samples(7) == 7 * 1280
    assert Geometry.of(feature(), encoder()).chunk_mels(1) == 15


@pytest.mark.parametrize("family", FAMILIES)
def test_count_frames_equals_transformers(family: str) -> None:
    pair = load_pair(family)
    samples = [*range(0, 6000, 7), *range(160 * 8 * 9 - 5, 160 * 8 * 9 + 5), 123_457]
    mels = torch.tensor([count // 160 for count in samples])
    expected = pair.oracle.encoder._get_subsampling_output_length(mels).masked_fill(mels == 0, 0).tolist()
    assert [count_frames(count, pair.config) for count in samples] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_equal_the_whole(family: str) -> None:
    pair = load_pair(family)
    size, lead = pair.geometry.frame_samples, pair.geometry.lead_samples
    for chunk in pair.ours.chunks:
        edge = chunk * size - lead
        for samples in (1, 159, 160, 161, 2000, edge - 1, edge, edge + 1, edge + size, 2 * edge + lead, 31_337):
            check_chunks(pair, noise(samples), chunk)


def check_chunks(pair: Pair, audio: torch.Tensor, chunk: int) -> None:
    whole, mask = pair.mel(audio)
    whole = whole[0, : int(mask.sum())]
    features, geometry = pair.ours.features, pair.geometry
    tail, position = torch.zeros(1, features.tail_samples), 0
    seen = torch.zeros(len(whole), dtype=torch.bool)
    for piece in cut(audio, chunk, geometry):
        spectrum = features(
            piece.audio[None], tail, torch.tensor([position]), torch.tensor([piece.samples]), torch.tensor([piece.last])
        )
        assert spectrum.mel.shape == (1, geometry.chunk_mels(chunk), pair.config.feature.mel_bins)
        expected = torch.zeros_like(spectrum.mel[0])
        for row in range(len(expected)):
            place = int(spectrum.start) + row
            if 0 <= place < len(whole):
                expected[row] = whole[place]
                seen[place] = True
        torch.testing.assert_close(spectrum.mel[0], expected, rtol=1e-5, atol=1e-4)
        tail, position = spectrum.tail, position + piece.frames
    assert seen.all()


def test_rows_of_a_batch_do_not_disturb_each_other() -> None:
    features, chunk = load_pair(FAMILIES[0]).ours.features, 2
    audio = torch.stack([noise(features.chunk_samples(chunk), seed) for seed in range(4)])
    tail = torch.stack([noise(features.tail_samples, seed) for seed in range(4, 8)])
    position, samples = torch.tensor([0, 2, 6, 40]), torch.tensor([2560, 1300, 0, 2560])
    last = torch.tensor([False, True, True, False])
    tail[0] = 0
    together = features(audio, tail, position, samples, last)
    for row in range(4):
        one = slice(row, row + 1)
        alone = features(audio[one], tail[one], position[one], samples[one], last[one])
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[one], theirs, rtol=1e-5, atol=1e-5)
