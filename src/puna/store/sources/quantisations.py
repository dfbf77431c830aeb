"""Which file of a repository is meant: quantisations told from file names, shards of one file put together.

Knows names and sizes only; nothing here touches a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from puna.errors import InvalidRequest, ModelNotFound
from puna.store.sources.repository import RemoteFile

# What is taken where nothing is asked for: the first that there is, as the Hub's own registry does (Q4_K_M first).
PREFERRED = (
    "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_K_L", "Q5_K_M", "Q5_K_S", "Q5_0", "Q6_K", "Q3_K_M", "Q8_0", "IQ4_XS", "IQ4_NL",
    "Q4_1", "Q5_1", "Q3_K_L", "Q3_K_S", "Q2_K", "BF16", "F16", "F32",
)  # fmt: skip

_LABEL = re.compile(
    r"(?<![A-Za-z0-9])(?:UD-)?(?:I?Q[1-8]_(?:[01]|K|NL|XS|XXS|S|M)(?:_[A-Z]{1,3})?(?:_\d){0,2}|TQ[12]_0|MXFP4(?:_MOE)?"
    r"|NVFP4|BF16|F(?:P)?16|F(?:P)?32|Q8_K)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_OTHER = re.compile(r"(?:^|[-._/])(?:mmproj|imatrix|draft|mtp)(?=[-._/]|$)", re.IGNORECASE)
_PROJECTOR = re.compile(r"(?:^|[-._/])mmproj(?=[-._/]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Variant:
    """One GGUF of a repository, in one file or in shards (in order)."""

    label: str | None  # Q4_K_M, ...: as its name says
    shards: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes, all shards."""
        return sum(file.size for file in self.shards)

    @property
    def path(self) -> str:
        """Of the first shard, in the repository."""
        return self.shards[0].path


def label_of(name: str) -> str | None:
    """The quantisation that a file's name speaks of: the last one in it, or in the folder it is in."""
    for part in reversed(name.split("/")):
        found = _LABEL.findall(part)
        if found:
            return str(found[-1])
    return None


def variants(files: Iterable[RemoteFile]) -> list[Variant]:
    """Every GGUF model among the files; projectors, importance matrices and sets with a shard missing are none."""
    sets: dict[tuple[str, int], dict[int, RemoteFile]] = {}
    for file in files:
        if not file.path.lower().endswith(".gguf") or _OTHER.search(file.path):
            continue
        shard = _SHARD.fullmatch(file.path)
        prefix, number, count = (
            (shard["prefix"], int(shard["number"]), int(shard["count"])) if shard else (file.path, 1, 1)
        )
        sets.setdefault((prefix, count), {})[number] = file
    whole = {key: shards for key, shards in sets.items() if sorted(shards) == list(range(1, key[1] + 1))}
    return [
        Variant(label_of(prefix), tuple(shards[number] for number in sorted(shards)))
        for (prefix, _), shards in sorted(whole.items())
    ]


def choose(found: Sequence[Variant], wanted: str | None, repository: str) -> Variant:
    """The one that is asked for (a quantisation or a file, case does not count), or the preferred one.

    Raises:
        ModelNotFound: there is none such; the message lists what there is.
        InvalidRequest: several answer to it.
    """
    if not wanted:
        return min(found, key=_preference)
    key = wanted.lower().removesuffix(".gguf")
    for matches in (_by_path(found, key), _by_label(found, key)):
        if len(matches) > 1:
            files = ", ".join(variant.path for variant in matches)
            raise InvalidRequest(f"{repository} has {len(matches)} files for {wanted!r}: give one of {files}")
        if matches:
            return matches[0]
    there = ", ".join(dict.fromkeys(variant.label or variant.path for variant in found))
    raise ModelNotFound(f"{repository} has no {wanted!r}; it has {there}")


def projector(files: Iterable[RemoteFile]) -> RemoteFile | None:
    """The projector (mmproj) that goes with the models of a repository: the smallest of F16, BF16 and others."""
    found = [file for file in files if file.path.lower().endswith(".gguf") and _PROJECTOR.search(file.path)]
    return min(found, key=lambda file: ((label_of(file.path) or "").upper() != "F16", file.size), default=None)


def _by_path(found: Sequence[Variant], key: str) -> list[Variant]:
    return [
        variant
        for variant in found
        for path in [variant.path.lower().removesuffix(".gguf")]
        if key in (path, path.rpartition("/")[2], re.sub(r"-\d{5}-of-\d{5}$", "", path.rpartition("/")[2]))
    ]


def _by_label(found: Sequence[Variant], key: str) -> list[Variant]:
    same = [variant for variant in found if (variant.label or "").lower() == key]
    return same or [variant for variant in found if (variant.label or "").lower().removeprefix("ud-") == key]


def _preference(variant: Variant) -> tuple[int, int, str]:
    label = (variant.label or "").upper()
    plain = label.removeprefix("UD-")
    rank = PREFERRED.index(plain) if plain in PREFERRED else len(PREFERRED)
    return rank, label != plain, variant.path
