"""`puna.LLM` and `puna.Tokenizer`: a model in this process, for programs."""

from puna.llm.llm import LLM, Completion, PathOrName, TextStream, Tokenizer
from puna.llm.options import ChatOptions, GenerateOptions

__all__ = ["LLM", "ChatOptions", "Completion", "GenerateOptions", "PathOrName", "TextStream", "Tokenizer"]
