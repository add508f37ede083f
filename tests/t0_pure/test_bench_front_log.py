"""How the benchmark's front counts what it was asked."""

from __future__ import annotations

import pytest

from bench.front.log import count, what


@pytest.mark.parametrize(
    ("target", "meaning"),
    [
        ("/v3/auth/tokens", "login"),
        ("/v1/AUTH_x?format=json", "account"),
        ("/v1/AUTH_x/food?marker=a/b/c", "container"),
        ("/v1/AUTH_x/food/", "container"),
        ("/v1/AUTH_x/food/training/class_00/a%20b.jpg", "object"),
    ],
)
def test_a_request_is_named_by_its_path_and_not_by_its_query(target: str, meaning: str) -> None:
    """A marker with slashes does not make a listing a GET of an object."""
    assert what(target) == meaning


def test_requests_are_counted_by_kind_and_bytes_are_those_of_objects() -> None:
    """Logins are no requests of the store, a listing's body is no object's, a miss went behind the front."""
    found = count(
        [
            "POST 201 900 MISS /v3/auth/tokens",
            "GET 200 1234 HIT /v1/A/c?format=json",
            "GET 206 100 HIT /v1/A/c/o",
            "GET 200 7 MISS /v1/A/c/p",
            "HEAD 200 0 HIT /v1/A/c/o",
            "GET 200 0 - /v1/A/names-5",
            "GET 200 5",
        ]
    )
    assert found.kinds == {
        "POST login": 1, "GET container": 2, "GET object": 2, "HEAD object": 1,
    }  # fmt: skip
    assert (found.total, found.object_bytes, found.passed) == (5, 107, 2)
    assert (found.by_method("GET"), found.by_method("HEAD"), found.by_method("POST")) == (4, 1, 0)
