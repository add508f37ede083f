"""load.manifest: the text that a dataset's version is made of, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.errors import Damaged, UsageError
from swiftfs.load.manifest import Described, manifest_digest, manifest_name, manifest_text, parse_manifest
from swiftfs.load.proof import Proof
from swiftfs.model import Segment

MD5 = "0cc175b9c0f1b6a831c399e269772661"
described = st.lists(
    st.builds(
        Described,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.integers(0, 2**50),
        st.one_of(st.none(), st.just(MD5)),
        st.one_of(st.none(), st.integers(0, 2**62)),
        st.one_of(st.none(), st.just(MD5)),
    ),
    unique_by=lambda one: one.name,
)


@given(described, st.randoms())
def test_a_manifest_is_read_back_whatever_order_it_was_made_in(objects: list[Described], random: object) -> None:
    """The order of the objects does not change the digest, and every field comes back, ordered by the name's bytes."""
    shuffled = list(objects)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    text = manifest_text(objects)
    assert text == manifest_text(shuffled)
    assert sorted(objects, key=lambda one: one.name.encode()) == parse_manifest(text, manifest_digest(text))


def test_the_lines_are_canonical() -> None:
    """The text is a format that others compute the digest of: this is it, byte for byte."""
    large = Described.of("z", Proof(9, MD5, (Segment("c", "s", 9, MD5),)), None)
    text = manifest_text([large, Described.of("ä b", Proof(3, MD5), 5)])
    assert text.decode() == (
        '{"name":"z","size":9,"md5":null,"mtime":null,"slo_etag":"0cc175b9c0f1b6a831c399e269772661"}\n'
        '{"name":"ä b","size":3,"md5":"0cc175b9c0f1b6a831c399e269772661","mtime":5}\n'
    )


def test_another_text_than_the_digest_says_is_refused() -> None:
    """A manifest that was altered in the store is no proof of anything."""
    with pytest.raises(Damaged):
        parse_manifest(b'{"name":"a"}\n', manifest_digest(b""))


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
def test_only_a_digest_names_a_manifest(digest: str) -> None:
    """What is no SHA-256 in hexadecimal never becomes part of an object's name."""
    with pytest.raises(UsageError):
        manifest_name(digest)
