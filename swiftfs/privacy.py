"""Keeps the memory of a process that holds a token from being written to disk or read by other processes.

A core dump of any command that logs in would hold token and credentials; so would a look through ptrace or
``/proc/PID/environ``, which the kernel refuses to the same user too once a process is not dumpable (prctl(2)).
"""

from __future__ import annotations

import ctypes
import resource

PR_SET_DUMPABLE = 4
"""From linux/prctl.h."""


def keep_private() -> None:
    """No core dump, no ptrace, no reading of this process's variables; where the kernel refuses, things stay as they
    are."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit of 0 does not stop a core_pattern that is a pipe (core(5)): not being dumpable does.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
