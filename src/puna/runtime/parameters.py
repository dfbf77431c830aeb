"""Ollama's option names, which its API, Modelfiles and stored models share, to `Options`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from puna.chat import Think
from puna.engine import Grammar, Priority
from puna.errors import InvalidRequest
from puna.runtime.types import Options

# Options of Ollama that steer its own runner or were dropped there: they would change nothing here.
# fmt: off
NOT_HONOURED = frozenset({
    "num_keep", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "numa",
    "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "penalize_newline", "mirostat",
    "mirostat_tau", "mirostat_eta", "tfs_z",
})
# fmt: on


def parse_parameters(parameters: Mapping[str, object]) -> tuple[Options, tuple[str, ...]]:
    """The options, and a warning for each one that is not honoured. Null values count as absent.

    Raises:
        InvalidRequest: a value of the wrong type or out of range.
    """
    chosen: dict[str, object] = {}
    warnings = []
    for name, value in parameters.items():
        if value is None:
            continue
        if name in _FIELDS:
            field, read = _FIELDS[name]
            chosen[field] = read(name, value)
        else:
            known = "is not supported" if name in NOT_HONOURED else "is unknown"
            warnings.append(f"option {name!r} {known}: it was ignored")
    return Options(**chosen), tuple(warnings)  # type: ignore[arg-type]


def to_parameters(options: Options) -> dict[str, object]:
    """The other way round: of the options that are chosen, those that a model can keep."""
    parameters: dict[str, object] = {}
    for name, (field, _) in _FIELDS.items():
        value = getattr(options, field)
        if value is not None:
            parameters[name] = list(value) if isinstance(value, tuple) else value
    if options.logit_bias is not None:
        biases = {str(token): max(bias, -100.0) for token, bias in options.logit_bias.items()}
        parameters["logit_bias"] = biases
    return parameters


def logit_bias(biases: Mapping[str, float]) -> dict[int, float]:
    """Token ids, as JSON's keys write them, to what is added to their logits; -100 bans a token, as in OpenAI's API.

    Raises:
        InvalidRequest: not a token id, or a bias beyond -100 to 100.
    """
    result = {}
    for token, bias in biases.items():
        if not token.isascii() or not token.isdigit():
            raise InvalidRequest(f"logit_bias: {token!r} is not a token id")
        if not -100 <= bias <= 100:
            raise InvalidRequest(f"logit_bias must be between -100 and 100, not {bias}")
        result[int(token)] = -math.inf if bias == -100 else bias
    return result


def parse_format(value: object) -> Grammar | None:
    """Ollama's `format`: "json" is any JSON object, an object is a JSON schema; "" and null hold the answer to nothing.

    Raises:
        InvalidRequest: anything else.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return Grammar("json_schema", '{"type":"object"}')
    if isinstance(value, Mapping):
        return Grammar("json_schema", json.dumps(value))
    raise InvalidRequest(f'invalid format: {json.dumps(value)}; expected "json" or a valid JSON Schema object')


def parse_think(text: str) -> Think:
    """What `--think` may say: "true", "false" or a level. Raises InvalidRequest."""
    match text:
        case "true" | "false":
            return text == "true"
        case "low" | "medium" | "high" | "max":
            return text
    raise InvalidRequest(f"thinking is true, false, low, medium, high or max, not {text!r}")


def parse_priority(name: str, value: object) -> Priority:
    """The lane of that name. Raises InvalidRequest, which says what lanes there are."""
    try:
        return Priority(str(value))
    except ValueError:
        lanes = " or ".join(repr(str(lane)) for lane in Priority)
        raise InvalidRequest(f"{name} must be {lanes}, not {value!r}") from None


def _integer(name: str, value: object) -> int:
    whole = isinstance(value, float) and value.is_integer()
    if not whole and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidRequest(f'option "{name}" must be of type integer')
    return int(value)  # type: ignore[call-overload, no-any-return]


def _number(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(f'option "{name}" must be of type float32')
    try:
        return float(value)
    except OverflowError:
        raise InvalidRequest(f'option "{name}" is too large') from None


def _strings(name: str, value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise InvalidRequest(f'option "{name}" must be of type array of strings')
    return tuple(values)


def _biases(name: str, value: object) -> dict[int, float]:
    if not isinstance(value, dict):
        raise InvalidRequest(f'option "{name}" must be of type object')
    return logit_bias({str(token): _number(name, bias) for token, bias in value.items()})


def _limit(name: str, value: object) -> int | None:
    """-1 (no limit) and -2 (until the context is full) are one here: an answer never outgrows the context."""
    limit = _integer(name, value)
    return None if limit < 0 else limit


def _seed(name: str, value: object) -> int | None:
    seed = _integer(name, value)
    return None if seed == -1 else seed


_FIELDS: Mapping[str, tuple[str, Callable[[str, object], object]]] = {
    "num_ctx": ("context_length", _integer),
    "num_predict": ("max_tokens", _limit),
    "stop": ("stop", _strings),
    "seed": ("seed", _seed),
    "temperature": ("temperature", _number),
    "top_k": ("top_k", _integer),
    "top_p": ("top_p", _number),
    "min_p": ("min_p", _number),
    "typical_p": ("typical_p", _number),
    "repeat_penalty": ("repeat_penalty", _number),
    "repeat_last_n": ("repeat_last_n", _integer),
    "presence_penalty": ("presence_penalty", _number),
    "frequency_penalty": ("frequency_penalty", _number),
    "logit_bias": ("logit_bias", _biases),  # Ollama has none; the name is OpenAI's
    "draft_num_predict": ("draft_tokens", _integer),
    "thinking_budget": ("thinking_tokens", _integer),  # nor this one; the name is Qwen's
    "priority": ("priority", parse_priority),  # Puna's own
}

KNOWN = frozenset(_FIELDS)  # names of the options that are honoured
