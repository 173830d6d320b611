import io
import struct
import sys
import threading
from importlib import resources

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.front import AudioFront


def run(stream: bytes, size: int, **kind) -> tuple[AudioFront, np.ndarray]:
    front = AudioFront(**kind)
    pieces = [front.receive(stream[at : at + size]) for at in range(0, len(stream), size)]
    pieces.append(front.finish())
    front.close()
    return front, np.concatenate([piece for piece in pieces if piece.size] or pieces[-1:], axis=1)


def speech() -> tuple[np.ndarray, int]:
    path = resources.files("moonshine_voice") / "assets" / "beckett.wav"
    with resources.as_file(path) as file:
        return soundfile.read(file, dtype="float32")


@given(
    st.sampled_from(["float32", "int16", "ulaw", "alaw"]),
    st.sampled_from([8000, 16000, 44100, 48000, 192000]),
    st.integers(1, 8),
    st.binary(max_size=20_000),
    st.lists(st.integers(0, 4000), max_size=20),
)
@settings(max_examples=80, deadline=None)
def test_any_cut_gives_the_same_samples(dtype: str, rate: int, channels: int, stream: bytes, sizes: list[int]):
    whole, expected = run(stream, len(stream) + 1, dtype=dtype, sample_rate=rate, channels=channels)
    front = AudioFront(dtype=dtype, sample_rate=rate, channels=channels)
    pieces, rest = [], stream
    for size in sizes:
        pieces.append(front.receive(rest[:size]))
        rest = rest[size:]
    streamed = np.concatenate([*pieces, front.receive(rest), front.finish()], axis=1)
    assert streamed.dtype == np.float32
    assert streamed.shape == expected.shape
    assert np.abs(streamed - expected).max(initial=0) < 1e-6
    assert np.abs(streamed).max(initial=0) <= 1
    assert front.received_samples == whole.received_samples
    assert abs(streamed.shape[1] - front.received_samples * 16000 / rate) <= 1
    assert front.invalid_samples == whole.invalid_samples


@pytest.mark.parametrize(("rate", "milliseconds"), [(8000, 20), (44100, 5), (48000, 100), (192000, 10)])
@pytest.mark.parametrize("channels", [1, 2])
def test_seconds_of_audio_in_small_chunks_equal_the_whole(rate: int, milliseconds: int, channels: int):
    noise = np.random.default_rng(0).uniform(-1, 1, (rate * 3, channels))
    stream = (noise * 32767).astype("<i2").tobytes()
    kind = {"dtype": "int16", "sample_rate": rate, "channels": channels}
    _, whole = run(stream, len(stream), **kind)
    _, streamed = run(stream, rate * milliseconds // 1000 * 2 * channels + 1, **kind)
    assert whole.shape == streamed.shape == (channels, 48000)
    assert np.abs(whole - streamed).max() < 1e-6


def test_a_wav_header_wins_over_what_was_declared():
    samples, rate = speech()
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, -samples], axis=1), rate, format="WAV", subtype="PCM_24")
    for size in (1000, 1 << 20):
        front, heard = run(file.getvalue(), size, dtype="float32", sample_rate=8000, channels=1)
        assert (front.dtype, front.sample_rate, front.channels) == ("int24", rate, 2)
        assert front.received_samples == len(samples)
        assert heard.shape == (2, round(len(samples) * 16000 / rate))
        assert np.abs(heard[0] + heard[1]).max() < 1e-5
        assert np.corrcoef(heard[0], run_floats(samples, rate))[0, 1] > 0.9999


def run_floats(samples: np.ndarray, rate: int) -> np.ndarray:
    return run(samples.astype("<f4").tobytes(), 4000, dtype="float32", sample_rate=rate, channels=1)[1][0]


