"""CLIP's vision transformer (Radford et al. 2021), then LLaVA's projector (Liu et al. 2023).

Every patch sees the whole image. Of a file's layers all are run: converters leave out those after the layer whose
states are wanted (LLaVA: the last but one).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from puna.gguf import VisionConfig
from puna.models.forward import Activation, ActivationFunction, Forward
from puna.models.layers import Layer, Part
from puna.models.weights import Weights


def record(forward: Forward, patches: Activation, weights: Weights, config: VisionConfig) -> Iterator[None]:
    """Record the forward pass from pixels, patch by patch; yields where it may be interrupted: after each layer."""
    tower = Part(forward, weights, config.tower, "v.")
    x = _embedded(tower, patches, config)
    if "pre_ln" in tower:
        x = tower.layer_norm(x, "pre_ln", "x")
    for index in range(config.tower.block_count):
        layer = Layer(forward, weights, config.tower, f"v.blk.{index}.", index, adjacent_pairs=False)
        x = _add_layer(layer, x, config)
        yield
    if "post_ln" in tower:
        x = tower.layer_norm(x, "post_ln", "x")
    projector = Part(forward, weights, config.tower, "mm.")
    h = forward.activate("gelu", projector.linear(x, "0", weights.rows("mm.0.weight")))
    forward.states = projector.linear(h, "2", config.output_length)
    yield


def _embedded(tower: Part, patches: Activation, config: VisionConfig) -> Activation:
    """W patch (+ bias) + position. The row of the class has no patch, which is zero; its embedding is at its place."""
    width, size = config.tower.embedding_length, config.patch_size
    kernels = tower.weights.convolution("v.patch_embd.weight", (width, 3, size, size))
    x = tower.forward.linear(patches, kernels, "x", bias=tower.vector("patch_embd.bias", width))
    positions = tower.weights.table("v.position_embd.weight", (config.tower.context_length, width))
    if (class_embedding := tower.vector("class_embd", width)) is not None:
        positions[0] += class_embedding
    return tower.forward.add_positions(x, positions)


def _add_layer(layer: Layer, x: Activation, config: VisionConfig) -> Activation:
    """x += W attention(norm x); x += W f(W norm x); after the last layer only the patches' rows."""
    a = layer.attention(*layer.queries_keys_values(layer.layer_norm(x, "ln1")))
    a, x = layer.keep(a, x)
    layer.add_linear(a, "attn_out", to=x)
    h = layer.layer_norm(x, "ln2")
    # Old converters named the two matrices the other way round.
    swapped = layer.weights.rows(f"{layer.prefix}ffn_up.weight") == x.width != config.tower.feed_forward_length
    up, down = ("ffn_down", "ffn_up") if swapped else ("ffn_up", "ffn_down")
    h = layer.linear(h, up, config.tower.feed_forward_length)
    layer.add_linear(layer.forward.activate(cast(ActivationFunction, config.activation), h), down, to=x)
    return x
