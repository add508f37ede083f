"""What became of an object: proven by what, or failed for what reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swiftfs.model import Segment


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that is not in the store as it should be, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What the store must say of an object that was sent or skipped.

    ``segments`` is None for a plain object; for a large one it names them, and ``md5`` is its ETag: the MD5 of theirs.
    """

    size: int
    md5: str
    segments: tuple[Segment, ...] | None = None


_PLAIN = struct.Struct("<16sQ")


class PlainProofs(MutableMapping[str, Proof]):
    """Proofs of plain objects by name, 24 bytes each: a run may have a million of them."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> Proof:
        md5, size = _PLAIN.unpack(self._packed[name])
        return Proof(size, md5.hex())

    def __setitem__(self, name: str, proof: Proof) -> None:
        self._packed[name] = _PLAIN.pack(bytes.fromhex(proof.md5), proof.size)

    def __delitem__(self, name: str) -> None:
        del self._packed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


class Proofs(Mapping[str, Proof]):
    """Every proof of a run by the name of its object, those of plain and of large objects apart."""

    def __init__(self) -> None:
        self.plain = PlainProofs()
        self.large: dict[str, Proof] = {}

    def __getitem__(self, name: str) -> Proof:
        return self.large[name] if name in self.large else self.plain[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.plain
        yield from self.large

    def __len__(self) -> int:
        return len(self.plain) + len(self.large)

    def add(self, name: str, proof: Proof) -> None:
        """Keep the proof of ``name``, which has none yet."""
        kept: MutableMapping[str, Proof] = self.plain if proof.segments is None else self.large
        kept[name] = proof

    def take(self, name: str) -> Proof | None:
        """Forget the proof of ``name`` and return it; None when there was none."""
        return self.large.pop(name, None) or self.plain.pop(name, None)
