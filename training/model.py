"""A Llama in plain torch: RMSNorm, rotary positions (Hugging Face's two halves), SwiGLU, tied embeddings, no biases.

Knows nothing of data or files but its own checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Shapes; every width is a multiple of 256, so that every GGUF type can hold it."""

    vocab_size: int = 2048
    embedding_length: int = 256
    block_count: int = 6
    head_count: int = 8
    feed_forward_length: int = 512
    rope_freq_base: float = 10_000.0
    rms_epsilon: float = 1e-5
    context_length: int = 8192

    @property
    def head_length(self) -> int:
        """Numbers in one head."""
        return self.embedding_length // self.head_count


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of `x` (..., tokens, head_length), the pairs being i and i + head_length / 2."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Causal attention within each conversation; all are (tokens, heads, head_length), `lengths` their tokens' shares.

    In float32: torch's gradient of short attention takes twice as long in bfloat16."""
    parts = [[part.transpose(0, 1)[None] for part in x.float().split(lengths)] for x in (q, k, v)]
    with torch.autocast("cpu", enabled=False):
        said = [F.scaled_dot_product_attention(*one, is_causal=True) for one in zip(*parts, strict=True)]
    return torch.cat(said, 2)[0].transpose(0, 1)


class Block(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Attention and feed-forward, each after a norm and added to the stream."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width = config.embedding_length
        self.config = config
        self.attn_norm = nn.RMSNorm(width, config.rms_epsilon)
        self.ffn_norm = nn.RMSNorm(width, config.rms_epsilon)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * config.feed_forward_length, bias=False)
        self.down = nn.Linear(config.feed_forward_length, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, lengths: list[int]) -> Tensor:
        """`x` (tokens, width) to the same; `cos` and `sin` are (tokens, 1, head_length)."""
        return self.after(x, attend(*self.before(x, cos, sin), lengths))

    def before(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (tokens, heads, head_length)."""
        q, k, v = self.qkv(self.attn_norm(x)).view(len(x), 3, self.config.head_count, -1).unbind(1)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """The stream with attention's output and the feed-forward's added."""
        x = x + self.attn_output(attended.flatten(1))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def compile_halves(self) -> None:
        """Compile what stands before and after attention: their shapes are always the same, conversations' are not."""
        self.before = torch.compile(self.before, dynamic=False)  # type: ignore[method-assign]
        self.after = torch.compile(self.after, dynamic=False)  # type: ignore[method-assign]


class Llama(nn.Module):  # type: ignore[misc]
    """The whole model; `hidden` gives the last norm's output, `logits` multiplies by the tied embeddings."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.embedding_length)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.block_count))
        self.norm = nn.RMSNorm(config.embedding_length, config.rms_epsilon)
        head = config.head_length
        rates = config.rope_freq_base ** (-torch.arange(0, head, 2).float() / head)
        angles = torch.outer(torch.arange(config.context_length).float(), rates).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights of 1/sqrt(inputs); what is added to the stream is smaller, by 1/sqrt(2 blocks)."""
        for name, weight in self.named_parameters():
            if weight.dim() != 2:
                continue
            std = 0.02 if "embed" in name else weight.shape[1] ** -0.5
            if name.endswith(("attn_output.weight", "down.weight")):
                std *= (2 * self.config.block_count) ** -0.5
            nn.init.normal_(weight, std=std)

    def hidden(self, ids: Tensor, positions: Tensor, lengths: list[int]) -> Tensor:
        """The stream after the last norm (tokens, width), of conversations one after the other.

        `ids` and `positions` are (tokens,), `lengths` the tokens of each conversation."""
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, cos, sin, lengths)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token."""
        return hidden @ self.embed.weight.t()


def save(model: Llama, path: Path) -> None:
    """Write a checkpoint."""
    torch.save({"config": asdict(model.config), "state": model.state_dict()}, path)


def load(path: Path) -> Llama:
    """Read a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    model = Llama(LlamaConfig(**checkpoint["config"]))
    model.load_state_dict(checkpoint["state"])
    model.eval()
    return model
