"""Writes docs/RELIABILITY.md: every row of the fault matrix, and the tests that are about it.

    python scripts/reliability.py            write the page
    python scripts/reliability.py --check    fail when the page is not what the tests say

    python scripts/reliability.py --passed JUNIT.XML    fail when a test of the page has not passed there

A test names its rows with ``@pytest.mark.row("N5")``; its promise is its docstring's first sentence. What no test here
can show, and why, and the outcome of mutation testing, stand in ``tests/rows.toml``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from soak_figures import table

TOP = Path(__file__).resolve().parent.parent
PAGE = TOP / "docs" / "RELIABILITY.md"
NOTES = TOP / "tests" / "rows.toml"
SOAK = TOP / "docs" / "soak.json"
"""The figures of the last run of scripts/soak; the page has none without it."""

CHAPTERS = {
    "Network and TLS": {
        "N1": "connection refused",
        "N2": "no such host, a slow resolver",
        "N3": "no route: packets are lost",
        "N4": "certificates that are expired, of another host, of an unknown CA",
        "N5": "connection reset before the headers, inside the body, after the last byte",
        "N6": "body cut short",
        "N7": "body cut short, and a length that says so",
        "N8": "body longer than told, chunks without an end",
        "N9": "body that stalls",
        "N10": "body that trickles",
        "N11": "a write that gets no answer",
        "N12": "a write that is done while its answer is lost",
        "N13": "kept connection closed while idle",
        "N14": "redirect to another host",
        "N15": "content stored compressed",
        "N16": "latency and loss",
        "N17": "a very slow line",
    },
    "HTTP status and identity": {
        "H1": "token refused or expired in the middle of a run",
        "H2": "refused again after a login",
        "H3": "Keystone down while the token lives",
        "H4": "403 for one object",
        "H5": "listed, then gone",
        "H6": "no such container",
        "H7": "408",
        "H8": "409",
        "H9": "411, 413, 422, 507",
        "H10": "412: the object was replaced",
        "H11": "416: the object shrank",
        "H12": "429 and 498, with any Retry-After",
        "H13": "500, 502, 503, 504, 529: an outage",
        "H14": "another range than asked for, or none",
        "H15": "wrong ETag, wrong bytes, one flipped bit",
        "H16": "replaced in the middle of a read",
        "H17": "202 for a PUT",
        "H18": "a web page, or nothing, with 200",
    },
    "Listings": {
        "L1": "a page that repeats itself, the marker ignored",
        "L2": "a name listed twice",
        "L3": "a short page that is not the last",
        "L4": "names that come late",
        "L5": "a page that cannot be read",
        "L6": "a container that changes while it is listed",
        "L7": "very many names",
        "L8": "large objects, whose size a listing does not tell",
        "L9": "container deleted while mounted",
    },
    "Large objects": {
        "O1": "a segment that is gone",
        "O2": "killed between segments and manifest",
        "O3": "manifest refused",
        "O4": "an error after a heartbeat",
        "O5": "very many segments",
        "O6": "a source that changes while it is sent",
    },
    "Cache and local disk": {
        "C1": "disk full or failing",
        "C2": "flipped bits",
        "C3": "torn writes",
        "C4": "blocks in each other's place",
        "C5": "cache removed, replaced, linked elsewhere",
        "C6": "two mounts, one cache",
        "C7": "a cache of something else",
        "C8": "eviction under a read",
        "C9": "a file that the kernel reads from is cut",
        "C10": "late write errors",
    },
    "Processes and mounts": {
        "P1": "kill -9 in a load",
        "P2": "kill -9 of a mount's processes",
        "P3": "signals",
        "P4": "unmounting what is in use",
        "P5": "a mount that cannot start",
        "P6": "a dead mount in the way",
        "P7": "mounts seen in other namespaces",
        "P8": "a process that hangs",
        "P9": "forks and threads",
        "P10": "clocks that jump",
        "P11": "little memory",
        "P12": "few descriptors",
        "P13": "an interrupted reader",
        "P14": "very many readers",
        "P15": "a suspended machine",
        "P16": "a second mount in the same place",
    },
    "Names": {
        "T1": "`..`, `.`, `a/../b`",
        "T2": "empty components, slashes at both ends",
        "T3": "NUL and invalid UTF-8",
        "T4": "control characters, quotes, percent signs, 4-byte characters",
        "T5": "long names, deep trees",
        "T6": "both `a` and `a/b`",
        "T7": "`a/`, `a` and `a/b`",
        "T8": "other tools' directory markers",
        "T9": "names that differ by case or normal form alone",
        "T10": "local links, devices, unreadable files, odd names",
    },
    "Archives": {
        "Z1": "paths that lead out",
        "Z2": "links and devices",
        "Z3": "bombs, wrong lengths and checksums",
        "Z4": "duplicate members",
        "Z5": "cut and contradictory archives",
        "Z6": "memory and disk while unpacking",
    },
    "Secrets and exposure": {
        "S1": "secrets in messages, logs, arguments",
        "S2": "configuration that others may read",
        "S3": "the cache's directory",
        "S4": "other users",
        "S5": "mount flags",
        "S6": "containers",
        "S7": "a hostile server's headers",
        "S8": "an endpoint elsewhere",
        "S9": "dependencies",
        "S10": "restricted credentials",
    },
}


@dataclass(slots=True)
class Found:
    """A test as the page shows it: its promise, and in how many cases it is about the row."""

    promise: str
    cases: int = 0
    expected_failure: str | None = None


Rows = dict[str, dict[str, Found]]


class Collector:
    """Remembers every collected test that names rows."""

    def __init__(self) -> None:
        self.rows: Rows = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            assert isinstance(item, pytest.Function)
            # A state machine's promise is its module's.
            described = item.function if isinstance(item.parent, pytest.Module) else item.module
            promise = (inspect.getdoc(described) or "").split("\n\n")[0].replace("\n", " ")
            place, _, name = item.nodeid.partition("::")
            test = f"{place}::{name.split('[')[0].split('::')[0]}"
            failing = item.get_closest_marker("xfail")
            for row in {row for mark in item.iter_markers("row") for row in mark.args}:
                found = self.rows.setdefault(row, {}).setdefault(test, Found(promise))
                found.cases += 1
                found.expected_failure = failing.kwargs.get("reason", "no reason given") if failing else None


def collect() -> Rows:
    """Tests by row. Exits when the tests cannot be collected, or when a row has neither a test nor a reason."""
    collector = Collector()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "--rootdir", str(TOP), str(TOP / "tests")], plugins=[collector])
    if code:
        sys.exit(f"the tests cannot be collected:\n{said.getvalue()[-2000:]}")
    return collector.rows


def refuse_gaps(found: Rows, notes: dict[str, Any]) -> None:
    """Exit when the tests, the notes and the matrix do not agree about which rows there are."""
    known = {row for rows in CHAPTERS.values() for row in rows}
    untested = notes["untested"]
    if unknown := sorted((set(found) | set(untested) | set(notes["gaps"])) - known):
        sys.exit(f"rows that the matrix does not have: {', '.join(unknown)}")
    if missing := sorted(known - set(found) - set(untested)):
        sys.exit(f"rows with neither a test nor a reason in tests/rows.toml: {', '.join(missing)}")
    if tested := sorted(set(found) & set(untested)):
        sys.exit(f"rows that tests/rows.toml calls untested and that have a test: {', '.join(tested)}")


def page(found: Rows, notes: dict[str, Any]) -> str:
    """The whole text."""
    rows = [row for chapter in CHAPTERS.values() for row in chapter]
    tested = [row for row in rows if row in found]
    lines = [
        "# What is tested when things fail",
        "",
        "Made by `python scripts/reliability.py` from the tests: a test says with `@pytest.mark.row` which row it is",
        "about, and its docstring is the promise. What has no test stands with its reason in `tests/rows.toml`.",
        "`scripts/check` fails when this page is not what the two say, or when a row has neither; `scripts/test`",
        "fails when a test named here has not passed.",
        "",
        f"{len(tested)} of {len(rows)} rows have a test of their own. A row with a test is not a row without a gap:",
        "the promise says what is shown. `t5_mount` and `t7_cli` go through a real mount or the real command,",
        "`t1_swift` through the real client.",
        "",
    ]
    for title, chapter in CHAPTERS.items():
        lines += [f"## {title}", "", "| row | fault | promise | test | result |", "|---|---|---|---|---|"]
        for row, fault in chapter.items():
            lines += _lines(row, fault, found.get(row, {}), notes)
        lines.append("")
    if SOAK.exists():
        figures = json.loads(SOAK.read_text())
        lines += ["## Minutes of faults", "", "Measured by `scripts/soak`, which writes `docs/soak.json`.", ""]
        lines += [*table(figures), ""]
    return "\n".join([*lines, *_mutations(notes["mutation"])])


def _lines(row: str, fault: str, tests: dict[str, Found], notes: dict[str, Any]) -> Iterable[str]:
    if row in notes["untested"]:
        yield f"| {row} | {fault} | | none | **not tested**: {_cell(notes['untested'][row])} |"
    for number, (test, found) in enumerate(sorted(tests.items())):
        place, _, name = test.partition("::")
        shown = f"`{place.removeprefix('tests/')}` {name}"
        result = "passes" if found.cases == 1 else f"passes, {found.cases} cases"
        if found.expected_failure is not None:
            result = f"**fails**: {_cell(found.expected_failure)}"
        first = f"{row} | {fault}" if not number else " | "
        yield f"| {first} | {_cell(found.promise)} | {shown} | {result} |"
    if row in notes["gaps"]:
        yield f"| | | | none | **a part is not tested**: {_cell(notes['gaps'][row])} |"


def _mutations(notes: dict[str, Any]) -> list[str]:
    """The chapter about mutants: what of each module was changed, and what no test noticed."""
    if not notes["modules"]:
        return []
    lines = [
        "## Mutants",
        "",
        f"`{notes['command']}` changes one thing at a time in a copy and runs the module's own pure tests:",
        "a mutant that no test notices is a line that no test is about.",
        "",
        "| module | mutants | killed | equivalent |",
        "|---|---|---|---|",
    ]
    for module in notes["modules"]:
        same = module.get("same", len(module["equivalent"]))
        only = f" ({module['only']})" if "only" in module else ""
        lines.append(f"| `{module['path']}`{only} | {module['mutants']} | {module['mutants'] - same} | {same} |")
    lines += ["", "The equivalent ones, which change nothing that can be seen:", ""]
    for module in notes["modules"]:
        lines += [f"- `{Path(module['path']).name}` {_cell(text)}" for text in module["equivalent"]]
    return [*lines, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def refuse_failures(found: Rows, results: Path) -> None:
    """Exit when a test of the page is not among those that passed."""
    passed: dict[str, bool] = {}
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        place, name = case.attrib["classname"], case.attrib["name"].split("[")[0]
        good = not any(child.tag in {"failure", "error", "skipped"} for child in case)
        for test in (f"{place.replace('.', '/')}.py::{name}", f"{place.rpartition('.')[0].replace('.', '/')}.py::"):
            passed[test] = passed.get(test, True) and good
    for tests in found.values():
        for test, one in tests.items():
            place, _, name = test.partition("::")
            machine = f"{place}::"
            good = passed.get(test, passed.get(machine, False))
            if not good and one.expected_failure is None:
                sys.exit(f"{place} {name} has not passed, though docs/RELIABILITY.md says so")


def main() -> None:
    """Write the page, or compare it, or compare it with a run."""
    notes = tomllib.loads(NOTES.read_text())
    found = collect()
    if "--passed" in sys.argv[1:]:
        refuse_failures(found, Path(sys.argv[sys.argv.index("--passed") + 1]))
        return
    refuse_gaps(found, notes)
    text = page(found, notes)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/RELIABILITY.md is not what the tests say; run: python scripts/reliability.py")


if __name__ == "__main__":
    main()
