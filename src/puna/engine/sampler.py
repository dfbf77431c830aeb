"""Sampler: a row of logits to one token, as llama.cpp's default chain does it (and so Ollama).

Order: logit bias, penalties, top-k, typical-p, top-p, min-p, temperature, draw. Each filter sees the
probabilities of what the one before it left, before temperature. Knows nothing of text, batches or other
sequences: its random numbers are its own, one for each token, so a seed gives the same tokens in any company.

Equally likely tokens rank by id. Sums run in float64 and in the order of token ids, so the naive twin in the
tests agrees to the last bit.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.engine.types import SamplingParams
from puna.errors import InvalidLogits

Logits: TypeAlias = NDArray[np.float32]  # (vocab_size,)
Ids: TypeAlias = NDArray[np.intp]  # (candidates,) token ids, ascending
Scores: TypeAlias = NDArray[np.float64]  # (candidates,)
Kept: TypeAlias = Ids | slice  # which of the candidates a filter leaves

GROUP = 64  # entries searched as one when looking for the largest: 150k logits are 2.4k groups
NUCLEUS = 256  # candidates ranked at first when looking for the likeliest up to a probability


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        seed = params.seed
        self._random = np.random.default_rng(seed if seed is None else seed % 2**64)
        self._bias_ids = np.array([token for token, _ in params.logit_bias], np.intp)
        self._biases = np.array([bias for _, bias in params.logit_bias], np.float32)

    def sample(self, logits: Logits, token_ids: list[int]) -> int:
        """The token that follows `token_ids`, given the logits (vocab_size,), which are left as they are.

        Raises InvalidLogits if a logit is NaN or infinite, or if the biases forbid every token.
        """
        ids, probabilities = self.distribution(logits, token_ids)
        cumulative = np.cumsum(probabilities)
        index = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(ids[min(index, len(ids) - 1)])

    def distribution(self, logits: Logits, token_ids: list[int]) -> tuple[Ids, Scores]:
        """The tokens that `sample` may draw, ascending, and their probabilities. Raises what it raises."""
        logits = self._penalised(self._biased(logits), token_ids)
        peak = logits.max()  # NaN, if there is one anywhere
        if not np.isfinite(peak):
            raise InvalidLogits(_what_is_wrong(float(peak)))
        if self.params.temperature == 0:
            return np.array([np.argmax(logits)]), np.ones(1)
        ids, scores = self._candidates(logits)
        with np.errstate(over="ignore"):  # a tiny temperature: all but the likeliest go to -inf, rightly
            return ids, softmax((scores - scores.max()) / self.params.temperature)

    def _biased(self, logits: Logits) -> Logits:
        if not self._biases.size:
            return logits
        logits = logits.copy()
        np.add.at(logits, self._bias_ids, self._biases)  # .at: an id may be named twice
        return logits

    def _penalised(self, logits: Logits, token_ids: list[int]) -> Logits:
        p = self.params
        off = p.repeat_penalty == 1 and p.frequency_penalty == 0 and p.presence_penalty == 0
        if off or p.repeat_last_n == 0:
            return logits
        last = token_ids if p.repeat_last_n == -1 else token_ids[-p.repeat_last_n :]
        return penalise(logits, last, p.repeat_penalty, p.frequency_penalty, p.presence_penalty)

    def _candidates(self, logits: Logits) -> tuple[Ids, Scores]:
        """What the filters leave: token ids, ascending, and their logits."""
        p = self.params
        if p.top_k > 0:
            ids = np.sort(largest(logits, p.top_k))
            ids = ids[logits[ids] > -np.inf]
        else:
            ids = np.flatnonzero(logits > -np.inf)
        scores = logits[ids].astype(np.float64)
        for keep, limit in ((typical_p, p.typical_p), (top_p, p.top_p), (min_p, p.min_p)):
            kept = keep(scores, limit)
            ids, scores = ids[kept], scores[kept]
        return ids, scores


def penalise(logits: Logits, last: list[int], repeat: float, frequency: float, presence: float) -> Logits:
    """A copy of `logits` in which tokens that occur in `last` are less likely; 1, 0 and 0 change nothing."""
    ids, counts = np.unique(np.asarray(last, np.intp), return_counts=True)
    found = logits[ids]
    found = np.where(found <= 0, found * np.float32(repeat), found / np.float32(repeat))
    logits = logits.copy()
    logits[ids] = found - (counts * frequency + presence).astype(np.float32)
    return logits


def largest(values: NDArray[np.floating], k: int) -> Ids:
    """Indices of the k largest values, largest first, equals in order of index.

    At least k values reach the k-th largest of the groups' maxima, so only values from there up need sorting.
    """
    if k >= len(values):
        return np.argsort(-values, kind="stable")
    groups = len(values) // GROUP
    bound = -np.inf
    if groups > k:
        maxima = values[: groups * GROUP].reshape(GROUP, groups).max(axis=0)
        bound = np.partition(maxima, groups - k)[groups - k]
    near = np.flatnonzero(values >= bound)
    return near[np.argsort(-values[near], kind="stable")[:k]]


def typical_p(scores: Scores, p: float) -> Kept:
    """The tokens whose surprise, -log(probability), is nearest the entropy, until more than p is reached."""
    if p >= 1:
        return slice(None)
    probabilities = softmax(scores)
    surprise = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    entropy = np.cumsum(probabilities * surprise)[-1]
    return _nucleus(-np.abs(surprise - entropy), probabilities, p, "right")


def top_p(scores: Scores, p: float) -> Kept:
    """The likeliest tokens until p is reached."""
    return slice(None) if p >= 1 else _nucleus(scores, softmax(scores), p, "left")


def min_p(scores: Scores, p: float) -> Kept:
    """The tokens at least p times as likely as the likeliest."""
    return slice(None) if p <= 0 else np.flatnonzero(scores >= scores.max() + np.log(p))


def softmax(scores: Scores) -> Scores:
    """Probabilities."""
    weights = np.exp(scores - scores.max())
    probabilities: Scores = weights / np.cumsum(weights)[-1]
    return probabilities


def _nucleus(ranks: Scores, probabilities: Scores, p: float, side: Literal["left", "right"]) -> Ids:
    """Indices, ascending, of the highest ranks whose probabilities reach ("left") or exceed p ("right")."""
    k = NUCLEUS
    while True:
        order = largest(ranks, k)
        count = int(np.searchsorted(np.cumsum(probabilities[order]), p, side=side)) + 1
        if count <= len(order) or k >= len(ranks):
            return np.sort(order[:count])
        k *= 8


def _what_is_wrong(peak: float) -> str:
    if peak == -np.inf:
        return "every token is forbidden; leave at least one out of logit_bias"
    return f"a logit is {peak}: the model file is damaged, or its architecture is not run as it should be"
