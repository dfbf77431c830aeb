"""The words that full-text search looks for.

Scripts without blanks between words have none to look for: of Chinese, Japanese and Korean each character and each
pair of neighbours is a term, as in Lucene's CJKAnalyzer. So 数据 is found in 数据库, which a dictionary would have made
one word. Words of other scripts stay as they are: the index stems and folds them.
"""

from __future__ import annotations

import re

# Han, kana and Hangul; the blocks of Unicode 16, chapters 18.
_UNSPACED = re.compile(
    "[\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af]+"
)


def terms(text: str) -> str:
    """The text as words with blanks between them, for the index and for a query alike."""
    return _UNSPACED.sub(lambda run: f" {' '.join(_characters_and_pairs(run[0]))} ", text)


def _characters_and_pairs(run: str) -> list[str]:
    return [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
