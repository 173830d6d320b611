import io
import logging
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream_server.audio.error import AudioTooLong, UnsupportedAudio
from stream_server.audio.file import FileInfo, probe, read_audio
from tests.support.audio import unknown_wav, unknown_webm

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
def test_what_libsndfile_reads(
    fmt: str, subtype: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "av", None)  # these must work without PyAV
    file = io.BytesIO(sndfile(fmt, subtype, channels=2))
    assert probe(file) == FileInfo(pytest.approx(3, abs=0.01), 2, RATE, fmt.lower())
    heard = decoded(file)
    assert heard.shape == (2, pytest.approx(48000, abs=200))  # ADPCM comes in blocks
    assert np.abs(np.fft.rfft(heard[0, :16000])).argmax() == 440
    assert ("first end" in caplog.text) == (fmt in ("FLAC", "OGG")), "and that this may not be all is said"


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
    assert "of 10.0 s are missing" in caplog.text


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


@pytest.mark.parametrize(
    "content", [unknown_webm(), *(unknown_wav(tag) for tag in (0, 3, 0x1234, 0x674F, 0xFFFE, 0xFFFF))]
)
def test_a_codec_without_a_decoder_is_refused(content: bytes):
    for use in (decoded, probe):
        with pytest.raises(UnsupportedAudio, match="codec that is unknown"):
            use(io.BytesIO(content))


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


@pytest.mark.parametrize("declared", [1, 16000, 2**36 - 1])
def test_a_header_that_lies_about_its_length_changes_nothing(declared: int):
    """The number of samples in FLAC's STREAMINFO: less than there is, and more."""
    file = bytearray(silence(120))
    packed = int.from_bytes(file[18:26], "big")
    file[18:26] = (packed >> 36 << 36 | declared).to_bytes(8, "big")
    assert decoded(io.BytesIO(bytes(file))).shape[1] == 120 * 16000
    with pytest.raises(AudioTooLong):
        list(read_audio(io.BytesIO(bytes(file)), longest_sec=60))


def voices(
    pitch: int, *, seconds: int = 3, rate: int = RATE, channels: int = 1, quality: float = 0.5, hiss: float = 0
) -> bytes:
    """Some Ogg Vorbis; the tables it is decoded with depend on rate, channels and quality."""
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(seconds * rate) / rate)
    samples += hiss * np.random.default_rng(1).standard_normal(len(samples))
    samples = np.repeat(samples[:, None], channels, axis=1)
    soundfile.write(file, samples, rate, format="OGG", subtype="VORBIS", compression_level=quality)
    return file.getvalue()


def pitches(heard: np.ndarray) -> list[int]:
    """The loudest tone of each second in the middle of three, in every channel; 0 where there is more than a tone."""
    found = set()
    for channel in heard:
        tones = []
        for at in range(16000, len(channel) - 16000, 48000):
            power = np.abs(np.fft.rfft(channel[at : at + 16000])) ** 2
            loudest = int(power.argmax())
            tones.append(loudest if power[loudest - 5 : loudest + 6].sum() > 0.99 * power.sum() else 0)
        found.add(tuple(tones))
    assert len(found) == 1
    return list(found.pop())


@pytest.mark.parametrize(
    "recording",
    [
        muxed("mp3", "libmp3lame"),
        sndfile("MP3"),
        sndfile("FLAC"),
        sndfile("OGG", "VORBIS"),
        muxed("adts", "aac"),
    ],
    ids=["mp3", "mp3 without a tag", "flac", "ogg", "aac"],
)
def test_recordings_one_after_another_are_all_decoded(recording: bytes):
    heard = decoded(io.BytesIO(recording * 3))
    assert heard.shape == (1, pytest.approx(3 * 48000, abs=4000))
    assert pitches(heard) == [440, 440, 440]


@pytest.mark.parametrize(
    "second",
    [voices(880), voices(880, quality=1.0), voices(880, rate=22050), voices(880, channels=2)],
    ids=["same", "other tables", "other rate", "other channels"],
)
def test_a_chained_ogg(second: bytes, caplog: pytest.LogCaptureFixture):
    heard = decoded(io.BytesIO(voices(440) + second + voices(660)))
    assert heard.shape == (1, pytest.approx(9 * 16000, abs=250))  # FFmpeg leaves some out at the beginning
    assert pitches(heard) == [440, 880, 660]
    assert not caplog.text
    backwards = decoded(io.BytesIO(second + voices(440)))
    assert pitches(backwards) == [880, 440]
    assert backwards.shape[1] == pytest.approx(6 * 16000, abs=250)


def test_ogg_of_several_codecs_and_streams():
    opus = muxed("ogg", "libopus", rate=48000)
    assert pitches(decoded(io.BytesIO(voices(880) + opus + voices(660)))) == [880, pytest.approx(480, abs=1), 660]


def test_ogg_recordings_that_cannot_be_decoded_are_passed(caplog: pytest.LogCaptureFixture):
    beginning = voices(440)[:58]
    unknown = beginning.replace(b"vorbis", b"nobody") + bytes(1000)
    heard = decoded(io.BytesIO(voices(440) + unknown + voices(660)))
    assert pitches(heard) == [440, 660]
    assert "could not be read" in caplog.text


def ogg_page(kind: int, number: int, body: bytes) -> bytes:
    """A page with a checksum: x^32 + x^26 + ... over all of it, the highest bit first."""
    head = struct.pack("<4sBBQIII", b"OggS", 0, kind, 0, 7, number, 0) + bytes([1, len(body)])
    remainder = 0
    for byte in head + body:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
    return head[:22] + struct.pack("<I", remainder) + head[26:] + body


