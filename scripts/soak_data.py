"""The objects that a soak reads: every version says what it is, so that any bytes can be judged."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

SMALL, LARGE = 120, 3
"""Files of some 60 KB, and files of several chunks."""
CHUNK = 1 << 20


def content(name: str, version: int, size: int) -> bytes:
    """The bytes of one version of one object; they begin with what they are."""
    head = f"{name} {version}\n".encode()
    return head + random.Random(f"{name} {version}").randbytes(size - len(head))


@dataclass
class Dataset:
    """The objects that are read: sizes, how many versions each has had, and MD5s of versions already made."""

    sizes: dict[str, int]
    versions: dict[str, int] = field(default_factory=dict)
    digests: dict[tuple[str, int], str] = field(default_factory=dict)

    def make(self, name: str, version: int) -> bytes:
        body = content(name, version, self.sizes[name])
        self.digests[name, version] = hashlib.md5(body).hexdigest()
        return body

    def version_of(self, name: str, body: bytes) -> int | None:
        """Which version the bytes are, whole and right; None: none that there has been."""
        found, _, number = body.partition(b"\n")[0].decode("utf-8", "replace").rpartition(" ")
        if found != name or not number.isdigit() or int(number) > self.versions[name]:
            return None
        return int(number) if hashlib.md5(body).hexdigest() == self.digests[name, int(number)] else None

    def describe(self, name: str, body: bytes) -> str:
        """What is wrong with bytes that are no version."""
        found, _, number = body.partition(b"\n")[0].decode("utf-8", "replace").rpartition(" ")
        if found != name or not number.isdigit() or int(number) > self.versions[name]:
            return f"{len(body)} bytes that begin with {body[:40]!r}"
        right = content(name, int(number), self.sizes[name])
        other = [place for place, (one, two) in enumerate(zip(body, right, strict=False)) if one != two]
        where = f", the first at {other[0]}, the last at {other[-1]}" if other else ""
        return f"{len(body)} bytes instead of {len(right)} of version {number}, {len(other)} are other{where}"


def dataset() -> Dataset:
    sizes = {f"photos/{number % 7}/{number}.jpg": 20_000 + 700 * number for number in range(SMALL)}
    sizes |= {f"videos/{number}.mp4": 3 * CHUNK + number * 1000 for number in range(LARGE)}
    return Dataset(sizes, dict.fromkeys(sizes, 0))
