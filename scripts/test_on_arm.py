"""Runs the kernels' tests on an emulated Arm processor: `python scripts/test_on_arm.py ARM_ROOT [i8mm|neon]`.

ARM_ROOT is a folder with a Python for arm64 and, in ARM_ROOT/site, the packages that the tests import. On Debian:

    dpkg --add-architecture arm64 && apt-get update && apt-get install qemu-user-static
    apt-get download python3.11:arm64 ...      # and what it depends on; unpack each with `dpkg-deb -x FILE ARM_ROOT`
    pip install --target ARM_ROOT/site --platform manylinux_2_28_aarch64 --only-binary=:all: --python-version 3.11 \\
        numpy numba llvmlite platformdirs psutil pytest pytest-timeout hypothesis

Kernels are compiled here for the other processor and put into its cache, ARM_ROOT/cache, as the emulator starts no
other emulated process. What must come out is what the same tests ask everywhere; nothing is said of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from puna import hardware
from puna.kernels.cache import compiler_environment

ROOT = Path(__file__).resolve().parents[1]
# Of one machine or of the cache: they run elsewhere.
ELSEWHERE = ("test_instruction_sets.py", "test_library.py", "test_cross.py")

FOLDER = """
from puna import hardware
from puna.kernels.cache import Cache
print(Cache(hardware.target(hardware.isa())).folder)
"""


def compile_here(isa: str, cache: Path) -> None:
    """Every group of kernels, for the other processor, into its cache."""
    environment = compiler_environment(hardware.target(hardware.ISA(isa)))
    cache.mkdir(parents=True, exist_ok=True)
    for groups in (lambda: ["core"], lambda: _groups(cache)):
        missing = [group for group in groups() if not (cache / group).exists()]
        print("compiling", *missing, flush=True)
        command = [sys.executable, "-m", "puna.kernels.compiler", str(cache), *missing]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _groups(cache: Path) -> list[str]:
    return sorted(set(json.loads((cache / "core" / "manifest.json").read_text())["groups"].values()))


def main() -> int:
    """Command line; the tests' exit status."""
    parser = argparse.ArgumentParser(description="the kernels' tests on an emulated Arm processor")
    parser.add_argument("arm_root", type=Path)
    parser.add_argument("isa", nargs="?", default="i8mm", choices=("i8mm", "neon"))
    parser.add_argument("tests", nargs="*", default=["tests/kernels", "tests/simd"])
    a = parser.parse_args()
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    pythons = sorted(a.arm_root.glob("usr/bin/python3.[0-9]*"))
    if emulator is None or not pythons:
        print(f"needs qemu-aarch64 (qemu-user-static) and a Python in {a.arm_root}/usr/bin", file=sys.stderr)
        return 2
    arm = a.arm_root.resolve()
    environment = os.environ | {
        "PYTHONPATH": f"{arm / 'site'}:{ROOT / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PUNA_CACHE": str(arm / "cache"),
        "PUNA_ISA": a.isa,
    }
    python = [emulator, "-cpu", "max", "-L", str(arm), str(pythons[0])]
    asked = subprocess.run([*python, "-c", FOLDER], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    compile_here(a.isa, Path(asked.stdout.strip()))
    ignored = [f"--ignore=tests/kernels/{name}" for name in ELSEWHERE]
    options = ["-q", "-p", "no:cacheprovider", "--timeout", "3600", *ignored]
    return subprocess.run(
        [*python, "-m", "pytest", *options, *a.tests], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
