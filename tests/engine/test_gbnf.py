"""llama.cpp's grammars: its published examples accept and refuse what they do there."""

from __future__ import annotations

import re
import string
from contextlib import suppress
from importlib.resources import as_file, files

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna import tokenizer as tokenizers
from puna.engine import gbnf
from puna.errors import InvalidRequest
from puna.gguf import open_model

JSON = r"""root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# a comment
ws ::= | " " | "\n" [ \t]{0,20}
"""
SUMS = r"""root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
CHESS = r"""root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?
"""
LIST = r"""root ::= item+

# Excludes various line break characters
item ::= "- " [^\r\n\x0b\x0c\x85\u2028\u2029]+ "\n"
"""
JAPANESE = """root ::= jp-char+ ([ \\t\\n] jp-char+)*
jp-char ::= hiragana | katakana | punctuation | cjk
hiragana ::= [ぁ-ゟ]
katakana ::= [ァ-ヿ]
punctuation ::= [、-〾]
cjk ::= [一-鿿]
"""


@pytest.fixture(scope="module")
def vocabulary() -> llguidance.LLTokenizer:
    from puna.engine.grammar import _vocabulary

    with as_file(files("puna") / "data" / "cria.gguf") as path:
        tokenizer = tokenizers.load(open_model(path))
    return _vocabulary(tokenizer, tokenizer.vocab_size)


def accepts(vocabulary: llguidance.LLTokenizer, grammar: str, text: str) -> bool:
    source = llguidance.LLMatcher.grammar_from_lark(gbnf.to_lark(grammar))
    matcher = llguidance.LLMatcher(vocabulary, source, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = vocabulary.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("grammar", "accepted", "refused"),
    [
        (
            JSON,
            ['{"a": [1, 2.5e3, true, {"b": "x\\n\\u00e9y"}], "c": {}}', "{}", '{"é": "深"}'],
            ['{"a": tru}', "[", ""],
        ),
        (SUMS, ["1+(2*3)=7\n", "a = 1\nb=2\n"], ["1+=2\n", "1=1", "(1=1\n"]),
        (CHESS, ["1. e4 e5\n2. Nf3 Nc6\n", "1. e4 e5\n12. O-O-O exd5+\n"], ["1. e4 e5\n", "1. e9 e5\n2. a1 a2\n"]),
        (LIST, ["- a b\n- c深\n"], ["- \n", "a\n", "- a"]),
        (JAPANESE, ["深圳、ア ぁ"], ["a", "深  圳"]),
        ('root ::= [a-z]* "end"', ["end", "abcend"], ["abc"]),
        ("root ::= .{2,3}", ["ab", "a\nb"], ["a", "abcd"]),
        (r"root ::= [a\-z.^]+ [^^]", ["a-.^b"], ["b^", "ab^"]),
        ("root ::= [a-]+ [-+]", ["a-a+", "--"], ["b-"]),
        (r'root ::= "\x41\u00e9\U0001F600\t\"\\"', ['Aé😀\t"\\'], ["A"]),
        ('root ::= "a"{3} b? # end\n\nb ::= (("x" | "") "y")', ["aaa", "aaaxy", "aaay"], ["aa", "aaax"]),
        ('root ::= "a" |\n "b"\n | "c"', ["a", "b", "c"], ["", "ab"]),
        ('root ::= ("a"+)?', ["", "aa"], ["ab"]),
        ('root ::= x\nx ::= "a" x? "b"', ["ab", "aabb"], ["aab", ""]),
        ('root ::= x\nx ::= x "a" | "a"', ["a", "aaa"], ["", "b"]),
    ],
    ids=lambda value: value.split("\n")[0][:30] if isinstance(value, str) else "",
)
def test_published_examples_mean_what_they_mean_in_llama_cpp(
    vocabulary: llguidance.LLTokenizer, grammar: str, accepted: list[str], refused: list[str]
) -> None:
    assert [text for text in accepted if not accepts(vocabulary, grammar, text)] == []
    assert [text for text in refused if accepts(vocabulary, grammar, text)] == []


def test_a_token_is_named_by_its_text_or_its_number(vocabulary: llguidance.LLTokenizer) -> None:
    for grammar in ('root ::= <|im_start|> "a"', 'root ::= <[1]> "a"'):
        assert not accepts(vocabulary, grammar, "a")


@pytest.mark.parametrize(
    ("grammar", "because"),
    [
        ("", "no rule called root"),
        ('x ::= "a"', "no rule called root"),
        ("root", "a rule is expected"),
        ('root ::= "a"\nroot ::= x', "'x'"),
        ('root ::= "a', "ends inside"),
        ("root ::= [a", "ends inside"),
        ("root ::= []", "empty"),
        ("root ::= [z-a]", "wrong way round"),
        ('\n\nroot ::= "\\q"', "line 3"),
        ('root ::= "\\uD800"', "no character"),
        ('root ::= ("a"', "not closed"),
        ('root ::= "a")', "a rule is expected"),
        ('root ::= "a"{3,1}', "wrong way round"),
        ("root ::= *", "not expected"),
        ("root ::= !<x>", "not expected"),
        ("root ::= " + "(" * 100 + '"a"' + ")" * 100, "deep"),
        ("\n".join(f'r{i} ::= "x"' for i in range(2000)), "more than"),
    ],
)
def test_what_is_no_grammar_is_refused_with_the_reason_and_the_line(grammar: str, because: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(because)):
        gbnf.to_lark(grammar)


@given(st.text(st.sampled_from(string.ascii_lowercase + '"[]()|*+?{},.:=-^\\<>!# \n019'), max_size=60))
def test_any_text_is_translated_or_refused_and_nothing_else(rest: str) -> None:
    for grammar in (rest, f"root ::= {rest}", f'root ::= "{rest}"', f"root ::= [{rest}]"):
        with suppress(InvalidRequest):
            gbnf.to_lark(grammar)


def test_rules_that_double_at_each_step_take_no_time() -> None:
    rules = "\n".join(f'r{i} ::= r{i + 1} r{i + 1} | "x"' for i in range(400))
    assert gbnf.to_lark(f"root ::= r0 root?\n{rules}\nr400 ::= [y]?").startswith("%llguidance")
