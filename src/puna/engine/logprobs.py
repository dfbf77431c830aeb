"""Log-probabilities of tokens, as the model gives them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.engine.sampler import largest
from puna.engine.types import TokenLogprobs


def token_logprobs(logits: NDArray[np.float32], token: int, count: int) -> TokenLogprobs:
    """Of `token` and of the `count` likeliest tokens, from raw logits (vocab_size,), which are finite.

    Before biases, penalties, filters and temperature: what llama.cpp's server, and so Ollama, reports.
    """
    peak = logits.max()
    log_sum = float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    top = largest(logits, count) if count else ()
    return TokenLogprobs(
        float(logits[token]) - log_sum, tuple((int(each), float(logits[each]) - log_sum) for each in top)
    )
