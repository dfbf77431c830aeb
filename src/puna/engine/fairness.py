"""FairShare: how much of the engine each client has had, so that the least served comes first; BackgroundShare: how
much the background has had.

The virtual token counter of "Fairness in Serving Large Language Models", arXiv:2401.00588: a client that was idle
starts where the least served of the others stands, so that nobody saves up idle time and then holds up the rest.
Knows names of clients and costs; who runs is the scheduler's business.
"""

from __future__ import annotations

from collections import Counter

BACKGROUND_SHARE = 0.05  # of what is done beside it, a waiting background has for itself
BACKGROUND_DUE = 24  # tokens that it saves up: the fewest that a step computes well


class BackgroundShare:
    """What the background may have although others wait: under unbroken load its prompts would else never move."""

    def __init__(self) -> None:
        self._saved = 0.0
        self._open = Counter({True: 0, False: 0})  # sequences in the background, and those that are not

    @property
    def due(self) -> bool:
        """Whether it has saved up a turn."""
        return self._saved >= BACKGROUND_DUE

    def enter(self, in_background: bool) -> None:
        """A sequence begins to wait."""
        self._open[in_background] += 1

    def leave(self, in_background: bool) -> None:
        """A sequence has ended."""
        self._open[in_background] -= 1
        if not self._open[True]:
            self._saved = 0.0

    def charge(self, in_background: bool, cost: float) -> None:
        """So much was done. Alone, the background takes nothing from anybody."""
        if in_background:
            self._saved -= cost if self._open[False] else 0
        elif self._open[True]:
            self._saved += BACKGROUND_SHARE * cost


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
