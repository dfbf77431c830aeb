"""The page and its picture say what the results hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from bench.figures import groups
from bench.page import page
from bench.picture import picture
from bench.results import Result, load, load_all
from bench.scenarios import SCENARIOS

from bench import performance
from tests.bench.results_for_tests import speed


def _row(text: str, what: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {what} | llama-1.1b-Q4_0 |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_ratio_is_the_median_of_each_rounds_own_not_the_ratio_of_medians() -> None:
    result = speed(puna=[40, 20, 50], llama_cpp=[10, 10, 25])  # a machine that changes: 4x, 2x, 2x
    assert _row(page([result]), "decode after 512")[2:6] == ["40.0 tok/s", "10.0 tok/s", "2.00x", "3.00x"]


def test_a_goal_that_is_reached_is_bold_and_one_that_is_missed_is_not() -> None:
    assert _row(page([speed(puna=[30], llama_cpp=[10])]), "decode after 512")[4] == "**3.00x**"
    assert _row(page([speed(puna=[29], llama_cpp=[10])]), "decode after 512")[4] == "2.90x"


def test_shares_of_the_limits_count_the_weights_read_and_the_operations_done() -> None:
    text = page([speed(puna=[45], llama_cpp=[10])])
    assert _row(text, "decode after 512")[6] == "90%"  # 45 x 0.6 of 30 GB/s
    assert _row(text, "prefill 512")[6] == "67%"  # 300 x 2 x 1e9 of 900 GOPS


def test_seconds_count_the_other_way_round() -> None:
    measures = {"read": 30.0, "dot": 900.0}
    rounds = [{"puna": {"seconds": 0.5, **measures}, "llama.cpp": {"seconds": 1.0, **measures}}]
    result = replace(speed(puna=[], llama_cpp=[]), scenario="loading", rounds=rounds)
    assert _row(page([result]), "load to first token")[2:5] == ["500 ms", "1.00 s", "**2.00x**"]


def test_what_was_not_measured_has_no_row_and_who_was_absent_is_named_with_the_reason() -> None:
    text = page([speed(puna=[30], llama_cpp=[10])])
    assert "OpenVINO GenAI\n\n|" not in text
    assert "- ik_llama.cpp, in speed of llama-1.1b-Q4_0: not given" in text


def test_every_row_has_a_command_that_exists() -> None:
    commands = re.findall(r"^python -m bench (\w+) MODELS/(.+)\.gguf$", page([speed(puna=[1], llama_cpp=[1])]), re.M)
    assert {(f.scenario, f.model) for group in groups() for f in group.figures} == set(commands)
    assert {scenario for scenario, _ in commands} <= set(SCENARIOS)


def test_the_picture_is_xml_with_a_bar_for_each_row_that_was_measured() -> None:
    root = ElementTree.fromstring(picture([speed(puna=[30], llama_cpp=[10])]))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert [bar.get("class") for bar in bars] == ["reached", "reached", "missed"]


def test_a_result_survives_being_kept(tmp_path: Path) -> None:
    result = speed(puna=[30.5, 31.25], llama_cpp=[10, 11])
    assert load(result.save(tmp_path)) == result


@pytest.mark.parametrize("name", ["performance.md", "performance.svg"])
def test_the_page_in_the_docs_is_what_the_kept_results_make(name: str, tmp_path: Path) -> None:
    results: list[Result] = load_all()
    if not results:
        pytest.skip("nothing has been measured yet")
    performance.write_page(docs=tmp_path)
    assert (performance.DOCS / name).read_text() == (tmp_path / name).read_text(), "run `python -m bench write`"
