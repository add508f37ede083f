"""load.segments and the wire format of large objects: cutting, naming, limits, manifests."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Truncated
from swiftfs.load.segments import (
    COARSE_SEGMENT,
    MIB,
    Cut,
    LargePolicy,
    choose_cut,
    choose_segment_size,
    large_etag,
    name_segment,
    own_cuts,
    places,
    proven_groups,
    proven_own,
    segment_of,
)
from swiftfs.model import Limits, ListingEntry, Part, Segment
from swiftfs.swift import manifests, wire

GIB = 1024 * MIB
MD5 = "0123456789abcdef" * 2
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)


@given(st.integers(1, 5000 * GIB), st.none() | st.integers(1, 8 * GIB), st.integers(1, 6 * GIB))
@pytest.mark.row("O5")
def test_no_more_segments_than_the_server_takes(size: int, asked: int | None, chunk: int) -> None:
    """Whatever is asked for, a file is cut into at most 1,000 segments of 1 MiB to 5 GiB that cover it exactly."""
    limits = Limits()
    cut = choose_cut(size, LargePolicy(segment_size=asked, chunk_size=chunk), limits)
    spans = cut.spans(size) if size // cut.fine < 2000 else []
    assert 1 <= len(spans) <= limits.max_segments
    assert all(MIB <= len(one) <= limits.max_file_size for one in spans[:-1])
    assert (0, size) == (spans[0].start, spans[-1].stop)
    assert all(one.stop == other.start for one, other in pairwise(spans))


@given(st.integers(1, 40 * GIB), st.integers(1, 6 * GIB))
def test_every_segment_is_found_by_its_place(size: int, chunk: int) -> None:
    """Its size and its number among those of that size say where it begins; no two have the same place, and the sizes
    alone say how the object was cut."""
    cut = choose_cut(size, LargePolicy(chunk_size=chunk), Limits())
    spans = cut.spans(size)
    found = [cut.place(one.start) for one in spans]
    assert [one.start for one in spans] == [length * number for length, number in found]
    assert all(len(one) == length for one, (length, _) in zip(spans[:-1], found, strict=False))
    assert 0 < len(spans[-1]) <= found[-1][0]
    assert len(set(found)) == len(found)
    assert spans in [one.spans(size) for one in own_cuts(size, [length for length, _ in found])]


@given(st.integers(1, GIB), st.integers(1, 64))
def test_parts_know_the_places_of_segments(size: int, chunk: int) -> None:
    """The lengths of an object's segments are enough to tell the places under which their MD5s were kept, but for a
    last segment that is alone of its size."""
    cut = choose_cut(size, LargePolicy(chunk_size=chunk * MIB), Limits())
    spans = cut.spans(size)
    found = places([len(one) for one in spans])
    known = [cut.place(one.start) for one in spans]
    assert found[:-1] == known[:-1]
    assert found[-1] == known[-1] or len(spans) == 1 or known[-2][0] != known[-1][0]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_parts_of_any_sizes_never_share_a_place(sizes: list[int]) -> None:
    """A place that is given stands for the bytes from its number times its size on, at most that many."""
    start = 0
    for size, place in zip(sizes, places(sizes), strict=True):
        if place is not None:
            assert place[0] * place[1] == start
            assert size == place[0] or (start + size == sum(sizes) and size < place[0])
        start += size


def test_a_large_file_begins_with_large_segments_and_ends_with_small_ones() -> None:
    """Three quarters of 512 MiB in 32 MiB, the rest in 8; evenly where a size was asked for, or the file is huge."""
    lengths = [len(one) for one in choose_cut(512 * MIB, LargePolicy(), Limits()).spans(512 * MIB)]
    assert lengths == [COARSE_SEGMENT] * 12 + [8 * MIB] * 16
    assert choose_cut(512 * MIB, LargePolicy(segment_size=8 * MIB), Limits()) == Cut(8 * MIB)
    assert choose_cut(12 * GIB, LargePolicy(), Limits()) == Cut(192 * MIB)
    assert choose_cut(30 * MIB, LargePolicy(), Limits()).spans(30 * MIB) == Cut(8 * MIB).spans(30 * MIB)


@pytest.mark.parametrize(
    ("size", "policy", "limits", "expected"),
    [
        (512 * MIB, LargePolicy(), Limits(), 8 * MIB),
        (12 * GIB, LargePolicy(), Limits(), 192 * MIB),
        (200 * GIB, LargePolicy(), Limits(), GIB),
        (200 * GIB, LargePolicy(chunk_size=64 * MIB), Limits(), 205 * MIB),
        (2 * GIB, LargePolicy(segment_size=MIB), Limits(), 3 * MIB),
        (12 * MIB, LargePolicy(), Limits(65536, 1000), 65536),
    ],
)
@pytest.mark.row("O5")
def test_the_segment_size_follows_file_wish_and_server(
    size: int, policy: LargePolicy, limits: Limits, expected: int
) -> None:
    """A 64th of the file between 8 MiB and 1 GiB or the remote's chunk size, raised for the server's limit of
    segments, lowered to the largest object it takes."""
    assert expected == choose_segment_size(size, policy, limits)


def test_what_is_cut() -> None:
    """Files from the cutoff on, and any the server would not take whole; none when large objects are off."""
    limits = Limits(max_file_size=1000)
    assert LargePolicy(cutoff=100).cuts(100, limits)
    assert not LargePolicy(cutoff=100).cuts(99, limits)
    assert LargePolicy(cutoff=5000).cuts(1001, limits)
    assert not LargePolicy(cutoff=5000).cuts(1000, limits)
    assert not LargePolicy(cutoff=100, forbidden=True).cuts(5000, limits)


@given(names, names, st.integers(1, 5 * GIB), st.integers(0, 999), st.booleans())
def test_a_segment_is_known_by_its_name_and_never_taken_for_anothers(
    name: str, other: str, size: int, number: int, in_container: bool
) -> None:
    """A segment's name says its size, number and MD5 for its own object only, is plain, and fits into 1,024 bytes."""
    policy = LargePolicy(in_container=in_container)
    prefix = policy.prefix(name)
    text = name_segment(prefix, (size, number), MD5)
    found = segment_of(prefix, text)
    assert found is not None
    assert (text, size, number, MD5) == (found.text, found.segment_size, found.number, found.md5)
    assert len(text.encode()) <= 1024
    assert not set(text) & set(" %?#\"'\\\n")
    if other != name:
        assert policy.prefix(other) != prefix
        assert segment_of(policy.prefix(other), text) is None


