"""Fuzzing guided by coverage, outside the test run: `python -m tests.fuzz TARGET [SECONDS]` (needs atheris)."""
