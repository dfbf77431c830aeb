"""The feed-forward network of a mixture of experts: each token takes the few that a router chooses (Shazeer 2017).

Tokens are put together by expert, so that an expert's matrices are gone through once for all of them. Knows no
architecture.
"""

from __future__ import annotations

from puna.errors import InvalidGGUF
from puna.gguf import ExpertsConfig, ModelConfig
from puna.kernels.routing_kinds import SOFTMAX
from puna.models.forward import Activation, ActivationFunction
from puna.models.layers import Layer
from puna.models.slots import Router, add_part_bias, combine, gate_by_sigmoid, route, to_slots


def router_of(config: ModelConfig, *, gating: int = SOFTMAX, normalise: bool = True, best_of_group: int = 1) -> Router:
    """The router that the file describes; what it does not say is the architecture's."""
    experts = _config(config)
    return Router(
        experts=experts.count,
        used=experts.used,
        gating=experts.gating or gating,
        normalise=normalise if experts.normalise is None else experts.normalise,
        scale=experts.scale,
        groups=experts.groups,
        groups_used=experts.groups_used,
        best_of_group=best_of_group,
    )


def add_experts(
    layer: Layer, h: Activation, router: Router, to: Activation, function: ActivationFunction = "silu"
) -> None:
    """to += the weighted sum of W_down (function(W_gate h) * W_up h) over a token's experts."""
    experts, forward = _config(layer.config), layer.forward
    bias = layer.vector("exp_probs_b.bias", router.experts)
    slots = route(forward, layer.linear(h, "ffn_gate_inp", router.experts), router, bias)
    x = to_slots(forward, h, slots)
    gate = _linear(layer, x, "ffn_gate_exps", experts.feed_forward_length)
    up = _linear(layer, x, "ffn_up_exps", experts.feed_forward_length)
    down = _linear(layer, forward.gate(function, gate, up), "ffn_down_exps", to.width)
    combine(forward, down, slots, to)


def add_shared_expert(layer: Layer, h: Activation, to: Activation) -> None:
    """to += what the expert makes of h that every token takes, if there is one; gated where the file says so."""
    length = _config(layer.config).shared_feed_forward_length
    if length is None:
        return
    forward = layer.forward
    g = forward.gate("silu", layer.linear(h, "ffn_gate_shexp", length), layer.linear(h, "ffn_up_shexp", length))
    weight = layer.vector("ffn_gate_inp_shexp.weight", h.width)
    if weight is not None:  # W_down is linear: its argument may as well be scaled
        gate_by_sigmoid(forward, g, h, weight)
    layer.add_linear(g, "ffn_down_shexp", to)


def _config(config: ModelConfig) -> ExpertsConfig:
    if config.experts is None:
        raise InvalidGGUF(f"{config.name}: {config.architecture}.expert_count is missing")
    return config.experts


def _linear(layer: Layer, x: Activation, name: str, rows: int) -> Activation:
    """Each slot by its expert's matrix (+ bias)."""
    full, parts = f"{layer.prefix}{name}", x.rows.parts
    matrix = layer.weights.matrix(f"{full}.weight", (parts, rows, x.width), used=_config(layer.config).used)
    out = layer.forward.linear(x, matrix, name)
    if f"{full}.bias" in layer.weights:
        add_part_bias(layer.forward, out, layer.weights.table(f"{full}.bias", (parts, rows)))
    return out
