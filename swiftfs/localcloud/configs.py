"""The text of every configuration file of the local cloud, from its options and its seed. No I/O here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from swiftfs.localcloud.model import (
    LOOPBACK,
    PROJECT_NAME,
    REGION,
    REMOTE,
    USER_NAME,
    CloudOptions,
    Identity,
    Layout,
    Seed,
)

SERVICE_PROJECT = "service"
SERVICE_USER = "swift"
DOMAIN_ID = "default"
DOMAIN_NAME = "Default"
ADMIN_USER = "admin"
ADMIN_PROJECT = "admin"

# Tells access lines from everything else that the proxy writes to the same file.
ACCESS_LOG_NAME = "access"

# One process per core of a small machine; each serves many connections by itself.
KEYSTONE_WORKERS = 2
# A client that opens a connection and says nothing must not stop a worker.
KEYSTONE_THREADS = 4
# Seconds that Keystone's workers may finish requests in when they are told to stop.
KEYSTONE_GRACE = 2
OBJECT_WORKERS = 2
DATABASE_WORKERS = 1

# On one busy machine a slow answer is not a dead disk: the defaults (0.5 s to connect, 1 s for a container update, 3 to
# 10 s to answer) would turn load into 503s and into listings that lag behind the objects.
CONNECT_TIMEOUT = 20
NODE_TIMEOUT = 60
# There is no second replica to turn to, so the proxy must never shun the only one for its errors.
ERROR_SUPPRESSION_LIMIT = 1_000_000

# Seconds between two sweeps that bring the totals of an account up to date. Swift's default is 300, too long for a
# person who lists containers after a load; but each sweep costs a fifth of a second of CPU.
CONTAINER_UPDATER_INTERVAL = 15
# Seconds between two sweeps for listings that missed an update, which the timeouts above make rare.
OBJECT_UPDATER_INTERVAL = 60

# bcrypt's lowest cost. The passwords are random and never leave this machine; each login would otherwise cost a quarter
# of a second of CPU.
PASSWORD_HASH_ROUNDS = 4

# Where the second copy of each log line goes (Swift always wants a syslog): the discard port of this machine, so that
# neither its syslog nor its journal fills up.
DISCARD_PORT = 9

PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk tempurl authtoken keystoneauth "
    "copy container-quotas account-quotas slo dlo versioned_writes symlink own-logging proxy-server"
)

# Swift reads swift.conf from /etc/swift when it is imported, before its servers look at `swift_dir`, and its daemons
# never look: so every one of them is started by this.
SWIFT_LAUNCHER = "swift/launch.py"
_LAUNCHER = """\
import importlib
import pathlib
import sys

from swift.common import utils

utils.set_swift_dir(str(pathlib.Path(__file__).parent))
sys.exit(importlib.import_module(sys.argv.pop(1)).main())
"""

# `quote`d fields, separated by single spaces, "-" for what is missing; read back by `access_log`. It leaves out the
# token, whose first 16 characters the default template shows.
ACCESS_TEMPLATE = (
    "{method} {path} {status_int} {transaction_id} {bytes_recvd} {bytes_sent} {request_time} {user_agent} {end_time}"
)
# The same fields from gunicorn, which quotes nothing but escapes double quotes.
KEYSTONE_ACCESS_TEMPLATE = '%(m)s %(U)s %(s)s %({x-openstack-request-id}o)s - %(B)s %(L)s "%(a)s"'


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the configuration files depend on. `user` is the name of the user who runs the servers."""

    layout: Layout
    options: CloudOptions
    user: str
    seed: Seed = field(repr=False)

    def port(self, server: str) -> int:
        return self.seed.ports[server]


def auth_url(seed: Seed) -> str:
    """Keystone's address as clients give it."""
    return f"http://{LOOPBACK}:{seed.ports['keystone']}/v3"


def storage_url(seed: Seed, project_id: str) -> str:
    """The account of a project; `%(tenant_id)s` makes the template that Keystone's catalogue wants."""
    return f"http://{LOOPBACK}:{seed.ports['proxy']}/v1/AUTH_{project_id}"


def render(settings: Settings) -> dict[str, str]:
    """Every file below `etc`, by its path relative to it."""
    return {
        "keystone/keystone.conf": _keystone(settings),
        "keystone/gunicorn.conf.py": _gunicorn(settings),
        SWIFT_LAUNCHER: _LAUNCHER,
        "swift/swift.conf": _swift(settings),
        "swift/proxy-server.conf": _proxy(settings),
        "swift/account-server.conf": _storage(settings, "account", DATABASE_WORKERS),
        "swift/container-server.conf": _storage(settings, "container", DATABASE_WORKERS)
        + _updater("container", CONTAINER_UPDATER_INTERVAL),
        "swift/object-server.conf": _storage(settings, "object", OBJECT_WORKERS)
        + _updater("object", OBJECT_UPDATER_INTERVAL),
    }


def keystone_database(path: str) -> str:
    """The part of keystone.conf that names the SQLite file at the absolute `path`; enough to make its tables."""
    return f"[database]\nconnection = sqlite:///{path}\n"


def rclone_conf(seed: Seed, identity: Identity) -> str:
    """The remote as an rclone user would write it."""
    return f"""\
[{REMOTE}]
type = swift
user_id = {identity.user_id}
application_credential_id = {identity.application_credential_id}
application_credential_secret = {identity.application_credential_secret}
auth = {auth_url(seed)}
region = {REGION}
"""


