import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.store.modelfile import MAX_BYTES, NAMES, Instruction, Modelfile
from puna.store.parameters import DEPRECATED, KINDS, parse_parameters

COMMANDS = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", '
    '"parameter", "message", or "requires"'
)
ROLES = 'message role must be one of "system", "user", or "assistant"'


def parse(text: str) -> list[tuple[str, str, str]]:
    return [(each.name, each.key, each.value) for each in Modelfile.parse(text).instructions]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM x\nBAD y", f"(line 2): {COMMANDS}"),
        ("FROM x\n\n# note\r\nBAD y", f"(line 4): {COMMANDS}"),
        ('FROM x\nSYSTEM """\n\n"""\nBAD y', f"(line 5): {COMMANDS}"),
        ("FROM", "unexpected EOF"),
        ("FROM\nx", f"(line 1): {COMMANDS}"),
        ("FROM1 x", f"(line 1): {COMMANDS}"),
        ("'FROM' x", f"(line 1): {COMMANDS}"),
        ("FROM x\nMESSAGE robot hi", f"(line 2): {ROLES}"),
        ("FROM x\nMESSAGE User hi", f"(line 2): {ROLES}"),
        ("FROM x\nMESSAGE user\n", "unexpected EOF: user"),
        ("FROM x\nMESSAGE user", "unexpected EOF"),
        ("FROM x\nPARAMETER stop\n", "unexpected EOF: stop"),
        ("FROM x\nPARAMETER a-b c", "unexpected EOF: a-b"),
        ('FROM x\nSYSTEM """hi', "unexpected EOF"),
        ('FROM x\nSYSTEM "hi', "unexpected EOF"),
        ('FROM x\nSYSTEM """""', "unexpected EOF"),
        ("SYSTEM x", "no FROM line"),
        ("", "no FROM line"),
        ("# FROM x", "no FROM line"),
    ],
)
def test_every_error_has_ollamas_words_and_the_true_line(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        Modelfile.parse(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bogus", "1", "unknown parameter 'bogus'"),
        ("num_gqa", "1", "unknown parameter 'num_gqa'"),
        ("num_ctx", "many", "invalid int value [many]"),
        ("num_ctx", "1.5", "invalid int value [1.5]"),
        ("num_ctx", "9" * 30, f"invalid int value [{'9' * 30}]"),
        ("main_gpu", "one", "invalid int value [one]"),
        ("temperature", "hot", "invalid float value [hot]"),
        ("temperature", "nan", "invalid float value [nan]"),
        ("temperature", "1e99", "invalid float value [1e99]"),
        ("use_mmap", "yes", "invalid bool value [yes]"),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused_in_ollamas_words(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_parameters([Instruction("parameter", value, name)])
    assert str(error.value) == message


def test_parameters_have_types_stops_add_up_and_of_others_the_last_counts() -> None:
    text = "FROM x\nPARAMETER num_ctx 1\nPARAMETER num_ctx 4096\nPARAMETER stop <a>\nPARAMETER STOP2 x\n"
    with pytest.raises(InvalidRequest, match="unknown parameter 'STOP2'"):
        parse_parameters(Modelfile.parse(text).all("parameter"))
    text = text.replace("STOP2 x", 'stop "<b> "') + "PARAMETER use_mmap F\nPARAMETER top_p 0.1\nPARAMETER mirostat 1\n"
    parameters, warnings = parse_parameters(Modelfile.parse(text).all("parameter"))
    assert parameters == {"num_ctx": 4096, "stop": ["<a>", "<b> "], "use_mmap": False, "top_p": 0.1}
    assert warnings == ("parameter mirostat is deprecated",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a b  ", "a b"),
        ('"a"', "a"),
        ('""', ""),
        ("", ""),
        ('"a\nb"', "a\nb"),
        ('" a "  ', " a "),
        ('"say "hi" now"', 'say "hi" now'),
        ('say "hi"', 'say "hi"'),
        ('"""a\n"b"\n\n"""', 'a\n"b"\n\n'),
        ('"""a""""', 'a"'),
        ('""""""', ""),
        ('"""\r\na"""', "\r\na"),
        ("'a'", "'a'"),
        (r"a\nb", r"a\nb"),
        ("a # b", "a # b"),
        ("\u3000a\u3000", "a"),
    ],
)
def test_a_value_is_read_as_ollama_reads_it(text: str, value: str) -> None:
    assert parse(f"FROM x\nSYSTEM {text}\nPARSER y") == [("from", "", "x"), ("system", "", value), ("parser", "", "y")]


def test_a_quote_inside_a_line_does_not_end_a_value_but_one_at_its_end_does() -> None:
    assert parse('FROM x\nSYSTEM "a" and "b"')[1][2] == 'a" and "b'
    with pytest.raises(InvalidRequest, match="line 3"):
        Modelfile.parse('FROM x\nSYSTEM "he said "hi"\nand went"')


def test_instructions_are_known_in_any_case_and_order_with_blanks_around() -> None:
    text = "# first\n  message user hi\n\tPaRaMeTeR\tseed\t1\r\n\r\n from  a b\r\nMESSAGE  assistant  yes"
    expected = [
        ("message", "user", "hi"),
        ("parameter", "seed", "1"),
        ("from", "", "a b"),
        ("message", "assistant", "yes"),
    ]
    assert parse(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_the_first_instruction(encoding: str) -> None:
    assert Modelfile.parse("FROM 模型\nSYSTEM é".encode(encoding)).last("system") == "é"


def test_bytes_that_are_no_text_are_refused_not_replaced() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8 at byte 5"):
        Modelfile.parse(b"FROM \xff")
    with pytest.raises(InvalidRequest, match="not UTF-16-LE"):
        Modelfile.parse(b"\xff\xfeF")


def test_characters_that_ollama_drops_are_kept() -> None:
    family = "\U0001f468\u200d\U0001f469 a\u00a0b\x00"
    assert parse(f"FROM x\nSYSTEM {family}")[1][2] == family


TEXTS = st.text() | st.text(alphabet='"\n\r \t\\a', max_size=12)
INSTRUCTIONS = (
    st.builds(Instruction, st.sampled_from([name for name in NAMES if name not in ("parameter", "message")]), TEXTS)
    | st.builds(Instruction, st.just("parameter"), TEXTS, st.sampled_from(sorted(KINDS)))
    | st.builds(Instruction, st.just("message"), TEXTS, st.sampled_from(["system", "user", "assistant"]))
)


@given(st.lists(INSTRUCTIONS.filter(lambda each: each.expressible), max_size=5), TEXTS)
def test_what_is_written_reads_back_the_same(instructions: list[Instruction], name: str) -> None:
    first = Instruction("from", name)
    modelfile = Modelfile((*([first] if first.expressible else [Instruction("from", "x")]), *instructions))
    assert Modelfile.parse(str(modelfile)) == modelfile
    assert Modelfile.parse(str(modelfile).encode("utf-16", "surrogatepass")) == modelfile


@given(st.text(alphabet='FROMfrom SYSTEMuser"#\n\r\t ', max_size=80).map("FROM x\nSYSTEM ".__add__))
def test_whatever_is_read_can_be_written(text: str) -> None:
    try:
        modelfile = Modelfile.parse(text)
    except InvalidRequest:
        return
    assert Modelfile.parse(str(modelfile)) == modelfile


def test_only_a_text_that_no_quote_can_hold_is_not_expressible() -> None:
    assert not Instruction("system", 'a """\nb').expressible
    assert Instruction("system", 'a "\nb').expressible
    assert Instruction("system", '"""a"""').expressible
    with pytest.raises(InvalidRequest, match="cannot hold"):
        str(Instruction("system", 'a """\nb'))


@pytest.mark.parametrize(
    "text",
    [
        "FROM x\n" * 100_000,
        "#\n" * 300_000 + "FROM x",
        'FROM x\nSYSTEM "' + '" x\n' * 100_000,
        'FROM x\nSYSTEM """' + '"" ' * 200_000,
        "FROM x\nSYSTEM " + " " * 1_000_000,
        'FROM x\nSYSTEM "' + ('"' + " " * 1000) * 2000,
    ],
    ids=["lines", "comments", "quotes", "pairs", "blanks", "blanks-after-quotes"],
)
def test_a_hostile_modelfile_costs_no_more_than_its_length(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(InvalidRequest):
        Modelfile.parse(text)
    assert time.process_time() - start < 2


def test_a_modelfile_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 10000 instructions"):
        Modelfile.parse("FROM x\n" * 10_001)


def test_a_file_of_weights_given_as_a_modelfile_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="larger than 16 MiB"):
        Modelfile.parse(b"\0" * (MAX_BYTES + 1))


def test_deprecated_parameters_are_no_known_ones() -> None:
    assert not DEPRECATED & KINDS.keys()
