"""Stop strings: equal to cutting the whole text, however it was cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from puna.chat import StopStrings

SHORT = st.text(alphabet="ab\n", max_size=4)


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: the text before the stop string that is complete first, the longer of two that end together."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if stop and text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(st.lists(SHORT, max_size=4), st.lists(SHORT, max_size=12))
def test_any_chunking_equals_cutting_the_whole(stops: list[str], pieces: list[str]) -> None:
    matcher = StopStrings(stops)
    emitted = ""
    for piece in pieces:
        text, stopped = matcher.push(piece)
        emitted += text
        assert stopped == matcher.stopped
    emitted += matcher.flush()
    assert (emitted, matcher.stopped) == cut("".join(pieces), stops)


@given(st.lists(SHORT, min_size=1, max_size=4), st.lists(SHORT, max_size=12))
def test_what_is_held_back_could_still_become_a_stop(stops: list[str], pieces: list[str]) -> None:
    matcher = StopStrings(stops)
    seen = emitted = ""
    for piece in pieces:
        seen += piece
        text, stopped = matcher.push(piece)
        emitted += text
        held = seen[len(emitted) :]
        assert stopped or held == "" or any(stop.startswith(held) and stop != held for stop in stops)


def test_no_part_of_a_stop_string_is_shown() -> None:
    matcher = StopStrings(["<|im_end|>"])
    shown = [matcher.push(character)[0] for character in "Yes.<|im_end|>no"]
    assert "".join(shown) == "Yes."
    assert matcher.flush() == ""


def test_a_false_start_is_given_back() -> None:
    matcher = StopStrings(["STOP"])
    assert matcher.push("ST") == ("", False)
    assert matcher.push("ART") == ("START", False)
    assert matcher.push("S") == ("", False)
    assert matcher.flush() == "S"


def test_without_stop_strings_nothing_is_held_back() -> None:
    for stops in ([], [""]):
        assert StopStrings(stops).push("text") == ("text", False)


def test_after_a_stop_nothing_more_is_shown() -> None:
    matcher = StopStrings(["."])
    assert matcher.push("a.b") == ("a", True)
    assert matcher.push("c") == ("", True)
    assert matcher.flush() == ""
