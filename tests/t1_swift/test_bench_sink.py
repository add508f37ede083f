"""The benchmark's sink answers as Swift does: the same requests to both, and everything a client looks at compared."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.account import Account, account_of
from bench.sink import Sink, running_sink
from swiftfs.localcloud import Cloud

pytestmark = pytest.mark.cloud

CONTAINER = "bench-sink-conformance"
OTHER = "bench-sink-other"
JSON = {"Accept": "application/json"}

COMPARED = (
    "content-type", "content-length", "etag", "last-modified", "x-timestamp", "x-object-meta-mtime", "accept-ranges",
    "x-container-object-count", "x-container-bytes-used", "x-storage-policy", "x-static-large-object",
    "x-manifest-etag", "x-trans-id", "x-openstack-request-id", "www-authenticate",
)  # fmt: skip
"""Headers that a client looks at. Their values are compared but for what is a moment, an id or made from one."""

NOT_WITH_204 = ("content-type", "content-length", "last-modified")
"""nginx takes these off every answer without content; no client needs them there."""

MOMENTS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})"), "MOMENT"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "DATE"),
    (re.compile(r"\b\d{10}\.\d{5}\b"), "TIMESTAMP"),
    (re.compile(r"tx[0-9a-f]{21}-[0-9a-f]{10}"), "TRANSACTION"),
    (re.compile(r"AUTH_\w+"), "ACCOUNT"),
    (re.compile(r"Keystone uri=\"[^\"]*\""), "KEYSTONE"),
)


@dataclass(frozen=True)
class Request:
    """One step of the script; ``path`` is below the account. ``token`` False sends none."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    token: bool = True


def put(name: str, body: bytes, **headers: str) -> Request:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    return Request("PUT", f"/{CONTAINER}/{name}", body, {"Content-Type": "application/octet-stream", **sent})


def manifest(name: str, *segments: tuple[str, bytes, int], heartbeat: bool = False) -> Request:
    rows = [
        {"path": f"/{CONTAINER}/{path}", "etag": hashlib.md5(text).hexdigest(), "size_bytes": size}
        for path, text, size in segments
    ]
    query = "?multipart-manifest=put" + ("&heartbeat=on" if heartbeat else "")
    headers = {**JSON, "Content-Type": "video/mp4", "X-Object-Meta-Mtime": "7.5"}
    return Request("PUT", f"/{CONTAINER}/{name}{query}", json.dumps(rows).encode(), headers)


def listing(query: str) -> Request:
    return Request("GET", f"/{CONTAINER}?{query}")


NAMES = ("a", "a+b", "a%20b", "b/1", "b/2", "b/c/3", "b0", "%C3%A9", "z%22%5C", "100%25")
PLAIN = f"/{CONTAINER}/a"

