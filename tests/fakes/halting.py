"""A flag to stop that sets itself, for work in threads that has to look at it."""

from __future__ import annotations

import threading


class HaltsAtLook(threading.Event):
    """Set from the look of this number on; ``looks`` counts them."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self.looks = 0

    def is_set(self) -> bool:
        """Whether it is set, by its own count or by others."""
        self.looks += 1
        return self.looks >= self._number or super().is_set()