def test_an_object_inside_anothers_segments_directory_keeps_its_own() -> None:
    """The segments of an object that is named like a segment directory are not taken for the outer object's."""
    policy = LargePolicy()
    inner = name_segment(policy.prefix("a/slo/1048576/x"), (5, 0), MD5)
    assert inner.startswith(policy.prefix("a"))
    assert segment_of(policy.prefix("a"), inner) is None
    assert segment_of(policy.prefix("a"), f"a/slo/5/00000000-{MD5}x") is None


def test_another_clients_segments_are_found_by_proof() -> None:
    """Of several uploads' directories, the one whose MD5s and sizes make the object's ETag and size is taken."""
    entries = [
        ListingEntry(f"o/{stamp}/{number:08d}", size, hashlib.md5(f"{stamp}{number}".encode()).hexdigest(), 0)
        for stamp in ("1.5", "2.5")
        for number, size in enumerate((10, 10, 3))
    ]
    etag = large_etag(entry.etag for entry in entries[3:])
    expected = tuple(Segment("s", entry.name, entry.size, entry.etag) for entry in entries[3:])
    assert expected == proven_groups("s", entries, 23, etag)
    assert proven_groups("s", entries, 24, etag) is None
    assert proven_groups("s", entries, 23, MD5) is None


@given(st.integers(1, 4 * GIB), st.booleans())
def test_segments_of_ours_are_found_by_proof(size: int, tapers: bool) -> None:
    """Among those of other cuts, by their places and the ETag; not when one is missing or another than was sent."""
    policy = LargePolicy() if tapers else LargePolicy(segment_size=16 * MIB)
    prefix = policy.prefix("o")
    cut = choose_cut(size, policy, Limits())
    entries = [
        ListingEntry(name_segment(prefix, cut.place(span.start), md5), len(span), md5, 0)
        for number, span in enumerate(cut.spans(size))
        for md5 in [hashlib.md5(f"{number}".encode(), usedforsecurity=False).hexdigest()]
    ]
    stray = ListingEntry(name_segment(prefix, (5 * MIB, 1), MD5), 5 * MIB, MD5, 0)
    own = [(segment_of(prefix, entry.name), entry) for entry in [*entries, stray]]
    etag = large_etag(entry.etag for entry in entries)
    found = proven_own("s", own, size, etag)  # type: ignore[arg-type]
    assert found == tuple(Segment("s", entry.name, entry.size, entry.etag) for entry in entries)
    assert proven_own("s", own[1:], size, etag) is None  # type: ignore[arg-type]
    assert proven_own("s", own, size, MD5) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("storage_url", "expected"),
    [
        ("https://host:8080/v1/AUTH_x", "https://host:8080/info"),
        ("https://host/swift/v1/AUTH_x", "https://host/swift/info"),
        ("https://host/swift/v1", "https://host/swift/info"),
        ("https://host/odd/AUTH_x", "https://host/info"),
    ],
)
def test_info_lies_beside_the_storage_urls_version(storage_url: str, expected: str) -> None:
    """/info is at the host's root on Swift and below /swift on Ceph RGW."""
    assert expected == wire.info_url(storage_url)


