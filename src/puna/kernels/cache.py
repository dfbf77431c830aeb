"""Compiled kernels on disk: a folder for each set of sources and processor, in it a folder for each group of kernels.

The key covers every source line of `kernels` and `simd`, the versions of Numba and llvmlite, and the processor. Groups
are compiled by processes of their own, one for each core, into folders beside their final ones, and moved there in one
step. Knows nothing of loading machine code, nor of what kernels do.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from puna import hardware, paths
from puna.errors import KernelError

# Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]

UNUSED_SECONDS = 30 * 86400  # a key's folder that no process has opened for so long is removed


@dataclass(frozen=True, slots=True)
class Compiled:
    """A group of kernels as it lies in the cache."""

    code: bytes
    parameters: dict[str, tuple[tuple[str, str], ...]]  # of each of its kernels, in order: (name, kind)
    groups: dict[str, str]  # the group of every kernel there is


def cache_key(target: hardware.Target) -> str:
    """A name for everything that the compiled code depends on."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for source in [*sorted(here.glob("*.py")), *sorted((here.parent / "simd").glob("*.py"))]:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    versions = metadata.version("numba"), metadata.version("llvmlite"), sys.version
    for part in (*versions, target.isa, target.cpu, target.features):
        digest.update(part.encode() + b"\0")
    return f"{target.isa}-{digest.hexdigest()[:24]}"


class Cache:
    """The compiled groups for one target."""

    def __init__(self, target: hardware.Target) -> None:
        self._target = target
        self._all = paths.cache_dir() / "kernels"
        self.folder = self._all / cache_key(target)

    def get(self, groups: Iterable[str], progress: Progress | None = None) -> dict[str, Compiled]:
        """These groups; those that are not in the cache are compiled, side by side, first.

        Raises KernelError if compiling fails.
        """
        found = {group: _read(self.folder / group) for group in groups}
        missing = [group for group, compiled in found.items() if compiled is None]
        if missing:
            found.update(self._compile_all(missing, progress))
            self._remove_unused()
        with suppress(OSError):  # a cache that cannot be written to may still be read
            os.utime(self.folder)
        return {group: compiled for group, compiled in found.items() if compiled is not None}

    def _compile_all(self, groups: list[str], progress: Progress | None) -> dict[str, Compiled]:
        self.folder.mkdir(parents=True, exist_ok=True)
        count = _Count(progress)
        shares = _shares(sorted(groups), hardware.physical_cores())
        with ThreadPoolExecutor(len(shares)) as workers:
            found: dict[str, Compiled] = {}
            for compiled in workers.map(lambda share: self._compile(share, count), shares):
                found |= compiled
            return found

    def _compile(self, groups: list[str], count: _Count) -> dict[str, Compiled]:
        """Compile in another process into a folder beside the final ones; move each there as soon as it is whole."""
        scratch, found = Path(tempfile.mkdtemp(prefix=".compiling-", dir=self.folder)), {}
        try:
            command = [sys.executable, "-m", "puna.kernels.compiler", str(scratch), *groups]
            for message in _run_compiler(command, compiler_environment(self._target)):
                count.add(message)
                if "whole" in message:
                    group = str(message["whole"])
                    found[group] = self._take(scratch / group, self.folder / group)
            return found
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _take(self, made: Path, folder: Path) -> Compiled:
        """Move a finished group to where it belongs."""
        compiled = _read(made)
        if compiled is None:
            raise KernelError(f"the kernels were compiled, but cannot be read back from {made}")
        _publish(made, folder)
        return compiled

    def _remove_unused(self) -> None:
        """Remove what other sources and processors have left, once it is old."""
        for folder in self._all.iterdir():
            with suppress(OSError):
                if folder != self.folder and folder.stat().st_mtime < time.time() - UNUSED_SECONDS:
                    shutil.rmtree(folder)


def compiler_environment(target: hardware.Target) -> dict[str, str]:
    """The environment variables of a process that compiles for a target."""
    numba = {
        "NUMBA_OPT": "0",  # LLVM optimises the whole once, at the end: a third to a half less time, the same speed
        "NUMBA_LOOP_VECTORIZE": "0",  # the kernels say themselves what is a vector
        "NUMBA_SLP_VECTORIZE": "0",
        "NUMBA_DISABLE_JIT": "0",
    }
    if not target.triple:
        numba |= {"NUMBA_CPU_NAME": target.cpu, "NUMBA_CPU_FEATURES": target.features}
    return os.environ | numba | {paths.ISA.names[0]: target.isa}


def _shares(groups: list[str], count: int) -> list[list[str]]:
    """What each of up to `count` compilers gets: neighbours, since groups with like names share much of their code."""
    count = min(count, len(groups))
    bounds = [len(groups) * i // count for i in range(count + 1)]
    return [groups[begin:end] for begin, end in itertools.pairwise(bounds)]


class _Count:
    """Adds up what several compilers report."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._done = self._total = 0

    def add(self, message: dict[str, object]) -> None:
        """A compiler's line: the number of its kernels, or one that it has compiled."""
        with self._lock:
            self._total += int(str(message.get("total", 0)))
            self._done += "compiled" in message
            if self._progress:
                self._progress("compiling kernels", self._done, self._total)


def _read(folder: Path) -> Compiled | None:
    """A group's folder; None if it is absent or not what its manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        code = (folder / "kernels.o").read_bytes()
        digest = manifest["sha256"]
        groups = {str(name): str(group) for name, group in manifest["groups"].items()}
        parameters = {
            name: tuple((str(p), str(kind)) for p, kind in listed) for name, listed in manifest["kernels"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Compiled(code, parameters, groups) if hashlib.sha256(code).hexdigest() == digest else None


def _publish(scratch: Path, folder: Path) -> None:
    """Move a finished folder into place in one step; what another process has put there meanwhile is as good."""
    if _read(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.replace(scratch, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _run_compiler(command: list[str], environment: dict[str, str]) -> Iterator[dict[str, object]]:
    """What a compiler reports, line by line. Raises KernelError if it fails."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            yield json.loads(line)
        if child.wait():
            errors.seek(0)
            raise KernelError(f"the kernels could not be compiled (exit {child.returncode}): {errors.read()[-2000:]}")
