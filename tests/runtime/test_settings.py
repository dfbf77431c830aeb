import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.runtime import FOREVER
from puna.runtime.settings import (
    default_keep_alive,
    keep_alive_seconds,
    kv_cache_type,
    parse_duration,
    parse_size,
    prefix_cache_bytes,
)


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


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4gb", 4 * 10**9), ("1.5 GiB", 3 << 29), ("512M", 512 * 10**6), ("512Mi", 512 << 20),
     ("100KB", 10**5), ("1TB", 10**12), ("7B", 7), ("0", 0), ("0GB", 0)],
)  # fmt: skip
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["4", "", "GB", "-4GB", "4 G B", "4XB", "1e9B", "four", "4.GB"])
def test_a_size_without_a_unit_is_not_guessed(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid size"):
        parse_size(text)


def test_the_prefix_cache_s_size_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUNA_PREFIX_CACHE", raising=False)
    assert prefix_cache_bytes() == 4 * 10**9
    monkeypatch.setenv("PUNA_PREFIX_CACHE", "0")
    assert prefix_cache_bytes() == 0
    monkeypatch.setenv("PUNA_PREFIX_CACHE", "lots")
    with pytest.raises(InvalidRequest, match="PUNA_PREFIX_CACHE: invalid size 'lots'"):
        prefix_cache_bytes()


def test_the_kv_cache_s_type_comes_from_either_variable_and_a_wrong_one_names_the_choices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PUNA_KV_CACHE_TYPE", "OLLAMA_KV_CACHE_TYPE"):
        monkeypatch.delenv(name, raising=False)
    assert kv_cache_type() == "f16"
    monkeypatch.setenv("OLLAMA_KV_CACHE_TYPE", "Q8_0")
    assert kv_cache_type() == "q8_0"
    monkeypatch.setenv("PUNA_KV_CACHE_TYPE", "q4_0")
    with pytest.raises(InvalidRequest, match="PUNA_KV_CACHE_TYPE='q4_0' is not one of f16, q8_0, f32"):
        kv_cache_type()