def test_limits_fall_back_to_the_usual_ones() -> None:
    """What /info leaves out is as Swift and Ceph RGW have it; what is no /info is an error."""
    assert Limits(65536, 20) == manifests.parse_limits(
        b'{"swift":{"max_file_size":65536},"slo":{"max_manifest_segments":20}}'
    )
    assert Limits() == manifests.parse_limits(b'{"swift":{},"tempurl":{}}')
    assert Limits().max_segments == manifests.parse_limits(b'{"slo":{}}').max_segments
    with pytest.raises(Truncated):
        manifests.parse_limits(b"<html>")


@given(st.lists(st.tuples(names, st.integers(1, GIB)), min_size=1, max_size=5))
def test_a_manifest_comes_back_as_it_was_sent(parts: list[tuple[str, int]]) -> None:
    """The segments of a manifest's PUT are those read from the server's form of it."""
    segments = tuple(Segment("c_segments", name, size, MD5) for name, size in parts)
    sent = json.loads(manifests.manifest_body(segments))
    served = [{"name": row["path"], "bytes": row["size_bytes"], "hash": row["etag"]} for row in sent]
    assert segments == manifests.parse_manifest(json.dumps(served).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"no", b'[{"name":"/c/o","bytes":1,"hash":"a","range":"0-1"}]'])
def test_a_manifest_that_cannot_be_used_is_none(body: bytes) -> None:
    """Ceph RGW's empty answer and manifests of ranges name no whole segments."""
    assert manifests.parse_manifest(body) is None


def test_every_object_that_a_manifest_names_is_a_part_of_it() -> None:
    """Ranges, other large objects and bytes in the manifest itself leave nothing out; an empty answer tells nothing."""
    body = (
        b'[{"name":"/c/o","bytes":1,"hash":"a","range":"0-1"},{"data":"aGk="},'
        b'{"name":"/c_segments/d/1","bytes":2,"hash":"b","sub_slo":true}]'
    )
    assert (Part("c", "o"), Part("c_segments", "d/1", is_manifest=True)) == manifests.manifest_parts(body)
    assert manifests.manifest_parts(b"") is None


@pytest.mark.row("O4")
def test_a_status_of_202_says_nothing_its_body_does() -> None:
    """A manifest's PUT is refused when its body says so, after heartbeats too, and the bad segments are named."""
    assert manifests.parse_manifest_answer(b"") is None
    assert manifests.parse_manifest_answer(b'  \r\n\r\n{"Response Status": "201 Created", "Errors": []}') is None
    refused = manifests.parse_manifest_answer(
        b' \r\n\r\n{"Response Status": "400 Bad Request", "Response Body": "", '
        b'"Errors": [["/c_segments/a%20b", "Etag Mismatch"]]}'
    )
    assert refused == ("400 Bad Request", ("c_segments/a b",))
    assert manifests.parse_manifest_answer(b'{"Response Status": "507 Insufficient Storage"}') == (
        "507 Insufficient Storage",
        (),
    )
    with pytest.raises(Truncated):
        manifests.parse_manifest_answer(b"   {")
