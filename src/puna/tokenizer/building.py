"""From a `Vocabulary` to the `tokenizers` library's objects: a pair of functions for each kind.

Knows how each kind normalises, cuts and merges text. Does not read files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from puna.errors import InvalidTokenizer
from puna.tokenizer.charsmap import check_charsmap
from puna.tokenizer.pieces import BLANK, byte_alphabet, byte_level_bytes, byte_token_byte, sentencepiece_bytes
from puna.tokenizer.pretokenizers import PreTokenizer
from puna.tokenizer.refusals import refusals
from puna.tokenizer.special import TokenType
from puna.tokenizer.tokenizer import Tokenizer
from puna.tokenizer.vocabulary import Vocabulary

# For text as it is, and for text whose control tokens count. Mostly one object: a model can be shared.
Models = tuple[models.Model, models.Model]

SPECIAL = (TokenType.CONTROL, TokenType.UNKNOWN)
NOT_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})  # no text holds these bytes
MAX_PIECE = 1024  # characters of a SentencePiece token: the work grows with the square, and 512 is the most in use


def build(vocabulary: Vocabulary, *, ends: Iterable[int] = ()) -> Tokenizer:
    """The tokenizer of a vocabulary; `ends` are further ids that end an answer.

    Raises `InvalidTokenizer` where the library refuses the vocabulary.
    """
    make_models, configure = _KINDS[vocabulary.kind]
    pieces = _pieces(vocabulary)
    with refusals("the vocabulary cannot be built"):
        plain_model, parsing_model = make_models(vocabulary)
        plain, parsing = Backend(plain_model), Backend(parsing_model)
        for backend in (plain, parsing):
            configure(backend, vocabulary)
            backend.add_tokens(_added(vocabulary, TokenType.USER_DEFINED))
        parsing.add_special_tokens(_added(vocabulary, *SPECIAL))
    further = frozenset(i for i in ends if i < len(vocabulary.tokens))
    return _wrap(vocabulary, plain, parsing, pieces, vocabulary.eog_ids | further)


def _wrap(
    vocabulary: Vocabulary, plain: Backend, parsing: Backend, pieces: list[bytes], eog_ids: frozenset[int]
) -> Tokenizer:
    is_bert = vocabulary.kind == "bert"
    last = vocabulary.sep_id if is_bert else vocabulary.eos_id
    suffix = () if last is None or not (vocabulary.add_eos or is_bert) else (last,)
    return Tokenizer(
        bos_id=vocabulary.bos_id,
        eos_id=vocabulary.eos_id,
        eog_ids=eog_ids,
        special_ids=frozenset(vocabulary.of_type(*SPECIAL)),
        prefix=() if vocabulary.bos_id is None or not vocabulary.add_bos else (vocabulary.bos_id,),
        suffix=suffix,
        warnings=(*vocabulary.warnings, *_lost_bytes(vocabulary)),
        _plain=plain,
        _parsing=parsing,
        _texts=vocabulary.tokens,
        _pieces=pieces,
        _strips_blank=vocabulary.add_space_prefix or is_bert,
        separator=() if is_bert else suffix if vocabulary.sep_id is None else (vocabulary.sep_id,),  # else RoBERTa's
    )


def _added(vocabulary: Vocabulary, *types: TokenType) -> list[AddedToken]:
    return [
        AddedToken(
            vocabulary.tokens[i],
            normalized=False,
            special=vocabulary.types[i] != TokenType.USER_DEFINED,
            lstrip=i in vocabulary.left_strip,
            rstrip=i in vocabulary.right_strip,
        )
        for i in vocabulary.of_type(*types)
    ]


# --- the bytes of each token


def _pieces(vocabulary: Vocabulary) -> list[bytes]:
    byte_level = vocabulary.pre is not None and vocabulary.pre.byte_level
    written = byte_level_bytes if byte_level else sentencepiece_bytes
    pieces = [written(text) for text in vocabulary.tokens]
    for i in vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
        pieces[i] = vocabulary.tokens[i].encode()
    for i in vocabulary.of_type(TokenType.BYTE):
        byte = byte_token_byte(vocabulary.tokens[i])
        if byte is None:
            raise InvalidTokenizer(f"token {i} has type BYTE and text {vocabulary.tokens[i]!r}, not <0xNN>")
        pieces[i] = byte
    return pieces


def _lost_bytes(vocabulary: Vocabulary) -> list[str]:
    """A warning where some text would leave no trace in the ids: it has neither a token nor <unk>."""
    if vocabulary.pre is not None and vocabulary.pre.byte_level:
        missing = [byte for text, byte in byte_alphabet().items() if text not in vocabulary.ids]
    elif vocabulary.unk_id is None:
        missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocabulary.ids]
    else:
        return []
    lost = sorted(set(missing) - NOT_IN_UTF8)
    if not lost:
        return []
    some = ", ".join(f"0x{byte:02X}" for byte in lost[:4]) + (", ..." if len(lost) > 4 else "")
    return [f"{len(lost)} bytes ({some}) have no token: text that needs them is lost"]


def _unk_token(vocabulary: Vocabulary) -> str | None:
    return None if vocabulary.unk_id is None else vocabulary.tokens[vocabulary.unk_id]


# --- gpt2, gemma4, whitespace: BPE with the merges given


def _bpe_models(vocabulary: Vocabulary) -> Models:
    rule = vocabulary.pre
    assert rule is not None
    # Without these merges no text can spell its way to a control token.
    special = {vocabulary.tokens[i] for i in vocabulary.of_type(*SPECIAL)}
    merges = [merge for merge in vocabulary.merges if merge[0] + merge[1] not in special]
    ids = dict(vocabulary.ids)
    if rule.byte_level:
        model = models.BPE(ids, merges, ignore_merges=rule.ignore_merges)
    else:
        model = models.BPE(ids, merges, byte_fallback=True, fuse_unk=True, unk_token=_unk_token(vocabulary))
    return model, model


def _bpe(backend: Backend, vocabulary: Vocabulary) -> None:
    rule = vocabulary.pre
    assert rule is not None
    backend.pre_tokenizer = words_of(rule)
    if rule.visible_blanks:
        backend.normalizer = normalizers.Replace(" ", BLANK)
    if vocabulary.kind == "whitespace":  # its blanks belong to no token
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if vocabulary.lowercase:
            backend.normalizer = normalizers.Lowercase()


def words_of(rule: PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """A rule as the library's object, which cuts text into the words that are then merged."""
    steps: list[pre_tokenizers.PreTokenizer]
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
    if rule.byte_level:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


