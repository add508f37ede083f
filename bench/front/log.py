"""What the front was asked: its access log, counted by method and by what was meant. No I/O here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

FIELDS = 5
"""Method, status, bytes of the body, what the cache did, target: see ``log_format`` in front.config."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by kind ("GET object", "GET container", "POST login" …), the bytes that object bodies took on the wire,
    and how many requests reached the store behind the front."""

    kinds: Mapping[str, int]
    object_bytes: int
    passed: int

    @property
    def total(self) -> int:
        """All requests of the store; logins are not among them."""
        return sum(number for kind, number in self.kinds.items() if not kind.endswith(" login"))

    def of(self, kind: str) -> int:
        """How many of one kind."""
        return self.kinds.get(kind, 0)

    def by_method(self, method: str) -> int:
        """How many of one method, whatever they went to; logins left out."""
        return sum(
            number
            for kind, number in self.kinds.items()
            if kind.partition(" ")[0] == method and not kind.endswith(" login")
        )


NOTHING = Requests({}, 0, 0)
"""No request at all."""


def count(lines: Iterable[str]) -> Requests:
    """Count log lines; one that is not whole (the log is being written) is left out."""
    kinds: Counter[str] = Counter()
    size = passed = 0
    for line in lines:
        words = line.split()
        if len(words) != FIELDS:
            continue
        method, _, sent, cached, target = words
        kind = f"{method} {what(target)}"
        kinds[kind] += 1
        passed += cached not in {"HIT", "-"}
        if kind == "GET object":
            size += int(sent)
    return Requests(dict(kinds), size, passed)


def what(target: str) -> str:
    """What a request's target means: login, account, container or object."""
    path = urlsplit(target).path
    if path.startswith("/v3"):
        return "login"
    parts = path.strip("/").split("/", 3)
    return ("account", "account", "account", "container", "object")[len(parts)]
