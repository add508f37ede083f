"""What Keystone must hold before Swift can serve: keys, tables, roles, the catalogue, and the demo's project and user.

Every step can be repeated after a crash: what exists is taken as it is.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from typing import Any

from swiftfs.errors import Unavailable
from swiftfs.localcloud import configs, loopback
from swiftfs.localcloud.configs import ADMIN_PROJECT, ADMIN_USER, DOMAIN_ID, SERVICE_PROJECT, SERVICE_USER
from swiftfs.localcloud.files import PRIVATE_FILE, make_private_directory, write_private
from swiftfs.localcloud.install import Environment, run, server_environ
from swiftfs.localcloud.model import PROJECT_NAME, REGION, USER_NAME, Identity, Layout, Seed

CREDENTIAL_NAME = "swiftfs"

# A Fernet key is 32 random bytes in URL-safe base64 (the Fernet specification). File 0 of a repository is the key that
# comes next, the file with the highest number the one in use.
FERNET_KEY_BYTES = 32
FERNET_KEYS = ("0", "1")

# Seconds for `keystone-manage bootstrap`: some three on an idle machine.
BOOTSTRAP_DEADLINE = 120.0


def prepare_database(layout: Layout, environment: Environment) -> None:
    """Make what Keystone needs on disk before it starts: its keys and its empty tables. Existing ones are kept."""
    for name in ("fernet-keys", "credential-keys"):
        repository = layout.keystone / name
        make_private_directory(repository)
        for number in FERNET_KEYS:
            if not (repository / number).exists():
                write_private(repository / number, base64.urlsafe_b64encode(os.urandom(FERNET_KEY_BYTES)).decode())
    if not layout.keystone_database.exists():
        partial = layout.keystone_database.with_suffix(".partial")
        shutil.copyfile(environment.schema, partial)
        partial.chmod(PRIVATE_FILE)
        partial.replace(layout.keystone_database)


def bootstrap(layout: Layout, environment: Environment, seed: Seed) -> None:
    """Make Keystone's administrator, its roles and its own entry in the catalogue."""
    url = configs.auth_url(seed)
    urls = [word for kind in ("public", "internal", "admin") for word in (f"--bootstrap-{kind}-url", url)]
    argv = environment.command(
        "keystone-manage", "--config-file", str(layout.etc / "keystone/keystone.conf"),
        "bootstrap", "--bootstrap-region-id", REGION, *urls,
    )  # fmt: skip
    # The password as a variable: everyone can read the arguments of a process.
    environ = server_environ(OS_BOOTSTRAP_PASSWORD=seed.admin_password, TMPDIR=str(layout.temporary))
    run(argv, layout.log("keystone-bootstrap"), BOOTSTRAP_DEADLINE, what="keystone-manage bootstrap", environ=environ)


def create_identity(seed: Seed) -> Identity:
    """Make the service user, the object store's catalogue entry, the demo's project and user, and, as that user, an
    application credential.

    Raises Unavailable when Keystone refuses a step.
    """
    port = seed.ports["keystone"]
    admin = KeystoneApi(port, password_login(ADMIN_USER, seed.admin_password, ADMIN_PROJECT))
    roles = {role["name"]: role["id"] for role in admin.get("/v3/roles")["roles"]}

    service_project = admin.find_or_create("project", {"name": SERVICE_PROJECT, "domain_id": DOMAIN_ID})
    service_user = admin.find_or_create(
        "user", {"name": SERVICE_USER, "domain_id": DOMAIN_ID}, {"password": seed.service_password}
    )
    admin.grant(service_project, service_user, roles["admin"])

    service = admin.find_or_create("service", {"name": "swift", "type": "object-store"})
    url = configs.storage_url(seed, "%(tenant_id)s")
    for interface in ("public", "internal", "admin"):
        endpoint = {"service_id": service, "interface": interface, "region_id": REGION}
        admin.find_or_create("endpoint", endpoint, {"url": url})

    project = admin.find_or_create("project", {"name": PROJECT_NAME, "domain_id": DOMAIN_ID})
    user = admin.find_or_create(
        "user",
        {"name": USER_NAME, "domain_id": DOMAIN_ID},
        {"password": seed.user_password, "default_project_id": project},
    )
    admin.grant(project, user, roles["member"])

    demo = KeystoneApi(port, password_login(USER_NAME, seed.user_password, PROJECT_NAME))
    credential_id, secret = demo.replace_application_credential(user, CREDENTIAL_NAME)
    return Identity(project, user, credential_id, secret)


