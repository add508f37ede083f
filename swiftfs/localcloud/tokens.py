"""Taking tokens back before their time, to see what a client does about it."""

from __future__ import annotations

import socket
import time

from swiftfs.errors import Unavailable
from swiftfs.localcloud import bootstrap
from swiftfs.localcloud.configs import ADMIN_PROJECT, ADMIN_USER
from swiftfs.localcloud.model import LOOPBACK, Cloud

# Keystone's revocations know whole seconds: a token made in the same second as one is refused as well.
REVOCATION_GRAIN = 1.0

# Seconds for memcached to answer.
FLUSH_TIMEOUT = 5.0


def revoke_tokens(cloud: Cloud) -> None:
    """Make every token that the demo's user has now invalid at once. Passwords and application credentials stay good.

    Blocks for up to two seconds, so that a token made after the return is good. Raises Unavailable when the cloud does
    not answer.
    """
    port = cloud.ports["keystone"]
    admin = bootstrap.password_login(ADMIN_USER, cloud.admin_password, ADMIN_PROJECT)
    # To set a password, even the same one, revokes what was issued before.
    bootstrap.KeystoneApi(port, admin).set_password(cloud.user_id, cloud.user_password)
    time.sleep(REVOCATION_GRAIN + REVOCATION_GRAIN - time.time() % REVOCATION_GRAIN)
    forget_validations(cloud)


def forget_validations(cloud: Cloud) -> None:
    """Empty memcached, so that the proxy asks Keystone about every token again: it trusts one for minutes otherwise.

    Raises Unavailable when memcached does not answer.
    """
    try:
        with socket.create_connection((LOOPBACK, cloud.ports["memcached"]), timeout=FLUSH_TIMEOUT) as connection:
            connection.sendall(b"flush_all\r\n")
            answer = connection.recv(len(b"OK\r\n"))
    except OSError as error:
        raise Unavailable(f"memcached of {cloud.directory} does not answer: {error}") from None
    if answer != b"OK\r\n":
        raise Unavailable(f"memcached of {cloud.directory} answers flush_all with {answer!r}")
