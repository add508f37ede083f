"""A Swift that keeps no bytes: nginx with Lua, so fast that a loader and not its server is what is measured."""

from __future__ import annotations

from bench.sink.server import Counts, Sink, running_sink

__all__ = ["Counts", "Sink", "running_sink"]
