"""Large objects made request by request, as their API reference says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from swiftfs.config import Remote
from swiftfs.swift.transport import open_transport


async def put_slo(remote: Remote, container: str, name: str, segments: Sequence[bytes]) -> None:
    """An SLO whose segments are ``.seg/NAME/0000`` … of the same container."""
    async with open_transport(remote, connections=4, deadline=30.0) as transport:
        manifest = []
        for number, content in enumerate(segments):
            path = f"/{container}/.seg/{name}/{number:04}"
            await transport.request("PUT", path, body=content)
            manifest.append({"path": path, "etag": hashlib.md5(content).hexdigest(), "size_bytes": len(content)})
        body = json.dumps(manifest).encode()
        await transport.request("PUT", f"/{container}/{name}", query={"multipart-manifest": "put"}, body=body)


async def put_manifest(remote: Remote, container: str, name: str, rows: Sequence[dict[str, str]]) -> None:
    """An SLO whose manifest is ``rows`` as they are: each a ``path`` and maybe a ``range``."""
    async with open_transport(remote, connections=1, deadline=30.0) as transport:
        path = f"/{container}/{name}"
        await transport.request("PUT", path, query={"multipart-manifest": "put"}, body=json.dumps(rows).encode())


async def put_link(remote: Remote, container: str, name: str, target: str) -> None:
    """A symbolic link to ``target``, container and name quoted."""
    async with open_transport(remote, connections=1, deadline=30.0) as transport:
        await transport.request("PUT", f"/{container}/{name}", headers={"X-Symlink-Target": target}, body=b"")


async def put_dlo(remote: Remote, container: str, name: str, segments: Sequence[bytes]) -> None:
    """A DLO whose segments are ``.seg/NAME/0000`` … of the same container."""
    async with open_transport(remote, connections=4, deadline=30.0) as transport:
        for number, content in enumerate(segments):
            await transport.request("PUT", f"/{container}/.seg/{name}/{number:04}", body=content)
        headers = {"X-Object-Manifest": f"{container}/.seg/{name}/"}
        await transport.request("PUT", f"/{container}/{name}", headers=headers, body=b"")