def test_ogg_recordings_of_an_unknown_codec_are_passed(caplog: pytest.LogCaptureFixture):
    header = b"\x01audio\0\0\0" + b"1234" + struct.pack("<IQQIIHHHHI", 52, 10**7, RATE, 1, 0, 16, 0, 1, 2, 0)
    unknown = ogg_page(2, 0, header) + ogg_page(0, 1, b"\x03" + bytes(20)) + ogg_page(4, 2, bytes(100))
    heard = decoded(io.BytesIO(voices(440) + unknown + voices(660)))
    assert pitches(heard) == [440, 660]
    assert "codec that is unknown" in caplog.text
    with pytest.raises(UnsupportedAudio, match="codec that is unknown"):
        probe(io.BytesIO(unknown))


@pytest.mark.parametrize(("fmt", "codec"), [("mp3", "libmp3lame"), ("adts", "aac")])
def test_a_rate_and_channels_that_change_on_the_way(fmt: str, codec: str):
    heard = decoded(io.BytesIO(muxed(fmt, codec) + muxed(fmt, codec, rate=22050)))
    assert heard.shape == (
        1,
        pytest.approx(9 * 16000, abs=4000),
    )  # the same samples at half the rate take twice as long
    assert pitches(heard) == [440, 220, 220]
    flac = decoded(io.BytesIO(sndfile("FLAC", channels=2) + sndfile("FLAC")))
    assert flac.shape == (2, 6 * 16000)
    assert pitches(flac) == [440, 440]


DAMAGED = {
    "mp3": muxed("mp3", "libmp3lame"),
    "flac": sndfile("FLAC"),
    "aac": muxed("adts", "aac"),
    "m4a": muxed("ipod", "aac"),
    "ogg": voices(440, seconds=9, hiss=0.02),
    "flv": muxed("flv", "aac"),
}


@pytest.mark.parametrize("filler", [b"\x00", b"\xff"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_place_costs_no_more_than_itself(name: str, filler: bytes, caplog: pytest.LogCaptureFixture):
    file = DAMAGED[name]
    at, size = len(file) // 4, min(3000, len(file) // 10)
    heard = decoded(io.BytesIO(file[:at] + filler * size + file[at + size :]))
    whole = 16000 * (9 if name == "ogg" else 3)
    assert 0.7 * whole < heard.shape[1] < whole
    assert pitches(heard[:, -36000:]) == [440], "what comes behind it"
    assert "left out" in caplog.text or "are missing" in caplog.text


@pytest.mark.parametrize("name", ["mp3", "flac", "ogg"])
def test_bytes_in_between_cost_next_to_nothing(name: str):
    file = DAMAGED[name]
    at = len(file) // 2
    heard = decoded(io.BytesIO(file[:at] + b"\xff" * 10_000 + file[at:]))
    whole = 16000 * (9 if name == "ogg" else 3)
    assert whole - 10_000 < heard.shape[1] <= whole + 1000


@pytest.mark.parametrize("name", ["mp3", "flac"])
def test_a_file_of_anything_but_audio_does_not_fill_the_memory(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("stream_server.audio.track._MOST_BETWEEN", 2**20)
    read = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    file = DAMAGED[name]
    heard = decoded(Counted(file + bytes(30 * 2**20) + file))
    assert heard.shape[1] == pytest.approx(48000, abs=2000)
    assert read < 10 * 2**20
    assert "too much of it is not audio" in caplog.text


def test_skipping_has_an_end(monkeypatch: pytest.MonkeyPatch):
    file = DAMAGED["m4a"]
    at, end = len(file) // 3, file.index(b"moov") - 4000
    broken = io.BytesIO(file[:at] + b"\xff" * (end - at) + file[end:])
    length = decoded(broken).shape[1]
    monkeypatch.setattr("stream_server.audio.track._MOST_DAMAGED", 10)
    assert 8000 < decoded(broken).shape[1] < length - 4000


def test_a_file_of_which_nothing_can_be_decoded():
    file = DAMAGED["m4a"]
    at, end = file.index(b"mdat") + 4, file.index(b"moov") - 4
    with pytest.raises(UnsupportedAudio, match=r"damaged: \d+ damaged packet"):
        decoded(io.BytesIO(file[:at] + b"\xff" * (end - at) + file[end:]))


@pytest.mark.parametrize("name", DAMAGED)
def test_a_whole_file_gives_no_warning(name: str, caplog: pytest.LogCaptureFixture):
    heard = decoded(io.BytesIO(DAMAGED[name]))
    assert heard.shape[1] >= 48000
    assert not caplog.text


@pytest.mark.parametrize("name", ["mp3", "flac", "ogg"])
def test_memory_does_not_grow_with_compressed_files(name: str):
    file = DAMAGED[name] * (10 if name == "ogg" else 30)
    tracemalloc.start()
    try:
        total = sum(block.shape[1] for block in read_audio(io.BytesIO(file)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > 80 * 16000
    assert peak < 2_000_000


def test_a_packet_larger_than_any_codec_makes_is_not_decoded():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        output.start_encoding()
        packet = av.Packet(bytes(9 * 2**20))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, stream.time_base
        output.mux(packet)
    with pytest.raises(UnsupportedAudio, match="1 damaged packet"):
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
    for fmt in ("FLAC", "OGG"):
        file = io.BytesIO()
        with soundfile.SoundFile(file, "w", RATE, 1, format=fmt) as output:
            output.title = "In a comment"
            output.write(tone(1))
        chained = io.BytesIO(file.getvalue() + sndfile(fmt))
        assert probe(chained).title == "In a comment"


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing.wav")


def test_without_pyav_the_caller_is_told(monkeypatch: pytest.MonkeyPatch):
    m4a = muxed("mp4", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedAudio, match="PyAV is not installed"):
        probe(io.BytesIO(m4a))
