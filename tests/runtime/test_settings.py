import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.runtime import FOREVER
from puna.runtime.settings import default_keep_alive, keep_alive_seconds, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300.0),
        (-1, FOREVER),
        (0, 0.0),
        (0.5, 0.5),
        ("0", 0.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("100ms", 0.1),
        ("-1s", FOREVER),
        ("-1m", FOREVER),
        (10**400, FOREVER),
        ("1000000000h", FOREVER),
        (None, None),
    ],
)
def test_keep_alive_takes_what_ollama_takes(value: object, seconds: float | None) -> None:
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize("value", ["300", "", "5 m", "m", "5x", "1h30", True, [], {}, float("nan")])
def test_a_number_without_a_unit_is_not_guessed(value: object) -> None:
    with pytest.raises(InvalidRequest):
        keep_alive_seconds(value)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600.0), ("90", 90.0), ("-1", FOREVER), ("0", 0.0)])
def test_the_variable_also_takes_plain_seconds(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("PUNA_KEEP_ALIVE", text)
    assert default_keep_alive() == seconds


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_KEEP_ALIVE", "soon")
    with pytest.raises(InvalidRequest, match="PUNA_KEEP_ALIVE"):
        default_keep_alive()