def clouds_yaml(seed: Seed, identity: Identity) -> str:
    """The same account for OpenStack clients: `local` by application credential, `local-password` by password."""
    return f"""\
clouds:
  {REMOTE}:
    auth_type: v3applicationcredential
    auth:
      auth_url: {auth_url(seed)}
      application_credential_id: {json.dumps(identity.application_credential_id)}
      application_credential_secret: {json.dumps(identity.application_credential_secret)}
    region_name: {REGION}
    identity_api_version: 3
  {REMOTE}-password:
    auth_type: password
    auth:
      auth_url: {auth_url(seed)}
      username: {USER_NAME}
      password: {json.dumps(seed.user_password)}
      project_name: {PROJECT_NAME}
      user_domain_name: {DOMAIN_NAME}
      project_domain_name: {DOMAIN_NAME}
    region_name: {REGION}
    identity_api_version: 3
"""


def _keystone(settings: Settings) -> str:
    keystone = settings.layout.keystone
    return f"""\
[DEFAULT]
use_stderr = true

{keystone_database(str(settings.layout.keystone_database))}
[token]
provider = fernet
expiration = {settings.options.token_ttl}
# No grace: a token is refused from the second that it expires, service token or not.
allow_expired_window = 0

[fernet_tokens]
key_repository = {keystone}/fernet-keys

[fernet_receipts]
key_repository = {keystone}/fernet-keys

[credential]
key_repository = {keystone}/credential-keys

[identity]
password_hash_rounds = {PASSWORD_HASH_ROUNDS}
"""


def _gunicorn(settings: Settings) -> str:
    return f"""\
wsgi_app = "keystone.wsgi.api:application"
bind = "{LOOPBACK}:{settings.port("keystone")}"
worker_class = "gthread"
workers = {KEYSTONE_WORKERS}
threads = {KEYSTONE_THREADS}
preload_app = True
graceful_timeout = {KEYSTONE_GRACE}
chdir = "/"
umask = 0o077
worker_tmp_dir = {str(settings.layout.temporary)!r}
control_socket_disable = True
accesslog = {str(settings.layout.keystone_access_log)!r}
access_log_format = {KEYSTONE_ACCESS_TEMPLATE!r}
"""


def _swift(settings: Settings) -> str:
    return f"""\
[swift-hash]
swift_hash_path_prefix = {settings.seed.hash_prefix}
swift_hash_path_suffix = {settings.seed.hash_suffix}

[storage-policy:0]
name = Policy-0
default = yes

[swift-constraints]
max_file_size = {settings.options.max_file_size}
container_listing_limit = {settings.options.listing_limit}
account_listing_limit = {settings.options.listing_limit}
"""


def _server(settings: Settings, server: str, workers: int) -> str:
    return f"""\
[DEFAULT]
bind_ip = {LOOPBACK}
bind_port = {settings.port(server)}
workers = {_workers(workers)}
user = {settings.user}
swift_dir = {settings.layout.etc}/swift
log_udp_host = {LOOPBACK}
log_udp_port = {DISCARD_PORT}
conn_timeout = {CONNECT_TIMEOUT}
node_timeout = {NODE_TIMEOUT}
"""


def _workers(wanted: int) -> int:
    """The value of `workers`. With 0 the server itself serves, which for one is the better way: a parent that looks
    after workers costs 1.5 % of a core."""
    return 0 if wanted == 1 else wanted


def _storage(settings: Settings, server: str, workers: int) -> str:
    return f"""\
{_server(settings, server, workers)}\
devices = {settings.layout.devices}
recon_cache_path = {settings.layout.recon}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0

[pipeline:main]
pipeline = healthcheck {server}-server

[app:{server}-server]
use = egg:swift#{server}
# The proxy's log has every request already.
log_requests = false
# The object server waits for the container server before it answers, so that a listing shows what was put.
container_update_timeout = {NODE_TIMEOUT}

[filter:healthcheck]
use = egg:swift#healthcheck
"""


def _updater(server: str, interval: int) -> str:
    return f"""
[{server}-updater]
interval = {interval}
log_level = WARNING
"""


def _proxy(settings: Settings) -> str:
    return f"""\
{_server(settings, "proxy", settings.options.proxy_workers)}\

[pipeline:main]
pipeline = {PIPELINE}

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_limit = {ERROR_SUPPRESSION_LIMIT}

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_name = {ACCESS_LOG_NAME}
access_log_udp_host = {LOOPBACK}
access_log_udp_port = {DISCARD_PORT}
log_msg_template = {ACCESS_TEMPLATE}

# Takes the requests that the proxy makes to itself, such as a look at the container before a PUT, and says nothing.
[filter:own-logging]
use = egg:swift#proxy_logging
access_log_route = own-access
access_log_level = WARNING
access_log_udp_host = {LOOPBACK}
access_log_udp_port = {DISCARD_PORT}

[filter:cache]
use = egg:swift#memcache
memcache_servers = {LOOPBACK}:{settings.port("memcached")}

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:bulk]
use = egg:swift#bulk

[filter:tempurl]
use = egg:swift#tempurl

[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {auth_url(settings.seed)}
auth_url = {auth_url(settings.seed)}
auth_type = password
project_domain_id = {DOMAIN_ID}
user_domain_id = {DOMAIN_ID}
project_name = {SERVICE_PROJECT}
username = {SERVICE_USER}
password = {settings.seed.service_password}
region_name = {REGION}
delay_auth_decision = true
cache = swift.cache
include_service_catalog = false
service_token_roles_required = true

[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin,member

[filter:copy]
use = egg:swift#copy

[filter:container-quotas]
use = egg:swift#container_quotas

[filter:account-quotas]
use = egg:swift#account_quotas

# Both kinds of large object are slowed down to one small segment a second by default, to protect shared clusters.
[filter:slo]
use = egg:swift#slo
rate_limit_under_size = 0

[filter:dlo]
use = egg:swift#dlo
rate_limit_segments_per_sec = 0

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true

[filter:symlink]
use = egg:swift#symlink
"""
