"""What a Swift holds, asked for by a client that shares nothing with swiftfs."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, unquote, urlsplit


class RawStore:
    """One account at ``storage_url``; every call has a connection of its own, so any thread may make one."""

    def __init__(self, storage_url: str, token: str) -> None:
        self.token = token
        self._parts = urlsplit(storage_url)

    def objects(self, container: str) -> dict[str, tuple[int, str]]:
        """Size and ETag of every object by name, as one listing says; of a large one the ETag of the whole."""
        return {
            row["name"]: (row["bytes"], row.get("slo_etag", row["hash"]).strip('"')) for row in self._rows(container)
        }

    def place(self, target: str) -> tuple[str, str]:
        """Container and name that the target of a request means."""
        container, _, name = unquote(urlsplit(target).path).removeprefix(f"{self._parts.path}/").partition("/")
        return container, name

    def _rows(self, container: str) -> list[dict[str, Any]]:
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=60)
        try:
            path = f"{self._parts.path}/{quote(container)}?format=json"
            connection.request("GET", path, headers={"X-Auth-Token": self.token})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 404:
                return []
            assert answer.status in {200, 204}, (answer.status, content)
            rows: list[dict[str, Any]] = json.loads(content or b"[]")
            return rows
        finally:
            connection.close()
