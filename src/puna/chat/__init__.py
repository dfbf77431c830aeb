"""Conversations as text: messages, the model's chat template, fitting to the context, stop strings.

Knows nothing of token ids, engines or APIs.
"""

from puna.chat.go_chat_template import GoChatTemplate
from puna.chat.history import ContextReport, Fitted, fit
from puna.chat.messages import AUTO, ImageFile, Message, Think, Tool, ToolCall, ToolChoice
from puna.chat.prompt_template import PromptTemplate
from puna.chat.stops import StopStrings
from puna.chat.template import ChatTemplate

__all__ = [
    "AUTO",
    "ChatTemplate",
    "ContextReport",
    "Fitted",
    "GoChatTemplate",
    "ImageFile",
    "Message",
    "PromptTemplate",
    "StopStrings",
    "Think",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "fit",
]
