"""Scripts that put no spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), where characters are tokens.

What a text is written in is told by its letters, so that it needs no setting: a set of texts counts as unspaced where
most of its letters are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_CHARACTER = re.compile(f"[{_HAN}{_KANA}{_ASIAN}]")
_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_LETTER = re.compile(r"[^\W\d_]")
CHINESE, OTHER = "zh", "char"
_CHINESE_SHARE = 0.9  # Japanese has kana between its Han characters


def apart(text: str) -> str:
    """Return text with spaces around each character of an unspaced script."""
    return _CHARACTER.sub(r" \g<0> ", text)


def unspaced(texts: Iterable[str]) -> str | None:
    """Return CHINESE or OTHER where most letters of the texts are of an unspaced script, else None."""
    joined = "".join(texts)
    characters = _CHARACTER.findall(joined)
    others = _LETTER.findall(_CHARACTER.sub("", joined))
    if len(characters) <= len(others):
        return None
    num_han = sum(map(bool, map(_HAN_CHARACTER.match, characters)))
    return CHINESE if num_han > _CHINESE_SHARE * len(characters) else OTHER
