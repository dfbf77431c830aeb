"""Writes goldens/encoders.npz and goldens/minilm.npz. `python -m tests.models.make_encoder_goldens [MINILM]`

Needs the extra `oracle` (torch, transformers), and nothing of Puna. encoders.npz: transformers' final states
(len(SHOWN), hidden) of each tiny encoder, or of those that rank the logits (labels,). minilm.npz, where the folder of
all-MiniLM-L6-v2 is given: its unit vectors (texts, 384) of `minilm_texts.TEXTS`, as sentence-transformers makes them:
the mean of the final states, cut to 256 tokens.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from tests.models import tiny_encoders as tiny
from tests.models.minilm_texts import TEXTS

GOLDENS = Path(__file__).parent / "goldens"
MAX_LENGTH = 256  # sentence_bert_config.json's


def main(arguments: list[str]) -> None:
    """Make them anew."""
    torch.set_num_threads(1)
    states: dict[str, Any] = {name: encoder(name) for name in tiny.CONFIGS}
    np.savez_compressed(GOLDENS / "encoders.npz", **states)
    if arguments:
        np.savez_compressed(GOLDENS / "minilm.npz", vectors=minilm(arguments[0]))


def encoder(name: str) -> NDArray[np.float32]:
    """The states, or the logits, computed in float32."""
    kind: Any = transformers.AutoModelForSequenceClassification if name in tiny.RANKERS else transformers.AutoModel
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_folder(Path(folder), name)
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    wrong = {key: value for key, value in report.items() if value}
    if wrong:
        raise SystemExit(f"{name}: transformers did not take the weights as they are: {wrong}")
    ids = torch.tensor([tiny.prompt(name)])
    types = torch.zeros_like(ids)
    if name == "bert_ranker":
        types[:, tiny.SECOND :] = 1
    with torch.no_grad():
        found = model.eval()(ids, token_type_ids=types)
    chosen = found.logits[0] if name in tiny.RANKERS else found.last_hidden_state[0, list(tiny.SHOWN)]
    return np.ascontiguousarray(chosen.numpy())


def minilm(folder: str) -> NDArray[np.float32]:
    """all-MiniLM-L6-v2's vectors."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    vectors = []
    for text in TEXTS:
        encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_LENGTH)
        with torch.no_grad():
            mean = model(**encoded).last_hidden_state[0].mean(0)
        vectors.append((mean / mean.norm()).numpy())
    return np.array(vectors, np.float32)


if __name__ == "__main__":
    main(sys.argv[1:])
