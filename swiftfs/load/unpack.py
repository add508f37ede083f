"""Extract from a file or a URL under a display and Ctrl-C: what the `extract` command runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from swiftfs.errors import Incomplete, Interrupted, NotFound, SwiftFSError, printable
from swiftfs.load.download import check_file, download, download_names
from swiftfs.load.extract import Extracted, components_to_strip, extract
from swiftfs.load.figures import count_text, duration_text, noun_text, size_text
from swiftfs.load.interrupt import Interrupt, in_thread
from swiftfs.load.member import Limits
from swiftfs.load.progress import Display, shown
from swiftfs.load.report import NAMED
from swiftfs.load.sources import is_url
from swiftfs.load.staging import Staging, open_staging
from swiftfs.load.tally import Tally


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """``source`` is a local archive or an http(s) URL; ``strip`` None strips the common top directory (see
    ``components_to_strip``); ``sha256`` is that of the archive, None where it is not known."""

    source: str
    directory: str
    strip: int | None = None
    sha256: str | None = None
    limits: Limits = field(default_factory=Limits)


async def extract_source(
    request: ExtractRequest,
    display: Display,
    *,
    interrupt: Interrupt | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Extracted:
    """Fill the directory from the archive.

    Raises NotFound when a local archive is not there, what ``download`` and ``open_archive`` raise, and
    Interrupted at the second Ctrl-C, while the archive's checksum is computed at the first; members refused and what
    ended the run early are in the result.
    """
    remote = is_url(request.source)
    if not remote and not await asyncio.to_thread(os.path.exists, request.source):
        raise NotFound(f"archive not found: {printable(request.source)}")
    interrupt = interrupt or Interrupt()
    tally = Tally(phase="extracting")
    keep = frozenset(download_names(request.source)) if remote else frozenset()
    with open_staging(request.directory, keep=keep) as staging:
        async with shown(display, tally):
            return await interrupt.run(_extract(request, staging, tally, interrupt, pause))


async def _extract(
    request: ExtractRequest,
    staging: Staging,
    tally: Tally,
    interrupt: Interrupt,
    pause: Callable[[float], Awaitable[None]],
) -> Extracted:
    archive = request.source
    if is_url(archive):
        tally.phase = "downloading"
        archive = await download(archive, staging.path, tally=tally, sha256=request.sha256, pause=pause)
        tally.phase = "extracting"
        tally.size = tally.moved = 0
    elif request.sha256 is not None:
        await in_thread(interrupt.halted, check_file, archive, request.sha256, None, interrupt.halted)
    result = await in_thread(interrupt.halted, _unpack, request, archive, staging, tally, interrupt.halted)
    if archive != request.source and result.fatal is None and not result.interrupted:
        for name in download_names(request.source):
            os.unlink(os.path.join(staging.path, name))
    return result


def _unpack(
    request: ExtractRequest, archive: str, staging: Staging, tally: Tally, halted: threading.Event
) -> Extracted:
    strip = request.strip
    if strip is None:
        strip = components_to_strip(archive, request.directory, request.limits, halted)
    return extract(archive, staging, strip=strip, limits=request.limits, tally=tally, halted=halted)


def extract_error(result: Extracted) -> SwiftFSError | None:
    """The error that a run's end amounts to; None when every member is there."""
    again = "run it again to continue"
    if result.interrupted:
        return Interrupted("stopped before the archive's end", hint=again)
    if result.fatal is not None:
        return result.fatal
    if result.refused:
        return Incomplete(f"{noun_text(len(result.refused), 'member')} of the archive not extracted")
    return None


def extract_lines(result: Extracted, seconds: float) -> list[str]:
    """What a run did in one line. Pure."""
    return [
        f"extracted {noun_text(result.written + result.skipped, 'file')} in {duration_text(seconds)}: "
        f"{count_text(result.written)} written ({size_text(result.written_size)}), "
        f"{count_text(result.skipped)} there already, {count_text(len(result.refused))} refused"
    ]


def refusal_lines(result: Extracted) -> list[str]:
    """The first refused members by name and the number of the others. Pure."""
    lines = [f"refused: {printable(one.name)}: {printable(one.reason)}" for one in result.refused[:NAMED]]
    if len(result.refused) > NAMED:
        lines.append(f"refused: {count_text(len(result.refused) - NAMED)} more")
    return lines
