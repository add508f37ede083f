"""The text of the sink's nginx.conf and of the rclone.conf for it. No I/O here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

REMOTE = "sink"
REGION = "bench"
ACCOUNT = "AUTH_bench"
LOOPBACK = "127.0.0.1"

BODY_BUFFER = "256m"
"""Bodies up to here stay in memory; nginx takes only as much as a request's Content-Length says."""
CONNECTIONS = 4096
"""More than any client opens here: the sink must not be what limits."""
REQUESTS_A_CONNECTION = 10_000_000
"""nginx would close a connection after 1,000 requests; Swift does not."""

MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")

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
    does; ``modules`` are nginx modules to load (those that are compiled in are not named)."""

    directory: Path
    port: int
    lua: Path
    modules: tuple[Path, ...]
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
    load = "\n".join(f"load_module {module};" for module in settings.modules)
    temporary = "\n".join(
        f"    {name}_temp_path {here}/temporary;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{load}
daemon off;
master_process off;
pid {here}/nginx.pid;
error_log {here}/error.log warn;
worker_rlimit_nofile {2 * CONNECTIONS};
events {{
    worker_connections {CONNECTIONS};
}}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    default_type application/octet-stream;
{temporary}
    client_max_body_size 0;
    client_body_buffer_size {BODY_BUFFER};
    client_body_in_single_buffer on;
    keepalive_timeout 300s;
    keepalive_requests {REQUESTS_A_CONNECTION};
    large_client_header_buffers 8 32k;
    lua_package_path "{settings.lua.parent}/?.lua;;";
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
