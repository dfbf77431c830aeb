"""The sampler's naive twin.

Every step from its definition, on plain lists, in the order of llama.cpp's default chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from puna.engine.types import SamplingParams

Scores = dict[int, np.float32]  # token id to logit, in order of id


def candidates(logits: NDArray[np.float32], history: list[int], p: SamplingParams) -> Scores:
    """The tokens that may be drawn and their logits before temperature."""
    biased = [np.float32(x) for x in logits]
    for token, bias in p.logit_bias:
        biased[token] += np.float32(bias)
    penalised = penalise(biased, history, p)
    scores = dict(enumerate(penalised))
    scores = top_k(scores, p.top_k)
    scores = {token: x for token, x in scores.items() if x > -np.inf}
    return min_p(top_p(typical(scores, p.typical_p), p.top_p), p.min_p)


def distribution(logits: NDArray[np.float32], history: list[int], p: SamplingParams) -> Scores:
    """The tokens that may be drawn and their probabilities, but for a factor."""
    scores = candidates(logits, history, p)
    highest = max(scores.values())
    return weights({token: (x - highest) / np.float32(p.temperature) for token, x in scores.items()})


def sample(logits: NDArray[np.float32], history: list[int], p: SamplingParams, uniform: float) -> int:
    """The token at `uniform` of the cumulative distribution."""
    drawn = distribution(logits, history, p)
    sums = running_sum(list(drawn.values()))
    return next(token for token, total in zip(drawn, sums, strict=True) if total > uniform * sums[-1])


def penalise(logits: list[np.float32], history: list[int], p: SamplingParams) -> list[np.float32]:
    if p.repeat_last_n == 0:
        return logits
    window = history if p.repeat_last_n < 0 else history[-p.repeat_last_n :]
    result = list(logits)
    for token in set(window):
        x = result[token]
        x = x * np.float32(p.repeat_penalty) if x <= 0 else x / np.float32(p.repeat_penalty)
        result[token] = x - np.float32(window.count(token) * p.frequency_penalty + p.presence_penalty)
    return result


def top_k(scores: Scores, k: int) -> Scores:
    return keep(scores, ranked(scores)[:k]) if k > 0 else scores


def typical(scores: Scores, p: float) -> Scores:
    if p >= 1:
        return scores
    shares = weights(scores)
    whole = running_sum(list(shares.values()))[-1]
    probabilities = {t: x / whole for t, x in shares.items()}
    surprise = {t: -np.log(max(x, np.finfo(np.float64).tiny)) for t, x in probabilities.items()}
    entropy = running_sum([probabilities[t] * surprise[t] for t in scores])[-1]
    order = ranked({t: -abs(surprise[t] - entropy) for t in scores})
    sums = running_sum([shares[t] for t in order])
    count = next((i + 1 for i, total in enumerate(sums) if total > p * whole), len(order))
    return keep(scores, order[:count])


def top_p(scores: Scores, p: float) -> Scores:
    if p >= 1:
        return scores
    shares = weights(scores)
    order = ranked(scores)
    sums = running_sum([shares[t] for t in order])
    whole = running_sum(list(shares.values()))[-1]
    count = next((i + 1 for i, total in enumerate(sums) if total >= p * whole), len(order))
    return keep(scores, order[:count])


def min_p(scores: Scores, p: float) -> Scores:
    if p <= 0:
        return scores
    least = max(scores.values()) + np.float32(np.log(p))
    return {token: x for token, x in scores.items() if x >= least}


def weights(scores: Scores) -> Scores:
    highest = max(scores.values())
    return {token: np.exp(x - highest) for token, x in scores.items()}


def ranked(scores: Mapping[int, np.floating]) -> list[int]:
    return sorted(scores, key=lambda token: (-scores[token], token))


def keep(scores: Scores, tokens: list[int]) -> Scores:
    return {token: scores[token] for token in sorted(tokens)}


def running_sum(values: Sequence[np.floating]) -> list[np.float64]:
    sums: list[np.float64] = []
    total = np.float64(0)
    for value in values:
        total = total + value
        sums.append(total)
    return sums
