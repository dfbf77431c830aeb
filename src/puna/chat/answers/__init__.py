"""What models write: thoughts, text and tool calls, told apart in the stream, and grammars that hold answers to them.

Knows each family's marks, and finds a model's family by its chat template. Knows nothing of token ids, engines or
APIs.
"""

from puna.chat.answers.answer_format import AnswerFormat
from puna.chat.answers.parser import AnswerParser
from puna.chat.answers.pieces import Body, Piece, Text, Thought
from puna.chat.answers.thoughts import switches_of

__all__ = ["AnswerFormat", "AnswerParser", "Body", "Piece", "Text", "Thought", "switches_of"]
