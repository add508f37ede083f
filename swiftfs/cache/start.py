"""How a writer takes up a cache: alone or beside others, after a clean end or a crash.

Whoever is alone after a crash sweeps: no file without a row stays, no row without a file, no reservation. Beside
others, what a dead writer noted is evicted and its reservation ends, so that a crash costs the budget nothing.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

from swiftfs.cache.directory import LOCK_WAIT
from swiftfs.cache.table import Table, is_damage
from swiftfs.errors import LocalFileError

if TYPE_CHECKING:
    from swiftfs.cache.directory import CacheDirectory, Owner, UseLock

log = logging.getLogger(__name__)

SHARDS = tuple(f"{number:02x}" for number in range(256))


def take_up(directory: CacheDirectory, patience: float = LOCK_WAIT) -> tuple[Table, UseLock, Owner]:
    """Opens the cache for a new writer and brings table, files and sums together.

    Raises LocalFileError when it cannot be used, or is another's alone for more than ``patience`` seconds.
    """
    with contextlib.ExitStack() as opened:
        try:
            lock = directory.lock()
            opened.callback(lock.close)
            alone = lock.try_alone()
            if not alone:
                lock.share(patience)
            table, remade = _open_table(directory, alone=alone)
            opened.callback(table.close)
            reap(directory, table)
            if alone:
                with table.transaction():
                    dirty = table.set_dirty(True)
                table.sync()  # a power cut must not bring back the word that all is clean
                if dirty or remade:
                    _sweep(directory, table)
                lock.share(patience)
            owner = directory.new_owner()
        except (OSError, sqlite3.Error) as error:
            raise LocalFileError(
                f"the cache {directory.path} cannot be used: {error}", hint="name another with --cache-dir"
            ) from error
        opened.pop_all()
        return table, lock, owner


def leave(directory: CacheDirectory, table: Table, lock: UseLock, owner: Owner) -> None:
    """Ends a writer whose rows are all settled. The last to leave notes that all is clean."""
    with contextlib.suppress(OSError, sqlite3.Error):
        with table.transaction():
            table.revoke(owner.name)
        directory.forget_owner(owner.name)
        if lock.try_alone():
            with table.transaction():
                table.set_dirty(False)
    with contextlib.suppress(OSError, sqlite3.Error):
        table.close()
    owner.close()
    lock.close()


def reap(directory: CacheDirectory, table: Table) -> bool:
    """Ends what dead writers had reserved, and evicts the files that they may have left half written.

    Whether there were any. Raises OSError and sqlite3.Error.
    """
    reaped = False
    for dead in directory.dead_owners():
        with table.transaction():
            for key, extent in dead.files:
                if directory.unlink(key, extent):
                    table.forget(key, extent)
            table.revoke(dead.name)
        directory.forget_owner(dead.name)
        log.info("ended the reservation of a cache writer that died, with %d files", len(dead.files))
        reaped = True
    return reaped


def _open_table(directory: CacheDirectory, *, alone: bool) -> tuple[Table, bool]:
    """The table, and whether it was made just now; a damaged one is made anew when nobody else has it open."""
    directory.make_table_file()
    try:
        table = Table(directory.table_path)
        try:
            if table.is_ours() and (not alone or table.is_sound()):
                return table, table.created
        except sqlite3.Error:
            table.close()
            raise
        table.close()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    if not alone:
        raise LocalFileError(
            f"the table of the cache {directory.path} is damaged",
            hint="unmount what uses it, then mount again: the cache is begun anew",
        )
    log.warning("the table of the cache %s is damaged: the cache is begun anew", directory.path)
    directory.delete_table()
    directory.make_table_file()
    return Table(directory.table_path), True


def _sweep(directory: CacheDirectory, table: Table) -> None:
    """Brings files and rows together; nobody else writes. One shard's names are in memory at a time."""
    with table.transaction():
        for shard in SHARDS:
            on_disk = set(directory.files(shard))
            in_table = table.files_in(shard)
            for file in on_disk - in_table:
                directory.unlink(*file)
            for file in in_table - on_disk:
                table.forget(*file)
        table.recount()
        table.revoke_all()
