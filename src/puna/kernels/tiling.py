"""What depends on the processor: how much a tile holds, how far ahead to prefetch. Knows no kernel."""

from __future__ import annotations

from puna import hardware

# 32 registers of 16 lanes with AVX-512; elsewhere a 16-lane vector takes two of 16 registers or four of 32.
_TARGET = hardware.target(hardware.isa())
_WIDE = _TARGET.isa is hardware.ISA.AVX512VNNI

# Tokens that a tile takes at once, the largest tile first: a prompt's twelves, eight conversations at once, drafts.
TOKENS = (12, 8, 4, 2, 1) if _WIDE else (4, 2, 1)

# Bytes of a token's 32 int8, their scale and sum in a panel of activations; of what only some layouts read beside.
PANEL_BLOCK, EXTRA_BLOCK = 40, 20

# Query rows of attention, a float accumulator each; fewer than 4 would wait for each other's additions.
ROWS = (16, 8, 4, 1) if _WIDE else (4, 2, 1)
ROWS_MANY = ROWS[0]

# Bytes to prefetch ahead where weights stream from memory once. Zen's own prefetchers do better undisturbed (Zen 4,
# 2 threads, Q4_0: 65 GB/s without, 45 to 52 with); an Emerald Rapids did best with 1 KiB.
AHEAD = 0 if _TARGET.cpu.startswith("znver") else 1152

# The same for a few tokens at once, whose arithmetic would wait for memory (8 tokens: 33 ms a pass without, 24 with).
AHEAD_FEW = 2304

# Groups of 16 rows that float weights are multiplied in at once, from so many tokens on: each activation is loaded once
# for both. Of a tile of 12 tokens the loads, one for each multiply-add, took longer than those (57 % of the peak).
PAIRED_FROM = 4 if _WIDE else 0  # 0: never, registers are too few

# Bytes of weights that a thread multiplies with all tokens, panel after panel, before it goes on: they stay in its
# second-level cache, while activations, larger than that cache in a long prompt, pass by once for all of them.
BLOCK_BYTES = 1 << 18
