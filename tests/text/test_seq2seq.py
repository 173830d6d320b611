"""Translation models loaded through the real path: tiny checkpoints of each kind against transformers itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from stream_server.engine.hub import CheckpointError
from stream_server.jobs.error import JobError, Reason
from stream_server.text.seq2seq import Seq2SeqTranslator, load_translator
from tests.text.tiny import SENTENCES, make_m2m100, make_marian, make_nllb

TEXTS = [*SENTENCES, "the dog", SENTENCES[0] * 2]


@pytest.fixture
def sentencepiece() -> None:
    pytest.importorskip("sentencepiece")


def reference(folder: Path, text: str, before: str = "", source: str | None = None, first: str | None = None) -> str:
    """One text, by transformers alone; long enough for what random weights say without end."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **({"src_lang": source} if source else {}))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(first)} if first else {}
    tokens = model.generate(**tokenizer(before + text, return_tensors="pt"), max_new_tokens=62, **forced)
    return str(tokenizer.batch_decode(tokens[:, 1 + len(forced) :], skip_special_tokens=True)[0]).strip()


def run(translator: Seq2SeqTranslator, source: str, target: str) -> list[str]:
    shares: list[float] = []
    made = translator.translate(TEXTS, source, target, shares.append)
    assert shares[-1] == 1
    assert shares == sorted(shares)
    return made


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.usefixtures("sentencepiece")
@pytest.mark.parametrize("beams", [1, 3])
def test_marian(tmp_path: Path, beams: int) -> None:
    folder = make_marian(tmp_path / "opus-mt-en-de", beams=beams)
    made = run(load_translator(str(folder), "cpu"), "auto", "de")
    assert made == [reference(folder, text) for text in TEXTS]
    assert len(set(made)) > 2


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.usefixtures("sentencepiece")
def test_marian_with_many_targets(tmp_path: Path) -> None:
    folder = make_marian(tmp_path, targets=("fra", "spa"), source_lang="en", target_lang="ROMANCE")
    translator = load_translator(str(folder), "cpu")
    french, spanish = run(translator, "en", "fr"), run(translator, "en", "es-MX")
    assert french == [reference(folder, text, ">>fra<< ") for text in TEXTS]
    assert spanish == [reference(folder, text, ">>spa<< ") for text in TEXTS]
    assert french != spanish


@pytest.mark.usefixtures("sentencepiece")
def test_m2m100(tmp_path: Path) -> None:
    folder = make_m2m100(tmp_path)
    made = run(load_translator(str(folder), "cpu"), "en-GB", "lb")
    assert made == [reference(folder, text, source="en", first="__lb__") for text in TEXTS]


def test_nllb(tmp_path: Path) -> None:
    folder = make_nllb(tmp_path)
    translator = load_translator(str(folder), "cpu")
    made = run(translator, "en", "lb")
    assert made == [reference(folder, text, source="eng_Latn", first="ltz_Latn") for text in TEXTS]
    assert made != run(translator, "de", "lb")
    assert made != run(translator, "en", "fr")


def test_pairs_that_are_not_covered_are_refused(tmp_path: Path) -> None:
    translator = load_translator(str(make_nllb(tmp_path)), "cpu")
    for source, target, said in (("en", "tlh", "Klingon"), ("tlh", "en", "Klingon"), ("auto", "en", "which language")):
        with pytest.raises(JobError, match=said) as caught:
            translator.translate(["the cat"], source, target, lambda share: None)
        assert caught.value.reason is Reason.FEATURE_UNAVAILABLE


class Shouting(Seq2SeqTranslator):
    """Writes in capitals what it is to translate, and remembers how long it was."""

    lengths: list[int]

    def _step(self, texts: list[str], source: str, forced: int | None) -> list[str]:
        self.lengths += [self._count(text) for text in texts]
        return [text.upper() for text in texts]


@pytest.mark.parametrize("text", ["the cat sees the dog. " * 40, "the red " * 100, "e" * 300, "one. " + "dog " * 40])
def test_long_texts_are_cut_and_nothing_is_lost(tmp_path: Path, text: str) -> None:
    plain = load_translator(str(make_nllb(tmp_path)), "cpu")
    shouting = Shouting(plain._model, plain._tokenizer, plain._coverage)
    shouting.lengths = []
    shares: list[float] = []
    first, second = shouting.translate([text, "cat"], "en", "de", shares.append)
    assert "".join(first.split()) == "".join(text.upper().split())
    assert second == "CAT"
    assert max(shouting.lengths) <= 60
    assert len(shouting.lengths) > 3


def test_pickled_weights_do_where_there_are_no_others(tmp_path: Path) -> None:
    import torch

    folder = make_nllb(tmp_path)
    made = run(load_translator(str(folder), "cpu"), "en", "de")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert run(load_translator(str(folder), "cpu"), "en", "de") == made


def test_damaged_checkpoints_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    folder = make_nllb(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.layers.0.fc1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="missing"):
        load_translator(str(folder), "cpu")
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_translator(str(folder), "cpu")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_translator(str(folder), "cpu")
