"""load.download against a real HTTP server on this machine that can break off, change and refuse."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.http_server import FileServer, serving

from swiftfs.errors import Forbidden, NotFound, Rejected, SwiftFSError, Truncated, Unavailable, UsageError
from swiftfs.load.download import FRUITLESS, check_sha256, download, shown_url
from swiftfs.load.progress import Silent
from swiftfs.load.sources import is_url
from swiftfs.load.tally import Tally
from swiftfs.load.unpack import ExtractRequest, extract_error, extract_source

BODY = os.urandom(3_000_000)


def served_file(**rest: Any) -> FileServer:
    return FileServer(**{"body": BODY, **rest})


def served(server: FileServer, work: Callable[[str], Awaitable[str]]) -> str:
    async def main() -> str:
        async with serving(server) as url:
            return await work(url)

    return asyncio.run(main())


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


def fetch(server: FileServer, directory: Path, **rest: str) -> bytes:
    path = served(server, lambda url: download(url, str(directory), tally=Tally(), pause=no_pause, **rest))
    return Path(path).read_bytes()


def test_a_download_is_byte_exact_and_carries_no_token(tmp_path: Path) -> None:
    """The file is what the server has, fetched in one request without any token."""
    server = served_file()
    assert fetch(server, tmp_path) == BODY
    assert server.asked == [None]
    assert not [name for name in server.headers if "token" in name]


def test_a_download_that_breaks_off_is_continued(tmp_path: Path) -> None:
    """After each break the rest is asked for by range, and the whole is byte-exact."""
    server = served_file(cuts=[1_000_000, 1, 500_000, None])
    assert fetch(server, tmp_path) == BODY
    assert server.asked[0] is None
    assert all(one is not None for one in server.asked[1:])


def test_a_server_that_sends_less_than_the_range_is_asked_again(tmp_path: Path) -> None:
    """A 206 that ends before the content does (RFC 9110 allows it) is not taken for the end."""
    server = served_file(cuts=[1_000_000], most=700_000)
    assert fetch(server, tmp_path) == BODY
    assert len(server.asked) == 4


@pytest.mark.parametrize("server", [served_file(ranges=False), served_file(etag=None), served_file(etag='W/"v"')])
def test_without_ranges_or_a_validator_it_starts_over(tmp_path: Path, server: FileServer) -> None:
    """A server that cannot continue, or does not say which version it has, is asked for everything again."""
    server.cuts = [1_000_000, None]
    assert fetch(server, tmp_path) == BODY


def test_content_that_changed_between_is_not_mixed(tmp_path: Path) -> None:
    """When the content changes while a download is broken off, the new one is fetched whole."""
    server = served_file(cuts=[1_000_000, None])
    new = os.urandom(2_000_000)

    async def change(_: float) -> None:
        server.body, server.etag = new, '"v2"'

    path = served(server, lambda url: download(url, str(tmp_path), tally=Tally(), pause=change))
    assert new == Path(path).read_bytes()


def test_a_chunked_answer_without_length_is_whole(tmp_path: Path) -> None:
    """Without Content-Length the end of the chunks is the end, and one cut off is not taken for whole."""
    server = served_file(chunked=True, cuts=[1_000_000, None])
    assert fetch(server, tmp_path) == BODY


def test_a_finished_download_is_not_fetched_again(tmp_path: Path) -> None:
    """What an earlier run of the same URL fetched whole costs no request."""
    server = served_file()

    async def twice(url: str) -> str:
        await download(url, str(tmp_path), tally=Tally(), pause=no_pause)
        return await download(url, str(tmp_path), tally=Tally(), pause=no_pause)

    served(server, twice)
    assert server.asked == [None]


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [(404, NotFound, 1), (403, Forbidden, 1), (401, Forbidden, 1), (400, Rejected, 1), (503, Unavailable, FRUITLESS)],
)
def test_statuses_become_our_errors(tmp_path: Path, status: int, kind: type[SwiftFSError], requests: int) -> None:
    """Each status is the error of its meaning; only one that may pass is tried again, and no message has the query."""
    server = served_file(statuses=[status] * 10)
    with pytest.raises(kind) as caught:
        fetch(server, tmp_path)
    assert requests == len(server.asked)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_one_error(tmp_path: Path) -> None:
    """A connection that is refused is tried a few times, then it is an error that names the host and no query."""
    with pytest.raises(Unavailable, match=r"cannot connect to 127\.0\.0\.1") as caught:
        asyncio.run(download("http://127.0.0.1:9/x.zip?secret=hush", str(tmp_path), tally=Tally(), pause=no_pause))
    assert "hush" not in str(caught.value)


def test_a_wrong_sha256_removes_the_download(tmp_path: Path) -> None:
    """Content with another SHA-256 than the one given is refused and does not stay."""
    good = hashlib.sha256(BODY).hexdigest()
    (tmp_path / "other").mkdir()
    assert fetch(served_file(), tmp_path, sha256=good) == BODY
    with pytest.raises(Truncated, match=f"has the SHA-256 {good}"):
        fetch(served_file(), tmp_path / "other", sha256="0" * 64)
    assert list((tmp_path / "other").iterdir()) == []


def test_an_archive_is_extracted_from_its_url(tmp_path: Path) -> None:
    """A URL is fetched, extracted without its top directory, and nothing else stays."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("Food-11/training/0_1.jpg", b"x")
    target = tmp_path / "Food-11"

    async def extract(url: str) -> str:
        result = await extract_source(ExtractRequest(url, str(target)), Silent(), pause=no_pause)
        return str(extract_error(result))

    assert served(served_file(body=stream.getvalue()), extract) == "None"
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["training", "training/0_1.jpg"]


def test_a_broken_download_is_kept_for_the_next_run(tmp_path: Path) -> None:
    """When a run gives a download up, the next one asks for the rest only."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", BODY)
    server = served_file(body=stream.getvalue(), cuts=[1_000_000, *[0] * FRUITLESS])

    async def extract(url: str) -> str:
        request = ExtractRequest(url, str(tmp_path / "out"))
        with pytest.raises((Unavailable, Truncated)):
            await extract_source(request, Silent(), pause=no_pause)
        server.asked.clear()
        server.cuts.clear()
        return str(extract_error(await extract_source(request, Silent(), pause=no_pause)))

    assert served(server, extract) == "None"
    assert server.asked == ["bytes=1000000-"]
    assert os.listdir(tmp_path / "out") == ["a"]


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64, "0" * 65])
def test_what_is_no_sha256_is_a_usage_error(text: str) -> None:
    """A SHA-256 that is none is refused before anything is fetched."""
    with pytest.raises(UsageError):
        check_sha256(text)


def test_urls_are_shown_without_their_secrets() -> None:
    """User, password, query and fragment of a URL never appear in a message."""
    assert shown_url("https://u:pw@h.org:8/a.zip?sig=1#x") == "https://h.org/a.zip"
    assert [is_url(one) for one in ("http://x", "HTTPS://x", "ftp://x", "./x.zip")] == [True, True, False, False]
