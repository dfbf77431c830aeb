"""Kernels for processors that are not here: their assembly holds the instructions that they are chosen for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from puna import hardware, kernels
from puna.hardware import ISA
from puna.kernels.cache import compiler_environment
from tests.kernels.fixed_results import results
from tests.kernels.running import same_bits

ROOT = Path(__file__).parents[2]
KERNELS = ("matmul_q4_0", "matmul_q8_0", "matmul_f16")


def assembly(isa: ISA, *kernels: str) -> str:
    """Kernels compiled for an instruction set, which this machine need not have."""
    command = [sys.executable, "-m", "tests.kernels.assembly", *kernels]
    environment = compiler_environment(hardware.target(isa))
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def require_backend(triple: str) -> None:
    """Skip where LLVM was built without an architecture."""
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this llvmlite generates no code for {triple}")


@pytest.mark.skipif(hardware.machine() != "x86_64", reason="an instruction set of x86-64")
def test_avxvnni_is_encoded_for_processors_without_avx512() -> None:
    text = assembly(ISA.AVXVNNI, *KERNELS)
    found = re.findall(r"(\{vex\})?\s*vpdpbusd\s.*%(ymm|zmm|xmm)\d+$", text, re.MULTILINE)
    assert len(found) > 50
    assert set(found) == {("{vex}", "ymm")}
    assert "zmm" not in text


@pytest.mark.skipif(hardware.machine() != "x86_64", reason="an instruction set of x86-64")
def test_avx2_uses_nothing_that_only_a_newer_processor_has() -> None:
    text = assembly(ISA.AVX2, *KERNELS)
    assert "vpmaddubsw" in text
    assert not re.search(r"zmm|ymm(1[6-9]|2\d|3[01])|%k[0-7]|vpdpbusd", text)


@pytest.mark.parametrize(("isa", "dots"), [(ISA.NEON, {"sdot"}), (ISA.I8MM, {"sdot", "smmla"})])
def test_arm_kernels_use_its_dot_products_and_need_no_library(isa: ISA, dots: set[str]) -> None:
    require_backend("aarch64-unknown-linux-gnu")
    text = assembly(isa, *KERNELS)
    assert set(re.findall(r"\b(sdot|smmla|udot|usdot)\b", text)) == dots
    assert len(re.findall(r"\b(?:sdot|smmla)\b", text)) > 50
    assert re.search(r"\bfcvtl", text), "half floats are not converted by the processor"
    assert not re.findall(r"\bbl\s+(?!_?_ZN)", text), "a call of something that is not there"


# 256-bit VNNI in the encoding of AVX-512, which a processor without AVX-VNNI may have: the same code otherwise.
EVEX = "+avx2,+fma,+f16c,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni"

RUN_AVXVNNI = f"""
import sys
import numpy as np
from puna import hardware, kernels
hardware.target = lambda isa: hardware.Target(isa, "x86-64-v3", "{EVEX}")
hardware.require = lambda isa: None
from puna.kernels import compiler
from puna.kernels.cache import Cache
from tests.kernels.fixed_results import results
folder = Cache(hardware.target(hardware.isa())).folder
folder.mkdir(parents=True, exist_ok=True)
compiler.main(folder, [group for group in ("core", "q4_0", "q8_0") if not (folder / group).exists()])
np.savez(sys.argv[1], **results(kernels.load(), ("q4_0", "q8_0")))
"""


@pytest.mark.skipif(ISA.AVX512VNNI not in hardware.supported_isas(), reason="this processor lacks AVX-512 VNNI")
def test_avxvnni_gives_the_bits_of_the_other_paths(tmp_path: Path) -> None:
    environment = compiler_environment(hardware.Target(ISA.AVXVNNI, "x86-64-v3", EVEX))
    command = [sys.executable, "-c", RUN_AVXVNNI, str(tmp_path / "avxvnni.npz")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    expected = results(kernels.load(), ("q4_0", "q8_0"))
    with np.load(tmp_path / "avxvnni.npz") as got:
        assert set(got) == set(expected)
        for name, value in expected.items():
            assert same_bits(got[name], value), name
