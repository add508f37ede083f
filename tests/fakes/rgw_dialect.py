"""Ceph RGW's manners on top of a real Swift: what its Swift API was seen to do differently.

Measured on RGW 16.2: the URL prefix, pages of 1,000 names without a word about it, large objects in listings as their
manifest, preconditions that are blind for large objects, manifests that are neither checked nor readable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode, urlsplit

from fakes.fault_proxy import Forward, Request, Response, answer, header

PREFIX = "/swift"
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
INFO = {"swift": {"version": "16.2.15", "container_listing_limit": 10_000}, "bulk_delete": {}, "slo": {}}
"""What ``/swift/info`` claims; the listing limit in it is not the one that holds."""
UNTYPED = "application/x-swiftfs-test-untyped"
"""What the Swift behind stores where no Content-Type was sent: RGW has none then, Swift guesses one."""
TWO_PARTS = "-2"
"""What follows the MD5 of two parts' MD5s in an ETag of the S3 API."""
OWN_AGENT = "rgw-dialect"
"""Who asks when the dialect itself has to look something up: an access log's reader leaves those out."""
ROW_OF_MANIFEST = 109
"""Bytes that a segment takes up in a stored manifest: 327 were seen for three."""


@dataclass(frozen=True, slots=True)
class Rgw:
    """``page`` is the most names in one page of a listing. Objects whose names begin with ``in_parts`` have the ETag
    of two parts that were sent through the S3 API."""

    page: int = 1000
    in_parts: str | None = None

    async def speak(self, request: Request, forward: Forward) -> Response:
        url = urlsplit(request.target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if "%00" in url.path.lower() or not _is_utf8(url.path):
            return answer(400)
        if url.path == f"{PREFIX}/info":
            return answer(200, json.dumps(INFO).encode(), Content_Type="application/json")
        if not url.path.startswith(f"{PREFIX}/v1/"):
            return answer(404, b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>')
        path = url.path.removeprefix(PREFIX)
        depth = len([part for part in path.split("/", 4) if part])
        request = request.edited(target=_target(path, query))
        if request.method == "GET" and depth == 3:
            return await self._listing(request, path, query, forward)
        if depth == 4 and request.method == "PUT":
            return await _put(request, path, query, forward)
        if depth == 4 and request.method in {"GET", "HEAD"}:
            if self.in_parts is not None and path.split("/", 4)[4].startswith(self.in_parts):
                return await _get_in_parts(request, query, forward)
            return await _get(request, query, forward)
        return await forward(request)

    async def _listing(self, request: Request, path: str, query: dict[str, str], forward: Forward) -> Response:
        limit = min(int(query.get("limit", 10_000)), self.page)
        response = await forward(request.edited(target=_target(path, {**query, "limit": str(limit)})))
        if response.status != 200 or query.get("format") != "json":
            return response
        rows = [await _row(request, path, row, forward) for row in json.loads(response.body)]
        rows = [row for row in rows if row.get("subdir") != "/"]
        for row in rows:
            if self.in_parts is not None and row.get("name", "").startswith(self.in_parts):
                row["hash"] += TWO_PARTS
        return response.with_body(json.dumps(rows).encode())


async def _row(request: Request, path: str, row: dict[str, Any], forward: Forward) -> dict[str, Any]:
    """A row of a listing as RGW has it: times in milliseconds with a zone, an SLO as its manifest."""
    if "subdir" in row:
        return row
    row = {**row, "last_modified": row["last_modified"][:-3] + "Z"}
    if row["content_type"] == UNTYPED:
        del row["content_type"]
    if "slo_etag" in row:
        target = f"{path}/{quote(row['name'])}?multipart-manifest=get"
        manifest = await forward(Request("GET", target, _only_token(request)))
        if manifest.status != 200:
            return row  # gone since it was listed
        del row["slo_etag"]
        row |= {"bytes": ROW_OF_MANIFEST * len(json.loads(manifest.body)), "hash": EMPTY_MD5}
    return row


async def _put(request: Request, path: str, query: dict[str, str], forward: Forward) -> Response:
    """``If-None-Match`` is ignored; a manifest is not checked, and has no heartbeat."""
    request = request.edited(drop=("if-none-match",))
    if header(request.headers, "content-type") is None:
        request = replace(request, headers=(*request.headers, ("Content-Type", UNTYPED)))
    if query.get("multipart-manifest") != "put":
        return await forward(request)
    query = {key: value for key, value in query.items() if key != "heartbeat"}
    segments = [{"path": row["path"]} for row in json.loads(request.body)]
    response = await forward(request.edited(target=_target(path, query), body=json.dumps(segments).encode()))
    return answer(404) if response.status == 400 else response


async def _get(request: Request, query: dict[str, str], forward: Forward) -> Response:
    """Large objects fail every ``If-Match``; 416 says no size; no manifest can be read."""
    if query.get("multipart-manifest") == "get":
        return answer(200)
    if header(request.headers, "if-match") or header(request.headers, "if-none-match"):
        info = await forward(Request("HEAD", request.target, _only_token(request)))
        if header(info.headers, "x-static-large-object") or header(info.headers, "x-object-manifest"):
            if header(request.headers, "if-match"):
                return answer(412)
            request = request.edited(drop=("if-none-match",))
    response = await forward(request)
    if header(response.headers, "content-type") == UNTYPED:
        response = response.with_headers(drop=("Content-Type",))
    return response.with_headers(drop=("Content-Range",)) if response.status == 416 else response


async def _get_in_parts(request: Request, query: dict[str, str], forward: Forward) -> Response:
    """An object whose ETag is no MD5 of its bytes, and which is pinned by it all the same."""
    pin = (header(request.headers, "if-match") or "").strip('"')
    response = await _get(request.edited(drop=("if-match",)), query, forward)
    etag = (header(response.headers, "etag") or "").strip('"') + TWO_PARTS
    return answer(412) if pin not in {"", etag} else response.with_headers(ETag=etag)


def _is_utf8(path: str) -> bool:
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _target(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _only_token(request: Request) -> tuple[tuple[str, str], ...]:
    return (
        ("Host", "store"),
        ("User-Agent", OWN_AGENT),
        ("X-Auth-Token", header(request.headers, "x-auth-token") or ""),
    )
