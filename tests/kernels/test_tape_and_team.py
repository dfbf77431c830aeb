"""What a tape refuses, and a team of threads that runs tapes."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from puna import kernels
from puna.errors import KernelError
from puna.kernels import KernelLibrary, Tape, Team
from puna.kernels.tape import Argument
from tests.kernels.running import live, normal, same_bits


def bias_arguments() -> dict[str, Argument]:
    return {"x": normal(1, 4, 16), "bias": np.ones(16, np.float32), "width": 16, "rows": live(4)}


def count_up(tape: Tape, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]], rows: int = 1) -> None:
    """Record x += 1."""
    tape.record("add_bias", {"x": x, "bias": np.ones(16, np.float32), "width": 16, "rows": live(rows)})


def test_a_kernel_of_no_such_name_is_refused(library: KernelLibrary) -> None:
    with pytest.raises(KernelError, match="no kernel is named 'softmax'"):
        Tape(library).record("softmax", {})
    with pytest.raises(KernelError, match="no kernel is named 'softmax'"):
        library.address("softmax")


@pytest.mark.parametrize("change", ["left out", "too many", "misspelt", "out of order"])
def test_arguments_of_other_names_are_refused(library: KernelLibrary, change: str) -> None:
    arguments = bias_arguments()
    changed = {
        "left out": {name: arguments[name] for name in ("x", "bias", "width")},
        "too many": arguments | {"columns": 3},
        "misspelt": {("weight" if name == "bias" else name): value for name, value in arguments.items()},
        "out of order": {name: arguments[name] for name in ("bias", "x", "width", "rows")},
    }[change]
    tape = Tape(library)
    with pytest.raises(KernelError, match="add_bias takes"):
        tape.record("add_bias", changed)
    assert len(tape) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", 5),  # an integer where an address is meant would be read as one
        ("width", 16.0),
        ("width", np.ones(1, np.int64)),
        ("rows", 4),
        ("rows", np.ones(1, np.int32)),  # the kernel reads 8 bytes
        ("rows", np.ones(1, np.float64)),
    ],
)
def test_arguments_of_another_kind_are_refused(library: KernelLibrary, name: str, value: Argument) -> None:
    with pytest.raises(KernelError, match=f"add_bias: {name} is"):
        Tape(library).record("add_bias", bias_arguments() | {name: value})


def test_an_integer_for_a_float_is_refused_and_not_read_as_its_bits(library: KernelLibrary) -> None:
    x = normal(1, 1, 16)
    arguments: dict[str, Argument] = {
        "x": x, "weight": x, "out": x, "width": 16, "padded": 16, "parts": 1, "rows": live(1), "epsilon": 1,
    }  # fmt: skip
    with pytest.raises(KernelError, match="rms_norm: epsilon is Float"):
        Tape(library).record("rms_norm", arguments)


def test_a_tape_runs_many_times_and_reads_live_numbers_anew(library: KernelLibrary) -> None:
    x, rows, tape = np.zeros((8, 16), np.float32), live(0), Tape(library)
    tape.record("add_bias", {"x": x, "bias": np.ones(16, np.float32), "width": 16, "rows": rows})
    with_team = Team(library, 2)
    for n in range(9):
        rows[0] = n
        with_team.run(tape)
    with_team.close()
    assert np.array_equal(x[:, 0], [8, 7, 6, 5, 4, 3, 2, 1])


def test_kernels_run_one_after_another_each_seeing_the_last_ones_result(library: KernelLibrary) -> None:
    # With no barrier between them, a thread would add to rows that another has not yet gathered.
    x, y = normal(1, 96, 16), np.zeros((96, 16), np.float32)
    reverse = np.arange(96)[::-1].copy()
    tape, team = Tape(library), Team(library, 3)
    for _ in range(50):
        for source, target in ((x, y), (y, x)):
            tape.record("gather_rows", {"x": source, "indices": reverse, "out": target, "width": 16, "rows": live(96)})
            count_up(tape, target, 96)
    expected = x.copy()
    for _ in range(100):
        expected += np.float32(1)
    team.run(tape)
    team.close()
    assert same_bits(x, expected)


def test_a_tape_may_grow_after_it_has_run(library: KernelLibrary) -> None:
    x, tape, team = np.zeros((1, 16), np.float32), Tape(library), Team(library, 2)
    team.run(tape)
    count_up(tape, x)
    team.run(tape)
    count_up(tape, x)
    team.run(tape)
    team.close()
    assert len(tape) == 2
    assert (x == 3).all()


def test_a_tape_keeps_its_arrays_alive(library: KernelLibrary) -> None:
    x, tape, team = np.zeros((1, 1 << 20), np.float32), Tape(library), Team(library, 1)
    tape.record("add_bias", {"x": x, "bias": np.ones(1 << 20, np.float32), "width": 1 << 20, "rows": live(1)})
    gc.collect()
    np.full(1 << 20, 9, np.float32)  # would take the freed bias's memory
    team.run(tape)
    team.close()
    assert (x == 1).all()


def test_one_tape_on_two_teams_waits_at_each_teams_own_barrier(library: KernelLibrary) -> None:
    x, tape = np.zeros((64, 16), np.float32), Tape(library)
    for _ in range(20):
        count_up(tape, x, 64)
    for threads in (2, 3, 1, 2):
        team = Team(library, threads)
        team.run(tape)
        team.close()
        del team  # its barrier with it
    assert (x == 80).all()


def test_a_team_keeps_the_code_that_its_threads_run(library: KernelLibrary) -> None:
    team, tape = Team(kernels.load(), 2), Tape(library)  # nothing but the team holds its library
    x = np.zeros((1, 16), np.float32)
    count_up(tape, x)
    gc.collect()
    team.run(tape)
    team.close()
    assert (x == 1).all()


def test_closing_a_team_ends_its_threads_and_may_be_repeated(library: KernelLibrary) -> None:
    before = set(threading.enumerate())
    team = Team(library, 4)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 3
    team.close()
    team.close()
    for worker in workers:
        worker.join(5)
    assert not any(worker.is_alive() for worker in workers)


def test_a_closed_team_refuses_instead_of_waiting_for_ever(library: KernelLibrary) -> None:
    team, tape = Team(library, 2), Tape(library)
    count_up(tape, np.zeros((1, 16), np.float32))
    team.close()
    with pytest.raises(KernelError, match="closed"):
        team.run(tape)


def test_more_threads_than_cores_still_end_promptly(library: KernelLibrary) -> None:
    # A waiting thread must give its core away: one that spins out its time slice makes each barrier last milliseconds.
    x, tape, team = np.zeros((8, 16), np.float32), Tape(library), Team(library, 8)
    for _ in range(300):
        count_up(tape, x, 8)
    began = time.monotonic()
    team.run(tape)
    seconds = time.monotonic() - began
    team.close()
    assert (x == 300).all()
    assert seconds < 10


def test_a_part_of_a_tape_runs_its_calls_alone_and_keeps_their_arguments_alive(library: KernelLibrary) -> None:
    x, out = normal(3, 4, 16), np.zeros((2, 16), np.float32)
    before = x.copy()
    tape = Tape(library)
    count_up(tape, x, rows=4)
    indices = np.array([2, 0])
    tape.record("gather_rows", {"x": x, "indices": indices, "out": out, "width": 16, "rows": live(2)})
    assert [call.kernel for call in tape] == ["add_bias", "gather_rows"]
    part = tape.only("gather")
    del tape, indices
    gc.collect()
    Team(library, 1).run(part)
    assert same_bits(out, before[[2, 0]])
    assert same_bits(x, before)
