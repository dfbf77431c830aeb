"""Sampler: a row of logits to one token, as llama.cpp's default chain does it (and so Ollama).

Order: logit bias, penalties, top-k, typical-p, top-p, min-p, temperature, draw. Each filter sees the
probabilities of what the one before it left, before temperature. Knows nothing of text, batches or other
sequences: its random numbers are its own, one for each token, so a seed gives the same tokens in any company.

Equally likely tokens rank by id. Logits and weights are float32, for speed; sums are float64, in which sums of a
few float32 are exact, so the naive twin in the tests agrees to the last bit.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.engine.types import SamplingParams
from puna.errors import InvalidLogits

Logits: TypeAlias = NDArray[np.float32]  # (vocab_size,)
Ids: TypeAlias = NDArray[np.intp]  # (candidates,) token ids, ascending
Scores: TypeAlias = NDArray[np.float32]  # (candidates,) logits
Weights: TypeAlias = NDArray[np.float32]  # (candidates,) probabilities but for a factor; the likeliest has 1
Kept: TypeAlias = Ids | None  # which of the candidates a filter leaves; None: all

GROUP = 64  # entries looked at as one when looking for the largest or drawing: 150k logits are 2.4k groups
COLDEST = float(np.finfo(np.float32).tiny)  # any lower temperature is as good as this one
NUCLEUS = 256  # candidates ranked at first when looking for the likeliest up to a probability


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        seed = params.seed
        self._random = np.random.default_rng(seed if seed is None else seed % 2**64)
        self._bias_ids = np.array([token for token, _ in params.logit_bias], np.intp)
        self._biases = np.array([bias for _, bias in params.logit_bias], np.float32)

    def sample(self, logits: Logits, token_ids: list[int], mask: Logits | None = None) -> int:
        """The token that follows `token_ids`, given the logits (vocab_size,), which are left as they are.

        mask: is added to them; -inf for a token that may not come.

        Raises InvalidLogits if a logit is NaN or infinite, or if the biases forbid every token.
        """
        ids, weights = self.distribution(logits if mask is None else logits + mask, token_ids)
        index = draw(weights, self._random.random())
        return index if ids is None else int(ids[index])

    def distribution(self, logits: Logits, token_ids: list[int]) -> tuple[Ids | None, Weights]:
        """The tokens that `sample` may draw, ascending (None: all), and their weights. Raises what it raises."""
        logits = self._penalised(self._biased(logits), token_ids)
        peak = logits.max()  # NaN, if there is one anywhere
        if not np.isfinite(peak):
            raise InvalidLogits(_what_is_wrong(float(peak)))
        if self.params.temperature == 0:
            return np.array([np.argmax(logits)]), np.ones(1, np.float32)
        ids, scores = self._candidates(logits)
        with np.errstate(over="ignore"):  # a tiny temperature: all but the likeliest go to -inf, rightly
            return ids, np.exp((scores - scores.max()) / np.float32(max(self.params.temperature, COLDEST)))

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

    def _candidates(self, logits: Logits) -> tuple[Ids | None, Scores]:
        """What the filters leave: token ids, ascending (None: all), and their logits."""
        p = self.params
        ids, scores = None, logits
        filters = (
            partial(top_k, k=p.top_k), partial(typical_p, p=p.typical_p), partial(top_p, p=p.top_p),
            partial(min_p, p=p.min_p),
        )  # fmt: skip
        for keep in filters:
            kept = keep(scores)
            if kept is not None:
                ids, scores = kept if ids is None else ids[kept], scores[kept]
        return ids, scores


def draw(weights: Weights, uniform: float) -> int:
    """The index at which the running sum exceeds the share `uniform` of the whole: first by groups, then in one."""
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), GROUP), dtype=np.float64))
    target = uniform * sums[-1]
    group = min(int(np.searchsorted(sums, target, side="right")), len(sums) - 1)
    before = sums[group - 1] if group else 0.0
    inside = before + np.cumsum(weights[group * GROUP : (group + 1) * GROUP], dtype=np.float64)
    return group * GROUP + min(int(np.searchsorted(inside, target, side="right")), len(inside) - 1)


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

    At least k values reach the k-th largest of the groups' maxima, so only values from there up need sorting; and
    they are in groups whose maxima do.
    """
    groups = len(values) // GROUP
    if k >= groups:
        return _ranked(values, np.arange(len(values)), k)
    table = values[: groups * GROUP].reshape(GROUP, groups)  # a group is a column
    maxima = table.max(axis=0)
    bound = np.partition(maxima, groups - k)[groups - k]
    if bound == -np.inf:  # a grammar allows few: what it forbids is all alike
        few = _ranked(values, np.flatnonzero(values > -np.inf), k)
        return np.append(few, np.flatnonzero(values == -np.inf)[: k - len(few)])
    columns = np.flatnonzero(maxima >= bound)
    row, column = np.nonzero(table[:, columns] >= bound)
    rest = groups * GROUP + np.flatnonzero(values[groups * GROUP :] >= bound)
    return _ranked(values, np.append(row * groups + columns[column], rest), k)


