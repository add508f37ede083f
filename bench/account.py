"""A store's account over plain HTTP: what it lists and holds, without either of the clients that are compared."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench.errors import BenchError
from swiftfs.localcloud import bootstrap
from swiftfs.localcloud.model import LOOPBACK

if TYPE_CHECKING:
    from swiftfs.localcloud import Cloud

TIMEOUT = 120.0
"""Seconds of silence: a real Swift deletes some hundred objects a second before it answers."""
PAGE = 10_000
BULK = 1_000
"""Names of one bulk delete: ten seconds of a small Swift's work."""
PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """An account on this machine: where its store listens, its path, and a token that opens it."""

    port: int
    path: str
    token: str = field(repr=False)

    def listing(self, container: str) -> dict[str, tuple[int, str]]:
        """Size and ETag of every object by name; empty when there is no such container. A large object's ETag is that
        of the whole, in quotes."""
        found: dict[str, tuple[int, str]] = {}
        marker = ""
        while True:
            place = f"/{quote(container, safe='')}?format=json&limit={PAGE}&marker={quote(marker, safe='')}"
            rows = self._json("GET", place, none_for=404)
            if not rows:
                return found
            found.update((row["name"], (row["bytes"], row.get("slo_etag", row["hash"]))) for row in rows)
            marker = rows[-1]["name"]

    def remove(self, container: str) -> None:
        """Delete a container with all that is in it; one that is not there is fine."""
        names = list(self.listing(container))
        for first in range(0, len(names), BULK):
            lines = "\n".join(quote(f"{container}/{name}", safe="/") for name in names[first : first + BULK])
            answer = self._json("POST", "?bulk-delete=1", lines.encode())
            if answer["Errors"]:
                raise BenchError(f"{container} cannot be emptied: {answer['Errors'][0]}")
        self._json("DELETE", f"/{quote(container, safe='')}", none_for=404)

    def md5(self, container: str, name: str) -> tuple[int, str]:
        """Size and MD5 of the bytes that the store sends for an object."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=TIMEOUT)
        try:
            place = f"{self.path}/{quote(container, safe='')}/{quote(name)}"
            connection.request("GET", place, headers={"X-Auth-Token": self.token})
            response = connection.getresponse()
            if response.status != 200:
                raise BenchError(f"GET of {name} is answered with {response.status}")
            digest, size = hashlib.md5(usedforsecurity=False), 0
            while piece := response.read(PIECE):
                digest.update(piece)
                size += len(piece)
            return size, digest.hexdigest()
        finally:
            connection.close()

    def _json(self, method: str, place: str, body: bytes | None = None, *, none_for: int | None = None) -> Any:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=TIMEOUT)
        headers = {"X-Auth-Token": self.token, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "text/plain"
        try:
            connection.request(method, self.path + place, body, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status == none_for:
            return None
        if not 200 <= response.status < 300:
            raise BenchError(f"{method} {place} is answered with {response.status}: {text[:200]!r}")
        return json.loads(text) if text.strip() else None


def account_of(cloud: Cloud) -> Account:
    """The demo account of a local cloud, opened by its application credential."""
    body = bootstrap.credential_login(cloud.application_credential_id, cloud.application_credential_secret)
    token = bootstrap.login(cloud.ports["keystone"], body)
    return Account(cloud.ports["proxy"], f"/v1/AUTH_{cloud.project_id}", token)
