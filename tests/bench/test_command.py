"""The command lines of the benchmarks that play recordings."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="the extra `bench` is not installed")
pytest.importorskip("jiwer", reason="the extra `bench` is not installed")

from bench import hour, jobs

mains = pytest.mark.parametrize("main", [hour.main, jobs.main])


@mains
@pytest.mark.parametrize("arguments", [["--clips", "0"], ["--minutes", "many"]])
def test_wrong_usage(
    main: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


@mains
def test_a_folder_that_cannot_be_used(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path)]) == 1
    assert "transcripts.tsv" in capsys.readouterr().err
