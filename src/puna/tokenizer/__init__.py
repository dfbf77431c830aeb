"""From a model file's vocabulary to token ids and back.

`load(file)` gives a `Tokenizer` for a GGUF or a Hugging Face folder. Knows nothing of chat templates, tensors
or models.
"""

from puna.tokenizer.loading import load
from puna.tokenizer.tokenizer import Detokenizer, Tokenizer

__all__ = ["Detokenizer", "Tokenizer", "load"]
