"""The language of the pipe between RunnerProcess and its runner: one JSON object per line, with a `kind`.

Parent to runner: Submit, Embed, Cancel; the end of input means "stop". Runner to parent: Progress and then Loaded or
LoadFailed, after that the engine's events. Knows nothing of processes, files or threads.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from puna.engine.types import (
    CacheReceipt,
    EmbeddingEvent,
    EmbeddingRequest,
    EngineUsage,
    ErrorEvent,
    Event,
    FinishedEvent,
    GenerationRequest,
    Grammar,
    Image,
    Priority,
    SamplingParams,
    TokenEvent,
    TokenLogprobs,
)
from puna.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Submit:
    """Start generating."""

    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class Embed:
    """Turn a text into a vector."""

    request: EmbeddingRequest


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop working on a request; a request that has ended by itself meanwhile is left alone."""

    id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far loading is: `done` of `total` units of `stage`."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready for requests."""

    vocab_size: int
    context: int
    num_blocks: int
    load_seconds: float
    warnings: tuple[str, ...] = ()  # what a user should know of how it was loaded


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model could not be loaded; `type` is the name of a class in `puna.errors`."""

    type: str
    message: str


Command: TypeAlias = Submit | Embed | Cancel
Message: TypeAlias = Progress | Loaded | LoadFailed | Event


class ProtocolError(Exception):
    """A line that is none of the messages above: a bug, or something else wrote into the pipe."""


def encode(message: Command | Message) -> bytes:
    """One line, newline included."""
    fields = asdict(message)
    if isinstance(message, Submit):
        fields["request"]["stop_ids"] = sorted(message.request.stop_ids)
        for image in fields["request"]["images"]:
            image["pixels"] = base64.b64encode(image["pixels"]).decode()
    if isinstance(message, EmbeddingEvent):
        fields["vector"] = base64.b64encode(message.vector).decode()
    line = json.dumps({"kind": type(message).__name__, **fields}, ensure_ascii=True, separators=(",", ":"))
    return line.encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """What the parent sent. Raises ProtocolError."""
    kind, fields = _parse(line)
    try:
        match kind:
            case "Submit":
                return Submit(_request(**fields["request"]))
            case "Embed":
                return Embed(_embedding_request(**fields["request"]))
            case "Cancel":
                return Cancel(**fields)
    except (KeyError, TypeError, ValueError, InvalidRequest) as error:
        raise ProtocolError(f"{error!r} in {_excerpt(line)}") from error
    raise ProtocolError(f"unknown command {kind!r}")


def decode_message(line: bytes) -> Message:
    """What the runner sent. Raises ProtocolError."""
    kind, fields = _parse(line)
    try:
        match kind:
            case "TokenEvent":
                return TokenEvent(**{**fields, "logprobs": _logprobs(fields["logprobs"])})
            case "EmbeddingEvent":
                return EmbeddingEvent(fields["id"], base64.b64decode(fields["vector"], validate=True))
            case "FinishedEvent":
                return FinishedEvent(fields["id"], fields["reason"], _usage(**fields["usage"]))
            case "ErrorEvent":
                return ErrorEvent(**fields)
            case "Progress":
                return Progress(**fields)
            case "Loaded":
                return Loaded(**{**fields, "warnings": tuple(fields.get("warnings", ()))})
            case "LoadFailed":
                return LoadFailed(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"{error!r} in {_excerpt(line)}") from error
    raise ProtocolError(f"unknown message {kind!r}")


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        fields = json.loads(line)
        return fields.pop("kind"), fields
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ProtocolError(f"not a message: {_excerpt(line)}") from error


def _request(
    *,
    prompt: list[int],
    stop_ids: list[int],
    sampling: Mapping[str, Any],
    grammar: Mapping[str, Any] | None,
    priority: str,
    images: list[dict[str, Any]],
    **rest: Any,
) -> GenerationRequest:
    bias = tuple((token, value) for token, value in sampling["logit_bias"])
    return GenerationRequest(
        prompt=tuple(prompt),
        stop_ids=frozenset(stop_ids),
        sampling=SamplingParams(**{**sampling, "logit_bias": bias}),
        grammar=None if grammar is None else Grammar(**grammar),
        priority=Priority(priority),
        images=tuple(map(_image, images)),
        **rest,
    )


def _image(fields: dict[str, Any]) -> Image:
    return Image(**{**fields, "pixels": base64.b64decode(fields["pixels"], validate=True)})


def _embedding_request(*, prompt: list[int], priority: str, **rest: Any) -> EmbeddingRequest:
    return EmbeddingRequest(prompt=tuple(prompt), priority=Priority(priority), **rest)


def _logprobs(fields: Mapping[str, Any] | None) -> TokenLogprobs | None:
    if fields is None:
        return None
    return TokenLogprobs(fields["chosen"], tuple((token, value) for token, value in fields["top"]))


def _usage(*, cache: dict[str, Any], **rest: Any) -> EngineUsage:
    return EngineUsage(cache=CacheReceipt(**{**cache, "warnings": tuple(cache["warnings"])}), **rest)


def _excerpt(line: bytes) -> str:
    return repr(line[:200])
