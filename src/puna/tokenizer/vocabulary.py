"""`Vocabulary`: what a GGUF's metadata says of its tokenizer, checked and typed.

Knows GGUF's `tokenizer.ggml.*` keys and their defaults (llama.cpp's, by kind), not how any kind splits text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from puna.errors import InvalidTokenizer
from puna.tokenizer import metadata as meta
from puna.tokenizer.pretokenizers import PreTokenizer, pre_tokenizer
from puna.tokenizer.special import TokenType, corrected_types, end_of_generation

KEY = "tokenizer.ggml."


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a kind of vocabulary means where its file says nothing."""

    bos_id: int | None = None
    eos_id: int | None = None
    unk_id: int | None = None
    sep_id: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False


# By `tokenizer.ggml.model`. Unlike llama.cpp, no default ids for gpt2: its 11 is right for Falcon alone.
DEFAULTS = {
    "gpt2": Defaults(),
    "gemma4": Defaults(),
    "whitespace": Defaults(),
    "llama": Defaults(bos_id=1, eos_id=2, unk_id=0, add_bos=True, add_space_prefix=True),
    "t5": Defaults(eos_id=1, unk_id=2, add_eos=True),
    "bert": Defaults(bos_id=101, unk_id=100, sep_id=102, add_bos=True),
}
BPE_KINDS = ("gpt2", "gemma4", "whitespace")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer's vocabulary. `tokens`, `types`, `scores` are by id; `ids` is `tokens` turned round."""

    kind: str
    tokens: Sequence[str]
    ids: Mapping[str, int]
    types: Sequence[int]
    eog_ids: frozenset[int]
    bos_id: int | None = None
    eos_id: int | None = None
    unk_id: int | None = None
    sep_id: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    scores: Sequence[float] = ()  # kinds llama and t5
    merges: Sequence[tuple[str, str]] = ()  # the three kinds of BPE
    pre: PreTokenizer | None = None  # likewise
    add_space_prefix: bool = False
    remove_extra_whitespaces: bool = False
    charsmap: bytes = b""  # SentencePiece's precompiled normalisation
    lowercase: bool = True  # kinds bert and whitespace
    strip_accents: bool = True  # kind bert
    right_strip: frozenset[int] = frozenset()  # special tokens that swallow the blanks after them ...
    left_strip: frozenset[int] = frozenset()  # ... and before them
    warnings: tuple[str, ...] = field(default=())

    def of_type(self, *types: TokenType) -> list[int]:
        """The ids of these types, ascending."""
        found: list[int] = np.flatnonzero(np.isin(self.types, types)).tolist()
        return found


