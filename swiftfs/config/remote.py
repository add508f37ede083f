"""A remote, resolved: who to be, where to log in, which region.

A pure value: nothing is read here. Secrets are left out of its repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GIB = 1 << 30
LARGEST_OBJECT = 5 * GIB
"""Bytes of the largest object that is no manifest (Swift's ``max_file_size``, also on Ceph RGW): rclone's default and
bound for segments."""
PREAUTHENTICATED = "none"
"""``Remote.auth_type`` of a remote that has a storage URL and a token, and no way to get another token."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One account of one store and how to get into it.

    ``source`` says where it was found, for messages: ``/home/x/.config/rclone/rclone.conf [chi_tacc]``.
    ``auth_type`` is the name of a keystoneauth1 plugin and ``auth_options`` are its options, or ``none`` when
    ``storage_url`` and ``auth_token`` are given. A ``storage_url`` beside other credentials replaces the catalogue's.
    ``region`` None takes the only, or first, region of the catalogue. ``verify`` is a file of trusted CAs, True for
    the system's, False for none. ``chunk_size`` is the size of a segment in bytes. ``use_segments_container`` None
    leaves the choice to who writes segments.
    """

    name: str
    source: str
    auth_type: str
    auth_options: Mapping[str, str] = field(repr=False)
    region: str | None = None
    interface: str = "public"
    storage_url: str | None = None
    auth_token: str | None = field(default=None, repr=False)
    verify: bool | str = True
    storage_policy: str | None = None
    no_large_objects: bool = False
    use_segments_container: bool | None = None
    chunk_size: int = LARGEST_OBJECT

    @property
    def shows_segments(self) -> bool:
        """Whether segments in a container of objects are shown as objects: not where they are kept there, as with
        rclone."""
        return self.use_segments_container is not False
