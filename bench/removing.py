"""The scenario of deleting: every object of a container, by bulk deletes or one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import clients
from bench.blocks import interleave, ratios, runs_of, seen, total
from bench.clients import Side
from bench.report import Run, Scenario, count_within
from bench.workplace import verify

if TYPE_CHECKING:
    from bench.stores import Store
    from bench.workplace import Workplace

CPU_GOAL = 0.1
MOST_REQUESTS = 3
"""One page of a listing, the empty one after it, one bulk delete: for up to 10,000 objects."""


def delete_all(place: Workplace, store: Store, *, objects: int, blocks: int) -> list[Scenario]:
    """Delete ``objects`` small objects, 10,000 at the most."""
    top, wanted = place.files(objects, tiny=True)
    container = "bench-delete"

    def fill(side: Side, block: int) -> None:
        # By rclone, whoever deletes: it is not what is measured, and it starts faster.
        target = f"{store.remote}:{container}"
        place.run(store, Side.THEIRS, clients.load(Side.THEIRS, top, target), place.home("delete-fill"))
        verify(store, container, wanted)

    def run(side: Side, block: int) -> Run:
        found = place.run(
            store, side, clients.delete(side, f"{store.remote}:{container}"), place.home(f"delete-{side}")
        )
        verify(store, container, {})
        return found

    done = interleave(blocks, run, prepare=fill)
    store.account.remove(container)
    ours = runs_of(done, Side.OURS)[-1]
    return [
        Scenario(
            f"4-{store.name}",
            f"deleting {objects} objects",
            ratios(done, None, CPU_GOAL),
            [count_within("requests", total(ours), 1, MOST_REQUESTS)],
            done,
            objects,
            seen(done),
        )
    ]
