"""Checks the vocabularies in llama.cpp's source tree, with the test vectors beside them. Not part of the test run.

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    python -m tests.tokenizer.check_vectors llama_cpp_python-*/vendor/llama.cpp/models

The vectors (`ggml-vocab-NAME.gguf.inp` and `.out`) were made with the models' own Hugging Face tokenizers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from puna.gguf import open_model
from puna.tokenizer import load

SEPARATOR = "\n__ggml_vocab_test__\n"


def check(path: Path) -> bool:
    """Prints one line; whether every vector's ids are ours."""
    with open_model(path) as file:
        start = time.perf_counter()
        tokenizer = load(file)
        seconds = time.perf_counter() - start
    texts = Path(f"{path}.inp").read_text("utf-8").split(SEPARATOR)
    rows = Path(f"{path}.out").read_text("utf-8").split("\n")
    wanted = [[int(number) for number in row.split()] for row in rows[: len(texts)]]
    equal = [tokenizer.encode(text, add_special=False) == ids for text, ids in zip(texts, wanted, strict=True)]
    print(f"{path.stem:28} {tokenizer.vocab_size:7} tokens, {seconds:.2f} s, {sum(equal)}/{len(equal)} equal")
    return all(equal)


def main() -> None:
    paths = sorted(p for p in Path(sys.argv[1]).glob("ggml-vocab-*.gguf") if Path(f"{p}.inp").exists())
    results = [check(path) for path in paths]
    sys.exit(not (results and all(results)))


if __name__ == "__main__":
    main()
