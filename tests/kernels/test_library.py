"""The cache of compiled kernels: its key, its groups, its faults, and what the object files may need.

Tests that compile do it with a copy of the package that holds only the elementwise kernels, which takes seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import puna
from puna import hardware, kernels, paths
from puna.errors import KernelError
from puna.kernels.cache import UNUSED_SECONDS, cache_key
from tests.kernels.elf import undefined_symbols

# What LLVM may call of its own accord, and the loader finds in any C library.
ALLOWED = {"memcpy", "memset", "memmove"}

LOAD = """
import sys
from puna import kernels
steps = []
kernels.load(lambda what, done, total: steps.append((what, done, total)))
assert "numba" not in sys.modules
if steps:
    assert steps[-1][1] == steps[-1][2] > 0
print("compiled" if steps else "cached")
"""


# A group that only some models need.
EXTRA = '''
"""Another group."""
from __future__ import annotations
from puna.kernels.kernel import Address, kernel_of
import numpy as np
from puna.simd import set_i32

@kernel_of("extra")
def write_seven(thread: int, threads: int, out: Address) -> None:
    set_i32(out, np.int32(7))
'''

LOAD_EXTRA = LOAD.replace("steps.append((what, done, total))", "steps.append((what, done, total)), ['extra']")

RUN_EXTRA = """
import numpy as np
from puna import kernels
library = kernels.load()
tape, team, out = kernels.Tape(library), kernels.Team(library, 1), np.zeros(1, np.int32)
tape.record("write_seven", {"out": out})
team.run(tape)
print(out[0])
"""


def folder(group: str = "core") -> Path:
    """The cache folder of a group of this machine's kernels."""
    return paths.cache_dir() / "kernels" / cache_key(hardware.target(hardware.isa())) / group


@pytest.fixture(scope="module")
def small_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of puna whose only kernels are the elementwise ones, and one in a group of its own."""
    root = tmp_path_factory.mktemp("small")
    package = root / "puna"
    shutil.copytree(Path(puna.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for pattern in ("attention*.py", "matmul*.py", "packing.py", "activations.py"):
        for source in (package / "kernels").glob(pattern):
            source.unlink()
    (package / "kernels" / "extra.py").write_text(EXTRA)
    return root


def start(code: str, package: Path, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """Python on a copy of the package, with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(package), "PUNA_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    with process:
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return out.strip()


