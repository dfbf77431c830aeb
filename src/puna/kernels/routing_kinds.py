"""How a router's logits become weights: the numbers that `routing` takes. Knows no kernel; imports no compiler.

They are llama.cpp's (the metadata key expert_gating_func).
"""

from __future__ import annotations

SOFTMAX = 1  # probabilities of all experts
SIGMOID = 2  # each expert's own
SOFTMAX_OF_CHOSEN = 3  # the best logits are chosen, and are their softmax's
