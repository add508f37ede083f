"""A login that begins before its token is needed."""

from __future__ import annotations

import threading

import pytest

from swiftfs.config import Remote
from swiftfs.errors import AuthError
from swiftfs.localcloud.cloud import Cloud
from swiftfs.swift.auth import EarlyLogin, KeystoneLogin

PATIENCE = 30.0
"""Seconds for a thread to run."""


class Keystone:
    """Answers in turn; ``asked`` is set by the first login."""

    def __init__(self, *answers: str | AuthError) -> None:
        self.answers = list(answers)
        self.asked = threading.Event()

    def __call__(self) -> tuple[str, str, float | None]:
        self.asked.set()
        answer = self.answers.pop(0)
        if isinstance(answer, AuthError):
            raise answer
        return answer, "http://store/v1/AUTH_x", 3600.0


def early(keystone: Keystone) -> EarlyLogin:
    remote = Remote(name="here", source="here", auth_type="password", auth_options={})
    return EarlyLogin(remote, keystone)


def test_the_token_of_the_login_under_way_is_given_once() -> None:
    """Keystone is asked before anybody asks for the token, which is the first answer; the next one is a new login's."""
    keystone = Keystone("first", "second", "third")
    login = early(keystone)
    assert keystone.asked.wait(PATIENCE)

    assert [login()[0], login()[0]] == ["first", "second"]
    assert keystone.answers == ["third"]


def test_a_refusal_is_told_to_who_asks_and_the_next_login_is_new() -> None:
    """Nothing is lost by having been early: the error is the login's own."""
    login = early(Keystone(AuthError("refused"), "second"))

    with pytest.raises(AuthError, match="refused"):
        login()
    assert login()[0] == "second"


@pytest.mark.cloud
def test_an_early_token_is_good_for_the_store(cloud: Cloud, remote: Remote) -> None:
    """A real Keystone's: the store's URL, and its life."""
    token, storage_url, life = EarlyLogin(remote, KeystoneLogin(remote))()

    assert token
    assert storage_url == cloud.storage_url
    assert life is not None
    assert life > 0
