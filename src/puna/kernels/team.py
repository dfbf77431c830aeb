"""A team of threads that runs tapes: each thread calls every kernel of the tape, side by side with the others.

No Python runs inside a tape; the caller's thread is the team's first. Knows nothing of what a tape computes.
"""

from __future__ import annotations

import ctypes
import sys
import threading

import numpy as np

from puna.errors import KernelError
from puna.kernels.library import KernelLibrary
from puna.kernels.tape import Tape

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def _yield_address() -> int:
    """The system's function that gives the core to another thread."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


class Team:
    """`threads` threads, the caller's included. One tape at a time; not to be called from two threads at once."""

    def __init__(self, library: KernelLibrary, threads: int) -> None:
        self.threads = threads
        self._library = library  # the threads run its code: it must not be unloaded under them
        self._run_tape = _ENTRY(library.address("run_tape"))
        self._yield = _yield_address()
        # Arrivals and generation of the barrier, each on a cache line of its own.
        self._barrier = np.zeros(16, np.int64)
        self._arguments = 0
        self._go = [threading.Semaphore(0) for _ in range(threads - 1)]
        self._done = threading.Semaphore(0)
        self._closed = False
        for index in range(1, threads):
            threading.Thread(target=self._work, args=(index,), name=f"puna-team-{index}", daemon=True).start()

    def _work(self, index: int) -> None:
        while True:
            self._go[index - 1].acquire()
            if self._closed:
                return
            self._run_tape(self._arguments, index, self.threads)
            self._done.release()

    def run(self, tape: Tape) -> None:
        """Run a tape to its end. Raises KernelError when the team is closed."""
        if self._closed:
            raise KernelError("a closed team cannot run a tape")
        entries = tape.entries()
        arguments = np.array([entries.ctypes.data, len(entries), self._barrier.ctypes.data, self._yield], np.int64)
        self._arguments = arguments.ctypes.data
        for go in self._go:
            go.release()
        self._run_tape(self._arguments, 0, self.threads)
        for _ in self._go:
            self._done.acquire()

    def close(self) -> None:
        """Let the threads end."""
        self._closed = True
        for go in self._go:
            go.release()
