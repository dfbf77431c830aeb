"""Batches and the model that learns from them, where torch is installed (`pip install '.[oracle]'`)."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402
from training.batches import Batch, Batches, Shapes  # noqa: E402
from training.book import load  # noqa: E402
from training.model import Llama, LlamaConfig  # noqa: E402
from training.tokenizer import IGNORED  # noqa: E402
from training.tokenizer import train as train_tokenizer  # noqa: E402

SHAPES = Shapes(tokens=1024, long=(512, 1024), long_every=4)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(load(), 512, conversations=500)


@pytest.fixture
def batches(tokenizer: Tokenizer) -> Batches:
    return Batches(load(), tokenizer, 0, SHAPES)


def same(one: Batch, other: Batch) -> bool:
    tensors = ((one.ids, other.ids), (one.targets, other.targets), (one.positions, other.positions))
    return one.lengths == other.lengths and all(torch.equal(a, b) for a, b in tensors)


def test_every_batch_is_full_and_a_conversation_never_predicts_the_next_ones_first_token(batches: Batches) -> None:
    for _ in range(8):
        batch = batches.next()
        assert sum(batch.lengths) == len(batch.ids) == len(batch.targets) == len(batch.positions) == SHAPES.tokens
        ends = torch.tensor(batch.lengths).cumsum(0) - 1
        assert (batch.targets[ends] == IGNORED).all()
        taught = batch.targets[:-1] != IGNORED
        assert taught.any()
        assert torch.equal(batch.targets[:-1][taught], batch.ids[1:][taught])


def test_a_run_that_is_taken_up_sees_the_batches_it_would_have_seen(batches: Batches, tokenizer: Tokenizer) -> None:
    batches.next()
    state = batches.state()
    state = {**state, "pool": list(state["pool"])}
    expected = [batches.next() for _ in range(4)]
    later = Batches(load(), tokenizer, 1, SHAPES)
    later.restore(state)
    assert all(same(batch, later.next()) for batch in expected)


def test_conversations_in_one_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = Llama(LlamaConfig(vocab_size=64, embedding_length=32, block_count=2, head_count=2, feed_forward_length=32))
    ids, positions = torch.randint(64, (12,)), torch.tensor([*range(5), *range(7)])
    together = model.hidden(ids, positions, [5, 7])
    alone = torch.cat([model.hidden(ids[:5], positions[:5], [5]), model.hidden(ids[5:], positions[5:], [7])])
    torch.testing.assert_close(together, alone)
    changed = ids.clone()
    changed[8] = (changed[8] + 1) % 64
    after = model.hidden(changed, positions, [5, 7])
    torch.testing.assert_close(after[:8], together[:8])
    assert not torch.allclose(after[8:], together[8:])
