"""The control socket's command ``warm``: begins plans, tells how far one has come, gives them up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import trio

from swiftfs.errors import SwiftFSError, UsageError
from swiftfs.fs.inodes import ROOT

if TYPE_CHECKING:
    from swiftfs.fs.vfs import Vfs


def is_quick(request: Mapping[str, Any]) -> bool:
    """Whether this is a ``warm`` that waits for nothing: only beginning a plan may have to."""
    return request["command"] == "warm" and bool(request.get("cancel") or request.get("plan") is not None)


class Warmer:
    """Answers for one mount."""

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs
        self._waiting: set[trio.CancelScope] = set()

    async def command(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``paths`` begins a plan, ``plan`` asks for its figures, ``cancel`` gives all of them up.

        Raises UsageError for a path that is not in the mount and for a plan that is not known, and SwiftFSError when it
        is given up while the tree is still being listed.
        """
        warming = self._vfs.ahead.warming
        if request.get("cancel"):
            for waiting in self._waiting:
                waiting.cancel()
            return {"cancelled": len(self._waiting) + warming.cancel()}
        number = request.get("plan")
        if number is None:
            await self._whole()
            number = warming.add([self._ino(str(path)) for path in request.get("paths") or [""]])
        figures = warming.figures(int(number))
        if figures is None:
            raise UsageError(f"no warm {number} is known")
        return {"plan": number, **asdict(figures)}

    async def _whole(self) -> None:
        with trio.CancelScope() as waiting:
            self._waiting.add(waiting)
            try:
                await self._vfs.whole()
            finally:
                self._waiting.discard(waiting)
        if waiting.cancelled_caught:
            raise SwiftFSError("it was given up before the container had been listed")

    def _ino(self, path: str) -> int:
        ino = ROOT
        for name in [part for part in path.split("/") if part]:
            entry = self._vfs.child(ino, os.fsencode(name))
            if entry is None:
                raise UsageError(f"no such file or directory in the mount: {path}")
            ino = entry.ino
        return ino
