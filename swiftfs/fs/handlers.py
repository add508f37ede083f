"""Wraps handlers that pyfuse3 gives to libfuse.

libfuse takes a table of handlers when a session is made, and calls them by their place in it. Here it is given a copy
of pyfuse3's table in which some are wrapped. Reached through the call of ``fuse_session_new`` that pyfuse3 makes (see
:mod:`swiftfs.fs.interpose`); the table and the structs are libfuse's public ABI (fuse_lowlevel.h, fuse_common.h).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

from swiftfs.fs.interpose import address_of, replaced

log = logging.getLogger(__name__)

POINTER = ctypes.sizeof(c_void_p)

# PYFUNCTYPE: all of this is called with the interpreter's lock held, and pyfuse3's handlers need it.
NewSession = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """``around`` is given the handler at ``place`` of ``struct fuse_lowlevel_ops``, which only ever grows at its end,
    and returns what is called instead; both are of the type ``kind``, made by :func:`ctypes.PYFUNCTYPE`."""

    place: int
    kind: Any
    around: Callable[[Callable[..., None]], Callable[..., None]]


class Handlers:
    """The handlers of the session that ``library``, pyfuse3's, makes. Must live as long as that session.

    ``are_wrapped`` says whether any could be.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._callbacks: list[object] = []
        self.are_wrapped = False

    @contextlib.contextmanager
    def wrapped(self, wrappers: Sequence[Wrapper]) -> Iterator[None]:
        """A session made while this lasts calls what ``wrappers`` say, where that can be done."""
        original = NewSession(address_of(ctypes.PyDLL(self._library).fuse_session_new))

        def new_session(arguments: int, handlers: int, size: int, data: int) -> int:
            table = ctypes.create_string_buffer(ctypes.string_at(handlers, size), size)
            for wrapper in wrappers:
                place = c_void_p.from_buffer(table, wrapper.place * POINTER)
                handler = wrapper.kind(place.value or 0)
                place.value = address_of(self._kept(wrapper.kind(wrapper.around(handler))))
            session = original(arguments, ctypes.addressof(table), size, data)
            self.are_wrapped = bool(session)
            return session or 0

        with contextlib.ExitStack() as stack:
            try:
                ours = address_of(self._kept(NewSession(new_session)))
                stack.enter_context(replaced(self._library, "fuse_session_new", ours))
            except OSError as error:
                log.warning("the kernel will ask for each open, and a dozen reads at once: %s", error)
            yield

    def _kept(self, callback: Any) -> Any:
        self._callbacks.append(callback)
        return callback
