"""The command `puna`. Importing this package is quick: what a verb needs is imported when the verb runs."""

from __future__ import annotations

from puna.cli.app import main

__all__ = ["main"]
