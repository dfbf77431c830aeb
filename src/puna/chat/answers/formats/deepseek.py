"""DeepSeek's models. Source: their chat templates.

V3 and R1: `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name\\n```json\\n{...}\\n```<｜tool▁call▁end｜>`; since V3.1
`<｜tool▁call▁begin｜>name<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`; all calls between marks of their own. V3.2
("DSML", from the encoder beside the model): `<｜DSML｜function_calls>`, tags like MiniMax's, which say whether a value
is text.
"""

from puna.chat.answers.named_calls import NamedCalls
from puna.chat.answers.tagged_calls import TaggedCalls

_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_MARKS = frozenset({_BEGIN, _END, _CALL, _CALL_END, _SEPARATOR})

V3 = NamedCalls(
    _CALL,
    "\n```json\n",
    "\n```" + _CALL_END,
    _BEGIN,
    _END,
    prefix="function" + _SEPARATOR,
    separator="\n",
    marks=_MARKS,
)
V3_1 = NamedCalls(_CALL, _SEPARATOR, _CALL_END, _BEGIN, _END, marks=_MARKS)
_DSML = "｜DSML｜"
V3_2 = TaggedCalls(
    open=f"<{_DSML}function_calls>",
    call=f'<{_DSML}invoke name="',
    called='">',
    key=f'<{_DSML}parameter name="',
    value='" string="true">',
    json_value='" string="false">',
    end=f"</{_DSML}parameter>",
    finish=f"</{_DSML}invoke>",
    close=f"</{_DSML}function_calls>",
    line="\n",
    control=_DSML,
)
SYNTAXES = (V3, V3_1, V3_2)
