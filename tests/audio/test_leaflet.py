import io

import pytest

from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.leaflet import Leaflet, read_leaflet
from tests.support.audio import jpeg, muxed, sound, unknown_wav, unknown_webm


def test_what_a_file_says_of_itself() -> None:
    picture = jpeg()
    file = io.BytesIO(muxed("mp3", "libmp3lame", title="A talk", picture=picture))
    assert read_leaflet(file, largest_picture=10_000) == Leaflet(pytest.approx(2, abs=0.1), "A talk", picture)
    assert read_leaflet(file, largest_picture=100).picture is None
    assert read_leaflet(io.BytesIO(sound("OGG", "VORBIS")), largest_picture=100) == Leaflet(2, None, None)


def test_the_beginning_is_enough() -> None:
    whole = sound("FLAC", seconds=60, title="A talk")
    assert read_leaflet(io.BytesIO(whole[:100_000]), largest_picture=0) == Leaflet(60, "A talk", None)


@pytest.mark.parametrize(
    "content", [b"", b"no audio" * 1000, muxed("ipod", "aac")[:1000], unknown_webm(), unknown_wav(0)]
)
def test_what_says_nothing(content: bytes) -> None:
    with pytest.raises(UnsupportedAudio):
        read_leaflet(io.BytesIO(content), largest_picture=0)
