"""The examples of LuxASR's document, as they stand there but for addresses and file names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import srt

from tests.conformance.stage import SAID, Stage, staged
from tests.support.example import run_shell, with_names
from tests.text import chatting
from tests.text.chatting import Reply, serving

PAUSE_SEC = 0.02
WAV = """
curl -X POST "https://luxasr.uni.lu/asr2?language=lb&diarization=Enabled&outfmt=json" \\
-H "Content-Type: audio/wav" \\
-H "X-Filename: sample.wav" \\
--data-binary "@/path/to/sample.wav"
"""
MP3 = """
curl -X POST "https://luxasr.uni.lu/asr2?language=lb&diarization=Disabled&outfmt=text" \\
-H "Content-Type: audio/mpeg" \\
-H "X-Filename: sample.mp3" \\
--data-binary "@/path/to/sample.mp3"
"""
STATUS = """
curl -s "https://luxasr.uni.lu/v3/asr/jobs/<job_id>"
"""
RESULT = """
curl -s "https://luxasr.uni.lu/v3/asr/jobs/<job_id>/result"
"""
PARAMETERS = {
    "language": "lb",
    "beam_size": "5",
    "min_silence_duration_ms": "2000",
    "maxlen": "42",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("luxasr")
    with (
        serving(translated) as chat,
        staged(
            folder,
            ("sample.wav", "sample.mp3"),
            languages=("en", "lb"),
            dialogues=("talk.wav",),
            chat_url=chat.url,
            chat_model="model-1",
            chat_api_key=chatting.KEY,
        ) as stage,
    ):
        yield stage


def translated(request: dict[str, Any]) -> Reply:
    """What the endpoint makes of its segments: easy to tell from what was said."""
    segments = json.loads(request["messages"][1]["content"])["segments"]
    return Reply({"translations": [{"id": entry["id"], "text": entry["text"].upper()} for entry in segments]})


def curl(stage: Stage, example: str, **names: str) -> str:
    return run_shell(with_names(example, {"https://luxasr.uni.lu": stage.url, **names}), stage.folder)


def submitted(stage: Stage, path: str, **query: str) -> str:
    body = (stage.folder / "sample.wav").read_bytes()
    answer = stage.post(path, {"Content-Type": "audio/wav"}, content=body, **({"params": query} if query else {}))
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["job_id"]
    assert answer.json() == {"job_id": job, "status": "queued"}
    return job


def finished(stage: Stage, address: str) -> Any:
    while (found := stage.get(address, {}).json())["status"] in ("queued", "processing"):
        time.sleep(PAUSE_SEC)
    return found


def test_wav_with_diarization(stage: Stage) -> None:
    accepted = json.loads(curl(stage, WAV, **{"/path/to/sample.wav": str(stage.folder / "talk.wav")}))
    assert finished(stage, f"/v3/asr/jobs/{accepted['job_id']}")["status"] == "completed"
    result = json.loads(curl(stage, RESULT, **{"<job_id>": accepted["job_id"]}))
    assert {segment["speaker"] for segment in result["segments"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert result["segments"][0]["speaker"] == "SPEAKER_00"


def test_diarization_where_it_is_not_asked_for(stage: Stage) -> None:
    """It is the default of every format but subtitles."""
    for outfmt, speakers in (("json", {"SPEAKER_00"}), ("srt", set())):
        job = submitted(stage, "/asr2", outfmt=outfmt)
        finished(stage, f"/v3/asr/jobs/{job}")
        result = stage.get(f"/v3/asr/jobs/{job}/result", {}).text
        assert set(re.findall(r"SPEAKER_\d\d", result)) == speakers


def test_mp3_poll_and_fetch(stage: Stage) -> None:
    accepted = json.loads(curl(stage, MP3, **{"/path/to/sample.mp3": str(stage.folder / "sample.mp3")}))
    job = {"<job_id>": accepted["job_id"]}
    assert accepted == {"job_id": accepted["job_id"], "status": "queued"}
    seen = set()
    while (status := json.loads(curl(stage, STATUS, **job))["status"]) != "completed":
        seen.add(status)
        time.sleep(PAUSE_SEC)
    assert seen <= {"queued", "processing"}
    assert SAID in curl(stage, RESULT, **job).lower()


def test_parameters(stage: Stage) -> None:
    refused = stage.post("/asr2", {}, params=PARAMETERS | {"outfmt": "srt"}, content=b"RIFF0000WAVE" + bytes(100))
    assert refused.status_code == 422
    assert "beam_size" in refused.json()["error"]
    job = submitted(stage, "/asr2", **PARAMETERS | {"beam_size": "1", "outfmt": "srt"})
    assert finished(stage, f"/v3/asr/jobs/{job}")["status"] == "completed"
    result = stage.get(f"/v3/asr/jobs/{job}/result", {})
    cues = list(srt.parse(result.text))
    assert SAID in " ".join(cue.content for cue in cues).replace("\n", " ").lower()
    assert all(len(line) <= 42 for cue in cues for line in cue.content.splitlines())


def test_translation(stage: Stage) -> None:
    job = submitted(stage, "/translate?language=lb&target_langs=en&outfmt=srt")
    assert finished(stage, f"/v3/translate/jobs/{job}")["status"] == "completed"
    result = stage.get(f"/v3/translate/jobs/{job}/result", {}).json()
    assert set(result) == {"English"}
    cues = list(srt.parse(result["English"]))
    assert SAID.upper() in " ".join(cue.content for cue in cues).replace("\n", " ")


def test_a_translation_reports_what_it_is_at(stage: Stage) -> None:
    with stage.held():
        job = submitted(stage, "/translate?language=lb&target_langs=en,fr&outfmt=text")
        while (found := stage.get(f"/v3/translate/jobs/{job}", {}).json())["progress"] is None:
            time.sleep(PAUSE_SEC)
        assert found["status"] == "processing"
        assert found["progress"]["message"]
    finished(stage, f"/v3/translate/jobs/{job}")
    result = stage.get(f"/v3/translate/jobs/{job}/result", {}).json()
    assert set(result) == {"English", "French"}
