"""The compiled kernels: found in the cache or compiled into it once, then loaded as machine code.

The cache's key covers every source line of `kernels` and `simd`, the versions of Numba and llvmlite, and the
processor. Loading needs LLVM's loader only, not Numba. Knows nothing of what kernels do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import llvmlite.binding as llvm

from puna import hardware, paths
from puna.errors import KernelError

# Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]


class KernelLibrary:
    """Machine code of all kernels, their addresses and their parameters."""

    def __init__(self, code: bytes, parameters: dict[str, tuple[tuple[str, str], ...]]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._parameters = parameters

    def address(self, kernel: str) -> int:
        """Where a kernel's C entry lies: `void (int64 *arguments, int64 thread, int64 threads)`."""
        address = self._engine.get_function_address(f"puna_{kernel}")
        if not address:
            raise KernelError(f"no kernel is named {kernel!r}")
        return int(address)

    def parameters(self, kernel: str) -> tuple[tuple[str, str], ...]:
        """A kernel's parameters in order: (name, 'Address' | 'Int' | 'Live' | 'Float')."""
        if kernel not in self._parameters:
            raise KernelError(f"no kernel is named {kernel!r}")
        return self._parameters[kernel]


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


def _read(folder: Path) -> KernelLibrary | None:
    """The library in a cache folder; None if it is absent or not what its manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        code = (folder / "kernels.o").read_bytes()
        digest = manifest["sha256"]
        parameters = {
            name: tuple((str(p), str(kind)) for p, kind in listed) for name, listed in manifest["kernels"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return KernelLibrary(code, parameters) if hashlib.sha256(code).hexdigest() == digest else None


def _publish(scratch: Path, folder: Path) -> None:
    """Move a finished folder into place in one step; what another process has put there meanwhile is as good."""
    if _read(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.replace(scratch, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _compile(folder: Path, target: hardware.Target, progress: Progress | None) -> KernelLibrary:
    """Compile in another process into a folder beside the final one, then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".compiling-", dir=folder.parent))
    environment = os.environ | {
        paths.ISA.names[0]: target.isa,
        "NUMBA_CPU_NAME": target.cpu,
        "NUMBA_CPU_FEATURES": target.features,
        "NUMBA_LOOP_VECTORIZE": "0",  # the kernels say themselves what is a vector
        "NUMBA_SLP_VECTORIZE": "0",
        "NUMBA_DISABLE_JIT": "0",
    }
    try:
        _run_compiler([sys.executable, "-m", "puna.kernels.compiler", str(scratch)], environment, progress)
        library = _read(scratch)
        if library is None:
            raise KernelError(f"the kernels were compiled, but cannot be read back from {scratch}")
        _publish(scratch, folder)
        return library
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_compiler(command: list[str], environment: dict[str, str], progress: Progress | None) -> None:
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
        total = done = 0
        for line in child.stdout:
            message = json.loads(line)
            total, done = message.get("total", total), done + ("compiled" in message)
            if progress:
                progress("compiling kernels", done, total)
        if child.wait():
            errors.seek(0)
            raise KernelError(f"the kernels could not be compiled (exit {child.returncode}): {errors.read()[-2000:]}")


def load(progress: Progress | None = None) -> KernelLibrary:
    """The kernels for this machine, compiled first if they are not in the cache.

    Raises KernelError if the instruction set asked for is absent or compiling fails.
    """
    target = hardware.target(hardware.isa())
    folder = paths.cache_dir() / "kernels" / cache_key(target)
    return _read(folder) or _compile(folder, target, progress)