# --- llama: SentencePiece's BPE, which has scores instead of merges


def _sentencepiece_models(vocabulary: Vocabulary) -> Models:
    unk, merges = _unk_token(vocabulary), _merges(vocabulary)
    model = models.BPE(dict(vocabulary.ids), merges, byte_fallback=True, fuse_unk=True, unk_token=unk)
    return model, model


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to make a token of two others, the best score first.

    Where scores are equal (runs of blanks in Llama's and Mistral's vocabularies) SentencePiece merges the leftmost
    pair. A list of merges cannot say so, but with the longest left half first a run is gathered from the left.
    """
    ids, scores = vocabulary.ids, vocabulary.scores
    found = []
    for token in vocabulary.of_type(TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED):
        text = vocabulary.tokens[token]
        if len(text) > MAX_PIECE:
            raise InvalidTokenizer(f"token {token} has {len(text)} characters; at most {MAX_PIECE} are allowed")
        for cut in range(1, len(text)):
            left = ids.get(text[:cut])
            if left is not None and (right := ids.get(text[cut:])) is not None:
                found.append((-scores[token], -cut, left, right))
    found.sort()
    return [(vocabulary.tokens[left], vocabulary.tokens[right]) for _, _, left, right in found]


def _sentencepiece(backend: Backend, vocabulary: Vocabulary) -> None:
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", BLANK)]
    if vocabulary.add_space_prefix:
        steps.insert(0, normalizers.Prepend(BLANK))
    backend.normalizer = normalizers.Sequence(_normalisation(vocabulary) + steps)


def _normalisation(vocabulary: Vocabulary) -> list[normalizers.Normalizer]:
    """What SentencePiece does to text before anything else: its character map, and runs of blanks made one.

    The library's character map loses a combining mark that follows a mapped character (Hugging Face's tokenizers have
    always done so, and the models know it no other way).
    """
    steps: list[normalizers.Normalizer] = []
    if vocabulary.charsmap:
        check_charsmap(vocabulary.charsmap)
        steps.append(normalizers.Precompiled(vocabulary.charsmap))
    if vocabulary.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return steps


# --- t5: SentencePiece's Unigram


def _unigram_models(vocabulary: Vocabulary) -> Models:
    """Two: the plain one has other texts for control tokens, whose scores of 0 would win over any text's.

    Byte tokens must be found by their texts, so they get a score that no text wants.
    """
    unk = vocabulary.unk_id
    byte_fallback = all(f"<0x{byte:02X}>" in vocabulary.ids for byte in range(256))
    scored = list(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    unwanted = 10 * min(0.0, *vocabulary.scores) - 100
    for i in vocabulary.of_type(TokenType.BYTE):
        scored[i] = (scored[i][0], unwanted)
    parsing = models.Unigram(scored, unk, byte_fallback=byte_fallback)
    for i in vocabulary.of_type(*SPECIAL):
        scored[i] = (f"\0control:{i}", scored[i][1])
    return models.Unigram(scored, unk, byte_fallback=byte_fallback), parsing


def _unigram(backend: Backend, vocabulary: Vocabulary) -> None:
    backend.normalizer = normalizers.Sequence(_normalisation(vocabulary))
    prepend = "always" if vocabulary.add_space_prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=prepend, split=False)


# --- bert: WordPiece


def _wordpiece_models(vocabulary: Vocabulary) -> Models:
    unk = _unk_token(vocabulary)
    assert unk is not None
    ids = {_wordpiece(text, vocabulary.types[i]): i for i, text in enumerate(vocabulary.tokens)}
    model = models.WordPiece(ids, unk_token=unk, max_input_chars_per_word=100)
    return model, model


def _wordpiece(text: str, kind: int) -> str:
    """GGUF marks the start of a word, WordPiece the continuation; names in brackets are neither."""
    if kind != TokenType.NORMAL or (text.startswith("[") and text.endswith("]") and len(text) > 2):
        return text
    return text[1:] if text.startswith(BLANK) else "##" + text


def _bert(backend: Backend, vocabulary: Vocabulary) -> None:
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=vocabulary.strip_accents,
        lowercase=vocabulary.lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


_KINDS: dict[str, tuple[Callable[[Vocabulary], Models], Callable[[Backend, Vocabulary], None]]] = {
    "gpt2": (_bpe_models, _bpe),
    "gemma4": (_bpe_models, _bpe),
    "whitespace": (_bpe_models, _bpe),
    "llama": (_sentencepiece_models, _sentencepiece),
    "t5": (_unigram_models, _unigram),
    "bert": (_wordpiece_models, _bert),
}
