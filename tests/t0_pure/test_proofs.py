"""load.proof: what a run keeps of each object until the listing has proven it."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.load.proof import Proof, Proofs
from swiftfs.model import Segment

MOST = 1000 * 5 * 1024**3
"""Bytes of the largest object there can be (load.plan.MAX_OBJECT)."""

sizes = st.integers(min_value=0, max_value=MOST)
md5s = st.binary(max_size=3).map(lambda text: hashlib.md5(text).hexdigest())
segments = st.none() | st.just((Segment("c_segments", "s", 1, "0" * 32),))
held = st.dictionaries(st.text(max_size=5), st.builds(Proof, sizes, md5s, segments), max_size=8)


@given(held)
def test_a_proof_is_had_back_as_it_was_given(proofs: dict[str, Proof]) -> None:
    """Size, MD5 and segments of every object are there as they were put in, plain and large ones apart."""
    kept = Proofs()
    for name, proof in proofs.items():
        kept.add(name, proof)
    assert dict(kept) == proofs
    assert len(kept) == len(proofs)
    assert dict(kept.plain) == {name: proof for name, proof in proofs.items() if proof.segments is None}
    assert kept.large == {name: proof for name, proof in proofs.items() if proof.segments is not None}


@given(held, st.text(max_size=5))
def test_a_proof_that_is_taken_is_gone(proofs: dict[str, Proof], other: str) -> None:
    """What is taken back is had once, and all the others stay."""
    kept = Proofs()
    for name, proof in proofs.items():
        kept.add(name, proof)
    for name in [*list(proofs)[:1], other]:
        assert kept.take(name) == proofs.pop(name, None)
        assert kept.take(name) is None
    assert dict(kept) == proofs
