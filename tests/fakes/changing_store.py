"""A part of a real container that a test changes, and every version that its objects ever had.

The requests are plain HTTP, past any proxy: what the store holds and what the model says must not depend on the code
under test.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from fakes.tree_model import ModelObject, tree_of

PATIENCE = 30.0
"""Seconds for one answer of the store."""


def body(size: int, seed: int) -> bytes:
    """``size`` bytes, other ones for each seed."""
    return random.Random(f"{size} {seed}").randbytes(size)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of an object is: its bytes, and the segments that hold them, None for a plain object."""

    content: bytes
    etag: str
    segments: tuple[str, ...] | None = None
    dynamic: bool = False


@dataclass(slots=True)
class ChangingStore:
    """The objects below ``prefix`` (it ends with a slash) of ``container``; segments are in ``container``-segments.

    ``now`` is what the store holds by name without the prefix, ``ever`` the bytes by name and ETag. A DLO's version is
    what it was when it was made: losing a segment makes it another one, which is not in ``ever``. ``blurred`` are the
    names of which that was ever so; ``harmed`` those that lack a segment now.
    """

    storage_url: str
    token: str = field(repr=False)
    container: str
    prefix: str
    now: dict[str, Version] = field(default_factory=dict)
    ever: dict[tuple[str, str], bytes] = field(default_factory=dict)
    harmed: set[str] = field(default_factory=set)
    blurred: set[str] = field(default_factory=set)
    segment_count: int = 0
    _connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def put(self, name: str, content: bytes) -> None:
        """A new object, another version of one, or the same bytes again."""
        self._ask("PUT", f"{self.container}/{self.prefix}{name}", content)
        self._note(name, Version(content, md5(content)))

    def delete(self, name: str) -> None:
        """Remove an object that is there; its segments stay."""
        self._ask("DELETE", f"{self.container}/{self.prefix}{name}")
        del self.now[name]
        self.harmed.discard(name)

    def put_large(self, name: str, parts: list[bytes], *, dynamic: bool) -> None:
        """An object of segments of its own: a DLO, or an SLO."""
        self.segment_count += 1
        stem = f"{self.container}-segments/{self.prefix}{self.segment_count:04}/"
        paths = tuple(f"{stem}{number}" for number in range(len(parts)))
        for path, part in zip(paths, parts, strict=True):
            self._ask("PUT", path, part)
        place = f"{self.container}/{self.prefix}{name}"
        if dynamic:
            self._ask("PUT", place, b"", {"X-Object-Manifest": quote(stem)})
        else:
            rows = [
                {"path": f"/{path}", "etag": md5(part), "size_bytes": len(part)}
                for path, part in zip(paths, parts, strict=True)
            ]
            self._ask("PUT", place + "?multipart-manifest=put", json.dumps(rows).encode())
        etag = md5("".join(map(md5, parts)).encode())
        self._note(name, Version(b"".join(parts), etag, paths, dynamic))

    def lose_segment(self, name: str, number: int, other: bytes | None) -> None:
        """A segment of a large object goes, or is replaced by ``other`` bytes."""
        paths = self.now[name].segments
        assert paths is not None
        path = paths[number % len(paths)]
        if other is None:
            self._ask("DELETE", path, absent_is_fine=True)
        else:
            self._ask("PUT", path, other)
        self.harmed.add(name)
        if self.now[name].dynamic:
            self.blurred.add(name)

    def shown(self) -> dict[str, Version]:
        """The files that a tree of what is there now has, by path."""
        tree = tree_of({name: ModelObject(size=len(version.content)) for name, version in self.now.items()})
        return {name: self.now[name] for name in tree.files}

    def _note(self, name: str, version: Version) -> None:
        self.now[name] = version
        self.ever[name, version.etag] = version.content
        self.harmed.discard(name)

    def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        absent_is_fine: bool = False,
    ) -> None:
        parts = urlsplit(self.storage_url)
        if self._connection is None:
            assert parts.hostname is not None
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        sent = {"X-Auth-Token": self.token, "Content-Type": "application/octet-stream", **(headers or {})}
        self._connection.request(method, f"{parts.path}/{quote(path, safe='/?=-')}", content, sent)
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status < 300 or (absent_is_fine and answer.status == 404), (answer.status, said)
