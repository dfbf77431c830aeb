"""Tiny encoders for the oracles: configurations, weights drawn from a seed by name, and the folders that hold them.

As `tiny` has them for models that write. Imports nothing of Puna.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import tiny

TOKENS = 70
SHOWN = (0, 1, 33, 68, 69)  # the positions whose states the goldens hold
SECOND = 30  # tokens before the second text of a pair

_BERT: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_XLM_ROBERTA = _BERT | {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "vocab_size": 300,
    "hidden_size": 96,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "max_position_embeddings": 98,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}

_NOMIC_BERT: dict[str, Any] = {
    "architectures": ["NomicBertModel"],
    "model_type": "nomic_bert",
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 96,
    "type_vocab_size": 2,
    "hidden_act": "silu",
    "layer_norm_eps": 1e-12,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}

CONFIGS: dict[str, dict[str, Any]] = {
    "nomic_bert": _NOMIC_BERT,
    "bert": _BERT,
    "xlm_roberta": _XLM_ROBERTA,
    "bert_ranker": _BERT | {"architectures": ["BertForSequenceClassification"]} | _LABEL,
    "xlm_roberta_ranker": _XLM_ROBERTA | {"architectures": ["XLMRobertaForSequenceClassification"]} | _LABEL,
}
RANKERS = ("bert_ranker", "xlm_roberta_ranker")


def prompt(name: str) -> list[int]:
    """Token ids, TOKENS of them; none is the padding token, which RoBERTa gives no position."""
    random = tiny._random(f"{name} prompt")
    return [int(token) for token in random.integers(3, CONFIGS[name]["vocab_size"], TOKENS)]


def weights(name: str) -> tiny.Weights:
    """Random weights under transformers' names."""
    shapes = _nomic_shapes(name) if name == "nomic_bert" else _bert_shapes(name)
    return {key: _draw(f"{name} {key}", shape) for key, shape in shapes.items()}


def as_published(tensors: tiny.Weights) -> tiny.Weights:
    """nomic_bert's weights under the names, and in the matrices, in which Nomic publishes its models."""
    joint = {}
    for key, array in tensors.items():
        name = key
        for ours, theirs in _PUBLISHED.items():
            name = name.replace(ours, theirs)
        joint[name] = array
    for layer in range(CONFIGS["nomic_bert"]["num_hidden_layers"]):
        at = f"encoder.layers.{layer}."
        parts = [joint.pop(f"{at}self_attn.{part}_proj.weight") for part in "qkv"]
        joint[f"{at}attn.Wqkv.weight"] = np.concatenate(parts)
    return joint


_PUBLISHED = {
    "embeddings.LayerNorm": "emb_ln",
    "layers.": "encoder.layers.",
    "self_attn.o_proj": "attn.out_proj",
    "post_attention_layernorm": "norm1",
    "mlp.up_proj": "mlp.fc11",
    "mlp.gate_proj": "mlp.fc12",
    "mlp.down_proj": "mlp.fc2",
    "post_mlp_layernorm": "norm2",
}


def _nomic_shapes(name: str) -> dict[str, tuple[int, ...]]:
    c = CONFIGS[name]
    hidden, feed = c["hidden_size"], c["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (c["vocab_size"], hidden),
        "embeddings.token_type_embeddings.weight": (c["type_vocab_size"], hidden),
        **_norm("embeddings.LayerNorm", hidden),
    }
    for layer in range(c["num_hidden_layers"]):
        at = f"layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (feed, hidden) for part in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (hidden, feed)}
        shapes |= _norm(f"{at}post_attention_layernorm", hidden) | _norm(f"{at}post_mlp_layernorm", hidden)
    return shapes


def _bert_shapes(name: str) -> dict[str, tuple[int, ...]]:
    c = CONFIGS[name]
    hidden, feed = c["hidden_size"], c["intermediate_size"]
    prefix = "" if name not in RANKERS else "bert." if c["model_type"] == "bert" else "roberta."
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (c["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (c["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (c["type_vocab_size"], hidden),
        **_norm("embeddings.LayerNorm", hidden),
    }
    for layer in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= _linear(at + part, hidden, hidden)
        shapes |= _linear(at + "intermediate.dense", feed, hidden) | _linear(at + "output.dense", hidden, feed)
        shapes |= _norm(at + "attention.output.LayerNorm", hidden) | _norm(at + "output.LayerNorm", hidden)
    if not prefix or c["model_type"] == "bert":
        shapes |= _linear("pooler.dense", hidden, hidden)
    shapes = {prefix + key: shape for key, shape in shapes.items()}
    if prefix == "bert.":
        shapes |= _linear("classifier", 1, hidden)
    if prefix == "roberta.":
        shapes |= _linear("classifier.dense", hidden, hidden) | _linear("classifier.out_proj", 1, hidden)
    return shapes


def write_folder(
    folder: Path, name: str, *, changes: dict[str, Any] | None = None, tensors: tiny.Weights | None = None
) -> Path:
    """A Hugging Face folder without a tokenizer."""
    folder.mkdir(exist_ok=True)
    config = {key: value for key, value in (CONFIGS[name] | (changes or {})).items() if value is not None}
    write_json(folder / "config.json", config)
    (folder / "model.safetensors").write_bytes(safetensors(weights(name) if tensors is None else tensors, "F32"))
    return folder


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of a size at which attention is far from flat: a norm's weights near 1, matrices keep a vector's length."""
    values = tiny._random(name).standard_normal(shape)
    if name.lower().endswith("layernorm.weight"):
        values = 1 + 0.2 * values
    elif len(shape) == 2 and "embeddings" not in name:
        values *= 1.5 / np.sqrt(shape[1])
    else:
        values *= 0.5
    return values.astype(np.float32)
