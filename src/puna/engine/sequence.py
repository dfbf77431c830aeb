"""Sequence: one request on its way through the engine, with its tokens, its KV blocks and its clock.

Plain state. Who may run is the scheduler's business, which blocks are free the block manager's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from puna.engine.sampler import Sampler
from puna.engine.types import EngineUsage, FinishReason, GenerationRequest


class SequenceStatus(Enum):
    """Where a sequence stands.

    A preempted one is WAITING again, its tokens kept, its KV to be computed anew.
    """

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)  # compared by identity: two requests may be alike
class Sequence:
    """Prompt and answer of one request; the first `num_computed` of `token_ids` have KV in `block_table`.

    Times are seconds of the engine's clock; None = has not happened yet.
    """

    request: GenerationRequest
    max_length: int  # tokens, prompt and answer, at which it ends for 'length'
    arrived: float
    token_ids: list[int] = field(init=False)
    sampler: Sampler = field(init=False)
    status: SequenceStatus = SequenceStatus.WAITING
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    admitted: float | None = None
    first_token: float | None = None

    def __post_init__(self) -> None:
        self.token_ids = list(self.request.prompt)
        self.sampler = Sampler(self.request.sampling)

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def id(self) -> str:
        """The request's."""
        return self.request.id

    @property
    def num_uncomputed(self) -> int:
        """Tokens whose KV is still to be computed.

        1 while decoding, more while the prompt is being evaluated.
        """
        return len(self.token_ids) - self.num_computed

    def append(self, token: int, now: float) -> FinishReason | None:
        """Take a new token; the reason to end, if there is one.

        Neither a stop token nor one too many is appended.
        """
        if self.first_token is None:
            self.first_token = now
        if len(self.token_ids) >= self.max_length:  # max_tokens 0: only the prompt was wanted
            return "length"
        if token in self.request.stop_ids:
            return "stop"
        self.token_ids.append(token)
        return "length" if len(self.token_ids) >= self.max_length else None

    def usage(self, now: float) -> EngineUsage:
        """What it has cost until `now`."""
        admitted = now if self.admitted is None else self.admitted
        first_token = now if self.first_token is None else self.first_token
        prompt_tokens = len(self.request.prompt)
        return EngineUsage(
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            completion_tokens=len(self.token_ids) - prompt_tokens,
            prompt_seconds=first_token - admitted,
            decode_seconds=now - first_token,
            queue_seconds=admitted - self.arrived,
        )
