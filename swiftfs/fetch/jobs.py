"""What the fetch process does next: one job per chunk or run of pieces, the most urgent first.

Pure: no loop, no clock. A chunk that is wanted again keeps its one job and takes the more urgent priority, so a reader
that blocks on a chunk which is being prefetched joins that fetch.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from swiftfs.fetch.protocol import DEMAND, WARM, Want, WantId
from swiftfs.fetch.share import WarmShare

DEMAND_PLACES = 4
"""Places that only a blocked reader may take: a demand never waits for a running prefetch to end."""

MOST_WAITING = 200_000
"""Jobs that may wait; a plan for more files than this is taken up again when it has shrunk."""


@dataclass(slots=True)
class Job:
    """One chunk to fetch, or one run of pieces: then ``chunk`` is the number of the first of them.

    ``seconds`` is what its GET took, put there by who made it; None without one.
    """

    want: Want
    chunk: int
    priority: int
    inline: bool = False
    seconds: float | None = None
    started_as: int = WARM
    started_at: int = 0
    warm_beside: int = 0

    @property
    def id(self) -> WantId:
        """What the job is known by."""
        return self.want.ino, self.chunk, self.want.stop if self.want.pieces else 0


class Jobs:
    """Waiting and running jobs for at most ``places`` fetches at once."""

    def __init__(self, places: int) -> None:
        if places < 1:
            raise ValueError("at least one place")
        self._places = places
        self._background_places = max(1, places - DEMAND_PLACES)
        self._heap: list[tuple[int, int, WantId]] = []
        self._waiting: dict[WantId, Job] = {}
        self._running: dict[WantId, Job] = {}
        self._running_background = 0
        self._running_warm = 0
        self._share = WarmShare(self._background_places)
        self._sequence = 0

    @property
    def waiting(self) -> int:
        """Jobs that have not started."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that have started."""
        return len(self._running)

    def add(self, want: Want) -> None:
        """Make a job of every chunk of ``want`` that has none; raise the urgency of those that have."""
        for chunk_id in want.ids:
            running = self._running.get(chunk_id)
            if running is not None:
                running.inline |= want.inline
                if want.priority == DEMAND and running.priority != DEMAND:
                    running.priority = DEMAND
                    self._share.demand_starts()
                    self._running_background -= 1
                continue
            waiting = self._waiting.get(chunk_id)
            inline = want.inline
            if waiting is not None:
                inline = waiting.inline = waiting.inline or inline
                if waiting.priority <= want.priority:
                    continue
            if waiting is None and want.priority != DEMAND and len(self._waiting) >= MOST_WAITING:
                continue
            self._waiting[chunk_id] = Job(want, chunk_id[1], want.priority, inline)
            self._sequence += 1
            heapq.heappush(self._heap, (want.priority, self._sequence, chunk_id))

    def take(self) -> Job | None:
        """Start the most urgent job that has a place; None when none has."""
        while self._heap and len(self._running) < self._places:
            priority, _, chunk_id = self._heap[0]
            job = self._waiting.get(chunk_id)
            if job is None or job.priority != priority:
                heapq.heappop(self._heap)
                continue
            if priority != DEMAND and self._running_background >= self._background_places:
                return None
            if priority == WARM and self._running_warm >= self._share.allowed:
                return None
            heapq.heappop(self._heap)
            del self._waiting[chunk_id]
            self._running[chunk_id] = job
            self._started(job)
            return job
        return None

    def _started(self, job: Job) -> None:
        job.started_as = job.priority
        if job.priority == DEMAND:
            self._share.demand_starts()
        else:
            self._running_background += 1
        if job.priority == WARM:
            self._running_warm += 1
            self._share.warm_starts()
        job.started_at = self._share.moment
        job.warm_beside = self._running_warm

    def done(self, job: Job) -> None:
        """A started job has ended, one way or the other."""
        del self._running[job.id]
        if job.started_as == WARM:
            self._running_warm -= 1
        if job.priority != DEMAND:
            self._running_background -= 1
        elif job.started_as == DEMAND:
            self._share.demand_ends(job.want.size, job.seconds, max(job.warm_beside, self._running_warm))
        else:
            self._share.demand_ends(job.want.size, None, 0)
        if job.priority == WARM:
            self._share.warm_ends(job.started_at)

    def tick(self) -> bool:
        """Some moments have passed, see :meth:`WarmShare.tick`; whether to take again."""
        return self._share.tick()

    def forget(self, priority: int, last: int = WARM) -> None:
        """Drop the waiting jobs of the priorities from ``priority`` to ``last``, both included."""
        self._waiting = {key: job for key, job in self._waiting.items() if not priority <= job.priority <= last}
        self._heap = [item for item in self._heap if not priority <= item[0] <= last]
        heapq.heapify(self._heap)
