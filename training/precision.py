"""Which type this processor multiplies matrices in fastest: bfloat16 where it has instructions for it, else float32."""

from __future__ import annotations

import torch

from puna.hardware import host_features

_BFLOAT16 = {"avx512bf16", "amx-bf16", "bf16"}  # LLVM's names; the last is Arm's


def fastest() -> torch.dtype:
    """Without those instructions torch emulates bfloat16: a step of Muon takes seconds where float32 takes 0.3."""
    return torch.bfloat16 if host_features() & _BFLOAT16 else torch.float32
