"""What a model is to be made of, as any caller may ask for it, and what of that can be checked at once.

Knows nothing of the store. Errors are Ollama's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from puna.chat.gotemplate import GoTemplate
from puna.conversion.mixes import mix_named
from puna.errors import InvalidRequest, TemplateError
from puna.store.components import Components

_SEMVER = re.compile(r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
# What `info` may say beside the capabilities, and the field of the config that then says it.
_INFO_TEXTS = {
    "model_family": "model_family",
    "base_name": "base_name",
    "quantization_level": "file_type",
    "parameter_size": "model_type",
}
_INFO_NUMBERS = ("context_length", "embedding_length")


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """What to make of what. One of `from_`, `files` and `components` says what it is made from."""

    model: str  # the new name
    from_: str = ""  # a model's name
    files: Mapping[str, str] = field(default_factory=dict)  # relative path -> digest of a blob, "sha256:..."
    adapters: Mapping[str, str] = field(default_factory=dict)
    draft_files: Mapping[str, str] = field(default_factory=dict)
    components: Components | None = None  # the same on this machine's disk; never from a network
    reference: bool = False  # use those files in place, without a copy
    expendable: frozenset[str] = frozenset()  # blobs that may go while they are joined, where there is no room for both
    quantize: str = ""
    draft_quantize: str = ""
    template: str = ""  # Go template; here and below: "" and none leave what it is made from as it is
    system: str = ""
    licenses: tuple[str, ...] = ()  # beside those that are there
    parameters: Mapping[str, object] = field(default_factory=dict)  # over those that are there
    messages: Sequence[Mapping[str, object]] = ()  # role, content
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: Mapping[str, object] = field(default_factory=dict)

    def digests(self) -> frozenset[str]:
        """Of the blobs that it counts on. Raises InvalidRequest for what is no digest, or no relative path."""
        given = (*self.files.items(), *self.adapters.items(), *self.draft_files.items())
        for name, _ in given:
            _check_relative(name)
        return frozenset(digest_of(text) for _, text in given)

    def check(self) -> None:
        """What can be said before any work. Raises InvalidRequest."""
        self.version()
        for mix in (self.quantize, self.draft_quantize):
            if mix:
                mix_named(mix)
        try:
            GoTemplate(self.template)
        except TemplateError as error:
            raise InvalidRequest(f"template error: {error}") from None

    def version(self) -> str:
        """`requires` without a v. Raises InvalidRequest."""
        if self.requires and not _SEMVER.fullmatch(self.requires):
            raise InvalidRequest("requires must be a valid semver (e.g. 0.14.0)")
        return self.requires.removeprefix("v")

    def config_fields(self) -> dict[str, Any]:
        """Fields of the config that `info` says. Raises InvalidRequest."""
        chosen: dict[str, Any] = {}
        for name, value in self.info.items():
            if name == "capabilities":
                if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                    raise InvalidRequest(f'info field "{name}" must be a list of strings')
                chosen[name] = tuple(value)
            elif name in _INFO_TEXTS:
                if not isinstance(value, str):
                    raise InvalidRequest(f'info field "{name}" must be a string')
                chosen[_INFO_TEXTS[name]] = value
            elif name in _INFO_NUMBERS:
                if not isinstance(value, int | float) or isinstance(value, bool):
                    raise InvalidRequest(f'info field "{name}" must be a number')
                if not 0 <= value < 1 << 63 or value != int(value):
                    raise InvalidRequest(f'info field "{name}" must be a non-negative integer')
                chosen[name] = int(value)
            else:
                raise InvalidRequest(f'info field "{name}" is unknown')
        if chosen.get("model_family"):
            chosen["model_families"] = (chosen["model_family"],)
        return chosen


def digest_of(text: str) -> str:
    """The 64 digits of `sha256:...`. Raises InvalidRequest."""
    found = DIGEST.fullmatch(text)
    if found is None:
        raise InvalidRequest("invalid digest format: it must be sha256: and 64 hexadecimal digits")
    return found[1]


def _check_relative(name: str) -> None:
    """A name may become that of a link in a folder that is imported."""
    parts = name.split("/")
    strange = "\\" in name or "\0" in name or PureWindowsPath(name).drive
    if strange or any(part in ("", ".", "..") for part in parts):
        raise InvalidRequest(f"file path must be relative: {name!r}")
