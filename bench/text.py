"""Text as it is compared: what a transcript says, without how it is written. It does not know how text is scored.

The reference transcripts of speech corpora are lower case without punctuation, with titles spelled out; a recognizer
writes for readers. The rules, in this order:

1. Unicode NFKC, lower case, typographic apostrophes as plain ones;
2. hyphens, dashes and slashes are spaces, ``&`` is *and*, ``%`` is *percent*;
3. apostrophes inside a word stay (*don't*), every other character that is no letter or digit is dropped;
4. titles and short forms are spelled out (*mr* is *mister*), and a few double spellings become one (*ok* is *okay*).

Numbers are left as they are: a number written in digits where the reference has words counts as an error, for every
recognizer alike.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

SPELLINGS: Final = {
    "mr": "mister",
    "mrs": "missus",
    "mistress": "missus",
    "dr": "doctor",
    "prof": "professor",
    "capt": "captain",
    "gen": "general",
    "col": "colonel",
    "lieut": "lieutenant",
    "lt": "lieutenant",
    "etc": "etcetera",
    "vs": "versus",
    "ok": "okay",
    "alright": "all right",
}
_APOSTROPHES: Final = str.maketrans("\u2018\u2019\u02bc`", "''''")
_SPACES: Final = re.compile(r"[\s\-\u2010-\u2015_/]+")
_DROPPED: Final = re.compile(r"[^\w\s']|_")
_LOOSE_APOSTROPHE: Final = re.compile(r"(?<!\w)'|'(?!\w)")


def normalize(text: str) -> str:
    """Words in one spelling, separated by single spaces; empty where nothing was said."""
    text = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    text = text.replace("&", " and ").replace("%", " percent ")
    text = _DROPPED.sub("", _SPACES.sub(" ", text))
    words = _LOOSE_APOSTROPHE.sub("", text).split()
    return " ".join(SPELLINGS.get(word, word) for word in words)
