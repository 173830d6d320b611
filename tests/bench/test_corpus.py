"""Recordings and their transcripts."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.corpus import CorpusError, load_folder

SAMPLES = np.array([0, 1, -1, 12_345, 32_767, -32_768], np.int16)


def write(folder: Path, table: str, *files: str, rate: int = 16_000, seconds: int = 0) -> Path:
    (folder / "transcripts.tsv").write_text(table, encoding="utf-8")
    for name in files:
        soundfile.write(folder / name, np.concatenate([SAMPLES, np.zeros(seconds * rate, np.int16)]), rate)
    return folder


def test_flac_and_wav_in_the_order_of_the_list(tmp_path: Path) -> None:
    clips = load_folder(write(tmp_path, "b\tsecond one\n\na\tfirst\n", "a.wav", "b.flac"))
    assert [(clip.name, clip.path.name, clip.reference) for clip in clips] == [
        ("b", "b.flac", "second one"),
        ("a", "a.wav", "first"),
    ]
    assert all(np.array_equal(clip.audio, SAMPLES) for clip in clips)  # to the bit, full scale included
    assert clips[0].seconds == len(SAMPLES) / 16_000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a first\n", "line 1: no tab"),
        ("a\tfirst\nc\tmissing\n", "line 2: neither c.flac nor c.wav"),
        ("\n", "is empty"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        load_folder(write(tmp_path, table, "a.wav"))


def test_a_folder_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no transcripts\.tsv"):
        load_folder(tmp_path)


def test_a_recording_that_the_model_cannot_read_in_one_piece(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="longer than 60 s"):
        load_folder(write(tmp_path, "a\tlong\n", "a.wav", rate=8_000, seconds=61))