def password_login(user: str, password: str, project: str) -> dict[str, Any]:
    """The body of a request for a token by name and password, for a project."""
    domain = {"id": DOMAIN_ID}
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": user, "domain": domain, "password": password}},
    }
    return {"auth": {"identity": identity, "scope": {"project": {"name": project, "domain": domain}}}}


def credential_login(credential_id: str, secret: str) -> dict[str, Any]:
    """The body of a request for a token by application credential."""
    identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": credential_id, "secret": secret},
    }
    return {"auth": {"identity": identity}}


def login(port: int, body: dict[str, Any]) -> str:
    """A token from the Keystone on this port. Raises Unavailable when it gives none."""
    answer = loopback.request(port, "POST", "/v3/auth/tokens", body=body)
    if answer.status != 201:
        raise Unavailable(f"Keystone on port {port} refuses a login with {answer.status}")
    return answer.headers["x-subject-token"]


class KeystoneApi:
    """Keystone's API v3 on one port for one user, by the body of a login.

    A cloud whose tokens live for seconds may take longer to set up than one of them lives: a refused token is renewed.
    """

    def __init__(self, port: int, user: dict[str, Any]) -> None:
        self._port = port
        self._user = user
        self._token = login(port, user)

    def get(self, path: str) -> Any:
        """The JSON at the path."""
        return self._call("GET", path, None)

    def find_or_create(self, kind: str, key: dict[str, str], more: dict[str, str] | None = None) -> str:
        """The id of the one thing of this kind with the attributes of `key`; made with those and `more` if missing."""
        query = "&".join(f"{name}={value}" for name, value in key.items())
        found = self.get(f"/v3/{kind}s?{query}")[f"{kind}s"]
        thing = found[0] if found else self._call("POST", f"/v3/{kind}s", {kind: {**key, **(more or {})}})[kind]
        return str(thing["id"])

    def grant(self, project: str, user: str, role: str) -> None:
        """Give the user the role in the project."""
        self._call("PUT", f"/v3/projects/{project}/users/{user}/roles/{role}", None)

    def set_password(self, user: str, password: str) -> None:
        """Give the user a password."""
        self._call("PATCH", f"/v3/users/{user}", {"user": {"password": password}})

    def replace_application_credential(self, user: str, name: str) -> tuple[str, str]:
        """Id and secret of a new application credential of the user whose token this is. Keystone tells a secret once:
        an older one of the same name is of no use and goes."""
        path = f"/v3/users/{user}/application_credentials"
        for old in self.get(f"{path}?name={name}")["application_credentials"]:
            self._call("DELETE", f"{path}/{old['id']}", None)
        secret = secrets.token_urlsafe(FERNET_KEY_BYTES)
        made = self._call("POST", path, {"application_credential": {"name": name, "secret": secret}})
        return str(made["application_credential"]["id"]), secret

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        answer = self._ask(method, path, body)
        if answer.status == 401:
            self._token = login(self._port, self._user)
            answer = self._ask(method, path, body)
        if not 200 <= answer.status < 300:
            raise Unavailable(f"Keystone answers {method} {path} with {answer.status}")
        return answer.json() if answer.body else None

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> loopback.Answer:
        return loopback.request(self._port, method, path, headers={"X-Auth-Token": self._token}, body=body)
