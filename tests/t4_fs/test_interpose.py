"""A function that a loaded library calls can be replaced for a while, whatever its linker did to its tables."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from fakes.native import built

from swiftfs.fs.interpose import replaced

Number = ctypes.CFUNCTYPE(ctypes.c_int)


@pytest.mark.parametrize(
    "options", [("-Wl,-z,lazy",), ("-Wl,-z,now,-z,relro",), ("-fno-plt", "-Wl,-z,now,-z,relro")], ids=" ".join
)
def test_a_library_calls_what_was_put_in_its_functions_place(tmp_path: Path, options: tuple[str, ...]) -> None:
    """While it lasts and not after it; another library that calls the same function is not touched."""
    callee = built(tmp_path, "callee", "int number(void) { return 1; }")
    calling = "int number(void); int called(void) { return number(); }"
    libraries = [built(tmp_path, name, calling, *options, callee, "-Wl,-rpath,.") for name in ("one", "other")]
    ctypes.CDLL(str(callee), mode=ctypes.RTLD_GLOBAL)
    one, other = (ctypes.CDLL(str(library)).called for library in libraries)
    two = Number(lambda: 2)

    answers = [one()]
    with replaced(str(libraries[0]), "number", ctypes.cast(two, ctypes.c_void_p).value or 0) as found:
        answers += [one(), other()]
    answers += [one(), other()]

    assert found
    assert answers == [1, 2, 1, 1, 1]


def test_a_function_that_is_not_called_is_not_found(tmp_path: Path) -> None:
    """Nothing is replaced then, and nothing in a library that is not loaded."""
    library = built(tmp_path, "plain", "int called(void) { return 3; }")
    called = ctypes.CDLL(str(library)).called
    address = ctypes.cast(Number(lambda: 2), ctypes.c_void_p).value or 0

    with replaced(str(library), "number", address) as found, replaced("/nowhere.so", "number", address) as elsewhere:
        assert called() == 3
    assert (found, elsewhere) == (False, False)