def _ranked(values: NDArray[np.floating], indices: Ids, k: int) -> Ids:
    """Of these indices, which ascend, the k of the largest values, largest first."""
    return indices[np.argsort(-values[indices], kind="stable")[:k]]


def top_k(scores: Scores, k: int) -> Kept:
    """The k likeliest tokens."""
    return np.sort(largest(scores, k)) if k > 0 else None


def typical_p(scores: Scores, p: float) -> Kept:
    """The tokens whose surprise, -log(probability), is nearest the entropy, until more than p is reached."""
    if p >= 1:
        return None
    weights = _weights(scores)
    probabilities = weights / weights.sum(dtype=np.float64)
    surprise = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    entropy = np.cumsum(probabilities * surprise)[-1]
    return _nucleus(-np.abs(surprise - entropy), weights, p, "right")


def top_p(scores: Scores, p: float) -> Kept:
    """The likeliest tokens until p is reached."""
    return None if p >= 1 else _nucleus(scores, _weights(scores), p, "left")


def min_p(scores: Scores, p: float) -> Kept:
    """The tokens at least p times as likely as the likeliest."""
    return None if p <= 0 else np.flatnonzero(scores >= scores.max() + np.float32(np.log(p)))


def _weights(scores: Scores) -> Weights:
    weights: Weights = np.exp(scores - scores.max())
    return weights


def _nucleus(ranks: NDArray[np.floating], weights: Weights, p: float, side: Literal["left", "right"]) -> Ids:
    """Indices, ascending, of the highest ranks whose weights reach ("left") or exceed ("right") the share p of all."""
    share = p * weights.sum(dtype=np.float64)
    order = largest(ranks, NUCLEUS)
    count = int(np.searchsorted(np.cumsum(weights[order], dtype=np.float64), share, side=side)) + 1
    if count <= len(order) or len(order) == len(ranks):
        return np.sort(order[:count])
    # A distance from the highest rank is 0 or positive, so that its bits rise with it: their upper 14 are the number
    # of a bin, 64 to each power of 2. Only the bin in which the share is reached needs sorting.
    bins = (ranks.max() - ranks).astype(np.float32).view(np.int32) >> 17
    sums = np.cumsum(np.bincount(bins, weights))
    last = min(int(np.searchsorted(sums, share, side=side)), len(sums) - 1)
    before = sums[last - 1] if last else 0.0
    edge = _ranked(ranks, np.flatnonzero(bins == last), len(ranks))
    inside = before + np.cumsum(weights[edge], dtype=np.float64)
    count = int(np.searchsorted(inside, share, side=side)) + 1
    kept = bins < last
    kept[edge[:count]] = True
    return np.flatnonzero(kept)


def _what_is_wrong(peak: float) -> str:
    if peak == -np.inf:
        return "every token is forbidden; leave at least one out of logit_bias"
    return f"a logit is {peak}: the model file is damaged, or its architecture is not run as it should be"
