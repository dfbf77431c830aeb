"""Encoders of texts (BERT and its kin): their tensors' names, and what becomes of config.json.

Follows llama.cpp's conversion/bert.py, but that a BERT which ranks keeps its pooler: transformers uses it. Knows
nothing of how texts are cut or pooled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.huggingface.safetensors import SafetensorsFile, StoredTensor
from puna.gguf.huggingface.settings import Settings
from puna.gguf.model_file import Tensor, Value
from puna.gguf.quants import dequantize
from puna.gguf.types import GGMLType

_BODY = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "encoder.layer.{}.attention.self.query": "blk.{}.attn_q",
    "encoder.layer.{}.attention.self.key": "blk.{}.attn_k",
    "encoder.layer.{}.attention.self.value": "blk.{}.attn_v",
    "encoder.layer.{}.attention.output.dense": "blk.{}.attn_output",
    "encoder.layer.{}.attention.output.LayerNorm": "blk.{}.attn_output_norm",
    "encoder.layer.{}.intermediate.dense": "blk.{}.ffn_up",
    "encoder.layer.{}.output.dense": "blk.{}.ffn_down",
    "encoder.layer.{}.output.LayerNorm": "blk.{}.layer_output_norm",
}


_NOMIC = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    # as transformers has them
    "embeddings.LayerNorm": "token_embd_norm",
    "layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "layers.{}.self_attn.k_proj": "blk.{}.attn_k",
    "layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "layers.{}.self_attn.o_proj": "blk.{}.attn_output",
    "layers.{}.post_attention_layernorm": "blk.{}.attn_output_norm",
    "layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "layers.{}.mlp.up_proj": "blk.{}.ffn_up",
    "layers.{}.mlp.down_proj": "blk.{}.ffn_down",
    "layers.{}.post_mlp_layernorm": "blk.{}.layer_output_norm",
    # as Nomic publishes them
    "emb_ln": "token_embd_norm",
    "encoder.layers.{}.attn.Wqkv": "blk.{}.attn_qkv",
    "encoder.layers.{}.attn.out_proj": "blk.{}.attn_output",
    "encoder.layers.{}.norm1": "blk.{}.attn_output_norm",
    "encoder.layers.{}.mlp.fc11": "blk.{}.ffn_up",
    "encoder.layers.{}.mlp.fc12": "blk.{}.ffn_gate",
    "encoder.layers.{}.mlp.fc2": "blk.{}.ffn_down",
    "encoder.layers.{}.norm2": "blk.{}.layer_output_norm",
}
_NOMIC_SETTINGS = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
    "hidden_act": "activation_function",
}


def _names(prefix: str, head: dict[str, str], body: Mapping[str, str] = _BODY) -> dict[str, str]:
    """With weights and biases; the body's with the prefix, and without it."""
    parts = {**body, **{prefix + name: gguf for name, gguf in body.items()}, **head}
    return {f"{name}.{end}": f"{gguf}.{end}" for name, gguf in parts.items() for end in ("weight", "bias")}


@dataclass(frozen=True, slots=True)
class Encoder:
    """A class of transformers as GGUF sees it; `{}` in a tensor's name is the layer."""

    name: str
    tensors: Mapping[str, str]
    ranks: bool = False  # it has a head that ranks texts
    activations: tuple[str, ...] = ("gelu",)  # those that the forward pass has
    rotates: bool = False  # it has rotary position embeddings, not a table of positions


# The class in config.json's `architectures`.
ENCODERS: dict[str, Encoder] = {
    **dict.fromkeys(("BertModel", "BertForMaskedLM"), Encoder("bert", _names("bert.", {}))),
    **dict.fromkeys(("RobertaModel", "XLMRobertaModel", "CamembertModel"), Encoder("bert", _names("roberta.", {}))),
    "BertForSequenceClassification": Encoder(
        "bert", _names("bert.", {"bert.pooler.dense": "cls", "classifier": "cls.output"}), ranks=True
    ),
    **dict.fromkeys(
        ("RobertaForSequenceClassification", "XLMRobertaForSequenceClassification"),
        Encoder(
            "bert", _names("roberta.", {"classifier.dense": "cls", "classifier.out_proj": "cls.output"}), ranks=True
        ),
    ),
    "NomicBertModel": Encoder(
        "nomic-bert", _names("nomic_bert.", {}, _NOMIC), activations=("silu", "swiglu"), rotates=True
    ),
}

# What texts' vectors do not need: numbers of positions, heads for other tasks.
_UNUSED = re.compile(r"(.+\.)?(embeddings\.(position_ids|token_type_ids)|pooler\.dense\..+)|(cls|lm_head)\..+")

_OFFSET = ("roberta", "xlm-roberta", "camembert")  # model types whose positions are counted from behind padding's id

_INTEGERS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}


