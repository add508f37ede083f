"""One HTTP request to a server on this machine: no proxy, no redirect, no retry."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftfs.errors import Unavailable
from swiftfs.localcloud.model import LOOPBACK

# Seconds for one answer. Keystone's first one loads half of its code on a busy machine.
ANSWER_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; header names are lower case. The repr leaves out what may hold a token."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    timeout: float = ANSWER_TIMEOUT,
) -> Answer:
    """Send one request, `body` as JSON unless it is None; the answer must come within `timeout` seconds of silence.

    Raises Unavailable when there is no HTTP answer at all; every status is an answer.
    """
    payload = None if body is None else json.dumps(body)
    sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request(method, path, body=payload, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{method} http://{LOOPBACK}:{port}{path}: {error!r}") from None
    finally:
        connection.close()
