"""A Hugging Face folder (config.json, safetensors, tokenizer) read as if it were a GGUF file."""

from __future__ import annotations

from puna.gguf.huggingface.folder import open_folder
from puna.gguf.huggingface.peft import open_peft

__all__ = ["open_folder", "open_peft"]
