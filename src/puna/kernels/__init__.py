"""SIMD kernels, one file per weight layout or family of operations, and what runs them.

Kernel files are written in Python over `puna.simd`, compiled once by `compiler` in processes of their own, kept by
`cache` and loaded as machine code by `library`. A `Tape` records calls; a `Team` of threads runs them.
"""

from puna.kernels.cache import Progress
from puna.kernels.library import KernelLibrary, load
from puna.kernels.tape import Tape
from puna.kernels.team import Team

__all__ = ["KernelLibrary", "Progress", "Tape", "Team", "load"]
