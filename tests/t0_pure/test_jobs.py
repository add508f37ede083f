"""The fetch process's order of work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swiftfs.fetch.jobs import DEMAND_PLACES, Job, Jobs
from swiftfs.fetch.protocol import DEMAND, NEXT_FILES, READAHEAD, TREE, WARM, Want

PRIORITIES = st.sampled_from([DEMAND, READAHEAD, NEXT_FILES, TREE, WARM])


def want(ino: int, priority: int, first: int = 0, stop: int = 1) -> Want:
    return Want(ino, f"f{ino}", 10, "0" * 32, 0, 0, first, stop, priority)


def test_a_blocked_reader_goes_first() -> None:
    """A demand is served before everything that was asked for earlier and is less urgent."""
    jobs = Jobs(8)
    for ino, priority in enumerate([TREE, NEXT_FILES, READAHEAD, DEMAND]):
        jobs.add(want(ino, priority))

    taken = [jobs.take() for _ in range(4)]

    assert [job.priority for job in taken if job] == [DEMAND, READAHEAD, NEXT_FILES, TREE]


def test_a_demand_finds_a_place_while_everything_is_prefetching() -> None:
    """Some places are kept free of prefetch, so a blocked reader never waits for one to end."""
    jobs = Jobs(32)
    for ino in range(100):
        jobs.add(want(ino, TREE))
    while jobs.take():
        pass

    jobs.add(want(1000, DEMAND))
    job = jobs.take()

    assert jobs.running == 32 - DEMAND_PLACES + 1
    assert job is not None
    assert job.want.ino == 1000


def test_a_chunk_wanted_twice_is_one_job() -> None:
    """Readers of the same chunk share one fetch, and the most urgent of them sets its place."""
    jobs = Jobs(1)
    jobs.add(want(1, WARM))
    jobs.add(want(2, WARM))
    jobs.add(want(2, DEMAND))

    first = jobs.take()

    assert first is not None
    assert (first.want.ino, first.priority) == (2, DEMAND)
    assert jobs.waiting == 1


def test_a_plan_given_up_leaves_demands_alone() -> None:
    """Forgetting the warm jobs drops them and nothing more urgent."""
    jobs = Jobs(4)
    jobs.add(want(1, WARM))
    jobs.add(want(2, READAHEAD))
    jobs.forget(NEXT_FILES)

    assert jobs.waiting == 1
    job = jobs.take()
    assert job is not None
    assert job.want.ino == 2


def test_one_plan_is_given_up_and_others_stay() -> None:
    """Forgetting a range of priorities leaves the more and the less urgent ones."""
    jobs = Jobs(8)
    for ino, priority in enumerate([WARM, TREE, NEXT_FILES, READAHEAD]):
        jobs.add(want(ino, priority))
    jobs.forget(NEXT_FILES, NEXT_FILES)

    assert [job.want.ino for _ in range(5) if (job := jobs.take())] == [3, 1, 0]


@given(st.integers(1, 64), st.lists(st.tuples(st.integers(0, 20), PRIORITIES), max_size=60))
def test_every_chunk_is_fetched_once_and_all_are(places: int, asked: list[tuple[int, int]]) -> None:
    """Whatever is asked for in whatever order, each chunk comes up exactly once."""
    jobs = Jobs(places)
    for ino, priority in asked:
        jobs.add(want(ino, priority))
    done = []
    for _ in range(3 * len(asked)):
        while job := jobs.take():
            done.append(job.want.ino)
            jobs.done(job)
        jobs.tick()

    assert sorted(done) == sorted({ino for ino, _ in asked})


class JobsMachine(RuleBasedStateMachine):
    """Adds, takes and ends jobs in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = Jobs(6)
        self.started: list[Job] = []

    @rule(ino=st.integers(0, 12), priority=PRIORITIES)
    def add(self, ino: int, priority: int) -> None:
        self.jobs.add(want(ino, priority))

    @rule()
    def take(self) -> None:
        job = self.jobs.take()
        if job is not None:
            assert job.id not in {other.id for other in self.started}
            self.started.append(job)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.started:
            job = data.draw(st.sampled_from(self.started))
            self.started.remove(job)
            self.jobs.done(job)

    @rule()
    def tick(self) -> None:
        self.jobs.tick()

    @invariant()
    def places_are_kept(self) -> None:
        assert self.jobs.running == len(self.started) <= 6
        background = sum(job.priority != DEMAND for job in self.started)
        assert background <= max(1, 6 - DEMAND_PLACES)


TestJobsMachine = JobsMachine.TestCase
