"""Another process on the same store: it does what its standard input says, a line at a time, and answers each.

python -m tests.store.neighbour PLACE [CAP_BYTES]
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from gproc.content.manifest import Digest, digest_of, encode
from gproc.errors import StoreError
from gproc.store.partial import PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store
from tests.store.samples import OWN, begin, other_bundle


class Neighbour:
    """The process, as a test sees it."""

    def __init__(self, place: str, cap_bytes: int = 1 << 30) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.neighbour", place, str(cap_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.answer()

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return line.strip()

    def receive(self, number: int, size_bytes: int) -> None:
        """Receive and commit a bundle, which it holds then."""
        left = self.ask("begin", number, size_bytes)
        while left != "0":
            left = self.ask("admit", number, size_bytes)
        assert self.ask("commit", number, size_bytes) == "held"


@contextlib.contextmanager
def neighbours(place: str, count: int, cap_bytes: int = 1 << 30) -> Iterator[list[Neighbour]]:
    started: list[Neighbour] = []
    try:
        for _ in range(count):
            started.append(Neighbour(place, cap_bytes))
        yield started
    finally:
        for each in started:
            each.kill()


class _Worker:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.partials: dict[int, PartialBundle] = {}
        self.roots: dict[int, Root] = {}

    def do(self, word: str, number: int, size_bytes: int) -> str:
        manifest, chunks = other_bundle(number, size_bytes)
        match word:
            case "begin":
                self.store.look()
                partial = self.partials[number] = begin(self.store, manifest, encode(manifest))
                return str(len(partial.missing))
            case "admit":
                partial = self.partials[number]
                digest = next(iter(partial.missing))
                partial.admit(digest, [chunks[digest]])
                return str(len(partial.missing))
            case "commit":
                self.roots[number] = self.store.commit(self.partials.pop(number))
                return "held"
            case "hold":
                root = self.store.held(digest_of(encode(manifest)), OWN)
                if root is None:
                    return "none"
                self.roots[number] = root
                return "held"
            case "release":
                self.roots.pop(number).release()
                return "released"
            case "read":
                data = [self.store.read(Digest(digest)) for digest in chunks]
                return "whole" if data == list(chunks.values()) else "gone"
            case "tidy":
                self.store.tidy()
                return str(len(self.store.roots()))
        return "what?"


def _main() -> None:
    worker = _Worker(Store(sys.argv[1], int(sys.argv[2])))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        word, number, size_bytes = line.split()
        try:
            answer = worker.do(word, int(number), int(size_bytes))
        except StoreError as error:
            answer = str(error)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
