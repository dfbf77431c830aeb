"""Documents in the order in which they answer a query: pairs of texts as tokens, and what a model's scores mean.

The model is a cross-encoder: it reads query and document together. Knows nothing of loading (the pool's).
"""

from __future__ import annotations

import numpy as np

from puna.errors import ContextOverflow, InvalidRequest, UnsupportedModel
from puna.runtime.embedding import Inputs, Vectors
from puna.runtime.text import TextModel
from puna.runtime.types import RankRequest


def encode_pairs(request: RankRequest, model: TextModel, context: int) -> tuple[Inputs, tuple[int, ...]]:
    """Token ids of the query with each document, `context` of them at most, and where each document begins.

    Raises:
        UnsupportedModel: the model does not rank.
        InvalidRequest: no query, or no documents.
        ContextOverflow: a document does not fit beside the query, and may not be cut; or the query leaves no room.
    """
    require_ranker(request.model, model)
    if not request.query.strip():
        raise InvalidRequest("query is required: what the documents are to answer")
    if not request.documents:
        raise InvalidRequest("documents is required: a list of texts")
    pairs, truncated, starts = [], [], []
    for index, document in enumerate(request.documents):
        ids, start = model.tokenizer.encode_pair(request.query, document)
        if len(ids) > context:
            suffix = model.tokenizer.suffix
            if not request.truncate or start + len(suffix) >= context:
                raise ContextOverflow(
                    f"the query ({start} tokens) and document {index} have {len(ids)} tokens, this model takes "
                    f"{context}; shorten them" + ("" if request.truncate else ", or let documents be truncated")
                )
            truncated.append(index)
            ids = [*ids[: context - len(suffix)], *suffix]
        pairs.append(tuple(ids))
        starts.append(start)
    return Inputs(tuple(pairs), tuple(truncated)), tuple(starts)


def require_ranker(name: str, model: TextModel) -> None:
    """Raises UnsupportedModel where the model does not rank, or by scores that nobody could read."""
    if model.config.pooling != "rank":
        raise UnsupportedModel(f'"{name}" does not support rerank: use a reranker, or order by embeddings')
    if model.config.labels != 1:
        raise UnsupportedModel(f'"{name}" has {model.config.labels} labels: a model that ranks has one score')


def probabilities(scores: Vectors) -> tuple[float, ...]:
    """Of (documents, 1) scores: 1 / (1 + e**-score), as Cohere, Jina and vLLM give them."""
    return tuple(float(p) for p in 1 / (1 + np.exp(-scores[:, 0].astype(np.float64))))