def hyperparameters(config: Settings, encoder: Encoder) -> dict[str, Value]:
    """GGUF metadata of the architecture. Raises InvalidGGUF or UnsupportedModel naming the key."""
    if config.get("n_embd") is not None:
        config = config.called(_NOMIC_SETTINGS)
    for key, known in (("hidden_act", encoder.activations), ("position_embedding_type", ("absolute",))):
        value = config.text(key) or known[0]
        if value not in known:
            raise UnsupportedModel(f"{config.source}: {key} {value!r:.40}; of this encoder {known[0]!r} is known")
    if config.flag("is_decoder", False):
        raise UnsupportedModel(f"{config.source}: is_decoder: a BERT that writes is not supported")
    offset, positions = _position_offset(config), config.integer("max_position_embeddings")
    if positions <= offset:
        config.fail("max_position_embeddings", f"{positions} leaves no position after the first {offset}")
    values: dict[str, Value] = {"context_length": positions - offset}
    values |= {key: config.integer(name) for key, name in _INTEGERS.items()}
    values["attention.layer_norm_epsilon"] = float(np.float32(config.number("layer_norm_eps", 1e-12)))
    values["attention.causal"] = False
    if encoder.rotates:
        values |= _rotation(config, positions)
    types = {"tokenizer.ggml.token_type_count": config.integer("type_vocab_size", 2)}
    return {f"{encoder.name}.{key}": value for key, value in values.items()} | types


def _rotation(config: Settings, positions: int) -> dict[str, Value]:
    """nomic-embed-text's: beyond the positions it was trained for it would need another rope."""
    for key, known in (("moe_every_n_layers", 0), ("rotary_emb_fraction", 1.0), ("rotary_emb_interleaved", False)):
        value = config.get(key)
        if value is not None and value != known:
            raise UnsupportedModel(f"{config.source}: {key} {value!r:.40} is not supported")
    trained = config.integer("max_trained_positions", positions)
    base = config.section("rope_parameters").number("rope_theta", config.number("rotary_emb_base", 1000.0))
    return {"rope.freq_base": float(np.float32(base)), "context_length": min(positions, trained)}


def tensors(config: Settings, encoder: Encoder, files: Sequence[SafetensorsFile]) -> dict[str, Tensor]:
    """By GGUF's names. Raises UnsupportedModel for one that has no place in the encoder, InvalidGGUF."""
    found: dict[str, Tensor] = {}
    for file in files:
        for name in [*file.tensors, *file.ignored]:
            gguf_name = _gguf_name(encoder, name)
            if gguf_name is None:
                if _UNUSED.fullmatch(name):
                    continue
                raise UnsupportedModel(f"{file.path}: the tensor {name!r:.120} has no place in {encoder.name}")
            if gguf_name in found:
                raise InvalidGGUF(f"{file.path}: the tensor {name!r:.120} is there twice")
            skipped = _position_offset(config) if gguf_name == "position_embd.weight" else 0
            found[gguf_name] = _as_gguf(file.require(name), gguf_name, skipped)
    if "token_embd.weight" not in found:
        raise InvalidGGUF(f"{config.source}: the weights are incomplete: nothing becomes token_embd.weight")
    return found


def _gguf_name(encoder: Encoder, name: str) -> str | None:
    old = name.replace(".gamma", ".weight").replace(".beta", ".bias")  # of checkpoints made by TensorFlow
    layer = _LAYER.search(old)
    if layer is None:
        return encoder.tensors.get(old)
    pattern = encoder.tensors.get(f"{old[: layer.start(1)]}{{}}{old[layer.end(1) :]}")
    return None if pattern is None else pattern.format(int(layer[1]))


_LAYER = re.compile(r"(?:^|\.)layers?\.(\d{1,5})\.")


def _position_offset(config: Settings) -> int:
    """Rows of the table of positions before that of a text's first token."""
    if config.text("model_type") not in _OFFSET:
        return 0
    padding = config.get("pad_token_id")
    if padding is None:
        return 2  # transformers' default of the padding token is 1
    if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= padding < 1 << 20:
        config.fail("pad_token_id", f"{padding!r:.40} is not a token's id")
    return 1 + padding


def _as_gguf(stored: StoredTensor, name: str, skipped: int) -> Tensor:
    """Vectors in F32; without the first `skipped` rows."""
    if not 1 <= len(stored.shape) <= 2 or 0 in stored.shape or stored.shape[0] <= skipped:
        raise InvalidGGUF(f"{stored.file.path}: the tensor {stored.name!r:.120} has the shape {stored.shape}")
    if len(stored.shape) == 1:
        return Tensor(name, stored.shape, GGMLType.F32, partial(_read_vector, stored))
    shape = (stored.shape[0] - skipped, stored.shape[1])
    return Tensor(name, shape, stored.type, lambda first, last: stored.read(first + skipped, last + skipped))


def _read_vector(stored: StoredTensor, _first: int, _last: int) -> NDArray[np.uint8]:
    values = np.ascontiguousarray(dequantize(stored.read(0, 1), stored.type, stored.shape))
    data = values.view(np.uint8)
    data.flags.writeable = False
    return data
