"""`python -m tests.fuzz TARGET [SECONDS]`: no crash, no hang over 2 s, no 100 MB for a small input.

Inputs that do harm are left in the working folder, as libFuzzer names them (crash-..., timeout-...).
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

MAX_SECONDS = 2.0  # of processor time
MAX_GROWTH = 100_000  # KiB
MAX_INPUT = 65536  # bytes


def main() -> None:
    """Fuzz one target."""
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "600"
    corpus = Path(tempfile.mkdtemp(prefix=f"puna-fuzz-{name}-"))
    with atheris.instrument_imports(include=["puna", "jinja2", "yaml"]):
        from tests.fuzz.targets import TARGETS, run

        target = TARGETS[name]
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed{number}").write_bytes(seed)
            run(target, seed)  # what is imported late is instrumented, too

    def one(data: bytes) -> None:
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(target, data)
        assert time.process_time() - began < MAX_SECONDS, "too slow"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH, "too much memory"

    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-timeout=60", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


main()
