"""Reads exceptions.toml and says which of its entries speak of a test. Used by the comparison and, inside the
foreign interpreter, by the pytest plugin. It does not know how tests are run, nor what came out."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("exceptions.toml")
#: left-out: never run. fails: must fail on ours. unsteady: may do either, for a reason outside of the broker.
KINDS = ("left-out", "fails", "unsteady")


@dataclass(frozen=True)
class Entry:
    """One entry of the file: which tests of which suite, what is expected of them, and why."""

    suite: str
    kind: str
    reason: str
    tests: tuple[str, ...]

    def names(self, test: str) -> bool:
        """Whether this entry speaks of the test."""
        return any(matches(pattern, test) for pattern in self.tests)


def matches(pattern: str, test: str) -> bool:
    """Whether a pattern, in which `*` stands for any text and all else for itself, is the whole test's name."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), test, re.DOTALL) is not None


@functools.cache  # it is asked for each of a thousand tests
def entries(suite: str, kind: str) -> list[Entry]:
    """The entries of one suite and one kind, in the order of the file. ValueError for a kind that there is not."""
    read = []
    for raw in tomllib.loads(FILE.read_text()).get("exception", []):
        entry = Entry(raw["suite"], raw["kind"], raw["reason"], tuple(raw["tests"]))
        if entry.kind not in KINDS or not entry.reason or not entry.tests:
            raise ValueError(f"{FILE.name}: {raw}: needs a kind of {KINDS}, a reason and tests")
        read.append(entry)
    return [entry for entry in read if (entry.suite, entry.kind) == (suite, kind)]


def left_out(suite: str, test: str) -> bool:
    """Whether the test is never run."""
    return any(entry.names(test) for entry in entries(suite, "left-out"))
