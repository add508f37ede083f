"""A file that can only be written at its end, as a pipe: for it zipfile writes data descriptors."""

from __future__ import annotations

import io


class Forward(io.RawIOBase):
    """What was written is ``body``."""

    def __init__(self) -> None:
        self.body = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        self.body += memoryview(data)  # type: ignore[call-overload]
        return len(data)  # type: ignore[arg-type]
