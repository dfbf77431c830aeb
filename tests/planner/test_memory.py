"""Memory: as the kernels' layouts and the KV cache have it, and what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import make_model
from puna.errors import InvalidRequest
from puna.gguf import GGMLType, open_model
from puna.models import blocks_for, load
from puna.planner.anatomy import anatomy_of
from puna.planner.devices import device_named
from puna.planner.memory import Load, longest_context, other_memory, packed_bytes, requantised, runner_kv_bytes
from puna.planner.plan import plan
from tests.planner.headers import golden, llama_8b


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K_M", "F16"])
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_weights_and_cache_are_what_a_loaded_model_has(tmp_path: Path, kind: str, kv_type: str) -> None:
    path = tmp_path / "m.gguf"
    make_model.write(path, make_model.Shape("llama", 2, 256, 512, 4, 2, 1000), kind)
    with open_model(path) as file:
        anatomy = anatomy_of(file)
        model = load(file, threads=1, num_blocks=blocks_for(100), kv_type=kv_type)
    try:
        assert packed_bytes(anatomy) == model.weight_bytes
        assert runner_kv_bytes(anatomy, Load(100, kv_type=kv_type)) == model.kv_block_bytes * model.num_blocks
    finally:
        model.close()


def test_published_sizes_of_caches() -> None:
    """Llama 3 8B takes 128 KiB a token in f16; latent attention 2 bytes of each number of its vector."""
    taken = other_memory(anatomy_of(llama_8b()), Load(1000)).kv_cache
    assert taken == 131072 * 1000
    assert other_memory(anatomy_of(golden("deepseek_v3")), Load(10)).kv_cache == 2 * (32 + 16) * 2 * 10


def test_a_window_bounds_the_cache_of_engines_that_forget() -> None:
    anatomy = anatomy_of(llama_8b(changed={"attention.sliding_window": 4096}))
    assert other_memory(anatomy, Load(100_000)).kv_cache == 131072 * 4096


def test_the_longest_context_is_the_last_that_fits() -> None:
    anatomy = anatomy_of(llama_8b(GGMLType.Q4_0))

    room = other_memory(anatomy, Load(5000, 3)).total
    assert longest_context(lambda load: other_memory(anatomy, load), Load(1, 3), room, 1 << 20) == 5000
    assert longest_context(lambda load: other_memory(anatomy, load), Load(1, 3), 1000, 1 << 20) == 0


@pytest.mark.parametrize(("context", "sequences"), [(0, 1), (1 << 60, 1), (8192, 1 << 40), (-1, 1), (10, 0)])
def test_nonsense_is_refused(context: int, sequences: int) -> None:
    with pytest.raises(InvalidRequest, match="tokens of context"):
        Load(context, sequences)


def test_an_unknown_type_of_cache_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="f16, q8_0, f32"):
        Load(10, kv_type="q4")


def test_a_mix_has_the_size_that_llama_cpp_makes() -> None:
    """Llama 3 8B in Q4_K_M is 4.92 GB (huggingface.co, many repositories)."""
    assert requantised(llama_8b(), "Q4_K_M").file_bytes == pytest.approx(4.92e9, rel=0.01)


def test_what_fits_and_with_what() -> None:
    rates = device_named("RTX 4060").rates()
    assert plan(llama_8b(GGMLType.Q4_0), rates, Load(8192)).words == "fits"
    tight = replace(rates, memory=6_300_000_000)
    assert plan(llama_8b(GGMLType.Q4_0), tight, Load(8192)).words == "fits with a q8_0 KV cache"
    found = plan(llama_8b(GGMLType.F16), rates, Load(8192))
    assert found.words.startswith("fits with Q")
    assert found.speed is not None
    assert found.longest_context == 0
    nothing = plan(llama_8b(GGMLType.F16), replace(rates, memory=10**9), Load(8192))
    assert (nothing.words, nothing.options, nothing.speed) == ("does not fit", (), None)


def test_every_option_that_is_offered_fits() -> None:
    for gigabytes in range(3, 18):
        rates = replace(device_named("RTX 4090").rates(), memory=gigabytes * 10**9)
        for option in plan(llama_8b(GGMLType.F16), rates, Load(32768)).options:
            assert option.total <= rates.memory
