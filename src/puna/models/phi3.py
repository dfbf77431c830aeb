"""Phi-3 and Phi-4: Llama's forward pass with joint matrices, and LongRoPE or a window (Abdin et al. 2024)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.decoder import record_decoder
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass; the blocks take their rows out of attn_qkv, and out of ffn_up those of the gate."""
    record_decoder(Decoder.of(forward, weights, config))
