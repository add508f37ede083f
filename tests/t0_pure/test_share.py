"""A warm yields to readers, and ends all the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftfs.fetch.jobs import Job, Jobs
from swiftfs.fetch.protocol import DEMAND, WARM, Want
from swiftfs.fetch.share import FIRST, TOLERATED

STREAMS = 32
SIZE = 72_000


def want(ino: int, priority: int) -> Want:
    return Want(ino, f"f{ino}", SIZE, "", 0, 0, 0, 1, priority)


class Store:
    """Jobs and the fetches that run; a fetch takes as many seconds as ``seconds`` says for so many at once."""

    def __init__(self, warm: int) -> None:
        self.jobs = Jobs(STREAMS)
        self.running: list[Job] = []
        self.warmed = 0
        for ino in range(warm):
            self.jobs.add(want(ino, WARM))
        self.take()

    def take(self) -> None:
        while (job := self.jobs.take()) is not None:
            self.running.append(job)

    def end(self, job: Job, seconds: float = 1.0) -> None:
        self.running.remove(job)
        job.seconds = seconds
        self.warmed += job.priority == WARM
        self.jobs.done(job)
        self.take()

    def end_warm(self) -> None:
        """Every fetch of the warm that runs now ends."""
        for job in [job for job in self.running if job.priority == WARM]:
            self.end(job)

    def demand(self, ino: int, load: float, alone: float = 1.0) -> int:
        """One reader's fetch: it takes ``alone`` seconds and ``load`` more for each fetch beside it. Returns how many
        there were; what runs of the warm ends meanwhile."""
        self.jobs.add(want(ino, DEMAND))
        self.take()
        (job,) = [job for job in self.running if job.priority == DEMAND]
        beside = len(self.running) - 1
        self.end_warm()
        self.end(job, alone + load * beside)
        return beside


def test_a_warm_alone_grows_to_every_place_that_is_not_kept_for_readers() -> None:
    """It begins with a few fetches and grows by one a round trip."""
    store = Store(5000)
    assert len(store.running) == FIRST
    for _ in range(40):
        store.end_warm()

    assert len(store.running) == STREAMS - 4


def test_few_reads_find_out_where_a_warm_would_be_noticed() -> None:
    """Where eight fetches beside it go unnoticed, a reader has most of them beside it, and of its fetches one in fifty
    takes longer than that: a dozen in a row between two that are late would show among the slowest in a hundred."""
    store = Store(50_000)
    beside = [store.demand(60_000 + number, load=0.048) for number in range(1000)]
    noticed = [count for count in beside[200:] if count * 0.048 > TOLERATED - 1]

    assert len(noticed) <= 800 / 50
    assert sum(beside[200:]) / 800 >= 5


def test_a_reader_has_the_store_for_itself_where_it_notices_the_warm() -> None:
    """Where each fetch beside it makes a reader's slower by half, most of its fetches have none beside them; the warm
    goes on by one for every eight."""
    store = Store(5000)
    for _ in range(40):
        store.end_warm()
    beside = [store.demand(10_000 + number, load=0.5) for number in range(200)]

    assert sum(beside[8:]) / 192 <= 0.25
    assert max(beside[8:]) <= 1
    warmed = store.warmed
    for number in range(80):
        store.demand(20_000 + number, load=0.5)
    assert store.warmed >= warmed + 8


def test_a_reader_that_does_not_notice_the_warm_does_not_hold_it_up() -> None:
    """Where fetches beside it cost a reader nothing, the warm has every place again after some of them."""
    store = Store(20_000)
    beside = [store.demand(50_000 + number, load=0.0) for number in range(200)]

    assert beside[-1] >= STREAMS - 6


def test_a_bad_hour_does_not_become_usual() -> None:
    """Fetches that were slow for another reason leave no warm behind that readers notice when that reason is gone."""
    store = Store(20_000)
    for number in range(60):
        store.demand(30_000 + number, load=0.5)
    for number in range(60):
        store.demand(40_000 + number, load=0.5, alone=4.0)
    beside = [store.demand(50_000 + number, load=0.5) for number in range(300)]

    assert sum(beside[100:]) / 200 <= 0.5


def test_a_warm_goes_on_when_the_readers_have_gone() -> None:
    """Moments without a reader's fetch start it again, and it ends."""
    store = Store(300)
    for number in range(20):
        store.demand(1000 + number, load=0.5)
    for _ in range(400):
        store.end_warm()
        if store.jobs.tick():
            store.take()

    assert store.jobs.waiting == store.jobs.running == 0
    assert store.warmed == 300


@given(st.lists(st.sampled_from(["demand", "end", "tick"]), max_size=200), st.integers(0, 60))
def test_a_demand_starts_at_once_whatever_came_before(steps: list[str], warm: int) -> None:
    """However warms, demands and pauses follow each other, a reader's fetch starts when it is asked for, overtaking all
    that waits, and the warm never has the places that are kept."""
    store = Store(warm)
    for number, step in enumerate(steps):
        if step == "demand" and sum(job.priority == DEMAND for job in store.running) < 4:
            store.jobs.add(want(1000 + number, DEMAND))
            job = store.jobs.take()
            assert job is not None
            assert job.want.ino == 1000 + number
            store.running.append(job)
        elif step == "end" and store.running:
            store.end(store.running[0])
        elif store.jobs.tick():
            store.take()
        assert sum(job.priority == WARM for job in store.running) <= STREAMS - 4
