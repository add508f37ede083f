"""Puts another function in the place of one that a loaded library calls.

A shared library calls functions of other libraries through a table of addresses that the dynamic linker fills in
(System V ABI, "Procedure Linkage Table"; elf(5)). What is written there is what the library calls. This needs no
compiler and nothing but public interfaces: dl_iterate_phdr(3) finds the table, mprotect(2) opens it where it was
closed after the start (RELRO).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

DYNAMIC, RELRO = 2, 0x6474E552
"""``p_type`` of the segments that say where a library's tables are, and what becomes read-only (elf(5))."""
STRINGS, SYMBOLS, RELOCATIONS, RELOCATIONS_SIZE, JUMPS_SIZE, JUMPS = 5, 6, 7, 8, 2, 23
"""``d_tag`` of a library's tables (elf(5)): DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_PLTRELSZ, DT_JMPREL."""
READABLE, WRITABLE = 1, 2
"""``PROT_READ`` and ``PROT_WRITE`` of mprotect(2)."""


class _Segment(ctypes.Structure):  # Elf64_Phdr
    _fields_ = (
        ("type", c_uint32),
        ("flags", c_uint32),
        ("offset", c_uint64),
        ("address", c_uint64),
        ("physical", c_uint64),
        ("file_size", c_uint64),
        ("size", c_uint64),
        ("alignment", c_uint64),
    )


class _Library(ctypes.Structure):  # struct dl_phdr_info, the part that is the same everywhere
    _fields_ = (("base", c_void_p), ("name", c_char_p), ("segments", c_void_p), ("count", c_uint16))


_Look = ctypes.CFUNCTYPE(c_int, ctypes.POINTER(_Library), c_size_t, c_void_p)


class _Dynamic(ctypes.Structure):  # Elf64_Dyn
    _fields_ = (("tag", c_int64), ("value", c_uint64))


class _Symbol(ctypes.Structure):  # Elf64_Sym
    _fields_ = (
        ("name", c_uint32),
        ("info", ctypes.c_ubyte),
        ("other", ctypes.c_ubyte),
        ("section", c_uint16),
        ("value", c_uint64),
        ("size", c_uint64),
    )


class _Relocation(ctypes.Structure):  # Elf64_Rela
    _fields_ = (("offset", c_uint64), ("info", c_uint64), ("addend", c_int64))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the address of a function stands in memory."""

    address: int
    protected: bool

    def read(self) -> int:
        return c_uint64.from_address(self.address).value

    def write(self, value: int) -> None:
        """Raises OSError when the memory cannot be made writable."""
        if self.protected:
            _protect(self.address, READABLE | WRITABLE)
        c_uint64.from_address(self.address).value = value
        if self.protected:
            _protect(self.address, READABLE)


@contextlib.contextmanager
def replaced(library: str, name: str, function: int) -> Iterator[bool]:
    """While this lasts, ``library``, the path of a loaded one, calls ``function``, an address, when it calls ``name``.

    Says whether it does: False where no such call is found, or machine addresses are not 64 bits wide. Raises OSError
    when the memory cannot be made writable.
    """
    places = _places(library, name.encode()) if ctypes.sizeof(c_void_p) == ctypes.sizeof(c_uint64) else []
    former = [place.read() for place in places]
    try:
        for place in places:
            place.write(function)
        yield bool(places)
    finally:
        for place, address in zip(places, former, strict=True):
            place.write(address)


def address_of(function: Callable[..., Any]) -> int:
    """Where a function of a loaded library, or one made for ctypes, begins."""
    return ctypes.cast(function, c_void_p).value or 0  # type: ignore[arg-type]


def _places(library: str, name: bytes) -> list[_Place]:
    found: list[_Place] = []

    def look(pointer: ctypes._Pointer[_Library], _size: int, _data: int | None) -> int:
        info = pointer.contents
        if info.name == os.fsencode(library):
            found.extend(_places_in(info, name))
        return 0

    ctypes.CDLL(None).dl_iterate_phdr(_Look(look), None)
    return found


def _places_in(library: _Library, name: bytes) -> Iterator[_Place]:
    base = library.base or 0
    segments = (_Segment * library.count).from_address(library.segments)
    tables = dict(_tables(base + next(segment.address for segment in segments if segment.type == DYNAMIC)))
    closed = [range(base + s.address, base + s.address + s.size) for s in segments if s.type == RELRO]

    def at(tag: int) -> int:
        """Some linkers leave these addresses as they stand in the file."""
        value = tables[tag]
        return value if value >= base else base + value

    for table, size in ((JUMPS, JUMPS_SIZE), (RELOCATIONS, RELOCATIONS_SIZE)):
        if table not in tables:
            continue
        for relocation in (_Relocation * (tables[size] // ctypes.sizeof(_Relocation))).from_address(at(table)):
            symbol = _Symbol.from_address(at(SYMBOLS) + (relocation.info >> 32) * ctypes.sizeof(_Symbol))
            if ctypes.string_at(at(STRINGS) + symbol.name) == name:
                address = base + relocation.offset
                yield _Place(address, any(address in each for each in closed))


def _tables(address: int) -> Iterator[tuple[int, int]]:
    while (entry := _Dynamic.from_address(address)).tag:
        yield entry.tag, entry.value
        address += ctypes.sizeof(_Dynamic)


def _protect(address: int, protection: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    page = address - address % mmap.PAGESIZE
    if libc.mprotect(c_void_p(page), c_size_t(mmap.PAGESIZE), protection):
        number = ctypes.get_errno()
        raise OSError(number, f"mprotect: {os.strerror(number)}")


__all__ = ["address_of", "replaced"]
