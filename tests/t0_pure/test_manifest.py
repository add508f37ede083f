"""Manifests: read back as they were meant, refused when they were changed."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Damaged, UsageError
from swiftfs.fetch.manifest import check_digest, read_manifest

MD5 = "0" * 32
names = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=20)


def made(*lines: dict[str, object]) -> tuple[bytes, str]:
    """A manifest's bytes and its digest."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return body, hashlib.sha256(body).hexdigest()


@given(names)
def test_files_come_in_the_order_of_a_listing(given_names: list[str]) -> None:
    """Whatever the order in the manifest: sorted by the bytes of their names, none lost."""
    body, digest = made(*({"name": name, "size": 1, "md5": MD5, "mtime": None} for name in given_names))

    assert [file.name for file in read_manifest(body, digest)] == sorted(given_names, key=str.encode)


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (1_700_000_000, 1_700_000_000_000_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        (-5, -5_000_000_000),
        ("-1.5", -1_500_000_000),
        (None, 0),
        ("10413792000.0", 2**63 - 1),
        (10**18 * 10, 2**63 - 1),
        (-1e300, 1 - 2**63),
        (1e300, 2**63 - 1),
        ("9999-12-31T00:00:00Z", 2**63 - 1),
    ],
)
def test_times_are_taken_as_they_are_written(mtime: object, expected: int) -> None:
    """Nanoseconds, seconds as other clients keep them in X-Object-Meta-Mtime, RFC 3339, or nothing; one that no 63 bits
    hold is the last or the first that they do."""
    body, digest = made({"name": "a", "size": 1, "md5": MD5, "mtime": mtime})

    assert [file.last_modified for file in read_manifest(body, digest)] == [expected]


@pytest.mark.parametrize("name", ["a", "p/a", "p/p/a"])
def test_names_are_relative_to_the_place_that_is_mounted(name: str) -> None:
    """Also where all of them begin as that place is called."""
    assert [file.name for file in read_manifest(*made({"name": name, "size": 1, "md5": MD5}), "p/")] == [f"p/{name}"]


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_manifest_is_refused(at: int, change: int) -> None:
    """One byte is enough: the digest is the dataset's name."""
    body, digest = made({"name": "a", "size": 1, "md5": MD5, "mtime": 0}, {"name": "b", "size": 1, "md5": MD5})
    changed = bytearray(body)
    changed[at] ^= change

    with pytest.raises(Damaged, match="was changed"):
        read_manifest(bytes(changed), digest)


@pytest.mark.parametrize(
    "body",
    [b"{}\n", b"nonsense", b'{"name":"a","size":"x","md5":""}', b'{"name":"a","size":1,"md5":"","mtime":"soon"}',
     b'{"name":"a","size":1,"md5":""}\n' * 2],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    """Also when its digest is right: lines without a name, times that are none, a name twice."""
    with pytest.raises(Damaged):
        read_manifest(body, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_that_is_none_is_refused_by_name(size: int) -> None:
    """Before anything is built of it."""
    with pytest.raises(Damaged, match="p/dir/large"):
        read_manifest(*made({"name": "dir/large", "size": size, "md5": MD5}), "p/")


def test_a_digest_has_64_digits() -> None:
    """Anything else is refused before the store is asked."""
    assert check_digest("AB" * 32) == "ab" * 32
    for text in ("", "abc", "g" * 64, "a" * 65):
        with pytest.raises(UsageError, match="digest"):
            check_digest(text)
