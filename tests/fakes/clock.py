"""A wall clock that is wrong, for programs that are run: a library loaded before them, the monotonic clock untouched.

libfaketime 0.9.10 cannot leave the monotonic clock alone without breaking ``clock_nanosleep``, which Python sleeps by.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = {0};
    int file = open(getenv("WRONG_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


@dataclass(frozen=True)
class WrongClock:
    """A clock that is off by the seconds in a file; ``environ`` makes programs go by it."""

    file: Path
    environ: dict[str, str]

    @classmethod
    def made(cls, top: Path) -> WrongClock:
        """Compile the library in ``top``; the clock is right until :meth:`set`."""
        source, library, file = top / "clock.c", top / "clock.so", top / "clock"
        source.write_text(SOURCE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        clock = cls(file, {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(file)})
        clock.set(0)
        return clock

    def set(self, seconds: int) -> None:
        """Let the clock be wrong by ``seconds`` from now on, at once in every program that goes by it."""
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.file)
