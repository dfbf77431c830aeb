"""`python -m bench pull`: one large blob over loopback, against curl, and killed again and again.

Shows how much is fetched in all when `puna pull` is killed with -9 at random moments, whether the digest is right in
the end, and how quick an undisturbed download is beside curl's, which neither hashes nor resumes, nor waits for the
disk: its speed is measured also until its file is there, as ours is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.process import ContestantError
from bench.results import Machine, Result, Round
from puna.store.blobs import Blobs
from puna.store.progress import ignore
from puna.store.transfer.download import download
from puna.store.transfer.source import Source

CHUNK = 1 << 24
NAME = "library/blob"


class _Link:
    """The server, in a process of its own."""

    def __init__(self, file: Path, digest: str) -> None:
        line = [sys.executable, "-m", "bench.blob_server", str(file), digest]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.host = f"127.0.0.1:{self._read()}"
        self.url = f"http://{self.host}/v2/{NAME}/blobs/sha256:{digest}"

    def sent(self) -> int:
        """Bytes of the blob, until now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def run(megabytes: int, kills: int, rounds: int, seed: int, folder: Path | None) -> Result:
    """Measure; prints what it finds.

    folder: where the files are written; both contestants write to it.

    Raises:
        ContestantError: curl is missing, or a pull does not end as it must.
    """
    curl = shutil.which("curl")
    if curl is None:
        raise ContestantError("curl is not installed")
    with tempfile.TemporaryDirectory(dir=folder) as text, contextlib.ExitStack() as stack:
        place = Path(text)
        digest = _make(place / "blob", megabytes)
        size = (place / "blob").stat().st_size
        link = stack.enter_context(contextlib.closing(_Link(place / "blob", digest)))
        timed = [_round(link, digest, size, place, curl) for _ in range(rounds)]
        facts = _killed(link, digest, size, place, kills, random.Random(seed)) if kills else {}
    result = Result("pull", f"{megabytes}-MB", Machine.here(1), {"puna": facts, "curl": {}}, {}, timed, size)
    for measure, what in (("speed", "curl's"), ("speed_to_disk", "curl's until its file is on the disk")):
        ratio, speed = result.ratio(("puna", "speed"), ("curl", measure)) or 0, result.median("curl", measure) or 0
        print(f"throughput: {ratio:.2f} of {what}, whose median is {speed / 1e6:.0f} MB/s")
    return result


def _make(path: Path, megabytes: int) -> str:
    """Random bytes; gives their digest."""
    digest, left = hashlib.sha256(), megabytes * 10**6
    with path.open("wb") as file:
        while left:
            data = os.urandom(min(CHUNK, left))
            digest.update(data)
            file.write(data)
            left -= len(data)
    return digest.hexdigest()


def _round(link: _Link, digest: str, size: int, place: Path, curl: str) -> Round:
    began, cpu = time.monotonic(), time.process_time()
    with _folder(place / "ours") as ours:
        download(digest, size, [Source(link.url)], Blobs(ours), ignore, threading.Event())
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with _folder(place / "theirs") as theirs:
        subprocess.run([curl, "--silent", "--fail", "--output", str(theirs / "blob"), link.url], check=True)
        of_curl, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        with (theirs / "blob").open("rb") as file:
            os.fsync(file.fileno())
        to_disk = time.monotonic() - began
    cpu_of_curl = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return {
        "puna": {"speed": size / seconds, "cpu_seconds": cpu, "memory_bytes": memory},
        "curl": {"speed": size / of_curl, "speed_to_disk": size / to_disk, "cpu_seconds": cpu_of_curl},
    }


def _killed(link: _Link, digest: str, size: int, place: Path, kills: int, chance: random.Random) -> dict[str, float]:
    """Pull, and kill it at random moments; then let it end."""
    environment = {**os.environ, "PUNA_MODELS": str(place / "store")}
    line = [sys.executable, "-m", "puna", "pull", f"{link.host}/{NAME}"]
    before, done = link.sent(), 0
    while done < kills:
        begun = link.sent()
        process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
        share = chance.random() * size / kills  # it is killed once so much has come, or at once
        while link.sent() - begun < share and process.poll() is None:
            time.sleep(0.002)
        if process.poll() is not None:
            raise ContestantError(f"the pull ended after {done} kills, with status {process.returncode}")
        process.kill()
        process.wait()
        done += 1
    subprocess.run(line, env=environment, check=True, stderr=subprocess.DEVNULL)
    fetched = (link.sent() - before) / size
    blob = Blobs(place / "store").path(digest)
    with blob.open("rb") as file:
        right = hashlib.file_digest(file, "sha256").hexdigest() == digest
    if not right:
        raise ContestantError(f"{blob} is not what its name says")
    print(f"killed {kills} times: {fetched:.3f} of the blob's bytes were fetched, the digest is right")
    return {"kills": kills, "fetched": fetched}


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)
