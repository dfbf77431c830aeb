"""Conversations as text: messages, the model's chat template, fitting to the context, stop strings.

Knows nothing of token ids, engines or APIs.
"""

from puna.chat.history import ContextReport, Fitted, fit
from puna.chat.messages import Message, ToolCall
from puna.chat.stops import StopStrings
from puna.chat.template import ChatTemplate

__all__ = ["ChatTemplate", "ContextReport", "Fitted", "Message", "StopStrings", "ToolCall", "fit"]