SCRIPT = (
    Request("HEAD", f"/{CONTAINER}"),
    Request("GET", f"/{CONTAINER}?format=json"),
    Request("DELETE", f"/{CONTAINER}"),
    put("early", b"x"),
    Request("PUT", f"/{CONTAINER}"),
    Request("PUT", f"/{CONTAINER}"),
    Request("HEAD", f"/{CONTAINER}"),
    Request("GET", f"/{CONTAINER}"),
    listing("format=json"),
    *(put(name, name.encode() * 3, X_Object_Meta_Mtime=f"{number}.25") for number, name in enumerate(NAMES)),
    put("empty", b""),
    put("right", b"hello", ETag=hashlib.md5(b"hello").hexdigest()),
    put("wrong", b"hello", ETag="0" * 32),
    put("n" * 1025, b""),
    put("big", bytes(3_000_000)),
    Request("HEAD", f"/{CONTAINER}/wrong"),
    *(Request("HEAD", f"/{CONTAINER}/{name}") for name in (*NAMES, "empty", "right", "big")),
    Request("HEAD", f"/{CONTAINER}"),
    Request("GET", f"/{CONTAINER}"),
    listing("format=json"),
    *(
        listing(f"format=json&{query}")
        for query in (
            "limit=3",
            "limit=0",
            "limit=10001",
            "marker=b/1",
            "marker=b/1&limit=2",
            "end_marker=b/2",
            "prefix=b/",
            "prefix=b/&delimiter=/",
            "delimiter=/",
            "delimiter=/&limit=4",
            "delimiter=/&marker=b/",
            "delimiter=/&marker=b/1",
            "prefix=b/&marker=a",
            "prefix=b/&marker=b/2",
            "prefix=none",
            "prefix=b/&end_marker=b/2",
            "marker=zz",
            "prefix=%C3%A9",
            "marker=a%2Bb&limit=1",
            "prefix=b&delimiter=/",
        )
    ),
    listing("delimiter=/"),
    Request("GET", f"/{CONTAINER}", None, JSON),
    Request("GET", f"/{CONTAINER}-missing?format=json"),
    Request("HEAD", f"/{CONTAINER}-missing"),
    Request("PUT", f"/{CONTAINER}-missing/x", b"x"),
    Request("GET", f"/{CONTAINER}/missing"),
    Request("HEAD", f"/{CONTAINER}/missing"),
    Request("DELETE", f"/{CONTAINER}/missing"),
    Request("POST", f"/{CONTAINER}/missing"),
    Request("POST", PLAIN, None, {"X-Object-Meta-Mtime": "99.5"}),
    Request("HEAD", PLAIN),
    put("a", b"replaced"),
    Request("HEAD", PLAIN),
    Request("DELETE", f"/{CONTAINER}"),
    manifest("whole", ("b/1", b"b/1" * 3, 9), ("b/2", b"b/2" * 3, 9)),
    manifest("beating", ("b/1", b"b/1" * 3, 9), heartbeat=True),
    manifest("refused", ("none", b"", 1), ("b/1", b"other", 8)),
    manifest("refused", ("none", b"", 1), ("b/1", b"other", 8), heartbeat=True),
    Request("PUT", f"/{CONTAINER}/refused?multipart-manifest=put", b"no json", JSON),
    Request("HEAD", f"/{CONTAINER}/refused"),
    Request("HEAD", f"/{CONTAINER}/whole"),
    Request("GET", f"/{CONTAINER}/whole?multipart-manifest=get"),
    Request("GET", f"/{CONTAINER}/beating?multipart-manifest=get"),
    listing("format=json&prefix=w"),
    Request("HEAD", f"/{CONTAINER}"),
    Request("DELETE", f"/{CONTAINER}/beating"),
    Request("DELETE", f"/{CONTAINER}/whole?multipart-manifest=delete", None, JSON),
    Request("DELETE", f"/{CONTAINER}/whole?multipart-manifest=delete", None, JSON),
    listing("format=json"),
    Request("PUT", f"/{OTHER}"),
    Request("GET", "?format=json&prefix=bench-sink-&delimiter=/"),
    Request("GET", "?prefix=bench-sink-"),
    Request("GET", f"?format=json&prefix=bench-sink-&marker={OTHER}"),
    Request("POST", "?bulk-delete=1", b"", {**JSON, "Content-Type": "text/plain"}),
    Request("POST", "?bulk-delete", f"{CONTAINER}/none\n{OTHER}/x\n".encode(), {**JSON, "Content-Type": "text/plain"}),
    Request("POST", "?bulk-delete", f"{CONTAINER}\n/{OTHER}\n".encode(), {**JSON, "Content-Type": "text/plain"}),
    Request(
        "POST",
        "?bulk-delete=1",
        "\n".join(f"{CONTAINER}/{name}" for name in (*NAMES, "empty", "right")).encode(),
        {**JSON, "Content-Type": "text/plain"},
    ),
    listing("format=json"),
    Request("DELETE", f"/{CONTAINER}/big"),
    Request("HEAD", f"/{CONTAINER}"),
    Request("GET", f"/{CONTAINER}?format=json", token=False),
    Request("PUT", f"/{CONTAINER}/x", b"x", {"X-Auth-Token": "wrong"}, token=False),
    Request("DELETE", f"/{CONTAINER}"),
    Request("DELETE", f"/{CONTAINER}"),
)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with running_sink(tmp_path / "sink") as running:
        yield running


