"""Names and sizes of the kernels that quantise, for the kernels and for who calls them.

Knows nothing of how they do it.
"""

from __future__ import annotations

TILE_BLOCKS = 16  # blocks that are quantised side by side; what is written is whole tiles
SCRATCH = 1 << 16  # bytes of scratch memory for each thread
WIDENING = "widen"  # the group of those that make float32 of what is to be quantised


def quantizer(kind: str, *, weighted: bool = False) -> str:
    """The kernel that quantises to a type of ggml's; weighted: columns count by their importance.

    It is alone in a group of the same name: compiled and loaded only when a model is quantised.
    """
    return f"quantize_{kind.lower()}_weighted" if weighted else f"quantize_{kind.lower()}"


def widener(kind: str) -> str:
    """The kernel that makes float32 of a type that may be quantised."""
    return f"widen_{kind.lower()}"
