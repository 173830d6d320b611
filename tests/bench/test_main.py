"""The command line of the benchmark, and its table of targets."""

from pathlib import Path

import pytest

from bench import __main__ as command
from bench.report import Check, figure


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "jiwer" else object())
    assert command.main([]) == 2
    assert capsys.readouterr().err == "error: jiwer not installed: pip install -e '.[bench]'\n"


@pytest.mark.parametrize(
    "arguments", [["--only", "wer,speed"], ["--streams", "0,8"], ["--streams", "many"], ["--seconds", "0"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_folder_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in command.EXTRA:
        pytest.importorskip(name)
    assert command.main(["--folder", str(tmp_path)]) == 1
    assert "transcripts.tsv" in capsys.readouterr().err


def test_a_figure_meets_its_target_or_not() -> None:
    assert Check("", 1.0, 1.0).passed
    assert not Check("", 1.1, 1.0).passed
    assert not Check("", None, 1.0).passed


def test_figures() -> None:
    assert [figure(12.34, "ms"), figure(12.34, "%", 1), figure(0.05, "", 3), figure(None, "ms")] == [
        "12 ms",
        "12.3%",
        "0.050",
        "-",
    ]
