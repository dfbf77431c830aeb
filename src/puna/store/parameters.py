"""The parameters of a model as a Modelfile writes them: which there are, and of what type each is.

Names and types are those of Ollama's options; what they do here is `runtime.parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from puna.errors import InvalidRequest
from puna.store.modelfile import Instruction

Parameter: TypeAlias = int | float | bool | str | list[str]
Kind: TypeAlias = Literal["int", "float", "bool", "strings"]

# fmt: off
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "num_keep",
                     "seed", "num_predict", "top_k", "repeat_last_n"), "int"),
    **dict.fromkeys(("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty",
                     "frequency_penalty"), "float"),
    "use_mmap": "bool",
    "stop": "strings",
}
# Ollama once knew these; a Modelfile that has them is taken without them.
DEPRECATED = frozenset({
    "penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "mirostat", "mirostat_tau",
    "mirostat_eta",
})
# fmt: on
_LARGEST = 3.4028235e38  # float32
# Go's strconv.ParseBool.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_parameters(instructions: Iterable[Instruction]) -> tuple[dict[str, Parameter], tuple[str, ...]]:
    """The values of PARAMETER instructions, and a warning for each that is deprecated, which is left out.

    `stop` may stand several times; of every other the last counts.

    Raises:
        InvalidRequest: an unknown parameter, or a value that is not of its type (Ollama's words).
    """
    parameters: dict[str, Parameter] = {}
    warnings = []
    for instruction in instructions:
        name = instruction.key
        if name in DEPRECATED:
            warnings.append(f"parameter {name} is deprecated")
            continue
        value = parse_parameter(name, instruction.value)
        known = parameters.get(name)
        parameters[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value
    return parameters, tuple(dict.fromkeys(warnings))


def parse_parameter(name: str, text: str) -> Parameter:
    """The value of one parameter, as its type is written. Raises InvalidRequest."""
    match KINDS.get(name):
        case "int":
            return _integer(text)
        case "float":
            return _float(text)
        case "bool":
            if text not in _TRUE | _FALSE:
                raise InvalidRequest(f"invalid bool value [{text}]")
            return text in _TRUE
        case "strings":
            return [text]
    raise InvalidRequest(f"unknown parameter '{name}'")


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or abs(int(text)) >= 1 << 63:
        raise InvalidRequest(f"invalid int value [{text}]")
    return int(text)


def _float(text: str) -> float:
    """A number of Ollama's range, which is that of float32."""
    try:
        value = float(text if text.isascii() and "_" not in text else "")
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST:
        raise InvalidRequest(f"invalid float value [{text}]")
    return value
