"""A real Keystone and a real OpenStack Swift on this machine's loopback interface, for the demo, the tests and the
benchmarks.

Nothing needs root, and everything of one cloud lives in one directory; any number of clouds run side by side.
"""

from __future__ import annotations

from swiftfs.localcloud.cloud import down, status, up
from swiftfs.localcloud.model import Cloud, CloudOptions, ServerStatus
from swiftfs.localcloud.records import load

__all__ = ["Cloud", "CloudOptions", "ServerStatus", "down", "load", "status", "up"]
