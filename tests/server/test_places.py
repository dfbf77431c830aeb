"""The places of a server: none is lost, and a full one says when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.server.errors import ServerBusyError
from puna.server.places import Place, Places


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=60))
def test_places_that_were_taken_and_given_back_are_all_there(limit: int, visits: list[tuple[str, int]]) -> None:
    places = Places(limit)
    held: list[Place] = []
    for client, count in visits:
        try:
            held += places.take(client, count)
        except ServerBusyError:
            assert len(held) + count > limit - limit // 8
            while held:
                held.pop().release()
    for place in held:
        place.release()
        place.release()  # twice is once
    assert len(places.take("new", limit)) == limit


def test_a_client_who_has_places_leaves_the_last_eighth_to_others() -> None:
    places = Places(16)
    for _ in range(14):
        places.take("a")
    with pytest.raises(ServerBusyError):
        places.take("a")
    for other in "bc":
        places.take(other)
    with pytest.raises(ServerBusyError):
        places.take("d")


def test_the_time_to_come_back_is_the_time_until_a_place_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    places = Places(4)
    for _ in range(100):  # four at a time, each stays 40 seconds: one leaves every ten
        held = places.take("a", 4)
        now += 40
        for place in held:
            place.release()
    places.take("a", 4)
    with pytest.raises(ServerBusyError) as refusal:
        places.take("b")
    assert refusal.value.retry_after == 10


def test_it_is_at_least_a_second_when_nothing_has_ended_yet() -> None:
    places = Places(1)
    places.take("a")
    with pytest.raises(ServerBusyError) as refusal:
        places.take("b")
    assert refusal.value.retry_after == 1
