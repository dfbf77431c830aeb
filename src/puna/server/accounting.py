"""What each request used, counted in one place for every dialect: for its key in the ledger, for all in the metrics.

Knows nothing of HTTP or of the event loop; called from any thread, once a request ends.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from puna.runtime import Embeddings, EmbedRequest, Finished, Generation, Ranking, RankRequest, Request
from puna.server.errors import BudgetSpentError
from puna.server.keys import Key, canonical
from puna.server.ledger import Ledger, Use, seconds_left_today
from puna.server.metrics import Metrics


class Accounting:
    """Counts what ends, and refuses what a budget does not allow to begin."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self.ledger = ledger
        self.metrics = metrics

    def check_budget(self, key: Key) -> None:
        """Raises BudgetSpentError once the day's tokens are used up; what has begun by then is finished."""
        if key.budget is not None and self.ledger.used_today(key.name) >= key.budget:
            message = f"the key {key.name!r} has used its {key.budget} tokens of today; the next day begins at 0:00 UTC"
            raise BudgetSpentError(message, seconds_left_today())

    def bill(self, key: Key, request: Request, *, repeats: bool) -> Bill:
        """For one generation; `repeats` the prompt of the one before it, whose tokens count once."""
        return Bill(self, key, canonical(request.model), repeats)

    def embedded(self, key: Key, request: EmbedRequest | RankRequest, made: Embeddings | Ranking) -> None:
        """Texts were turned into vectors, or ranked."""
        self.count(key, canonical(request.model), "embeddings", Use(1, sum(made.prompt_tokens)))

    def count(self, key: Key, model: str, reason: str, use: Use) -> None:
        """Into the ledger and the metrics."""
        self.ledger.add(key.name, model, use)
        self.metrics.answer(model, reason, use.prompt_tokens, use.cached_tokens, use.generated_tokens)


@dataclass(frozen=True, slots=True)
class Bill:
    """Whom one generation is counted for."""

    accounting: Accounting
    key: Key
    model: str
    repeats: bool

    def finished(self, finished: Finished) -> None:
        """It ended, as it should or because it was cancelled."""
        usage = finished.usage
        self._count(finished.reason, usage.prompt_tokens, usage.cache.cached_tokens, usage.completion_tokens)
        self.accounting.metrics.speed(self.model, usage)

    def failed(self, started: Future[Generation]) -> None:
        """It broke off; what the prefix cache gave is not known then. Nothing was used where it never started."""
        if started.cancelled() or started.exception() is not None:
            return
        generation = started.result()
        self._count("error", len(generation.prompt.token_ids), 0, generation.tokens_so_far)

    def _count(self, reason: str, prompt: int, cached: int, generated: int) -> None:
        use = Use(0, 0, 0, generated) if self.repeats else Use(1, prompt, cached, generated)
        self.accounting.count(self.key, self.model, reason, use)
