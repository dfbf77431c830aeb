"""FairShare: how much of the engine each client has had, so that the least served comes first.

The virtual token counter of "Fairness in Serving Large Language Models", arXiv:2401.00588: a client that was idle
starts where the least served of the others stands, so that nobody saves up idle time and then holds up the rest.
Knows names of clients and costs; who runs is the scheduler's business.
"""

from __future__ import annotations

from collections import Counter


class FairShare:
    """Counts what was done for each client."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._open: Counter[str] = Counter()  # sequences of each client

    def served(self, client: str) -> float:
        """What a client with an open sequence has had, in tokens."""
        return self._served[client]

    def enter(self, client: str) -> None:
        """A sequence of the client begins to wait."""
        if client not in self._open:
            self._start(client)
        self._open[client] += 1

    def leave(self, client: str) -> None:
        """A sequence of the client has ended."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    def charge(self, client: str, cost: float) -> None:
        """The client has had so much more."""
        self._served[client] += cost

    def _start(self, client: str) -> None:
        """Forget who has had less than the least served of those that are here: he would start there again."""
        floor = min((self._served[other] for other in self._open), default=None)
        if floor is None:
            self._served = {client: 0.0}
            return
        self._served = {
            other: served for other, served in self._served.items() if other in self._open or served > floor
        }
        self._served.setdefault(client, floor)