def test_wav_needs_no_container_decoder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600), 16000, format="WAV")
    before = threading.active_count()
    front, heard = run(file.getvalue(), 7, dtype="container", sample_rate=16000, channels=1)
    assert (front.dtype, heard.shape) == ("int16", (1, 1600))
    assert threading.active_count() == before


def test_one_bad_float_does_not_spoil_what_follows():
    samples = (0.1 * np.sin(np.arange(48000) / 20)).astype("<f4")
    spoiled = samples.copy()
    spoiled[1000] = np.nan
    spoiled[1001] = np.inf
    clean = run(samples.tobytes(), 960, dtype="float32", sample_rate=48000, channels=1)[1]
    front, heard = run(spoiled.tobytes(), 960, dtype="float32", sample_rate=48000, channels=1)
    assert (front.invalid_samples, front.clipped_samples) == (1, 1)
    assert np.array_equal(heard[0, 2000:], clean[0, 2000:])
    assert np.isfinite(heard).all()


def test_a_trailing_half_sample_is_dropped_and_counted():
    front, heard = run(struct.pack("<3h", 1, 2, 3) + b"\x01", 2, dtype="int16", sample_rate=16000, channels=1)
    assert heard.shape == (1, 3)
    assert front.pending_bytes == 1


def test_first_bytes_that_look_like_a_header_for_a_while_are_audio():
    stream = b"RIFF" + bytes(96)
    _, heard = run(stream, 1, dtype="int16", sample_rate=16000, channels=1)
    assert heard.shape == (1, 50)
    assert heard[0, 0] == pytest.approx(struct.unpack("<h", b"RI")[0] / 32768)


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_in_nothing_out(channels: int):
    _, heard = run(b"", 1, dtype="int16", sample_rate=8000, channels=channels)
    assert heard.shape == (channels, 0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"dtype": "int12"}, "allowed: float32, int16, ulaw, alaw, container"),
        ({"sample_rate": 7000}, "8000 to 192000"),
        ({"channels": 9}, "1 to 8"),
    ],
)
def test_what_it_cannot_take_is_refused(kind: dict, message: str):
    with pytest.raises(UnsupportedAudio, match=message):
        AudioFront(**({"dtype": "int16", "sample_rate": 16000, "channels": 1} | kind))


def test_nothing_may_follow_the_end():
    front = AudioFront(dtype="int16", sample_rate=16000, channels=1)
    front.finish()
    with pytest.raises(AssertionError):
        front.receive(b"")
    front.close()
    front.close()


def test_a_container_brings_its_own_rate_and_is_resampled():
    pytest.importorskip("av")
    samples, rate = speech()
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    threads = threading.active_count()
    front, heard = run(file.getvalue(), 3000, dtype="container", sample_rate=8000, channels=1)
    assert (front.dtype, front.sample_rate, front.channels) == ("container", rate, 1)
    assert front.received_samples == len(samples)
    assert np.abs(heard[0] - run_floats(samples, rate)).max() < 1e-3
    assert threading.active_count() == threads


def test_damaged_packets_are_counted_and_left_out():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as output:
        stream = output.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="flt", layout="mono")
        frame.sample_rate = 48000
        for part in [frame, None]:
            for number, packet in enumerate(stream.encode(part)):
                if number == 9:
                    packet = av.Packet(b"\xff" * len(bytes(packet)))  # claims 63 frames, and has room for none
                    packet.pts = packet.dts = number * 960
                    packet.stream = stream
                output.mux(packet)
    front, heard = run(file.getvalue(), 100, dtype="container", sample_rate=16000, channels=1)
    assert front.invalid_packets == 1
    assert 15000 < heard.shape[1] < 16000


def test_a_session_that_breaks_off_frees_its_thread():
    pytest.importorskip("av")
    threads = threading.active_count()
    front = AudioFront(dtype="container", sample_rate=16000, channels=1)
    front.receive(b"OggS" + bytes(100))
    assert threading.active_count() == threads + 1
    front.close()
    assert threading.active_count() == threads
