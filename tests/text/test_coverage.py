"""Languages of translation checkpoints, from small files as they lie on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_server.engine.hub import CheckpointError
from stream_server.text.coverage import Coverage, coverage_by_name, read_coverage


def fill(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


MARIAN = {"model_type": "marian"}
VOCAB = {"</s>": 0, "<unk>": 1, "▁the": 2}


def test_marian_says_its_pair_in_the_tokenizer(tmp_path: Path) -> None:
    said = {"source_lang": "en", "target_lang": "ceb"}
    folder = fill(tmp_path, config=MARIAN, tokenizer_config=said, vocab=VOCAB)
    assert read_coverage(folder) == Coverage("marian", ("en",), ("ceb",), tokens=False)


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("opus-mt-en-de", (("en",), ("de",))),
        ("Helsinki-NLP/opus-mt-tc-big-fi-en@main", (("fi",), ("en",))),
        ("opus_mt_tc_base_tr-uk", (("tr",), ("uk",))),
        ("opus-mt-mul-en", ((), ("en",))),
        ("opus-mt-gmw-eng", ((), ("eng",))),
    ],
)
def test_or_in_its_name(tmp_path: Path, name: str, pair: tuple[Any, Any]) -> None:
    assert coverage_by_name(name) == Coverage("marian", *pair, tokens=False)
    folder = fill(tmp_path / "model", config={**MARIAN, "_name_or_path": name.partition("@")[0]}, vocab=VOCAB)
    assert read_coverage(folder) == Coverage("marian", *pair, tokens=False)
    folder = fill(tmp_path / name.rpartition("/")[2].partition("@")[0], config=MARIAN, vocab=VOCAB)
    assert read_coverage(folder) == Coverage("marian", *pair, tokens=False)


@pytest.mark.parametrize("name", ["opus-mt-en-ROMANCE", "opus-mt-en-gmw", "facebook/m2m100_418M", "model"])
def test_a_name_that_names_no_target_says_nothing(name: str) -> None:
    assert coverage_by_name(name) is None


def test_marian_with_many_targets_has_tokens_for_them(tmp_path: Path) -> None:
    said = {"source_lang": "en", "target_lang": "ROMANCE"}
    vocab = {**VOCAB, ">>fra<<": 3, ">>pt_BR<<": 4, ">>cmn_Hant<<": 5}
    coverage = read_coverage(fill(tmp_path, config=MARIAN, tokenizer_config=said, vocab=vocab))
    assert coverage == Coverage("marian", ("en",), ("fra", "pt_BR", "cmn_Hant"), tokens=True)
    assert [coverage.target(code) for code in ("fr", "pt", "zh-TW", "zh", "de")] == [
        "fra",
        "pt_BR",
        "cmn_Hant",
        None,
        None,
    ]


def test_nllb_and_m2m100_have_tokens_among_the_special_ones(tmp_path: Path) -> None:
    config = {"model_type": "m2m_100"}
    special = {"additional_special_tokens": ["ltz_Latn", "eng_Latn"], "bos_token": "<s>"}
    nllb = read_coverage(fill(tmp_path / "a", config=config, special_tokens_map=special))
    assert nllb == Coverage("nllb", ("ltz_Latn", "eng_Latn"), ("ltz_Latn", "eng_Latn"), tokens=True)
    special = {"extra_special_tokens": ["__en__", "__lb__"]}
    m2m100 = read_coverage(fill(tmp_path / "b", config=config, tokenizer_config=special))
    assert m2m100 == Coverage("m2m_100", ("en", "lb"), ("en", "lb"), tokens=True)
    bare = read_coverage(fill(tmp_path / "c", config=config))
    assert (bare.targets, bare.lacks("en", "lb")) == ((), None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config": []},
        {"config": {"model_type": "t5"}},
        {"config": MARIAN},
        {"config": MARIAN, "vocab": VOCAB},
        {"config": MARIAN, "vocab": VOCAB, "tokenizer_config": {"target_lang": 3}},
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        read_coverage(fill(tmp_path, **files))


def test_what_is_lacking_is_named() -> None:
    coverage = Coverage("marian", ("en",), ("de",), tokens=False)
    assert coverage.lacks("en-GB", "de-AT") is None
    assert coverage.lacks("auto", "de") is None
    assert coverage.lacks("en", "lb") == "the translation model does not translate to Luxembourgish, only de"
    assert coverage.lacks("lb", "de") == "the translation model does not translate from Luxembourgish, only en"
