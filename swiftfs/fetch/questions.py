"""Questions to the fetch process that somebody waits for: its status, and refreshes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from swiftfs.errors import Unavailable

if TYPE_CHECKING:
    from swiftfs.fetch.child import Child
    from swiftfs.fetch.protocol import Message


@dataclass(slots=True, eq=False)
class Question:
    """One question about status or refresh; ``number`` tells refreshes apart and is 0 for others."""

    kind: type[Message]
    number: int
    event: trio.Event = field(default_factory=trio.Event)
    answer: Message | None = None


class Questions:
    """The questions to ``child`` that are open."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._open: list[Question] = []

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, message: Message, kind: type[Message], number: int = 0, *, patience: float) -> Message:
        """The answer of the kind asked for, to refresh ``number`` or a later one, within ``patience`` seconds.

        Raises Unavailable when there is none, and at once while no process is there.
        """
        if not self._child.is_there:
            raise Unavailable("the fetch process has ended and is being started again")
        question = Question(kind, number)
        self._open.append(question)
        self._child.send(message)
        try:
            with trio.move_on_after(patience):
                await question.event.wait()
        finally:
            if question in self._open:
                self._open.remove(question)
        if question.answer is None:
            raise Unavailable("the fetch process does not answer")
        return question.answer

    def answer(self, message: Message, last: int) -> None:
        """Answer the questions that ``message`` is about; of those about a refresh, up to the one numbered ``last``."""
        answered = [one for one in self._open if isinstance(message, one.kind) and one.number <= last]
        self._open = [one for one in self._open if one not in answered]
        for question in answered:
            question.answer = message
            question.event.set()

    def fail(self) -> None:
        """Release those who wait for a status or a refresh of a process that has ended."""
        for question in self._open:
            question.event.set()
        self._open.clear()
