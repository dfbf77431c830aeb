"""Twenty seconds of the soak: what leaks, sticks or answers differently in company shows up here first."""

from __future__ import annotations

from bench import soak


def test_sixteen_clients_of_every_kind_leave_nothing_behind() -> None:
    tally = soak.run(seconds=20, clients=16, seed=1)
    assert tally.violations == []
    assert tally.outcomes["answered"] > 0
    assert tally.outcomes["hung up"] > 0


def test_memory_that_grows_after_the_warm_up_is_a_violation() -> None:
    tally = soak.Tally(memory={"server": [100 << 20] * 30, "runner": [(100 + 5 * i) << 20 for i in range(30)]})
    tally.check_memory()
    assert [what.split()[1] for what in tally.violations] == ["runner"]
