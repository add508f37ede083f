"""Swift's rings, which tell on which device a name lives: one device, one replica, made by Swift's own ring builder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from swiftfs.localcloud.install import Environment, run, server_environ
from swiftfs.localcloud.model import LOOPBACK

if TYPE_CHECKING:
    from swiftfs.localcloud.configs import Settings

RINGS = ("account", "container", "object")

# 2 to this power partitions: one. With one device there is nothing to spread, and the container updater starts a
# process for each partition at each sweep.
PART_POWER = 0

# Seconds: one on an idle machine.
RINGS_DEADLINE = 60.0

# Runs in the servers' Python, where Swift is: one process instead of the nine that its command line would take.
_BUILD = """
import json, sys
from swift.common.ring import RingBuilder
plan = json.loads(sys.argv[1])
for name, port in plan["ports"].items():
    builder = RingBuilder(plan["part_power"], 1, 1)
    builder.add_dev({"region": 1, "zone": 1, "ip": plan["ip"], "port": port, "device": plan["device"], "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(f"{plan['directory']}/{name}.ring.gz")
"""


def make_rings(settings: Settings, environment: Environment) -> None:
    """Make the rings that are missing. Raises Unavailable when the ring builder fails."""
    directory = settings.layout.etc / "swift"
    ports = {name: settings.port(name) for name in RINGS if not (directory / f"{name}.ring.gz").exists()}
    if not ports:
        return
    plan = {
        "part_power": PART_POWER,
        "ip": LOOPBACK,
        "ports": ports,
        "device": settings.layout.device.name,
        "directory": str(directory),
    }
    argv = (environment.python, "-c", _BUILD, json.dumps(plan))
    run(argv, settings.layout.log("rings"), RINGS_DEADLINE, what="the ring builder", environ=server_environ())
