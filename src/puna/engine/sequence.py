"""Sequence: one request on its way through the engine, with its tokens, its KV blocks and its clock.

Plain state. Who may run is the scheduler's business, which blocks are free the block manager's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from puna.engine.grammar import Constraint
from puna.engine.pooling import Pooler
from puna.engine.prefix_hash import BlockKey, ImageKey
from puna.engine.sampler import Sampler
from puna.engine.speculation import Pace, PromptLookup
from puna.engine.types import CacheReceipt, EngineUsage, FinishReason, GenerationRequest, Image, Priority
from puna.models import ImageRows


class SequenceStatus(Enum):
    """Where a sequence stands.

    A preempted one is WAITING again, its tokens kept; its KV is computed anew where the prefix cache has lost it.
    """

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Picture:
    """An image of a sequence's prompt; `vectors` (rows, width) are there from its encoding to its use."""

    image: Image
    key: ImageKey
    vectors: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, image: Image) -> Picture:
        """Not encoded yet."""
        return cls(image, ImageKey(image.start, image.end, blake2b(image.pixels, digest_size=32).digest()))

    def rows(self, start: int, end: int) -> ImageRows | None:
        """What of it stands in the places `start` to `end - 1`."""
        first, last = max(start, self.image.start), min(end, self.image.end)
        if first >= last:
            return None
        assert self.vectors is not None, "an image is encoded before its places are computed"
        return ImageRows(first - start, self.vectors[first - self.image.start : last - self.image.start])


@dataclass(slots=True, eq=False)  # compared by identity: two requests may be alike
class Sequence:
    """Prompt and answer of one request; the first `num_computed` of `token_ids` have KV in `block_table`.

    Times are seconds of the engine's clock; None = has not happened yet.
    """

    request: GenerationRequest
    max_length: int  # tokens, prompt and answer, at which it ends for 'length'
    arrived: float
    constraint: Constraint | None = None
    pooler: Pooler | None = None  # of a text that is to become a vector: nothing is sampled after it
    second: int | None = None  # of a pair of texts: how many tokens come before the second
    adapter: int = 0  # which of the model's adapters, counted from 1; 0: none
    key_root: BlockKey = b""  # what stands before the keys of its blocks: the adapter's digest
    token_ids: list[int] = field(init=False)
    pictures: tuple[Picture, ...] = field(init=False)
    sampler: Sampler = field(init=False)
    lookup_pace: Pace = field(init=False)
    model_pace: Pace = field(init=False)  # of a draft model, which may be right where the text is no help
    lookup: PromptLookup = field(default_factory=PromptLookup)
    status: SequenceStatus = SequenceStatus.WAITING
    num_computed: int = 0
    num_charged: int = 0  # the first tokens, that its client has paid for: not again when it was preempted
    block_table: list[int] = field(default_factory=list)
    block_keys: list[BlockKey] = field(default_factory=list)  # of its full blocks, as far as anybody has asked
    num_registered: int = 0  # full blocks that the prefix cache knows
    num_fetched: int = 0  # of these, read from disk
    fetching: bool = False  # whether more may come from disk
    draft: list[int] = field(default_factory=list)  # proposed after `token_ids`, for the next step alone
    draft_pace: Pace | None = None  # of whom it came from, if it is one that may be wrong
    drafted: int = 0  # tokens proposed so far, ...
    accepted: int = 0  # ... and those of them that were right
    cache: CacheReceipt | None = None  # of its first admission
    admitted: float | None = None
    first_token: float | None = None

    def __post_init__(self) -> None:
        self.token_ids = list(self.request.prompt)
        self.pictures = tuple(map(Picture.of, self.request.images))
        self.sampler = Sampler(self.request.sampling)
        self.lookup_pace, self.model_pace = (Pace(self.request.draft_tokens) for _ in range(2))

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def id(self) -> str:
        """The request's."""
        return self.request.id

    @property
    def in_background(self) -> bool:
        """Whether it gives way to all that are not."""
        return self.request.priority is Priority.BACKGROUND

    @property
    def num_uncomputed(self) -> int:
        """Tokens whose KV is still to be computed.

        1 while decoding, more while the prompt is being evaluated.
        """
        return len(self.token_ids) - self.num_computed

    @property
    def awaited_picture(self) -> Picture | None:
        """The first image that has places to be computed and is not encoded."""
        done = self.num_computed
        return next((p for p in self.pictures if p.image.end > done and p.vectors is None), None)

    @property
    def num_ready(self) -> int:
        """Tokens that can be computed next: those before the first image that is not encoded."""
        awaited = self.awaited_picture
        return self.num_uncomputed if awaited is None else max(0, awaited.image.start - self.num_computed)

    def image_rows(self, start: int, end: int) -> tuple[ImageRows, ...]:
        """What images have in the places `start` to `end - 1`; of those before, the vectors are given up."""
        for picture in self.pictures:
            if picture.image.end <= start:
                picture.vectors = None
        return tuple(filter(None, (picture.rows(start, end) for picture in self.pictures)))

    def distinct_ids(self) -> list[int]:
        """Token ids; in an image's places numbers of its own, below 0, in which different images differ."""
        ids = list(self.token_ids)
        for picture in self.pictures:
            number = int.from_bytes(picture.key.digest[:4], "little") >> 1
            ids[picture.image.start : picture.image.end] = [-1 - number] * picture.image.rows
        return ids

    @property
    def num_skippable(self) -> int:
        """The first so many tokens need not be computed where their KV is known: nothing else of them is wanted."""
        most = len(self.token_ids) - 1
        return most if self.pooler is None else min(most, self.pooler.skippable)

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
        if self.constraint is not None and self.constraint.take(token):
            return "stop"
        return "length" if len(self.token_ids) >= self.max_length else None

    def propose(self, room: int) -> None:
        """Put into `draft` at most `room` tokens: those that the grammar forces, else those that the text suggests."""
        self.draft_pace = None
        most = min(room, self.lookup_pace.most)
        self.draft = self.constraint.forced(most) if self.constraint is not None and most else []
        if not self.draft and (count := min(room, self.lookup_pace.count(len(self)))):
            self.draft, self.draft_pace = self.lookup.propose(self.token_ids, count), self.lookup_pace

    def model_room(self, room: int) -> int:
        """How many of `room` tokens a draft model should propose."""
        return min(room, self.model_pace.count(len(self)))

    def learn(self, accepted: int) -> None:
        """Note how many of the tokens in `draft` were right, before they are appended; forget it."""
        if self.draft:
            self.drafted += len(self.draft)
            self.accepted += accepted
            if self.draft_pace is not None:
                self.draft_pace.learn(len(self.draft), accepted, len(self) + accepted + 1)
            self.draft = []

    def usage(self, now: float) -> EngineUsage:
        """What it has cost until `now`."""
        admitted = now if self.admitted is None else self.admitted
        first_token = now if self.first_token is None else self.first_token
        prompt_tokens = len(self.request.prompt)
        return EngineUsage(
            prompt_tokens=prompt_tokens,
            cache=self.cache or CacheReceipt(reason="not begun"),
            completion_tokens=len(self.token_ids) - prompt_tokens,
            prompt_seconds=first_token - admitted,
            decode_seconds=now - first_token,
            queue_seconds=admitted - self.arrived,
            drafted_tokens=self.drafted,
            accepted_tokens=self.accepted,
        )
