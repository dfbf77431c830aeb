"""How weights lie in memory for their kernels: names and sizes, for the kernels and for who allocates.

A record is 16 rows x `block` columns, rows interleaved so that a lane is a row: first the scales of the record, then
its quants. Knows neither GGUF's types nor how a record is read.
"""

from __future__ import annotations

from dataclasses import dataclass

ROWS = 16  # rows that a layout interleaves


@dataclass(frozen=True, slots=True)
class Layout:
    """A way of laying out weights; its kernels are `matmul_NAME` and `pack_NAME`, in the group NAME."""

    name: str
    block: int  # columns of a record: as many as GGUF's block has
    head: int  # bytes of scales, for 16 rows
    quants: int  # bytes of the rest
    quantized: bool = True  # whether activations must be quantised

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return self.head + self.quants

    @property
    def matmul(self) -> str:
        """The kernel that multiplies."""
        return f"matmul_{self.name}"

    @property
    def pack(self) -> str:
        """The kernel that interleaves rows of blocks."""
        return f"pack_{self.name}"


def _layout(name: str, block: int, *, head: int, bits: int) -> Layout:
    """`head` bytes of scales in each row, then quants of so many bits."""
    return Layout(name, block, head * ROWS, block * bits // 8 * ROWS)


# One scale d (float16) for 32 columns; MXFP4's is a power of two in a byte; the _1 types have a minimum too.
Q4_0 = _layout("q4_0", 32, head=2, bits=4)
Q4_1 = _layout("q4_1", 32, head=4, bits=4)
Q5_0 = _layout("q5_0", 32, head=2, bits=5)
Q5_1 = _layout("q5_1", 32, head=4, bits=5)
Q8_0 = _layout("q8_0", 32, head=2, bits=8)
IQ4_NL = _layout("iq4_nl", 32, head=2, bits=4)
MXFP4 = _layout("mxfp4", 32, head=1, bits=4)
NVFP4 = _layout("nvfp4", 64, head=8, bits=4)  # a float16 for 16 columns

# d, in the types with minima dmin, then a byte of scale (and one of minimum) for 32 or 16 columns.
Q2_K = _layout("q2_k", 256, head=4 + 16, bits=2)  # scale and minimum share a byte
Q3_K = _layout("q3_k", 256, head=2 + 16, bits=3)
Q4_K = _layout("q4_k", 256, head=4 + 8 + 8, bits=4)
Q5_K = _layout("q5_k", 256, head=4 + 8 + 8, bits=5)
Q6_K = _layout("q6_k", 256, head=2 + 16, bits=6)
IQ4_XS = _layout("iq4_xs", 256, head=2 + 8, bits=4)

# Indices of 16 levels, with a float32 for 256 columns and a byte for 16: what the types with codebooks come to.
IQ1 = _layout("iq1", 256, head=4 + 16, bits=4)
IQ2 = _layout("iq2", 256, head=4 + 16, bits=4)
IQ3_XXS = _layout("iq3_xxs", 256, head=4 + 16, bits=4)
IQ3_S = _layout("iq3_s", 256, head=4 + 16, bits=4)

IQ4_LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)  # of IQ4_NL and IQ4_XS

# Those types' levels: the numbers of a codebook with both signs; IQ1's, shifted by 1/8 up or down, times 8.
IQ1_LEVELS = (-9, -7, -1, 1, 7, 9)
IQ2_LEVELS = (8, 25, 43, -8, -25, -43)
IQ3_XXS_LEVELS = (4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62)
IQ3_S_LEVELS = (1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15)

F16 = Layout("f16", 1, 0, 2 * ROWS, quantized=False)
BF16 = Layout("bf16", 1, 0, 2 * ROWS, quantized=False)
F32 = Layout("f32", 1, 0, 4 * ROWS, quantized=False)
