"""The kernels' tests again under every other instruction set that this machine can run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from puna import hardware, paths
from puna.gguf import GGMLType
from puna.hardware import ISA
from puna.kernels.cache import Cache
from puna.models import KV_TYPES
from puna.models.weights import layout_of
from tests.kernels.quantized import KINDS
from tests.kernels.running import same_bits

ROOT = Path(__file__).parents[2]
# Not of one instruction set, or (this file) without end.
ELSEWHERE = ("test_instruction_sets.py", "test_library.py", "test_tape_and_team.py", "test_cross.py")

GROUPS = {"core", *(f"attention_{kv_type}" for kv_type in KV_TYPES), *(layout_of(kind).name for kind in GGMLType)}
OTHERS = [isa for isa in hardware.supported_isas() if isa is not hardware.isa()]


def environment(isa: ISA) -> dict[str, str]:
    """What makes kernels, and instructions compiled by the tests themselves, those of an instruction set."""
    target = hardware.target(isa)
    chosen = {paths.ISA.names[0]: isa.value, "NUMBA_CPU_NAME": target.cpu, "NUMBA_CPU_FEATURES": target.features}
    return os.environ | chosen


@pytest.mark.timeout(1200)  # every kernel is compiled anew, and every test of them runs
@pytest.mark.parametrize("isa", OTHERS)
def test_every_kernel_is_right_under_another_instruction_set(isa: ISA) -> None:
    Cache(hardware.target(isa)).get(GROUPS)  # compiled side by side, sooner than one by one as they are used
    ignored = [f"--ignore=tests/kernels/{name}" for name in ELSEWHERE]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, "tests/kernels", "tests/simd"]
    child = subprocess.run(command, cwd=ROOT, env=environment(isa), capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-2000:]


@pytest.mark.skipif(
    not {ISA.AVX512VNNI, ISA.AVX2} <= set(hardware.supported_isas()), reason="this processor lacks AVX-512 VNNI"
)
def test_quantised_products_are_the_same_bits_with_and_without_vnni(tmp_path: Path) -> None:
    for isa in (ISA.AVX512VNNI, ISA.AVX2):
        command = [sys.executable, "-m", "tests.kernels.fixed_results", str(tmp_path / f"{isa}.npz")]
        subprocess.run(command, cwd=ROOT, env=environment(isa), check=True)
    with np.load(tmp_path / "avx512vnni.npz") as vnni, np.load(tmp_path / "avx2.npz") as avx2:
        assert len(vnni) == 8 * len(KINDS)
        assert set(vnni) == set(avx2)
        for name in vnni:
            assert same_bits(vnni[name], avx2[name]), name
