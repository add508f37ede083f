"""The text of the sink's nginx.conf and of the rclone.conf for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from bench.nginx import LOOPBACK, http_conf, main_conf

REMOTE = "sink"
REGION = "bench"
ACCOUNT = "AUTH_bench"

BODY_BUFFER = "256m"
"""Bodies up to here stay in memory; nginx takes only as much as a request's Content-Length says."""
INFO = {
    "swift": {
        "max_file_size": 5_368_709_122,
        "max_meta_name_length": 128,
        "max_meta_value_length": 256,
        "max_meta_count": 90,
        "max_object_name_length": 1024,
        "container_listing_limit": 10_000,
        "account_listing_limit": 10_000,
        "max_container_name_length": 256,
    },
    "slo": {
        "max_manifest_segments": 1000,
        "max_manifest_size": 8_388_608,
        "yield_frequency": 10,
        "min_segment_size": 1,
        "allow_async_delete": True,
    },
    "bulk_delete": {"max_deletes_per_request": 10_000, "max_failed_deletes": 1000},
}
"""What ``/info`` says: Swift's own defaults, as far as a client looks at them."""


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What a sink is made of. ``files`` is a directory that it serves below ``/files/``, with ranges, as any web server
    does."""

    directory: Path
    port: int
    lua: Path
    files: Path
    token: str = field(repr=False)
    credential: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def nginx_conf(settings: SinkSettings) -> str:
    """One process in the foreground, everything it writes below its own directory."""
    here = settings.directory
    return f"""\
{main_conf(here)}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_buffer_size {BODY_BUFFER};
    client_body_in_single_buffer on;
    proxy_temp_path {here}/temporary;
{http_conf(here, settings.lua.parent)}
    init_by_lua_block {{
        require("swift").setup({{
            account = "{ACCOUNT}", region = "{REGION}", token = "{settings.token}",
            credential = "{settings.credential}", secret = "{settings.secret}",
            info = [==[{json.dumps(INFO)}]==],
        }})
    }}
    server {{
        listen {LOOPBACK}:{settings.port} backlog=1024;
        merge_slashes off;
        location /v1/ {{ content_by_lua_block {{ require("swift").swift() }} }}
        location = /info {{ content_by_lua_block {{ require("swift").info() }} }}
        location = /v3/auth/tokens {{ content_by_lua_block {{ require("swift").token() }} }}
        location /sink/ {{ content_by_lua_block {{ require("swift").control() }} }}
        location /files/ {{ alias {settings.files}/; sendfile on; }}
    }}
}}
"""


def rclone_conf(settings: SinkSettings) -> str:
    """The sink as a remote, for both clients alike: a login with an application credential, then the catalogue."""
    return f"""\
[{REMOTE}]
type = swift
auth = {settings.url}/v3
application_credential_id = {settings.credential}
application_credential_secret = {settings.secret}
region = {REGION}
"""
