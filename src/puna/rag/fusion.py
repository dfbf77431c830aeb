"""Several rankings to one: reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009).

A ranking by distance and one by BM25 have no common scale; places have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

K = 60  # of the paper: how little the first places stand out


def fuse(rankings: Sequence[tuple[Sequence[str], float]]) -> Mapping[str, float]:
    """Scores by key, the best first, from (keys in order, weight) of each ranking.

    1 for what every ranking has first, towards 0 for what few have, far behind. Equal scores keep the order in which
    the keys were seen.
    """
    most = sum(weight for _, weight in rankings) / (K + 1)
    scores: dict[str, float] = {}
    for keys, weight in rankings:
        for place, key in enumerate(dict.fromkeys(keys), 1):
            scores[key] = scores.get(key, 0.0) + weight / (K + place)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return {key: min(1.0, score / most) for key, score in ordered} if most > 0 else {}
