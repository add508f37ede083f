"""The text of the front's nginx.conf and of the rclone.conf that leads through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.nginx import LOOPBACK, http_conf, main_conf

if TYPE_CHECKING:
    from swiftfs.localcloud import Cloud

REMOTE = "front"

KEYS = "64m"
"""Shared memory for the keys of what is cached: some 8,000 in a megabyte."""
LOGIN_LIFE = "50m"
"""How long a login is answered from the cache: less than the hour that the local cloud's tokens live."""
FILL_TIMEOUT = "600s"
"""The real Swift may take so long over the first read of a large object."""


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What a front is made of: ``directory`` holds its configuration and its log, ``cache`` (on tmpfs) the answers."""

    directory: Path
    cache: Path
    port: int
    lua: Path
    swift: int
    keystone: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "access.log"


def nginx_conf(settings: FrontSettings) -> str:
    """One process in the foreground. An object is cached whole and its ranges are cut from there, so that one warming
    pass serves clients whatever ranges they ask for."""
    here = settings.directory
    return f"""\
{main_conf(here)}
http {{
    log_format counted '$request_method $status $body_bytes_sent $upstream_cache_status $request_uri';
    access_log {settings.log} counted;
    sendfile on;
    proxy_temp_path {settings.cache}/temporary;
    proxy_cache_path {settings.cache}/answers levels=2 use_temp_path=off keys_zone=answers:{KEYS} inactive=30d;
{http_conf(here, settings.lua.parent)}
    upstream swift {{ server {LOOPBACK}:{settings.swift}; keepalive 32; }}
    upstream keystone {{ server {LOOPBACK}:{settings.keystone}; keepalive 4; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_read_timeout {FILL_TIMEOUT};
    proxy_max_temp_file_size 0;
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;
    proxy_cache answers;
    proxy_cache_lock on;
    proxy_cache_lock_timeout {FILL_TIMEOUT};
    proxy_cache_lock_age {FILL_TIMEOUT};
    server {{
        listen {LOOPBACK}:{settings.port} backlog=1024;
        merge_slashes off;
        location /v1/ {{
            set_by_lua_block $front_rate {{ return require("front").rate() }}
            limit_rate $front_rate;
            access_by_lua_block {{ require("front").arrive() }}
            header_filter_by_lua_block {{ require("front").head() }}
            body_filter_by_lua_block {{ require("front").body() }}
            proxy_cache_key $request_uri;
            proxy_cache_valid 200 204 404 30d;
            proxy_pass http://swift;
        }}
        location ~ ^/v1/[^/]+/names- {{
            access_by_lua_block {{ require("front").arrive() }}
            content_by_lua_block {{ require("front").names() }}
        }}
        location /v3 {{
            access_by_lua_block {{ require("front").arrive() }}
            client_body_buffer_size 1m;
            proxy_cache_methods GET HEAD POST;
            proxy_cache_key "$request_method $request_uri $request_body";
            proxy_cache_valid 200 201 300 {LOGIN_LIFE};
            proxy_pass http://keystone;
        }}
        location /front/ {{
            access_log off;
            content_by_lua_block {{ require("front").control() }}
        }}
    }}
}}
"""


def rclone_conf(settings: FrontSettings, cloud: Cloud) -> str:
    """The front as a remote, for all clients alike: the login and the account both lie behind it."""
    account = cloud.storage_url.rpartition("/")[2]
    return f"""\
[{REMOTE}]
type = swift
auth = {settings.url}/v3
application_credential_id = {cloud.application_credential_id}
application_credential_secret = {cloud.application_credential_secret}
region = {cloud.region}
storage_url = {settings.url}/v1/{account}
"""
