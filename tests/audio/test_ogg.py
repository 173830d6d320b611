import io
import random

import pytest

from stream_server.audio.ogg import OggChain


def page(kind: int, number: int, body: bytes) -> bytes:
    lacing = [255] * (len(body) // 255) + [len(body) % 255]
    return (
        b"OggS\x00"
        + bytes([kind])
        + bytes(12)
        + number.to_bytes(4, "little")
        + bytes(4)
        + bytes([len(lacing), *lacing])
        + body
    )


def recording(streams: int, size: int, seed: int) -> bytes:
    dice = random.Random(seed)
    pages = [page(2, 0, bytes([stream]) * 30) for stream in range(streams)]
    while sum(map(len, pages)) < size:
        pages.append(page(0, len(pages), dice.randbytes(dice.randrange(60_000))))
    return b"".join(pages)


def parts(data: bytes, size: int) -> list[bytes]:
    found = []
    for link in OggChain(io.BytesIO(data)).links():
        found.append(b"")
        while piece := link.read(size):
            assert len(piece) <= size
            found[-1] += piece
    return found


@pytest.mark.parametrize("size", [1000, 32768, 10**7])
def test_each_recording_comes_out_as_it_went_in(size: int):
    recordings = [recording(1 + at % 3, 40_000 * at, at) for at in range(1, 12)]
    assert parts(b"".join(recordings), size) == recordings


@pytest.mark.parametrize("reads", [1, 2, 3, 4])
def test_wherever_the_reads_of_the_file_end(reads: int):
    first, second = page(2, 0, bytes(30)), recording(2, 100_000, 2)
    for before in range(-1, 30):
        long = first + bytes(reads * 2**16 - before - len(first))
        assert parts(long + second, 40_000) == [long, second]


def test_what_is_not_read_is_passed():
    recordings = [recording(1, 300_000, at) for at in range(3)]
    assert [link.read(40) for link in OggChain(io.BytesIO(b"".join(recordings))).links()] == [
        r[:40] for r in recordings
    ]


@pytest.mark.parametrize(
    "middle",
    [
        b"OggS\x00\x02" + bytes(12) + b"\x01\x00\x00\x00" + bytes(50),  # not the first of its stream
        b"OggS\x00\x00" + bytes(50),
        b"OggS" * 1000,
        bytes(200_000),
    ],
)
def test_only_a_first_page_begins_another(middle: bytes):
    whole = recording(1, 1000, 1) + middle + page(0, 5, bytes(1000))
    assert parts(whole, 5000) == [whole]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_that_is_cut_in_a_first_page(cut: int):
    whole = recording(1, 1000, 1)
    data = whole + page(2, 0, bytes(30))[:cut]
    assert b"".join(parts(data, 5000)) == data
    assert parts(page(2, 0, bytes(30))[:cut], 5000) == [page(2, 0, bytes(30))[:cut]]


def test_nothing_at_all():
    assert parts(b"", 10) == []
