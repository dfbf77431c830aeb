"""How many tokens a tile holds: as many accumulators as the registers take. Knows no kernel."""

from __future__ import annotations

from puna import hardware

# 32 registers of 16 lanes with AVX-512; elsewhere a 16-lane vector takes two or four of 16 registers.
_WIDE = hardware.isa() is hardware.ISA.AVX512VNNI

TOKENS_MANY = 12 if _WIDE else 3
TOKENS_SOME = 4 if _WIDE else 2
ROWS_MANY = 16 if _WIDE else 4  # of attention: one float accumulator each
