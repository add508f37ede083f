"""The cache's arithmetic: limits, reservations, eviction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.cache.budget import SLAB_BYTES, Evictable, Reservation, default_limit, plan_eviction, reserve, slab

SIZES = st.lists(st.integers(0, 100), max_size=30)
AMOUNT = st.integers(0, 1 << 40)


@given(sizes=SIZES, evict=st.integers(-10, 4000))
def test_eviction_takes_the_least_recent_and_no_file_too_many(sizes: list[int], evict: int) -> None:
    """The victims are a prefix of the recency order, enough if anything is, and one fewer would not be."""
    files = [Evictable(number, size) for number, size in enumerate(sizes)]
    victims = plan_eviction(files, evict)
    freed = sum(victim.size for victim in victims)

    assert files[: len(victims)] == victims
    assert freed >= evict or victims == files
    assert not victims or freed - victims[-1].size < evict


def test_eviction_looks_at_no_more_files_than_it_needs() -> None:
    """A cache of a million files is not walked to free one."""
    files = iter([Evictable("a", 5), Evictable("b", 5), Evictable("c", 5)])

    assert [Evictable("a", 5)] == plan_eviction(files, 5)
    assert Evictable("b", 5) == next(files)


@given(need=AMOUNT, limit=AMOUNT, used=AMOUNT, reserved=AMOUNT, disk_free=AMOUNT, min_free=AMOUNT)
def test_a_reservation_keeps_the_limit_and_the_disk_free(
    need: int, limit: int, used: int, reserved: int, disk_free: int, min_free: int
) -> None:
    """What is granted fits under the limit and leaves the disk its share, once what is to be evicted is gone."""
    plan = reserve(need, limit=limit, used=used, reserved=reserved, disk_free=disk_free, min_free=min_free)

    if plan.granted:
        assert plan.granted >= need
        assert used - plan.evict + reserved + plan.granted <= limit
        assert disk_free + plan.evict - plan.granted >= min_free
        assert plan.granted <= max(need, slab(limit))


@given(need=st.integers(1, 1 << 40), limit=AMOUNT, used=AMOUNT, reserved=AMOUNT)
def test_a_reservation_is_refused_only_when_nothing_would_help(need: int, limit: int, used: int, reserved: int) -> None:
    """With disk to spare, a need is refused exactly when it does not fit beside what others have reserved."""
    plan = reserve(need, limit=limit, used=used, reserved=reserved, disk_free=1 << 60, min_free=0)

    assert (need > limit - reserved) == (plan.granted == 0)


@given(need=st.integers(1, 1 << 30), used=AMOUNT, limit=st.integers(1 << 40, 1 << 41), disk_free=AMOUNT)
def test_a_disk_that_others_fill_is_given_back_what_it_lacks(need: int, used: int, limit: int, disk_free: int) -> None:
    """A need is refused for lack of disk exactly when even an empty cache would leave too little."""
    plan = reserve(need, limit=limit, used=used, reserved=0, disk_free=disk_free, min_free=1 << 30)

    assert (disk_free + used < need + (1 << 30)) == (plan.granted == 0)


@pytest.mark.parametrize(
    ("free", "limit"),
    [
        (0, 0),
        (1 << 30, 1 << 29),  # half of what there is
        (2 << 30, 1 << 30),
        (4 << 30, 1 << 30),
        (100 << 30, 10 << 30),  # a tenth
    ],
)
def test_the_default_limit_is_a_tenth_of_the_disk_and_a_gibibyte_where_there_is_room(free: int, limit: int) -> None:
    """The default limit leaves the disk's other users at least half of what is free."""
    assert limit == default_limit(free, 0)


@given(free=AMOUNT, used=AMOUNT)
def test_what_the_cache_holds_does_not_change_its_default_limit(free: int, used: int) -> None:
    """Bytes that go from the free disk into the cache leave the limit as it was."""
    assert default_limit(free + used, 0) == default_limit(free, used)


@given(limit=AMOUNT)
def test_a_slab_is_a_small_part_of_the_limit(limit: int) -> None:
    """Sixteen processes can each hold a slab in the smallest cache, and none holds more than 32 MiB."""
    assert 16 * slab(limit) <= limit
    assert slab(limit) <= SLAB_BYTES


def test_slabs_of_small_and_large_caches() -> None:
    """A sixteenth, and never more than 32 MiB."""
    assert [slab(limit) for limit in (0, 160, 512 << 20, 1 << 40)] == [0, 10, 32 << 20, 32 << 20]


@pytest.mark.parametrize(
    ("need", "used", "reserved", "disk_free", "min_free", "expected"),
    [
        (10, 0, 0, 10_000, 0, Reservation(100, 0)),  # a slab where there is room
        (150, 0, 0, 10_000, 0, Reservation(150, 0)),
        (10, 1500, 0, 10_000, 0, Reservation(100, 0)),
        (10, 1550, 0, 10_000, 0, Reservation(100, 50)),
        (5, 1, 1595, 10_000, 0, Reservation(5, 1)),  # what others have reserved is not to be had
        (6, 1, 1595, 10_000, 0, Reservation(0, 0)),
        (10, 0, 0, 30, 0, Reservation(10, 0)),  # no room for a slab on the disk, but for the need
        (10, 5, 0, 30, 25, Reservation(10, 5)),
        (10, 4, 0, 30, 25, Reservation(0, 0)),
        (10, 70, 0, 30, 0, Reservation(100, 70)),  # the whole cache for a slab
        (10, 1595, 0, 90, 0, Reservation(100, 95)),  # the larger of the two shortages
        (10, 1595, 0, 90, 90, Reservation(100, 100)),
    ],
)
def test_what_is_granted_and_evicted_in_a_cache_of_1600_bytes(
    need: int, used: int, reserved: int, disk_free: int, min_free: int, expected: Reservation
) -> None:
    """Its slab is 100 bytes."""
    plan = reserve(need, limit=1600, used=used, reserved=reserved, disk_free=disk_free, min_free=min_free)

    assert plan == expected


def test_nothing_is_evicted_for_nothing() -> None:
    """With no bytes to free no file goes, and none is looked at; one byte is not nothing."""
    files = [Evictable("a", 1), Evictable("b", 1)]
    left = iter(files)

    assert plan_eviction(left, 0) == []
    assert next(left) == files[0]
    assert plan_eviction(files, 1) == files[:1]
    assert plan_eviction(files, 2) == files