def replay(server: Account) -> list[tuple[str, int, dict[str, str], Any]]:
    """What the server answers to every step: the step, status, headers and body, moments and ids made alike."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found = []
    for step in SCRIPT:
        headers = {"X-Auth-Token": server.token, **step.headers} if step.token else step.headers
        connection.request(step.method, server.path + step.path, step.body, headers)
        response = connection.getresponse()
        body = response.read()
        received = {name.lower(): plain(value) for name, value in response.getheaders()}
        kept = {name: received[name] for name in COMPARED if name in received}
        found.append((f"{step.method} {step.path[:80]}", response.status, kept, meaning(body, kept)))
    connection.close()
    return found


def plain(text: str) -> str:
    """The text without what differs from one run to the next."""
    for pattern, name in MOMENTS:
        text = pattern.sub(name, text)
    return text


def meaning(body: bytes, headers: dict[str, str]) -> Any:
    """The body as a client reads it: JSON parsed, with the errors in an order of their own."""
    text = plain(body.decode())
    if "json" not in headers.get("content-type", ""):
        return text
    parsed = json.loads(text)
    if isinstance(parsed, dict) and "Errors" in parsed:
        parsed["Errors"].sort()
    if isinstance(parsed, list):
        for row in (row for row in parsed if isinstance(row, dict)):
            if "slo_etag" in row:  # the MD5 of a manifest that holds its segments' times
                row["hash"] = "MD5 OF MANIFEST"
            if "count" in row:  # an account learns of its containers' objects some time later
                row.update(count="LAGS", bytes="LAGS")
    return parsed


def alike(status: int, headers: dict[str, str], method_and_path: str) -> dict[str, str]:
    """The headers with what nginx or time changes taken out."""
    found = dict(headers)
    if status == 204:
        for name in NOT_WITH_204:
            found.pop(name, None)
    if "json" in found.get("content-type", ""):  # parsed and compared; spaces and escapes in it are free
        found.pop("content-length", None)
    if "x-manifest-etag" in found:
        assert re.fullmatch("[0-9a-f]{32}", found["x-manifest-etag"])
        found["x-manifest-etag"] = "MD5 OF MANIFEST"
    if "multipart-manifest=get" in method_and_path:
        assert re.fullmatch("[0-9a-f]{32}", found["etag"])
        found["etag"] = "MD5 OF MANIFEST"
    found.pop("www-authenticate", None) if status != 401 else found.update({"www-authenticate": "ASKED FOR"})
    return found


def test_sink_answers_as_swift(cloud: Cloud, sink: Sink) -> None:
    """Every step of the script gets the same status, headers and body from the sink as from a real Swift."""
    theirs = replay(account_of(cloud))
    ours = replay(sink.account)
    for (what, status, headers, body), (_, our_status, our_headers, our_body) in zip(theirs, ours, strict=True):
        assert (what, our_status) == (what, status)
        assert (what, our_body) == (what, body)
        assert (what, alike(our_status, our_headers, what)) == (what, alike(status, headers, what))


def test_sink_says_what_swift_says_of_itself(cloud: Cloud, sink: Sink) -> None:
    """The limits in the sink's /info are those of a Swift that is configured as it comes."""
    found = []
    for port in (cloud.ports["proxy"], sink.port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/info")
        response = connection.getresponse()
        found.append(json.loads(response.read()))
        connection.close()
    real, ours = found
    assert {section: {name: real[section][name] for name in values} for section, values in ours.items()} == ours


def test_sink_counts_what_it_is_asked(sink: Sink) -> None:
    """Requests are counted by method and level and body bytes as they arrive, until the counts are reset."""
    server = sink.account
    replay(server)
    wanted: dict[str, int] = {}
    for step in SCRIPT:
        place = step.path.partition("?")[0].strip("/").count("/")
        level = "object" if place else "container" if step.path.startswith("/") else "account"
        what = f"{step.method} {'bulk-delete' if 'bulk-delete' in step.path else level}"
        wanted[what] = wanted.get(what, 0) + 1
    counts = sink.counts()
    assert counts.requests == wanted
    assert counts.total == len(SCRIPT)
    assert counts.received == 3 * sum(map(len, NAMES)) + len("hello") * 2 + 3_000_000 + len("replaced")
    sink.reset()
    assert (sink.counts().requests, sink.counts().received) == ({}, 0)


def test_sink_waits_before_each_answer(sink: Sink) -> None:
    """With a delay no answer comes earlier than that, and requests wait side by side."""
    import time

    delay = 1.5
    sink.set_delay(round(delay * 1000))
    connections = [http.client.HTTPConnection("127.0.0.1", sink.port, timeout=60) for _ in range(20)]
    started = time.monotonic()
    for connection in connections:
        connection.request("HEAD", sink.account.path, headers={"X-Auth-Token": sink.account.token})
    for connection in connections:
        assert connection.getresponse().status == 204
        connection.close()
    assert delay <= time.monotonic() - started < len(connections) * delay
