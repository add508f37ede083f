"""Rates between two answers of a mount, and Prometheus text of one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from swiftfs.cli.screen import Watch, in_words, live, size
from swiftfs.errors import UsageError
from swiftfs.mount.metrics import exposition, listen_address


def answer(**changes: int) -> dict[str, Any]:
    """A mount's answer with some figures set."""
    fetch = dict.fromkeys(
        ("requests", "received", "retries", "logins", "fetched_chunks", "fetched_pieces", "failed_chunks",
         "waiting", "running",
         "cache_bytes", "cache_limit", "hidden", "drifted"), 0)  # fmt: skip
    reads = dict.fromkeys(("opens", "reads", "read_bytes", "hits", "misses", "errors", "waited"), 0)
    for name, value in changes.items():
        (fetch if name in fetch else reads)[name] = value
    return {
        "remote": "r:c", "mountpoint": '/mnt/a "b"', "pid": 1, "uptime": 2.5, "files": 3, "directories": 1, "bytes": 9,
        "whole": True,
        "fetch_restarts": 0, "known_inodes": 1, "fuse_requests": 7, "prefetch": {"mode": "auto", "pattern": "sparse"},
        "slowest": [{"seconds": 1.25, "ago": 3.0, "object": "[slow] one", "chunk": 0}], "fetch": fetch, "reads": reads,
        "pin": "",
    }  # fmt: skip


def test_rates_are_differences_over_time() -> None:
    """Bytes, requests and hits between two answers, per second; nothing is known from one answer alone."""
    watch = Watch()
    first = watch.see(10.0, answer(received=100, hits=5))
    second = watch.see(12.0, answer(received=4100, requests=10, hits=8, misses=1, opens=4, read_bytes=600))

    assert (first.received, first.hit_rate) == (0.0, None)
    assert (second.received, second.requests, second.read_bytes, second.opens) == (2000.0, 5.0, 300.0, 2.0)
    assert second.hit_rate == 0.75


def test_a_new_fetch_process_gives_no_negative_rate() -> None:
    """Its counters begin at nothing: that reads as no traffic, not as less than none."""
    watch = Watch()
    watch.see(1.0, answer(received=1000))

    assert watch.see(2.0, answer(received=10)).received == 0.0


def test_prefetch_progress_is_the_share_done_of_the_longest_queue() -> None:
    """100 queued, then 25 left: three quarters are done; an empty queue begins anew."""
    watch = Watch()
    seen = [watch.see(float(n), answer(waiting=left)).ahead for n, left in enumerate((100, 25, 0, 10))]

    assert seen == [0.0, 0.75, None, 0.0]


def test_the_screen_shows_rates_and_the_slowest_reads_as_they_are_named() -> None:
    """Square brackets in a name are no markup."""
    watch = Watch()
    watch.see(0.0, answer())
    now = answer(received=12_300_000, waiting=3)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(live(now, watch.see(1.0, now)))
    text = console.export_text()

    assert "12.3 MB/s" in text
    assert "[slow] one" in text
    assert "1.250 s" in text
    assert "3 to fetch" in text


def without_fetch_process() -> dict[str, Any]:
    """A mount's answer while its fetch process cannot be started."""
    return {**answer(hits=3, misses=1), "fetch": None, "fetch_trouble": "Keystone is away", "fetch_restarts": 4}


@pytest.mark.parametrize("pin", ["", "d1935"])
def test_a_fetch_process_that_tells_nothing_is_said_and_hides_nothing_else(pin: str) -> None:
    """The words and the live screen say why there are no figures of it, and show those of the readers; rates begin
    anew when it is back."""
    watch, down = Watch(), without_fetch_process() | {"pin": pin}
    watch.see(0.0, answer(received=100, waiting=9))
    rates = watch.see(1.0, down)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(live(down, rates))

    for text in (console.export_text(), in_words(down)):
        assert "no figures: Keystone is away" in text
        assert "replaced so far: 4" in text
        assert "75.0 % of 4" in text
        assert pin in text
    assert (rates.received, rates.ahead) == (0.0, None)
    assert watch.see(2.0, answer(received=50)).received == 0.0


def test_unknown_figures_are_left_out_of_the_exposition() -> None:
    """Without the fetch process its figures are absent, not nought, and one says that it is away."""
    lines = exposition(without_fetch_process()).splitlines()
    figures = {line.partition("{")[0]: line.rpartition(" ")[2] for line in lines if line[0] != "#"}

    assert figures["swiftfs_fetch_process_up"] == "0"
    assert figures["swiftfs_cache_hits_total"] == "3"
    assert not any("store" in name for name in figures)


def test_sizes_are_decimal() -> None:
    """As network rates are given."""
    assert [size(n) for n in (0, 999, 1000, 1.5e6, 2e9, 3e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "2.0 GB",
        "3.0 TB",
    ]


def test_exposition_has_help_type_and_escaped_labels() -> None:
    """Each figure has its two comment lines and one sample whose labels are escaped as the format says."""
    lines = exposition(answer(requests=42)).splitlines()

    assert "# TYPE swiftfs_store_requests_total counter" in lines
    assert 'swiftfs_store_requests_total{remote="r:c",mountpoint="/mnt/a \\"b\\""} 42' in lines
    samples = [line for line in lines if not line.startswith("#")]
    assert len(lines) == 3 * len(samples)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("9409", ("127.0.0.1", 9409)), (":9409", ("127.0.0.1", 9409)), ("localhost:1", ("127.0.0.1", 1)),
     ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:80", ("::1", 80))],
)  # fmt: skip
def test_metrics_listen_on_loopback_unless_told(text: str, expected: tuple[str, int]) -> None:
    """A port alone is one of loopback."""
    assert listen_address(text) == expected


@pytest.mark.parametrize("text", ["", "here", "host:80", "127.0.0.1:70000", "127.0.0.1:"])
def test_no_address_is_guessed(text: str) -> None:
    """Names and nonsense are refused."""
    with pytest.raises(UsageError, match="address to listen on"):
        listen_address(text)
