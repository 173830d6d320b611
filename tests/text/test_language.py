"""Language codes in every spelling."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.jobs.error import JobError, Reason
from stream_server.text.language import find_language, is_same_language, language_name, normalize_language


@pytest.mark.parametrize(
    ("code", "tag"),
    [("en", "en"), ("ENG", "en"), ("deu", "de"), ("ger", "de"), ("zh_cn", "zh-CN"), ("iw", "he"), ("jw", "jv")],
)
def test_one_spelling(code: str, tag: str) -> None:
    assert normalize_language(code) == tag


@pytest.mark.parametrize("code", ["", "x", "auto", "xx", "English", "en;drop", "../en", "e" * 1000, "\x00"])
def test_what_is_no_language_is_refused(code: str) -> None:
    with pytest.raises(JobError) as caught:
        normalize_language(code, parameter="target_langs")
    assert (caught.value.reason, caught.value.parameter) == (Reason.INVALID_PARAMETER, "target_langs")
    assert language_name(code) == code


@given(st.text())
def test_any_text_is_a_language_or_refused(code: str) -> None:
    with suppress(JobError):
        assert normalize_language(normalize_language(code)) == normalize_language(code)


@pytest.mark.parametrize(
    ("code", "name"),
    [("lb", "Luxembourgish"), ("hi", "Hindi"), ("eng", "English"), ("pt-BR", "Portuguese (Brazil)"), ("auto", "auto")],
)
def test_names(code: str, name: str) -> None:
    assert language_name(code) == name


@pytest.mark.parametrize(("first", "second"), [("en", "en-GB"), ("eng", "en"), ("cmn", "zh"), ("arb", "ar")])
def test_the_same(first: str, second: str) -> None:
    assert is_same_language(first, second)


@pytest.mark.parametrize(
    ("first", "second"), [("en", "de"), ("zh-TW", "zh-CN"), ("lb", "de"), ("nb", "nn"), ("yue", "zh"), ("auto", "auto")]
)
def test_not_the_same(first: str, second: str) -> None:
    assert not is_same_language(first, second)


NLLB = ("acm_Arab", "arb_Arab", "deu_Latn", "nno_Latn", "nob_Latn", "pes_Arab", "por_Latn", "zho_Hans", "zho_Hant")


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("de-AT", "deu_Latn"),
        ("ar", "arb_Arab"),
        ("fa", "pes_Arab"),
        ("zh", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("nn", "nno_Latn"),
        ("pt-BR", "por_Latn"),
        ("lb", None),
        ("auto", None),
    ],
)
def test_a_model_s_code_for_a_language(wanted: str, code: str | None) -> None:
    assert find_language(wanted, NLLB) == code


def test_the_very_tag_wins() -> None:
    assert find_language("pt-BR", ("pt", "pt_BR")) == "pt_BR"
