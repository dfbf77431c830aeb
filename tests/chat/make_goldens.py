"""Writes tests/chat/goldens/*.json: what transformers' `apply_chat_template` makes of the templates here.

python -m tests.chat.make_goldens                    # needs the extra `oracle`, but not torch
python -m tests.chat.make_goldens --compare FOLDER   # compares ChatTemplate on any folder of *.jinja
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from puna.chat import ChatTemplate
from puna.chat.messages import MessageShape, to_dict
from puna.errors import TemplateError
from tests.chat.conversations import BOS, CASES, EOS, NOW, Case

FOLDER = Path(__file__).parent


class _FrozenTime(datetime):
    @classmethod
    def now(cls, _tz: object = None) -> _FrozenTime:
        return cls(NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute, NOW.second)


def apply_chat_template(source: str, case: Case, shape: MessageShape) -> dict[str, str]:
    """`{"text": ...}`, or `{"error": ...}` with the message of the exception.

    The tokenizer's method drops keys whose value is None, and with them the tool calls of templates that ask for
    `content is none`; for these the renderer beneath it is called.
    """
    messages = [to_dict(message, shape) for message in case.messages]
    given = {
        "tools": list(case.tools) or None,
        "add_generation_prompt": case.add_generation_prompt,
        "chat_template": source,
        **case.variables,
    }
    try:
        if shape.null_content:
            tokens = {"bos_token": BOS, "eos_token": EOS}
            text = chat_template_utils.render_jinja_template([messages], **given, **tokens)[0][0]
        else:
            text = _tokenizer().apply_chat_template(messages, tokenize=False, **given)
    except Exception as error:  # any error a template can cause
        return {"error": str(error)}
    return {"text": text}


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({BOS: 0, EOS: 1}, unk_token=EOS))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token=BOS, eos_token=EOS)


def shape_of(source: str) -> MessageShape:
    return ChatTemplate(source, bos_token=BOS, eos_token=EOS, now=lambda: NOW).shape


def write_goldens() -> None:
    for path in sorted((FOLDER / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        shape = shape_of(source)
        goldens = {name: apply_chat_template(source, case, shape) for name, case in CASES.items()}
        target = FOLDER / "goldens" / f"{path.stem}.json"
        target.write_text(json.dumps(goldens, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(target.name, sum("error" in golden for golden in goldens.values()), "errors")


def compare(folder: Path) -> bool:
    """Prints each difference; true when there is none."""
    equal = True
    paths = sorted(folder.glob("*.jinja"))
    for path in paths:
        source = path.read_text(encoding="utf-8")
        template = ChatTemplate(source, bos_token=BOS, eos_token=EOS, now=lambda: NOW)
        for name, case in CASES.items():
            expected = apply_chat_template(source, case, template.shape)
            if (actual := _rendered(template, case)) != expected.get("text"):
                equal = False
                print(f"{path.name}, {name}:\n  {actual!r}\n  {expected!r}")
    print(f"{len(paths)} templates, {len(CASES)} conversations each")
    return equal


def _rendered(template: ChatTemplate, case: Case) -> str | None:
    render: Callable[..., str] = template.render
    try:
        return render(
            case.messages,
            tools=case.tools,
            add_generation_prompt=case.add_generation_prompt,
            **case.variables,
        )
    except TemplateError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--compare", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    chat_template_utils.datetime = _FrozenTime
    if arguments.compare:
        raise SystemExit(0 if compare(arguments.compare) else 1)
    write_goldens()


if __name__ == "__main__":
    main()
