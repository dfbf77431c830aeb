"""llama.cpp by its C interface, from llama-cpp-python, which builds it for the processor it is installed on.

    pip install llama-cpp-python

Its defaults, which are its best: the file mapped, weights repacked at load (CPU_REPACK), flash attention where it
chooses to ('auto'; `--llama-flash` forces it), batches of 512.
"""

from __future__ import annotations

import argparse
import ctypes
from typing import Any

import llama_cpp

from bench.contestants.engine import Engine, Tokens
from bench.contestants.serving import serve

BATCH = 512
FLASH = {"auto": -1, "off": 0, "on": 1}


class LlamaCpp(Engine):
    """llama_decode, and logits for the last token of a call."""

    def __init__(self, flash: str) -> None:
        self._flash, self._length = flash, 0
        self._log: list[str] = []
        # Kept: C calls it as long as this object lives.
        self._logger = llama_cpp.llama_log_callback(
            lambda _level, text, _data: self._log.append(text.decode(errors="replace"))
        )
        llama_cpp.llama_log_set(self._logger, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def load(self, path: str, threads: int, context: int, sequences: int = 1) -> dict[str, Any]:
        """See Engine."""
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise ValueError(f"llama.cpp cannot load {path}: {''.join(self._log[-5:])}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = context * sequences, sequences, BATCH, BATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH[self._flash]
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise ValueError(f"llama.cpp cannot make a context: {''.join(self._log[-5:])}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        repacked = any("CPU_REPACK model buffer" in line for line in self._log)
        system = llama_cpp.llama_print_system_info().decode()
        return {"version": f"llama-cpp-python {llama_cpp.__version__}", "repacked": repacked, "system": system}

    def forget(self, length: int) -> None:
        """See Engine."""
        llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1)
        self._length = length

    def run(self, tokens: Tokens) -> None:
        """See Engine."""
        self._fill_from(0, tokens, self._length)
        self._length += len(tokens)

    def fill(self, sequence: int, tokens: Tokens) -> None:
        """See Engine."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, 0, -1)
        self._fill_from(sequence, tokens, 0)

    def _fill_from(self, sequence: int, tokens: Tokens, position: int) -> None:
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            last = start + len(part) == len(tokens)
            rows = [
                (token, position + start + i, sequence, last and i == len(part) - 1) for i, token in enumerate(part)
            ]
            self._decode_rows(rows)

    def run_batch(self, tokens: Tokens, position: int) -> None:
        """See Engine."""
        self._decode_rows([(token, position, sequence, True) for sequence, token in enumerate(tokens)])

    def _decode_rows(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Token, position, sequence, whether its logits are wanted."""
        batch: Any = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
        if llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(self._context)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--flash", choices=FLASH, default="auto")
    serve(LlamaCpp(parser.parse_args().flash))
