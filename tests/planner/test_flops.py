"""Operations: beside torch's own count, beside the naive sum, and the figures of the literature."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.gguf import GGMLType
from puna.planner.anatomy import anatomy_of
from puna.planner.flops import forward, lora_parameters, of_matrix, training, visible
from tests.planner.headers import GOLDEN, golden, llama_8b


@pytest.mark.parametrize("name", GOLDEN)
def test_forward_and_backward_are_what_torch_counts(name: str) -> None:
    anatomy, tokens = anatomy_of(golden(name)), GOLDEN[name]["tokens"]
    assert forward(anatomy, tokens, dense=True).total == GOLDEN[name]["forward"]
    assert training(anatomy, tokens, dense=True).total == GOLDEN[name]["training"]


@pytest.mark.parametrize("name", GOLDEN)
def test_full_recomputation_is_what_torch_counts_with_every_layer_checkpointed(name: str) -> None:
    found = training(anatomy_of(golden(name)), GOLDEN[name]["tokens"], recompute="full", dense=True)
    assert found.total == GOLDEN[name]["checkpointed"]


def test_ten_architectures_are_held_against_torch() -> None:
    assert len({entry["metadata"]["general.architecture"] for entry in GOLDEN.values()}) >= 10


@given(st.integers(0, 60), st.integers(0, 60), st.none() | st.integers(1, 70))
def test_what_attention_sees_is_the_sum_over_its_tokens(tokens: int, start: int, window: int | None) -> None:
    seen = [min(position + 1, window or position + 1) for position in range(start, start + tokens)]
    assert visible(tokens, start, window) == sum(seen)


def test_a_prompt_costs_the_same_in_chunks() -> None:
    anatomy = anatomy_of(llama_8b())
    whole = forward(anatomy, 1000, outputs=1).total
    assert whole == forward(anatomy, 512, outputs=0).total + forward(anatomy, 488, start=512, outputs=1).total


def test_llama_3_8b_costs_what_is_published() -> None:
    """2 x 7.50e9 + 2.15e9 for attention at a context of 8,192, the mean over its tokens; with the head 1.05e9 more."""
    once = forward(anatomy_of(llama_8b()), 8192)
    assert once.matrices / 8192 == pytest.approx(13.96e9, rel=1e-3)
    assert once.attention / 8192 == pytest.approx(2 * 32 * 8192 * 4096, rel=1e-3)
    assert once.total / 8192 == pytest.approx(17.2e9, rel=3e-3)


def test_recomputation_makes_four_times_the_layers_and_three_times_the_head() -> None:
    anatomy = anatomy_of(llama_8b())
    once = forward(anatomy, 2048)
    assert training(anatomy, 2048).factor == 3
    assert training(anatomy, 2048, recompute="full").total == 4 * once.body + 3 * once.head
    assert training(anatomy, 2048, recompute="selective").total == 3 * once.total + once.attention


def test_lora_spares_the_gradients_of_frozen_weights() -> None:
    anatomy = anatomy_of(llama_8b(GGMLType.F16))
    step = training(anatomy, 512, lora_rank=16)
    assert lora_parameters(anatomy, 16) == 41_943_040  # PEFT prints the same for all linear layers
    assert 2.0 < step.factor < 2.1


def test_what_follows_the_last_attention_is_computed_for_outputs_alone() -> None:
    anatomy = anatomy_of(llama_8b())
    last = [m for m in anatomy.matrices if m.layer == anatomy.layers - 1]
    after = sum(of_matrix(m) for m in last if not m.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight")))
    assert 0 < after < sum(map(of_matrix, last))
    assert forward(anatomy, 100).matrices - forward(anatomy, 100, outputs=1).matrices == 99 * after