def read_vocabulary(metadata: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a GGUF's metadata; `InvalidTokenizer` says what is missing, inconsistent or unknown."""
    return _Reader(metadata).read()


class _Reader:
    """One reading of the metadata: what every kind has, then what its own kind needs."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.metadata = metadata
        self.warnings: list[str] = []
        self.kind = self._kind()
        self.default = DEFAULTS[self.kind]
        self.tokens = self._tokens()
        self.ids = _ids_of(self.tokens)
        self.types = corrected_types(self.ids, self._types())

    def read(self) -> Vocabulary:
        is_bpe = self.kind in BPE_KINDS
        pre = self._pre() if is_bpe else None
        bos, eos = self._bos(), self._token("eos", self.default.eos_id)
        lowercase = self._flag("normalizer.lowercase", self.kind == "bert")
        return Vocabulary(
            kind=self.kind,
            tokens=self.tokens,
            ids=self.ids,
            types=self.types,
            eog_ids=self._end_of_generation(eos),
            bos_id=bos,
            eos_id=eos,
            unk_id=self._token("unknown", self.default.unk_id, required=self.kind in ("t5", "bert")),
            sep_id=self._sep(),
            add_bos=self._adds("bos", bos, self.default.add_bos or (pre is not None and pre.add_bos)),
            add_eos=self._adds("eos", eos, self.default.add_eos),
            scores=self._scores() if self.kind in ("llama", "t5") else (),
            merges=self._merges() if is_bpe else (),
            pre=pre,
            add_space_prefix=self._flag("add_space_prefix", self.default.add_space_prefix),
            remove_extra_whitespaces=self._flag("remove_extra_whitespaces", False),
            charsmap=meta.octets(self.metadata, KEY + "precompiled_charsmap"),
            lowercase=lowercase,
            strip_accents=self._flag("normalizer.strip_accents", lowercase),
            right_strip=self._right_strip(),
            left_strip=self._left_strip(),
            warnings=tuple(self.warnings),
        )

    def _kind(self) -> str:
        kind = meta.string(self.metadata, KEY + "model")
        if kind is None:
            raise InvalidTokenizer(f"the file has no {KEY}model: it carries no tokenizer")
        if kind not in DEFAULTS:
            raise InvalidTokenizer(f"{KEY}model is {kind!r}; known kinds are {', '.join(DEFAULTS)}")
        return kind

    def _tokens(self) -> list[str]:
        tokens = meta.strings(self.metadata, KEY + "tokens")
        if not tokens:
            raise InvalidTokenizer(f"{KEY}tokens is missing or empty")
        for index, text in enumerate(tokens):
            if not text:
                tokens[index] = f"[EMPTY_{index}]"  # as llama.cpp names it
                self.warnings.append(f"token {index} has no text")
        return tokens

    def _types(self) -> list[int]:
        types = meta.integers(self.metadata, KEY + "token_type", len(self.tokens))
        return [TokenType.NORMAL] * len(self.tokens) if types is None else types

    def _scores(self) -> list[float]:
        scores = meta.numbers(self.metadata, KEY + "scores", len(self.tokens))
        if scores is None:
            raise InvalidTokenizer(f"the file has no {KEY}scores, which a vocabulary of kind {self.kind!r} needs")
        return scores

    def _merges(self) -> list[tuple[str, str]]:
        lines = meta.strings(self.metadata, KEY + "merges")
        if lines is None:
            raise InvalidTokenizer(f"the file has no {KEY}merges, which a vocabulary of kind {self.kind!r} needs")
        merges = []
        for index, line in enumerate(lines):
            cut = line.find(" ", 1)  # from 1 on: the left half may itself be a blank
            if cut < 0 or cut == len(line) - 1:
                raise InvalidTokenizer(f"{KEY}merges[{index}] is {line!r}, not two pieces with a blank between them")
            merges.append((line[:cut], line[cut + 1 :]))
        return merges

    def _pre(self) -> PreTokenizer:
        if self.kind != "gpt2":
            return pre_tokenizer(self.kind)
        name = meta.string(self.metadata, KEY + "pre")
        if name is None:
            self.warnings.append(
                f"the file has no {KEY}pre: text is cut by llama.cpp's default rules, which may not be the model's"
            )
        return pre_tokenizer(name or "default")

    def _flag(self, name: str, default: bool) -> bool:
        value = meta.flag(self.metadata, KEY + name)
        return default if value is None else value

    def _token(self, name: str, default: int | None = None, *, required: bool = False) -> int | None:
        """The id of the token with that role: the file's, or the default if the vocabulary reaches that far."""
        key = f"{KEY}{name}_token_id"
        if key in self.metadata:
            token = meta.token_id(self.metadata, key, len(self.tokens))
        else:
            token = default if default is not None and default < len(self.tokens) else None
        if required and token is None:
            raise InvalidTokenizer(f"the file has no {key}, which a vocabulary of kind {self.kind!r} needs")
        return token

    def _bos(self) -> int | None:
        """BERT's [CLS] takes the place of BOS; converters have written it under either key."""
        default = self._token("cls", self.default.bos_id) if self.kind == "bert" else self.default.bos_id
        return self._token("bos", default)

    def _sep(self) -> int | None:
        """BERT's [SEP]. The key is misspelt in GGUF's own specification."""
        required = self.kind == "bert"
        return self._token("seperator", self._token("separator", self.default.sep_id), required=required)

    def _end_of_generation(self, eos: int | None) -> frozenset[int]:
        # Fill-in-the-middle padding, repository and file separators end an answer too.
        ends = [self._token(name) for name in ("eot", "eom", "fim_pad", "fim_rep", "fim_sep")]
        # A folder's generation_config.json may name several; GGUF has a key for one only.
        several = meta.token_ids(self.metadata, "puna.eos_token_ids", len(self.tokens))
        found = end_of_generation(self.ids, [eos, *ends, *several])
        if not found and self.kind != "bert":
            self.warnings.append("no token of this vocabulary is known to end an answer")
        return found

    def _adds(self, name: str, token: int | None, default: bool) -> bool:
        key = f"{KEY}add_{name}_token"
        wanted = meta.flag(self.metadata, key)
        if token is None:
            if wanted:
                raise InvalidTokenizer(f"{key} is true, but {KEY}{name}_token_id is not set")
            if wanted is None and default:
                self.warnings.append(
                    f"such a vocabulary adds {name.upper()} to a text, but the file does not say which"
                )
            return False
        if self.kind == "gemma4" and wanted is False and default:
            # The first converted files were wrong in this; llama.cpp overrides it too.
            self.warnings.append(f"{key} is false, but Gemma 4 needs it: it is added")
            return True
        return default if wanted is None else wanted

    def _right_strip(self) -> frozenset[int]:
        """Phi-3's special tokens swallow the blanks after them. GGUF has no key for it: the model's name decides."""
        name = str(self.metadata.get("general.name", "")).lower()
        if "phi-3" not in name and "phi3" not in name:
            return frozenset()
        special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        keep = {self.ids.get(text) for text in ("<unk>", "<s>", "<|endoftext|>")}
        return frozenset(i for i, kind in enumerate(self.types) if kind in special and i not in keep)

    def _left_strip(self) -> frozenset[int]:
        """Mask tokens of some encoders swallow the blanks before them; GGUF has no key for this either."""
        pre = self.metadata.get(KEY + "pre")
        architecture = self.metadata.get("general.architecture")
        mask = None
        if pre in ("jina-v2-de", "jina-v2-es", "jina-v2-code") or architecture in (
            "nomic-bert-moe",
            "jina-bert-v3",
        ):
            mask = self.ids.get("<mask>")
        elif "modern-bert" in str(self.metadata.get("general.name", "")).lower():
            mask = self.ids.get("[MASK]")
        return frozenset() if mask is None else frozenset({mask})


def _ids_of(tokens: Sequence[str]) -> dict[str, int]:
    ids = {text: i for i, text in enumerate(tokens)}
    if len(ids) != len(tokens):
        index, text = next((i, text) for i, text in enumerate(tokens) if ids[text] != i)
        raise InvalidTokenizer(f"{KEY}tokens has {text!r} twice, as ids {index} and {ids[text]}")
    return ids
