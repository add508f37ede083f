"""What the store's certificate is checked against."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from swiftfs.errors import ConfigError

if TYPE_CHECKING:
    from swiftfs.config import Remote

log = logging.getLogger(__name__)


def tls_of(remote: Remote) -> Callable[[], ssl.SSLContext]:
    """The context for connections to ``remote``'s store, made when it is asked for: reading the system's authorities
    takes longer than a request. Raises ConfigError for a CA file that cannot be read, at once."""
    if remote.verify is True:
        return functools.cache(ssl.create_default_context)
    if remote.verify is False:
        log.warning("certificates are not checked for %s: anybody on the way can read and change the data", remote.name)
        return functools.cache(_trusting)
    try:
        context = ssl.create_default_context(cafile=remote.verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the CA file {remote.verify}: {error}") from None
    return lambda: context


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
