"""A tiny cross-encoder with random weights and a real WordPiece tokenizer, as a folder and in a store."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from puna.store import Store
from puna.store.components import Components
from puna.store.create import create
from puna.store.create_request import CreateRequest
from tests.gguf.huggingface.folders import write_json
from tests.models import tiny_encoders

SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
LETTERS = [letter for code in range(ord("a"), ord("z") + 1) for letter in (chr(code), f"##{chr(code)}")]


def write_ranker(folder: Path) -> Path:
    """`tiny_encoders`' bert_ranker with a tokenizer of letters."""
    tiny_encoders.write_folder(folder, "bert_ranker")
    words = [*SPECIAL, *LETTERS, *"0123456789.,?!"]
    words += [f"word{i}" for i in range(tiny_encoders.CONFIGS["bert_ranker"]["vocab_size"] - len(words))]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    write_json(folder / "tokenizer_config.json", names)
    return folder


def store_ranker(store: Store, folder: Path) -> str:
    """Make a model of it; its name."""
    create(store, CreateRequest("ranker", components=Components(folder=write_ranker(folder))))
    return "ranker"
