"""Shares of clients: whoever comes back has neither saved up his absence nor lost his debts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from puna.engine.fairness import FairShare


def test_a_newcomer_starts_where_the_least_served_stands() -> None:
    shares = FairShare()
    shares.enter("a")
    shares.enter("b")
    shares.charge("a", 500)
    shares.charge("b", 300)
    shares.enter("new")
    assert shares.served("new") == 300


def test_who_leaves_and_comes_back_at_once_keeps_his_debt() -> None:
    """Else a client that opens one request after the other would always come first."""
    shares = FairShare()
    shares.enter("greedy")
    shares.enter("patient")
    shares.charge("greedy", 1000)
    shares.leave("greedy")
    shares.enter("greedy")
    assert shares.served("greedy") - shares.served("patient") == 1000


def test_who_was_away_while_others_were_served_has_saved_nothing_up() -> None:
    shares = FairShare()
    shares.enter("away")
    shares.charge("away", 10)
    shares.enter("busy")
    shares.leave("away")
    shares.charge("busy", 10_000)
    shares.enter("away")
    assert shares.served("away") == shares.served("busy")


def test_with_several_requests_open_a_client_counts_once() -> None:
    shares = FairShare()
    shares.enter("a")
    shares.charge("a", 100)
    shares.enter("a")
    shares.leave("a")
    assert shares.served("a") == 100


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5)), max_size=200))
def test_clients_that_were_here_once_are_forgotten(visits: list[tuple[int, int]]) -> None:
    """A server that runs for a year must not keep every address it has met."""
    shares = FairShare()
    shares.enter("steady")
    for client, cost in visits:
        shares.enter(str(client))
        shares.charge(str(client), cost)
        shares.leave(str(client))
    shares.charge("steady", 1000)
    shares.enter("last")
    assert set(shares._served) == {"steady", "last"}
