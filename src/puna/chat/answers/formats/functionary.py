"""Functionary 3.1, and Llama 3.1 where it is told of functions so: `<function=name>{...}</function>`.

Functionary 3.2 says to whom each part of an answer goes, text too: `>>>all\\ntext>>>name\\n{...}`; its prompt ends with
the first mark. Source: Functionary's chat templates, Meta's prompt format of Llama 3.1 ("user-defined custom tool
calling").
"""

from puna.chat.answers.named_calls import NamedCalls

FUNCTIONARY = NamedCalls("<function=", ">", "</function>")
ADDRESSED = NamedCalls(">>>", "\n", text_mark="all\n")
SYNTAXES = (FUNCTIONARY, ADDRESSED)
