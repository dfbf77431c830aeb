"""This machine as the planner sees it: what it was measured to reach, or a quick look at its limits."""

from __future__ import annotations

import platform
import time

from puna.planner import calibration
from puna.planner.calibration import Calibration
from puna.planner.rates import Rates

STALE = 3600.0  # seconds after which limits alone are measured anew: the machine may have been busy


def rates(threads: int) -> Rates:
    """What this machine reaches: as calibrated; else its limits are measured, once, and kept.

    Raises KernelError where no kernel can be compiled.
    """
    return known(threads).rates()


def known(threads: int) -> Calibration:
    """The calibration there is, or one of the limits alone."""
    found = calibration.load(threads)
    if found is None or (not found.is_whole and time.time() - found.measured > STALE):
        from puna.planner.measuring import limits

        found = calibration.of_limits(
            limits(threads), processor=platform.processor() or platform.machine(), threads=threads
        )
        calibration.save(found)
    return found
