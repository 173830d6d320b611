import io
import logging
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream_server.audio.error import AudioTooLong, UnsupportedAudio
from stream_server.audio.file import FileInfo, probe, read_audio

RATE = 44100


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def sndfile(fmt: str, subtype: str | None = None, seconds: float = 3, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.repeat(tone(seconds)[:, None], channels, axis=1), RATE, format=fmt, subtype=subtype)
    return file.getvalue()


def muxed(fmt: str, codec: str, picture: bool = False, sound: bool = True, rate: int = RATE, title: str = "") -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as output:
        if title:
            output.metadata["title"] = title
        if picture:
            video = output.add_stream("mpeg4", rate=10)
            video.width = video.height = 64
        if sound:
            audio = output.add_stream(codec, rate=rate, layout="mono")
        if picture:
            frames = [av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24") for _ in range(30)]
            for frame in [*frames, None]:
                output.mux(video.encode(frame))
        if sound:
            frame = av.AudioFrame.from_ndarray(tone(3)[None], format="flt", layout="mono")
            frame.sample_rate = rate
            for part in [frame, None]:
                output.mux(audio.encode(part))
    return file.getvalue()


def decoded(file: io.BytesIO | Path) -> np.ndarray:
    return np.concatenate(list(read_audio(file)), axis=1)


@pytest.mark.parametrize(
    ("fmt", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("RF64", None), ("FLAC", None), ("OGG", "VORBIS")],
)
def test_what_libsndfile_reads(fmt: str, subtype: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)  # these must work without PyAV
    file = io.BytesIO(sndfile(fmt, subtype, channels=2))
    assert probe(file) == FileInfo(pytest.approx(3, abs=0.01), 2, RATE, fmt.lower())
    heard = decoded(file)
    assert heard.shape == (2, pytest.approx(48000, abs=200))  # ADPCM comes in blocks
    assert np.abs(np.fft.rfft(heard[0, :16000])).argmax() == 440


@pytest.mark.parametrize(
    ("fmt", "codec", "picture", "name"),
    [
        ("mp3", "libmp3lame", False, "mp3"),
        ("mp4", "aac", False, "mov"),
        ("mp4", "aac", True, "mov"),
        ("matroska", "aac", True, "matroska"),
        ("avi", "libmp3lame", True, "avi"),
        ("mpegts", "aac", False, "mpegts"),
    ],
)
def test_what_pyav_reads(fmt: str, codec: str, picture: bool, name: str, tmp_path: Path):
    path = tmp_path / "misleading.txt"
    path.write_bytes(muxed(fmt, codec, picture))
    info = probe(path)
    assert (info.channels, info.sample_rate, info.format) == (1, RATE, name)
    assert info.duration_sec == pytest.approx(3, abs=0.1)
    heard = decoded(path)
    assert heard.shape == (1, pytest.approx(48000, abs=1600))
    assert np.abs(np.fft.rfft(heard[0, :16000])).argmax() == 440


def test_blocks_are_small_and_memory_does_not_grow():
    file = io.BytesIO(sndfile("WAV", "PCM_16", seconds=120))
    tracemalloc.start()
    try:
        total = 0
        for block in read_audio(file):
            assert block.dtype == np.float32
            assert block.shape[1] <= 32000
            total += block.shape[1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 120 * 16000
    assert peak < 2_000_000


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_file_whose_recorder_died(size: int):
    if size == 0:
        pytest.importorskip("av")
    file = bytearray(sndfile("WAV"))
    at = file.index(b"data") + 4
    file[at : at + 4] = file[4:8] = size.to_bytes(4, "little")
    assert decoded(io.BytesIO(bytes(file))).shape == (1, 48000)


def test_bad_floats_do_not_reach_the_filter():
    samples = tone(1)
    samples[100] = np.nan
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    assert np.isfinite(decoded(file)).all()


def test_a_file_that_breaks_off_gives_what_came_before(caplog: pytest.LogCaptureFixture):
    whole = sndfile("FLAC", seconds=10)
    with caplog.at_level(logging.WARNING):
        heard = decoded(io.BytesIO(whole[: len(whole) // 2]))
    assert 3 * 16000 < heard.shape[1] < 6 * 16000
    assert "breaks off" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no audio at all" * 100, "not audio or video"),
        (bytes(50_000), "not audio or video"),
        (b"#EXTM3U\nhttp://127.0.0.1/live.ts\n", "not audio or video"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "not audio or video"),
    ],
)
def test_what_is_not_audio_is_refused(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    for use in (decoded, probe):
        with pytest.raises(UnsupportedAudio, match=message):
            use(path)


def test_video_without_sound_and_damaged_files_are_refused():
    with pytest.raises(UnsupportedAudio, match="no audio track"):
        probe(io.BytesIO(muxed("matroska", "aac", picture=True, sound=False)))
    m4a = muxed("mp4", "aac")
    with pytest.raises(UnsupportedAudio, match="damaged"):
        decoded(io.BytesIO(m4a[: len(m4a) // 2]))


def test_layouts_out_of_range_are_refused():
    with pytest.raises(UnsupportedAudio, match="9 channels"):
        probe(io.BytesIO(sndfile("WAV", channels=9, seconds=0.1)))
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100), 4000, format="WAV")
    with pytest.raises(UnsupportedAudio, match="4000 Hz"):
        decoded(file)


def silence(seconds: int) -> bytes:
    """FLAC that unfolds to a few hundred times its size."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16000, 1, format="FLAC") as output:
        for _ in range(seconds // 60):
            output.write(np.zeros(60 * 16000, np.int16))
    return file.getvalue()


def test_no_more_is_decoded_than_allowed():
    bomb = silence(3600)
    assert len(bomb) < 3600 * 32000 / 200
    tracemalloc.start()
    try:
        heard = 0
        with pytest.raises(AudioTooLong, match="longer than 10 minutes") as caught:  # noqa: PT012
            for block in read_audio(io.BytesIO(bomb), longest_sec=600):
                heard += block.shape[1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard <= 600 * 16000
    assert caught.value.longest_sec == 600
    assert peak < 2_000_000
    assert sum(block.shape[1] for block in read_audio(io.BytesIO(bomb), longest_sec=3600)) == 3600 * 16000


@pytest.mark.parametrize(("declared", "heard"), [(1, 1), (2**36 - 1, 120 * 16000)])
def test_a_header_that_lies_about_its_length_yields_no_more_than_there_is(declared: int, heard: int):
    """The number of samples in FLAC's STREAMINFO: more than there is, and less."""
    file = bytearray(silence(120))
    packed = int.from_bytes(file[18:26], "big")
    file[18:26] = (packed >> 36 << 36 | declared).to_bytes(8, "big")
    assert heard - 16000 <= decoded(io.BytesIO(bytes(file))).shape[1] <= heard  # up to the last block
    if heard > 60 * 16000:
        with pytest.raises(AudioTooLong):
            list(read_audio(io.BytesIO(bytes(file)), longest_sec=60))


def test_a_rate_that_changes_on_the_way_is_refused():
    first, second = muxed("adts", "aac"), muxed("adts", "aac", rate=22050)
    with pytest.raises(UnsupportedAudio, match="changes its sample rate"):
        decoded(io.BytesIO(first + second))


def test_a_packet_larger_than_any_codec_makes_is_refused():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        output.start_encoding()
        packet = av.Packet(bytes(9 * 2**20))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, stream.time_base
        output.mux(packet)
    with pytest.raises(UnsupportedAudio, match="larger than any codec makes"):
        decoded(file)


def test_no_samples_at_all():
    with pytest.raises(UnsupportedAudio, match="no audio"):
        decoded(io.BytesIO(sndfile("WAV", seconds=0)))


def test_the_title_in_a_file():
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, format="WAV") as output:
        output.title = "A talk"
        output.write(tone(1))
    assert probe(file).title == "A talk"
    assert probe(io.BytesIO(sndfile("WAV"))).title is None
    assert probe(io.BytesIO(muxed("ipod", "aac", title="Another"))).title == "Another"


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing.wav")


def test_without_pyav_the_caller_is_told(monkeypatch: pytest.MonkeyPatch):
    m4a = muxed("mp4", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedAudio, match="PyAV is not installed"):
        probe(io.BytesIO(m4a))
