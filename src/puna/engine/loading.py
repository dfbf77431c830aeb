"""From a model's file to an engine that runs it: weights, KV blocks, the prefix cache, a draft model beside it.

Knows nothing of processes and requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from puna import models, paths, tokenizer
from puna.engine.capacity import Capacity, capacity
from puna.engine.draft_model import DraftModel, check_vocabularies
from puna.engine.engine import Engine
from puna.engine.model_key import model_key
from puna.engine.prefix_store import PrefixStore
from puna.engine.process import OnProgress
from puna.engine.speculation import MAX_DRAFT
from puna.gguf import ModelFile, VisionConfig, open_model


def load_engine(
    path: Path,
    *,
    threads: int,
    context: int,
    max_sequences: int,
    num_blocks: int | None = None,
    kv_type: str = "f16",
    prefix_cache: int = 0,
    draft: Path | None = None,
    adapters: Sequence[Path] = (),
    projector: Path | None = None,
    check: bool = False,
    progress: OnProgress | None = None,
) -> Engine:
    """The engine over the model at `path`.

    num_blocks    KV blocks of exactly that context; None: as `puna.engine.capacity` has it, `context` at least
    kv_type       of the KV cache: f16, q8_0 or f32
    prefix_cache  bytes of disk for the prefix cache of all models together; 0: none
    draft         a small model of the same vocabulary that proposes tokens
    adapters      LoRA, of GGUF files or PEFT folders, of which a request may choose one by its path
    projector     a GGUF file with an image encoder for the model
    check         check the scheduler's books after each step

    Raises InvalidGGUF, UnsupportedModel, InvalidTokenizer; InvalidRequest for a draft model of another vocabulary, or
    an image encoder for another model.
    """
    file = open_model(path)
    small = None if draft is None else _open_draft(draft, file)
    images = None if projector is None else open_model(projector)
    config = models.configuration(file)
    if images is not None:
        VisionConfig.from_model(images).check_fits(config)
    if num_blocks is None:
        weights = file.size + sum(other.size for other in (small, images) if other is not None)
        room = capacity(config, kv_type, context=context, max_sequences=max_sequences, weights=weights)
    else:
        room = Capacity(context, num_blocks)
    opened = tuple(models.open_adapter(adapter, config) for adapter in dict.fromkeys(adapters))
    digests = paths.cache_dir() / "digests"
    key = model_key(file, kv_type=kv_type, digests=digests, projector=images) if prefix_cache else ""
    shared = partial(models.load, threads=threads, kv_type=kv_type, progress=progress)
    outputs = max_sequences + MAX_DRAFT
    model = shared(file, num_blocks=room.num_blocks, context=room.context, max_outputs=outputs, adapters=opened)
    store = None
    if prefix_cache and model.causal:
        folder = paths.cache_dir() / "prefixes"
        store = PrefixStore(folder, key, block_bytes=model.kv_block_bytes, budget=prefix_cache)
    proposer = None
    if small is not None:
        drafts = shared(small, num_blocks=room.num_blocks, max_outputs=max_sequences)
        proposer = DraftModel(drafts, context=room.context)
    return Engine(
        model,
        context=room.context,
        max_sequences=max_sequences,
        prefix_store=store,
        tokenizer=lambda: tokenizer.load(open_model(path)),
        draft=proposer,
        encoder=None if images is None else models.load_encoder(images, threads=threads, progress=progress),
        check=check,
    )


def _open_draft(path: Path, file: ModelFile) -> ModelFile:
    """The draft model's file. Raises InvalidRequest where its tokens are others than the model's."""
    draft = open_model(path)
    check_vocabularies(tokenizer.load(file), tokenizer.load(draft))
    return draft
