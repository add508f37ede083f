"""Lookup counts."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swiftfs.fs.inodes import ROOT, Inodes

INOS = st.integers(ROOT, 6)


class InodesMachine(RuleBasedStateMachine):
    """Looks up and forgets in any order, beside a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.inodes = Inodes()
        self.model: Counter[int] = Counter()

    @rule(ino=INOS)
    def look_up(self, ino: int) -> None:
        self.inodes.looked_up(ino)
        self.model[ino] += 1

    @rule(ino=INOS, count=st.integers(1, 4))
    def forget(self, ino: int, count: int) -> None:
        self.inodes.forget(ino, count)
        self.model[ino] = max(0, self.model[ino] - count)

    @invariant()
    def what_is_looked_up_is_known(self) -> None:
        assert {ino for ino in range(1, 7) if ino in self.inodes} == {
            ino for ino in range(1, 7) if self.model[ino] or ino == ROOT
        }


TestInodesMachine = InodesMachine.TestCase