@pytest.fixture(scope="module")
def small_cache(small_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache into which two processes have compiled the small package at once."""
    cache = tmp_path_factory.mktemp("cache")
    both = [start(LOAD, small_package, cache) for _ in range(2)]
    assert [finish(process) for process in both] == ["compiled", "compiled"]
    return cache


def only_folder(cache: Path) -> Path:
    """The cache's one finished group; nothing unfinished is left beside it."""
    (key,) = (cache / "kernels").iterdir()
    (found,) = key.iterdir()
    return found


def test_two_processes_that_compile_at_once_both_succeed_and_leave_one_folder(small_cache: Path) -> None:
    assert {path.name for path in only_folder(small_cache).iterdir()} == {"kernels.o", "manifest.json"}


def test_a_second_load_compiles_nothing_and_does_not_import_numba(small_package: Path, small_cache: Path) -> None:
    before = [path.stat().st_mtime_ns for path in only_folder(small_cache).iterdir()]
    began = time.monotonic()
    assert finish(start(LOAD, small_package, small_cache)) == "cached"
    assert time.monotonic() - began < 20
    assert [path.stat().st_mtime_ns for path in only_folder(small_cache).iterdir()] == before


def test_a_group_is_compiled_when_a_model_asks_for_it_and_then_found(
    small_package: Path, small_cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_cache, tmp_path / "cache")
    assert finish(start(LOAD_EXTRA, small_package, tmp_path / "cache")) == "compiled"
    assert finish(start(LOAD_EXTRA, small_package, tmp_path / "cache")) == "cached"
    (key,) = (tmp_path / "cache" / "kernels").iterdir()
    assert {path.name for path in key.iterdir()} == {"core", "extra"}


def test_a_kernel_of_a_group_that_nobody_asked_for_is_compiled_on_first_use(
    small_package: Path, small_cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_cache, tmp_path / "cache")
    assert finish(start(RUN_EXTRA, small_package, tmp_path / "cache")) == "7"


def test_folders_that_nothing_has_used_for_long_are_removed_and_no_others(
    small_package: Path, small_cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_cache, tmp_path / "cache")
    (used,) = (tmp_path / "cache" / "kernels").iterdir()
    for name, age in (("old", UNUSED_SECONDS + 60), ("recent", UNUSED_SECONDS - 3600), (used.name, 2 * UNUSED_SECONDS)):
        (tmp_path / "cache" / "kernels" / name / "core").mkdir(parents=True, exist_ok=True)
        os.utime(tmp_path / "cache" / "kernels" / name, (time.time() - age,) * 2)
    assert finish(start(LOAD_EXTRA, small_package, tmp_path / "cache")) == "compiled"
    assert {path.name for path in (tmp_path / "cache" / "kernels").iterdir()} == {"recent", used.name}
    assert used.stat().st_mtime > time.time() - 3600, "a folder that is used must stay young"


def truncate(found: Path) -> None:
    code = (found / "kernels.o").read_bytes()
    (found / "kernels.o").write_bytes(code[: len(code) // 2])


def flip_a_bit(found: Path) -> None:
    code = bytearray((found / "kernels.o").read_bytes())
    code[len(code) // 2] ^= 1
    (found / "kernels.o").write_bytes(code)


def without_the_kernels_names(found: Path) -> None:
    manifest = json.loads((found / "manifest.json").read_text())
    del manifest["kernels"]
    (found / "manifest.json").write_text(json.dumps(manifest))


def write_manifest(text: str) -> Callable[[Path], None]:
    def write(found: Path) -> None:
        (found / "manifest.json").write_text(text)

    return write


FAULTS: dict[str, Callable[[Path], None]] = {
    "object truncated": truncate,
    "object with a flipped bit": flip_a_bit,
    "object missing": lambda found: (found / "kernels.o").unlink(),
    "manifest missing": lambda found: (found / "manifest.json").unlink(),
    "manifest empty": write_manifest(""),
    "manifest truncated": write_manifest('{"sha256": "'),
    "manifest of another shape": write_manifest("[]"),
    "manifest with nothing in it": write_manifest("{}"),
    "manifest without the kernels": without_the_kernels_names,
}

# Recompiling is stopped before it begins: what is asked is only whether the faulty folder was believed.
LOAD_WITHOUT_COMPILING = """
import subprocess
from puna import kernels
def refuse(*arguments, **options):
    print("would compile")
    raise SystemExit(0)
subprocess.Popen = refuse
kernels.load()
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_corrupt_cache_is_never_loaded(small_package: Path, small_cache: Path, tmp_path: Path, fault: str) -> None:
    shutil.copytree(small_cache, tmp_path / "cache")
    FAULTS[fault](only_folder(tmp_path / "cache"))
    assert finish(start(LOAD_WITHOUT_COMPILING, small_package, tmp_path / "cache")) == "would compile"


def test_a_corrupt_cache_is_compiled_again_in_its_place(small_package: Path, small_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(small_cache, tmp_path / "cache")
    flip_a_bit(only_folder(tmp_path / "cache"))
    assert finish(start(LOAD, small_package, tmp_path / "cache")) == "compiled"
    assert finish(start(LOAD, small_package, tmp_path / "cache")) == "cached"
    only_folder(tmp_path / "cache")


def test_a_kernel_that_does_not_compile_is_an_error_with_the_reason(small_package: Path, tmp_path: Path) -> None:
    shutil.copytree(small_package, tmp_path / "broken")
    with (tmp_path / "broken/puna/kernels/elementwise.py").open("a") as source:
        source.write("\n\n@kernel\ndef broken(thread: int, threads: int, x: Address) -> None:\n    undefined_name(x)\n")
    code = "from puna import kernels, errors\ntry: kernels.load()\nexcept errors.KernelError as error: print(error)"
    assert "undefined_name" in finish(start(code, tmp_path / "broken", tmp_path / "cache"))
    (key,) = (tmp_path / "cache" / "kernels").iterdir()
    assert not list(key.iterdir()), "an unfinished folder is left"


KEY = """
from puna import hardware
from puna.kernels.cache import cache_key
print(cache_key(hardware.target(hardware.isa())))
"""


def test_the_cache_key_changes_with_any_source_and_only_then(small_package: Path, tmp_path: Path) -> None:
    shutil.copytree(small_package, tmp_path / "changed")
    keys = [finish(start(KEY, small_package, tmp_path))]
    assert finish(start(KEY, tmp_path / "changed", tmp_path)) == keys[0]
    for name in ("kernels/elementwise.py", "kernels/compiler.py", "simd/vector.py", "simd/tile.py"):
        with (tmp_path / "changed" / "puna" / name).open("a") as source:
            source.write("# one more line\n")
        keys.append(finish(start(KEY, tmp_path / "changed", tmp_path)))
    assert len(set(keys)) == 5


def test_the_cache_key_changes_with_the_instruction_set() -> None:
    keys = {cache_key(hardware.target(isa)) for isa in hardware.supported_isas()}
    assert len(keys) == len(hardware.supported_isas())


def test_the_cache_key_changes_with_the_processor() -> None:
    isa = hardware.isa()
    others = [hardware.Target(isa, "a", "+b"), hardware.Target(isa, "c", "+b"), hardware.Target(isa, "a", "+d")]
    assert len({cache_key(target) for target in others}) == 3


@pytest.mark.parametrize("value", ["nonsense", "AVX2", "sse"])
def test_an_unknown_instruction_set_is_an_error_that_names_the_known_ones(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUNA_ISA", value)
    with pytest.raises(KernelError, match=", ".join(hardware.ISA)):
        kernels.load()


@pytest.fixture(scope="module")
def every_kernel() -> kernels.KernelLibrary:
    """All groups, compiled side by side where the cache lacks them: minutes on a slow machine."""
    core = kernels.load()
    return kernels.load(groups={core.group(name) for name in core.names()})


@pytest.mark.timeout(1200)
def test_every_kernel_has_an_address_of_its_own(every_kernel: kernels.KernelLibrary) -> None:
    names = every_kernel.names()
    assert len({every_kernel.address(name) for name in names}) == len(names) >= 15


@pytest.mark.timeout(1200)
def test_no_kernel_calls_back_into_python_or_into_a_library(every_kernel: kernels.KernelLibrary) -> None:
    groups = {every_kernel.group(name) for name in every_kernel.names()}
    for group in groups:
        try:
            undefined = undefined_symbols((folder(group) / "kernels.o").read_bytes())
        except ValueError:
            pytest.skip("object files of this system are not ELF")
        assert undefined <= ALLOWED, group


def test_undefined_symbols_are_found_where_there_are_some() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(
        "declare void @PyErr_Clear()\ndefine void @f() {\n call void @PyErr_Clear()\n ret void\n}"
    )
    code = llvm.Target.from_default_triple().create_target_machine().emit_object(module)
    try:
        assert undefined_symbols(code) == {"PyErr_Clear"}
    except ValueError:
        pytest.skip("object files of this system are not ELF")
