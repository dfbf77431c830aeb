"""The sampler's naive twin.

Every step from its definition, on plain lists, in the order of llama.cpp's default chain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.engine.types import SamplingParams

Scores = dict[int, np.float64]  # token id to logit, in order of id


def candidates(logits: NDArray[np.float32], history: list[int], p: SamplingParams) -> Scores:
    """The tokens that may be drawn and their logits before temperature."""
    biased = [np.float32(x) for x in logits]
    for token, bias in p.logit_bias:
        biased[token] += np.float32(bias)
    penalised = penalise(biased, history, p)
    scores = {token: np.float64(x) for token, x in enumerate(penalised)}
    scores = top_k(scores, p.top_k)
    scores = {token: x for token, x in scores.items() if x > -np.inf}
    return min_p(top_p(typical(scores, p.typical_p), p.top_p), p.min_p)


def distribution(logits: NDArray[np.float32], history: list[int], p: SamplingParams) -> Scores:
    """The tokens that may be drawn and their probabilities."""
    scores = candidates(logits, history, p)
    highest = max(scores.values())
    return softmax({token: (x - highest) / p.temperature for token, x in scores.items()})


def sample(logits: NDArray[np.float32], history: list[int], p: SamplingParams, uniform: float) -> int:
    """The token at `uniform` of the cumulative distribution."""
    probabilities = distribution(logits, history, p)
    sums = running_sum(list(probabilities.values()))
    return next(token for token, total in zip(probabilities, sums, strict=True) if total > uniform * sums[-1])


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
    probabilities = softmax(scores)
    surprise = {t: -np.log(max(x, np.finfo(np.float64).tiny)) for t, x in probabilities.items()}
    entropy = running_sum([probabilities[t] * surprise[t] for t in scores])[-1]
    order = ranked({t: -abs(surprise[t] - entropy) for t in scores})
    sums = running_sum([probabilities[t] for t in order])
    count = next((i + 1 for i, total in enumerate(sums) if total > p), len(order))
    return keep(scores, order[:count])


def top_p(scores: Scores, p: float) -> Scores:
    if p >= 1:
        return scores
    probabilities = softmax(scores)
    order = ranked(scores)
    sums = running_sum([probabilities[t] for t in order])
    count = next((i + 1 for i, total in enumerate(sums) if total >= p), len(order))
    return keep(scores, order[:count])


def min_p(scores: Scores, p: float) -> Scores:
    if p <= 0:
        return scores
    least = max(scores.values()) + np.log(p)
    return {token: x for token, x in scores.items() if x >= least}


def softmax(scores: Scores) -> Scores:
    highest = max(scores.values())
    weights = [np.exp(x - highest) for x in scores.values()]
    total = running_sum(weights)[-1]
    return {token: weight / total for token, weight in zip(scores, weights, strict=True)}


def ranked(scores: Scores) -> list[int]:
    return sorted(scores, key=lambda token: (-scores[token], token))


def keep(scores: Scores, tokens: list[int]) -> Scores:
    return {token: scores[token] for token in sorted(tokens)}


def running_sum(values: list[np.float64]) -> list[np.float64]:
    sums: list[np.float64] = []
    total = np.float64(0)
    for value in values:
        total = total + value
        sums.append(total)
    return sums
