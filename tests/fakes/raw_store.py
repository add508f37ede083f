"""What a Swift holds, asked for by a client that shares nothing with swiftfs."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any
from urllib.parse import quote, unquote, urlsplit

EMPTY_MD5 = hashlib.md5(b"").hexdigest()


class RawStore:
    """One account at ``storage_url``; every call has a connection of its own, so any thread may make one."""

    def __init__(self, storage_url: str, token: str) -> None:
        self.token = token
        self._parts = urlsplit(storage_url)

    def objects(self, container: str) -> dict[str, tuple[int, str]]:
        """Size and ETag of every object by name, as one listing says; of a large one those of the whole."""
        return {row["name"]: self._stored(container, row) for row in self._rows(container)}

    def place(self, target: str) -> tuple[str, str]:
        """Container and name that the target of a request means."""
        container, _, name = unquote(urlsplit(target).path).removeprefix(f"{self._parts.path}/").partition("/")
        return container, name

    def _stored(self, container: str, row: dict[str, Any]) -> tuple[int, str]:
        listed: tuple[int, str] = row["bytes"], row.get("slo_etag", row["hash"]).strip('"')
        if row["hash"] != EMPTY_MD5 or not row["bytes"]:
            return listed
        # Ceph RGW lists the manifest of a large object, not what it stands for.
        answer, _ = self._ask("HEAD", f"{quote(container)}/{quote(row['name'])}")
        if answer.status == 404:
            return listed
        assert answer.status == 200, answer.status
        return int(answer.headers["Content-Length"]), answer.headers["Etag"].strip('"')

    def _rows(self, container: str) -> list[dict[str, Any]]:
        answer, content = self._ask("GET", f"{quote(container)}?format=json")
        if answer.status == 404:
            return []
        assert answer.status in {200, 204}, (answer.status, content)
        rows: list[dict[str, Any]] = json.loads(content or b"[]")
        return rows

    def _ask(self, method: str, place: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=60)
        try:
            connection.request(method, f"{self._parts.path}/{place}", headers={"X-Auth-Token": self.token})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
