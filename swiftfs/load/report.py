"""What a run says when it has ended: lines for people, figures for programs, the error that its end amounts to."""

from __future__ import annotations

import copy
import json
import os
from typing import TYPE_CHECKING, Any

from swiftfs.errors import Incomplete, Interrupted, LocalFileError, SwiftFSError, printable
from swiftfs.load.figures import count_text, duration_text, noun_text, size_text

if TYPE_CHECKING:
    from swiftfs.load.run import LoadResult

NAMED = 20
"""Failures that are named at the end of a run; more are counted."""
RECORDED = 1000
"""Failures that the summary file names."""


def outcome_error(result: LoadResult) -> SwiftFSError | None:
    """The error that a run's end amounts to; None when every object is proven."""
    unproven = len(result.verified.unproven) if result.verified is not None else 0
    bad = len(result.failures) + unproven + result.untried
    again = "run it again: what is there already is not sent again"
    if result.interrupted:
        return Interrupted(f"stopped: {noun_text(result.untried, 'file')} not tried", hint=again)
    if result.fatal is not None:
        error = copy.copy(result.fatal)
        untried = f"{noun_text(result.untried, 'file')} not tried" if result.untried else None
        error.hint = "; ".join(filter(None, (error.hint, untried))) or None
        return error
    if bad:
        return Incomplete(f"{noun_text(bad, 'file')} of {count_text(result.files)} not loaded", hint=again)
    return None


def summary_lines(result: LoadResult) -> list[str]:
    """What a run did, for people: the proof first, then one line of figures. Pure."""
    head, sent, verdict = "loaded", "sent", "; not verified"
    if result.dry_run:
        head, sent, verdict = "dry run, would load", "to send", ""
    lines = []
    if result.deleted:
        done = "would delete" if result.dry_run else "deleted"
        lines.append(f"{done} {noun_text(result.deleted, 'object')}")
    if result.verified is not None:
        lines.append(f"verified {noun_text(result.verified.count, 'object')}, {count_text(result.verified.size)} bytes")
        unproven = len(result.verified.unproven)
        verdict = f"; {count_text(unproven)} NOT verified" if unproven else "; verified"
    if result.trusted:
        verdict += f"; {count_text(result.trusted)} skipped without a look at the content"
    lines.append(
        f"{head} {noun_text(result.files, 'file')} ({size_text(result.size)}) in {duration_text(result.seconds)}: "
        f"{count_text(result.sent)} {sent}, {count_text(result.skipped)} skipped, "
        f"{count_text(len(result.failures))} failed; {noun_text(result.requests, 'request')}{verdict}"
    )
    if result.manifest is not None:
        lines.append(f"manifest {result.manifest}")
    return lines


def failure_lines(result: LoadResult) -> list[str]:
    """The first failures by name and the number of the others. Pure."""
    bad = (*result.failures, *(result.verified.unproven if result.verified is not None else ()))
    lines = [f"failed: {printable(one.name)}: {printable(one.reason)}" for one in bad[:NAMED]]
    if len(bad) > NAMED:
        lines.append(f"failed: {count_text(len(bad) - NAMED)} more")
    return lines


def omission_lines(result: LoadResult) -> list[str]:
    """The first that were left out by rule and the number of the others: the run is complete without them. Pure."""
    lines = [f"left out: {printable(one.name)}: {printable(one.reason)}" for one in result.omitted[:NAMED]]
    if len(result.omitted) > NAMED:
        lines.append(f"left out: {count_text(len(result.omitted) - NAMED)} more")
    return lines


def figures(result: LoadResult) -> dict[str, Any]:
    """The run in numbers, with the first failures by name. Pure."""
    unproven = result.verified.unproven if result.verified is not None else ()
    return {
        "files": result.files,
        "bytes": result.size,
        "seconds": round(result.seconds, 3),
        "requests": result.requests,
        "retries": result.retries,
        "logins": result.logins,
        "sent": result.sent,
        "sent_bytes": result.sent_size,
        "skipped": result.skipped,
        "not_compared": result.trusted,
        "deleted": result.deleted,
        "manifest": result.manifest,
        "failed": len(result.failures) + len(unproven),
        "left_out": len(result.omitted),
        "not_tried": result.untried,
        "verified": None if result.verified is None else result.verified.count,
        "verified_bytes": None if result.verified is None else result.verified.size,
        "complete": outcome_error(result) is None and not result.dry_run,
        "dry_run": result.dry_run,
        "failures": [{"name": one.name, "reason": one.reason} for one in (*result.failures, *unproven)[:RECORDED]],
    }


def write_summary(path: str, result: LoadResult) -> None:
    """Write the run's figures as JSON, whole or not at all. Raises LocalFileError."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "x", encoding="utf-8") as file:
            json.dump(figures(result), file, indent=2)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        raise LocalFileError(f"cannot write the summary {printable(path)}: {error.strerror}") from None
