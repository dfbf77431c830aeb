"""Which instruction sets a machine has, and what code is generated for."""

from __future__ import annotations

import pytest

from puna import hardware, paths
from puna.errors import KernelError
from puna.hardware import ISA


def test_every_machine_has_the_portable_path_last() -> None:
    assert hardware.supported_isas()[-1] is ISA.PORTABLE
    assert list(hardware.supported_isas()) == [isa for isa in ISA if isa in hardware.supported_isas()]


def test_an_instruction_set_of_another_machine_can_be_compiled_for_but_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ISA.NEON if hardware.machine() == "x86_64" else ISA.AVX2
    monkeypatch.setenv(paths.ISA.names[0], other)
    assert hardware.isa() is other
    assert hardware.target(other).triple
    with pytest.raises(KernelError, match=f"PUNA_ISA={other}, but this processor lacks it"):
        hardware.require(other)


@pytest.mark.skipif(ISA.AVX2 not in hardware.supported_isas(), reason="this processor lacks AVX2")
def test_the_avx2_path_is_tuned_for_this_processor_without_its_newer_instructions() -> None:
    target = hardware.target(ISA.AVX2)
    assert {"+avx2", "+fma", "+f16c"} <= set(target.features.split(","))
    assert "+avx512" not in target.features
    assert "+avxvnni" not in target.features
    assert target.cpu == hardware.target(hardware.supported_isas()[0]).cpu
