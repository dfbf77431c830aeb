"""ik_llama.cpp, a fork that is faster on CPUs, by its own llama-bench with run-time repacking: give that file's path.

    cmake -B build -DGGML_NATIVE=ON && cmake --build build --target llama-bench

Each measurement loads the model anew, warms up, and runs once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from typing import Any

from bench.contestants.engine import Measures
from bench.contestants.serving import serve


class IkLlamaCpp:
    """Runs the program for each measurement."""

    def __init__(self, program: str) -> None:
        self._program, self._path, self._threads = program, "", 0

    def load(self, path: str, threads: int, context: int) -> dict[str, Any]:  # noqa: ARG002 (as long as its tests)
        """Only remembers the model; says which version this is."""
        self._path, self._threads = path, threads
        return {"version": f"ik_llama.cpp {self._run(['-p', '16', '-n', '0'])[0]['build_commit']}"}

    def speed(self, prompt: int, generated: int) -> Measures:
        """Prefill, decoding after it, and decoding with nothing before."""
        tests = self._run(["-p", str(prompt), "-n", str(generated), "-gp", f"{prompt},{generated}"])
        rates = {(test["n_prompt"], test["n_gen"]): float(test["avg_ts"]) for test in tests}
        return {
            "prefill": rates[prompt, 0],
            "decode": rates[prompt, generated],
            "decode_empty": rates[0, generated],
        }

    def _run(self, arguments: list[str]) -> list[dict[str, Any]]:
        command = [self._program, "-m", self._path, "-t", str(self._threads), "-rtr", "1", "-fa", "1", "-r", "1"]
        done = subprocess.run([*command, *arguments, "-o", "json"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"llama-bench ended with {done.returncode}: {done.stderr[-300:]}")
        tests: list[dict[str, Any]] = json.loads(done.stdout)
        return tests


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    serve(IkLlamaCpp(parser.parse_args().program))
