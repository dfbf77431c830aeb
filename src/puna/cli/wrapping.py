"""Wraps text that comes in pieces at words, as Ollama's chat does; what is printed already is moved, not held back.

Knows nothing of what is printed.
"""

from __future__ import annotations

from prompt_toolkit.utils import get_cwidth

TAB = 8  # columns


class WordWrap:
    """One answer on a terminal of so many columns. Begins at the left edge."""

    def __init__(self, columns: int) -> None:
        self._width = columns - 1  # in the last column, terminals differ about where the cursor is
        self._column = 0
        self._word = ""  # what has been printed of the word that may have to move
        self._word_width = 0

    def push(self, text: str) -> str:
        """What to print for the next piece: it, with line ends, and escape sequences that take back a word."""
        return "".join(map(self._print, text))

    def _print(self, character: str) -> str:
        if character == "\n":
            self._start("", 0)
            return character
        width = TAB - self._column % TAB if character == "\t" else get_cwidth(character)
        if self._column + width <= self._width:
            self._column += width
            self._add(character, width)
            return character
        if character.isspace():
            self._start("", 0)
            return "\n"
        if _breaks(character) or not self._word or self._word_width + width > self._width // 2:
            self._start("" if _breaks(character) else character, width)
            return f"\n{character}"
        word, back = self._word, self._word_width
        self._start(word + character, back + width)
        return f"\x1b[{back}D\x1b[K\n{word}{character}"

    def _add(self, character: str, width: int) -> None:
        if character.isspace() or _breaks(character):
            self._word, self._word_width = "", 0
        else:
            self._word += character
            self._word_width += width

    def _start(self, word: str, width: int) -> None:
        """A new line, which begins with this word."""
        self._word, self._word_width = word, width if word else 0
        self._column = width


def _breaks(character: str) -> bool:
    """Whether a line may end before and after it: Chinese and Japanese have no blanks between words."""
    return get_cwidth(character) == 2
