from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.cli.output import human_age, human_seconds, human_size, table, terminal_safe

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_columns_stay_aligned_when_a_cell_is_wider_than_its_header() -> None:
    lines = table(("NAME", "SIZE"), [("cria:latest", "3.1 MB"), ("a", "12 GB")]).splitlines()
    assert lines == ["NAME           SIZE", "cria:latest    3.1 MB", "a              12 GB"]


def test_an_empty_table_still_shows_its_header() -> None:
    assert table(("NAME", "ID"), []) == "NAME    ID"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (3_145_728, "3.1 MB"), (637_700_138, "638 MB"),
     (999_999, "1.0 MB"), (4_700_000_000, "4.7 GB"), (1_500_000_000_000, "1.5 TB")],
)  # fmt: skip
def test_sizes_read_as_ollama_s_do_at_the_borders_of_units(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("distance", "text"),
    [(timedelta(0), "Just now"), (timedelta(seconds=1), "1 second ago"), (timedelta(minutes=5), "5 minutes ago"),
     (timedelta(days=21), "3 weeks ago"), (-timedelta(minutes=4, seconds=59), "4 minutes from now"),
     (-timedelta(days=300 * 365), "Forever")],
)  # fmt: skip
def test_ages_say_past_future_and_never(distance: timedelta, text: str) -> None:
    assert human_age(NOW - distance, NOW) == text


def test_durations_switch_unit_at_one_second() -> None:
    assert (human_seconds(0.0125), human_seconds(1.5)) == ("12.50ms", "1.50s")


def test_a_model_cannot_clear_the_screen_or_set_the_title() -> None:
    assert terminal_safe("\x1b[2J\x1b]0;owned\x07\x9b31m") == "␛[2J␛]0;owned␇\N{REPLACEMENT CHARACTER}31m"


@given(st.text())
def test_shown_text_keeps_everything_but_control_characters(text: str) -> None:
    shown = terminal_safe(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        code = ord(before)
        obeyed = (code < 0x20 and before not in "\n\t") or 0x7F <= code < 0xA0
        assert (before != after) == obeyed
