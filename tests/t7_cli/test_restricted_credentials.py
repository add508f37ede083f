"""What somebody can do who has got hold of the credential that swiftfs works with."""

from __future__ import annotations

import json

import pytest

from swiftfs.config import Remote
from swiftfs.localcloud import Cloud, loopback
from swiftfs.localcloud.bootstrap import credential_login, login

pytestmark = pytest.mark.cloud


@pytest.mark.row("S10")
def test_the_credential_makes_no_other_credential(cloud: Cloud, remote: Remote) -> None:
    """With the application credential of the tests, restricted as Keystone makes it, no second one can be made."""
    port = int(cloud.auth_url.split(":")[2].split("/")[0])
    options = remote.auth_options
    token = login(
        port, credential_login(options["application_credential_id"], options["application_credential_secret"])
    )
    headers = {"X-Auth-Token": token}
    me = loopback.request(port, "GET", "/v3/auth/tokens", headers={**headers, "X-Subject-Token": token}).json()
    path = f"/v3/users/{me['token']['user']['id']}/application_credentials"

    made = loopback.request(port, "POST", path, headers=headers, body={"application_credential": {"name": "second"}})

    assert made.status == 403, json.dumps(made.json())
