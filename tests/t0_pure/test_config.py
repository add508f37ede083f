"""config: a remote by its name, wherever it is described; every mistake named, no secret shown."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftfs.config import (
    Remote,
    RemotePath,
    cache_directory,
    configured_remotes,
    find_remote,
    make_private,
    parse_remote_path,
    runtime_directory,
    state_directory,
)
from swiftfs.config.credentials import Credentials, choose_login
from swiftfs.errors import ConfigError, SwiftFSError, UsageError

CANARY = "canary-3e1f"
AUTH = "https://keystone.example.org:5000/v3"
COURSE = f"""
[chi_tacc]
type = swift
user_id = 0123456789abcdef
application_credential_id = abc123
application_credential_secret = {CANARY}
auth = {AUTH}
region = CHI@TACC
"""
Config = Callable[[str], dict[str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Write this text as an rclone.conf of its owner alone; returns the environment that names it."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "rclone.conf"
        path.write_text(text)
        path.chmod(0o600)
        return {"RCLONE_CONFIG": str(path)}

    return write


def section(*lines: str) -> str:
    """A section ``z`` of type swift."""
    return "\n".join(["[z]", "type = swift", *lines, ""])


def refused(name: str, environ: dict[str, str]) -> str:
    """The one line that says why there is no such remote."""
    with pytest.raises(ConfigError) as caught:
        find_remote(name, environ)
    text = str(caught.value)
    assert "\n" not in text
    assert CANARY not in text + repr(caught.value)
    return text


# NAME:container/prefix


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("chi_tacc:object-persist-netID", RemotePath("chi_tacc", "object-persist-netID", "")),
        ("r:", RemotePath("r", "", "")),
        ("r:/", RemotePath("r", "", "")),
        ("r:c/", RemotePath("r", "c", "")),
        ("r:/c//a//b/", RemotePath("r", "c", "a//b")),
        ("r:c/a:b", RemotePath("r", "c", "a:b")),
        ("my remote:c/ü é", RemotePath("my remote", "c", "ü é")),
        ("env:c/..", RemotePath("env", "c", "..")),
    ],
)
def test_remote_paths(text: str, path: RemotePath) -> None:
    """The name ends at the first colon, the container at the first slash, and slashes at the ends do not count."""
    assert path == parse_remote_path(text)


@pytest.mark.parametrize(
    "text", ["", "food11", "./food11", "/mnt/a:b", "a/b:c", ":swift,env_auth:c", "r,region=X:c", "r:c/\0", "r:\udcff"]
)
def test_malformed_remote_paths_are_usage_errors(text: str) -> None:
    """What names no remote and place is refused in one printable line that says what to write."""
    with pytest.raises(UsageError) as caught:
        parse_remote_path(text)
    assert str(caught.value).isprintable()


NAMES = st.text(alphabet=st.characters(exclude_categories=("C",), exclude_characters="/:,"), min_size=1, max_size=20)


@given(NAMES, NAMES, st.lists(NAMES, max_size=4))
def test_a_remote_path_reads_back_as_it_is_shown(remote: str, container: str, parts: list[str]) -> None:
    """Showing a path and reading it again gives the same path."""
    path = RemotePath(remote, container, "/".join(parts))
    assert path == parse_remote_path(str(path))


# rclone.conf


def test_the_file_of_the_course_is_read_as_it_is(config: Config) -> None:
    """Every value of a Chameleon section arrives, and the secret in no repr."""
    environ = config(COURSE)
    found = find_remote("chi_tacc", environ)
    assert (
        Remote(
            name="chi_tacc",
            source=f"{environ['RCLONE_CONFIG']} [chi_tacc]",
            auth_type="v3applicationcredential",
            auth_options={
                "auth_url": AUTH,
                "application_credential_id": "abc123",
                "application_credential_secret": CANARY,
            },
            region="CHI@TACC",
        )
        == found
    )
    assert CANARY not in repr(found) + str(found)


LOGINS = [
    pytest.param(
        ["user = u", "key = k", "tenant = p"],
        "v3password",
        {"username": "u", "user_domain_id": "default", "password": "k", "project_name": "p",
         "project_domain_id": "default"},
        id="password",
    ),
    pytest.param(
        ["user = u", "domain = D", "key = k", "tenant = p"],
        "v3password",
        {"username": "u", "user_domain_name": "D", "password": "k", "project_name": "p", "project_domain_name": "D"},
        id="the project's domain is the user's",
    ),
    pytest.param(
        ["user_id = i", "key = k", "tenant = p", "tenant_domain = T"],
        "v3password",
        {"user_id": "i", "password": "k", "project_name": "p", "project_domain_name": "T"},
        id="password by user_id",
    ),
    pytest.param(
        ["user_id = i", "key = k", "tenant = p", "tenant_id = 7"],
        "v3password",
        {"user_id": "i", "password": "k", "project_id": "7"},
        id="tenant_id goes before tenant",
    ),
    pytest.param(
        ["application_credential_name = n", "application_credential_secret = s", "user = u", "domain = D"],
        "v3applicationcredential",
        {"application_credential_name": "n", "application_credential_secret": "s", "username": "u",
         "user_domain_name": "D"},
        id="application credential by name",
    ),
    pytest.param(
        ["application_credential_name = n", "application_credential_id = i", "application_credential_secret = s",
         "user_id = u", "key = k"],
        "v3applicationcredential",
        {"application_credential_id": "i", "application_credential_secret": "s"},
        id="an application credential's id goes before all else",
    ),
    pytest.param(["auth_token = t", "tenant_id = 7"], "v3token", {"token": "t", "project_id": "7"}, id="token"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "auth_type", "options"), LOGINS)
def test_ways_to_log_in(config: Config, lines: list[str], auth_type: str, options: dict[str, str]) -> None:
    """Each set of keys is the login that rclone makes of it."""
    found = find_remote("z", config(section(f"auth = {AUTH}", *lines)))
    assert (auth_type, {"auth_url": AUTH} | options) == (found.auth_type, dict(found.auth_options))


def test_every_login_has_only_options_that_its_plugin_knows(config: Config) -> None:
    """keystoneauth1 takes what is made for it: each plugin loads."""
    from keystoneauth1 import loading

    for case in LOGINS:
        found = find_remote("z", config(section(f"auth = {AUTH}", *case.values[0])))
        known = {option.dest for option in loading.get_plugin_loader(found.auth_type).get_options()}
        assert set() == set(found.auth_options) - known


def test_a_token_stands_back_where_another_can_be_had(config: Config) -> None:
    """With a password beside token and storage URL, a token whose life is over ends nothing."""
    token = ("storage_url = https://s.example.org/v1/A", "auth_token = t")
    found = find_remote("z", config(section(f"auth = {AUTH}", *token, "user = u", "key = k", "tenant = p")))
    assert (found.auth_type, found.storage_url, found.auth_token) == ("v3password", "https://s.example.org/v1/A", None)


def test_a_storage_url_with_a_token_needs_no_login(config: Config) -> None:
    """Pre-authenticated use, without a Keystone."""
    found = find_remote("z", config(section("storage_url = https://s.example.org/v1/A/", f"auth_token = {CANARY}")))
    assert (
        found.auth_type,
        found.auth_options,
        found.storage_url,
        found.auth_token,
    ) == ("none", {}, "https://s.example.org/v1/A", CANARY)
    assert CANARY not in repr(found)


def test_the_remaining_keys(config: Config) -> None:
    """Region, endpoint type, storage policy and what concerns large objects."""
    lines = ("endpoint_type = internalURL", "storage_policy = pcs", "no_large_objects = T")
    more = ("use_segments_container = false", "chunk_size = 1.5Gi", "region = R")
    found = find_remote("z", config(section(f"auth = {AUTH}", "user = u", "key = k", *lines, *more)))
    assert (
        found.interface,
        found.storage_policy,
        found.no_large_objects,
        found.use_segments_container,
        found.chunk_size,
        found.region,
    ) == ("internal", "pcs", True, False, 3 << 29, "R")


@pytest.mark.parametrize(
    ("text", "size"), [("30k", 30 << 10), ("100", 100 << 10), ("10b", 10), ("5GiB", 5 << 30), ("512Mi", 512 << 20)]
)
def test_segment_sizes_are_written_as_rclone_has_them(config: Config, text: str, size: int) -> None:
    """Binary suffixes; a bare number counts KiB."""
    found = find_remote("z", config(section(f"auth = {AUTH}", "user = u", "key = k", f"chunk_size = {text}")))
    assert size == found.chunk_size


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://k:5000", "https://k:5000/v3"),
        ("https://k:5000/", "https://k:5000/v3"),
        ("https://k/identity/v3/", "https://k/identity/v3"),
        ("https://k:5000/v3/auth/tokens", "https://k:5000/v3"),
        ("http://127.0.0.1:5000/v3", "http://127.0.0.1:5000/v3"),
    ],
)
def test_auth_urls_are_completed(config: Config, url: str, used: str) -> None:
    """Plugins for v3 are given a URL that ends in /v3."""
    assert used == find_remote("z", config(section(f"auth = {url}", "user = u", "key = k"))).auth_options["auth_url"]


GOOD = (f"auth = {AUTH}", "user = u", f"key = {CANARY}")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((*GOOD, "auth_version = 1"), "'auth_version' = 1"),
        ((*GOOD, "auth_version = 2"), "only Keystone v3"),
        ((*GOOD, "encoding = Slash,InvalidUtf8,Dot"), "'encoding' = Slash,InvalidUtf8,Dot"),
        ((*GOOD, "endpoint_type = bogus"), "'endpoint_type' = bogus"),
        ((*GOOD, "chunk_size = 6G"), "'chunk_size' = 6G"),
        ((*GOOD, "chunk_size = x"), "'chunk_size' = x"),
        ((*GOOD, "chunk_size = 0"), "'chunk_size' = 0"),
        ((*GOOD, "chunk_size = 9e999"), "'chunk_size' = 9e999"),
        ((*GOOD, "no_large_objects = maybe"), "'no_large_objects' = maybe"),
        ((*GOOD, "env_auth = yes"), "'env_auth' = yes"),
        ((f"auth = {AUTH}", "user = u"), "lacks 'key'"),
        ((f"auth = {AUTH}",), "lacks credentials"),
        ((f"auth = {AUTH}", f"key = {CANARY}"), "lacks credentials"),
        (("user = u", f"key = {CANARY}"), "lacks 'auth'"),
        ((f"auth = {AUTH}", "application_credential_id = i"), "lacks 'application_credential_secret'"),
        ((f"auth = {AUTH}", f"application_credential_secret = {CANARY}"), "lacks 'application_credential_id'"),
        ((f"auth = {AUTH}", "application_credential_name = n", f"application_credential_secret = {CANARY}"), "owner"),
        (("auth = https://k/v2.0", "user = u", "key = k"), "speaks version 2"),
        (("auth = https://k/auth/v1.0", "user = u", "key = k"), "speaks version 1"),
        (("auth = k:5000/v3", "user = u", "key = k"), "'auth' = 'k:5000/v3'"),
        (("auth = https://k:x/v3", "user = u", "key = k"), "'auth' is not a URL"),
        ((f"auth = https://u:{CANARY}@k/v3", "user = u", "key = k"), "'auth' holds a user or a password"),
    ],
)
def test_a_wrong_key_is_refused_by_name(config: Config, lines: tuple[str, ...], said: str) -> None:
    """The error names the file, the section, the key and what to do, in one line without any secret."""
    environ = config(section(*lines))
    text = refused("z", environ)
    assert said in text
    assert text.startswith(f"{environ['RCLONE_CONFIG']} [z]")
    assert "; " in text  # the hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[z]\ntype = s3\n", "has type 's3'"),
        ("[z]\nuser = u\n", "has no type"),
        (f"# c\nRCLONE_ENCRYPT_V0:\n{CANARY}\n", "is encrypted"),
        (f"[z]\ntype = swift\n{CANARY}\n", "line 3"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused(config: Config, text: str, said: str) -> None:
    """Another type, an encrypted file, a broken line: each is told as what it is."""
    assert said in refused("z", config(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Binary files, directories and files that may not be read are configuration errors."""
    path = tmp_path / "rclone.conf"
    path.write_bytes(b"[z]\nkey = \xff\n")
    assert "not UTF-8" in refused("z", {"RCLONE_CONFIG": str(path)})
    assert "cannot read" in refused("z", {"RCLONE_CONFIG": str(tmp_path)})


def test_a_missing_remote_is_told_with_those_there_are(config: Config) -> None:
    """One line lists the remotes and the file that was looked at; remotes of other types are not among them."""
    environ = config(COURSE + "[box]\ntype = s3\n" + section(*GOOD))
    text = refused("chi_uc", environ)
    assert f"no remote 'chi_uc'; there are chi_tacc:, z:; looked at {environ['RCLONE_CONFIG']}" == text


def test_without_any_file_every_place_is_told(tmp_path: Path, here: Path) -> None:
    """Somebody who has the file elsewhere sees where it is looked for."""
    text = refused("z", {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "x")})
    for place in ("x/rclone/rclone.conf", ".config/rclone/rclone.conf", ".rclone.conf"):
        assert str(tmp_path / place) in text


def test_the_first_file_that_exists_is_the_configuration(tmp_path: Path) -> None:
    """$XDG_CONFIG_HOME goes before ~/.config, that before ~/.rclone.conf, and $RCLONE_CONFIG before all."""
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "x")}
    places = [tmp_path / ".rclone.conf", tmp_path / ".config/rclone/rclone.conf", tmp_path / "x/rclone/rclone.conf"]
    for number, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"[only{number}]\ntype = swift\n")
        assert [f"only{number}"] == configured_remotes(environ)
    assert configured_remotes({**environ, "RCLONE_CONFIG": str(places[0])}) == ["only0"]
    assert configured_remotes({**environ, "RCLONE_CONFIG": str(tmp_path / "absent")}) == []


def test_variables_override_the_file(config: Config) -> None:
    """RCLONE_CONFIG_<NAME>_<KEY> goes before RCLONE_SWIFT_<KEY>, that before the file."""
    environ = config(COURSE)
    environ |= {"RCLONE_SWIFT_REGION": "A", "RCLONE_SWIFT_STORAGE_POLICY": "p", "RCLONE_CONFIG_CHI_TACC_REGION": "B"}
    found = find_remote("chi_tacc", environ)
    assert (found.region, found.storage_policy) == ("B", "p")


def test_a_wrong_variable_is_refused_by_its_name(config: Config) -> None:
    """The error names the variable where the value came from one."""
    environ = config(COURSE) | {"RCLONE_CONFIG_CHI_TACC_AUTH_VERSION": "2"}
    assert "$RCLONE_CONFIG_CHI_TACC_AUTH_VERSION = 2" in refused("chi_tacc", environ)


def test_a_remote_may_be_made_of_variables_alone(here: Path) -> None:
    """As rclone has it; the names of rclone's own variables are no keys."""
    start = "RCLONE_CONFIG_MY_NEW_"
    environ = {f"{start}TYPE": "swift", f"{start}AUTH": AUTH, f"{start}USER": "u", f"{start}KEY": CANARY}
    environ |= {"HOME": str(here), "RCLONE_CONFIG_PASS": CANARY}
    found = find_remote("my_new", environ)
    assert (found.auth_type, found.source) == ("v3password", "$RCLONE_CONFIG_MY_NEW_*")
    assert configured_remotes(environ) == ["my_new"]


def test_configured_remotes_are_those_of_type_swift(config: Config) -> None:
    """In the file's order, with the type that a variable gives."""
    environ = config(COURSE + "[box]\ntype = s3\n[late]\ntype = local\n" + section())
    assert configured_remotes(environ) == ["chi_tacc", "z"]
    assert configured_remotes({**environ, "RCLONE_CONFIG_LATE_TYPE": "swift"}) == ["chi_tacc", "late", "z"]


def test_env_auth_fills_what_the_section_leaves_open(config: Config) -> None:
    """As rclone's ``env_auth``: the section goes before OS_*."""
    environ = config(section("env_auth = true", "user = mine"))
    environ |= {"OS_AUTH_URL": AUTH, "OS_USERNAME": "theirs", "OS_PASSWORD": CANARY, "OS_REGION_NAME": "R"}
    found = find_remote("z", environ)
    assert (found.auth_options["username"], found.auth_options["password"], found.region) == ("mine", CANARY, "R")


def test_an_unknown_key_is_warned_about_and_ignored(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    """A typing error does not go unseen; keys that change nothing here do."""
    environ = config(COURSE + f"regoin = {CANARY}\nno_chunk = true\nfetch_until_empty_page = true\n")
    with caplog.at_level(logging.WARNING):
        find_remote("chi_tacc", environ)
    assert [f"{environ['RCLONE_CONFIG']} [chi_tacc]: unknown key 'regoin' is ignored"] == caplog.messages


@pytest.mark.row("S2")
def test_a_file_that_others_may_read_is_warned_about_once(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    """The warning says how to mend it, and comes with secrets only."""
    environ = config(COURSE + section())
    path = Path(environ["RCLONE_CONFIG"])
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        with pytest.raises(ConfigError):
            find_remote("z", environ)
        assert caplog.messages == []
        find_remote("chi_tacc", environ)
        find_remote("chi_tacc", environ)
    assert [f"other users may read the secrets in {path}; chmod 600 {path}"] == caplog.messages


# OS_*


OPENRC = {"OS_AUTH_URL": "https://k:5000/v3", "OS_REGION_NAME": "R", "OS_CACERT": "/ca.pem", "OS_INTERFACE": "internal"}


@pytest.mark.parametrize(
    ("given", "auth_type", "options"),
    [
        (
            {"OS_APPLICATION_CREDENTIAL_ID": "i", "OS_APPLICATION_CREDENTIAL_SECRET": CANARY},
            "v3applicationcredential",
            {"application_credential_id": "i", "application_credential_secret": CANARY},
        ),
        (
            {"OS_USERNAME": "u", "OS_PASSWORD": CANARY, "OS_PROJECT_NAME": "p", "OS_USER_DOMAIN_ID": "d",
             "OS_PROJECT_DOMAIN_NAME": "D"},
            "v3password",
            {"username": "u", "user_domain_id": "d", "password": CANARY, "project_name": "p",
             "project_domain_name": "D"},
        ),
        (
            {"OS_USER_ID": "u", "OS_PASSWORD": CANARY, "OS_TENANT_ID": "7"},
            "v3password",
            {"user_id": "u", "password": CANARY, "project_id": "7"},
        ),
        ({"OS_TOKEN": CANARY, "OS_PROJECT_ID": "7"}, "v3token", {"token": CANARY, "project_id": "7"}),
        (
            {"OS_USER_ID": "u", "OS_PASSWORD": CANARY, "OS_TRUST_ID": "t", "OS_PROJECT_ID": "7"},
            "v3password",
            {"user_id": "u", "password": CANARY, "trust_id": "t"},
        ),
    ],
)  # fmt: skip
def test_env_takes_the_openrc_variables(
    here: Path, given: dict[str, str], auth_type: str, options: dict[str, str]
) -> None:
    """``env:`` is the remote that an RC file describes."""
    found = find_remote("env", {"HOME": str(here), **OPENRC, **given})
    assert (auth_type, {"auth_url": OPENRC["OS_AUTH_URL"]} | options) == (found.auth_type, dict(found.auth_options))
    assert (found.name, found.region, found.verify, found.interface) == ("env", "R", "/ca.pem", "internal")
    assert CANARY not in repr(found)


CHAMELEON = {
    "OS_AUTH_TYPE": "v3oidcpassword", "OS_AUTH_URL": "https://k:5000/v3", "OS_IDENTITY_API_VERSION": "3",
    "OS_INTERFACE": "public", "OS_PROJECT_ID": "7", "OS_USERNAME": "u", "OS_PROTOCOL": "openid",
    "OS_PASSWORD": CANARY, "OS_IDENTITY_PROVIDER": "chameleon", "OS_DISCOVERY_ENDPOINT": "https://a/openid",
    "OS_CLIENT_ID": "keystone", "OS_CLIENT_SECRET": "none", "OS_ACCESS_TOKEN_TYPE": "access_token",
    "OS_REGION_NAME": "R",
}  # fmt: skip
"""As the openrc file of Chameleon's dashboard sets them."""


def test_env_logs_in_as_the_openrc_file_wants_it(here: Path) -> None:
    """A user and a password of an identity provider are not taken for Keystone's; keystoneauth1 takes what is made."""
    from keystoneauth1 import loading

    found = find_remote("env", {"HOME": str(here), **CHAMELEON})
    assert (found.auth_type, dict(found.auth_options)) == (
        "v3oidcpassword",
        {"auth_url": "https://k:5000/v3", "project_id": "7", "username": "u", "password": CANARY, "protocol": "openid",
         "identity_provider": "chameleon", "discovery_endpoint": "https://a/openid", "client_id": "keystone",
         "client_secret": "none", "access_token_type": "access_token"},
    )  # fmt: skip
    assert (found.region, CANARY in repr(found)) == ("R", False)
    loading.get_plugin_loader(found.auth_type).load_from_options(**found.auth_options)
    for kind, chosen in (("password", "v3password"), ("v3applicationcredential", "v3applicationcredential")):
        mine = {"OS_APPLICATION_CREDENTIAL_ID": "i", "OS_APPLICATION_CREDENTIAL_SECRET": "s"} if "app" in kind else {}
        assert find_remote("env", {**CHAMELEON, "OS_AUTH_TYPE": kind, **mine}).auth_type == chosen


def test_env_takes_a_storage_url_with_a_token(here: Path) -> None:
    """Without any Keystone."""
    found = find_remote("env", {"OS_STORAGE_URL": "http://s/v1/A", "OS_AUTH_TOKEN": CANARY})
    assert (found.auth_type, found.storage_url, found.auth_token) == ("none", "http://s/v1/A", CANARY)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "the environment lacks $OS_AUTH_URL"),
        ({"OS_AUTH_URL": AUTH}, "$OS_APPLICATION_CREDENTIAL_ID"),
        ({"OS_AUTH_URL": AUTH, "OS_USERNAME": "u"}, "lacks $OS_PASSWORD"),
        ({"OS_AUTH_URL": AUTH, "OS_IDENTITY_API_VERSION": "2.0"}, "OS_IDENTITY_API_VERSION = 2.0"),
        ({**OPENRC, "OS_TOKEN": CANARY, "OS_INTERFACE": "x"}, "$OS_INTERFACE = x"),
        ({"OS_CLOUD": "c"}, "OS_CLOUD"),
        ({**CHAMELEON, "OS_PROTOCOL": ""}, "lacks $OS_PROTOCOL, which $OS_AUTH_TYPE = v3oidcpassword needs"),
        ({**CHAMELEON, "OS_AUTH_URL": ""}, "lacks $OS_AUTH_URL"),
        ({**CHAMELEON, "OS_AUTH_URL": "https://k/v2.0"}, "$OS_AUTH_URL = 'https://k/v2.0' speaks version 2"),
        ({**CHAMELEON, "OS_AUTH_TYPE": "v3oidcdeviceauthz"}, "is not supported; make an application credential"),
        ({**CHAMELEON, "OS_AUTH_TYPE": "v2password"}, "is not supported; make an application credential"),
        ({**CHAMELEON, "OS_AUTH_TYPE": "nonesuch"}, "$OS_AUTH_TYPE = nonesuch is no kind of login that can be used"),
    ],
)
def test_a_wrong_variable_of_an_rc_file_is_named(here: Path, environ: dict[str, str], said: str) -> None:
    """The error names the variable that is missing or wrong."""
    assert said in refused("env", environ)


def test_env_does_not_depend_on_rclones_file(config: Config) -> None:
    """A broken rclone.conf is no obstacle, and a section called env goes before the variables."""
    broken = config("[z\n") | OPENRC | {"OS_TOKEN": "t"}
    assert find_remote("env", broken).auth_type == "v3token"
    mine = config(f"[env]\ntype = swift\nauth = {AUTH}\nuser = u\nkey = k\n") | OPENRC
    assert find_remote("env", mine).auth_type == "v3password"


# clouds.yaml


CLOUDS = f"""
clouds:
  chi:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://k:5000
      application_credential_id: i
      application_credential_secret: {CANARY}
    region_name: CHI@UC
  pw:
    auth: {{auth_url: 'https://k:5000/v3', username: u, password: {CANARY}, project_name: p, user_domain_name: D}}
    interface: internal
    cacert: /ca.pem
  old: {{auth_type: v2password, auth: {{auth_url: 'https://k:5000/v2.0'}}}}
  odd: {{auth_type: nonesuch, auth: {{auth_url: 'https://k:5000/v3'}}}}
  bare: {{auth_type: v3password, auth: {{username: u}}}}
"""


@pytest.fixture
def clouds(here: Path) -> dict[str, str]:
    """A clouds.yaml in the working directory, as openstacksdk looks for it."""
    (here / "clouds.yaml").write_text(CLOUDS)
    return {"HOME": str(here)}


def test_a_cloud_of_clouds_yaml_is_a_remote(clouds: dict[str, str], here: Path) -> None:
    """openstacksdk's settings become ours; a plugin for v3 gets a URL that ends so."""
    found = find_remote("chi", clouds)
    options = {
        "auth_url": "https://k:5000/v3",
        "application_credential_id": "i",
        "application_credential_secret": CANARY,
    }
    assert ("v3applicationcredential", options, "CHI@UC") == (found.auth_type, dict(found.auth_options), found.region)
    assert f"{here}/clouds.yaml [chi]" == found.source
    assert CANARY not in repr(found)
    password = find_remote("pw", clouds)
    assert (password.auth_type, password.interface, password.verify) == ("password", "internal", "/ca.pem")


def test_os_cloud_makes_env_that_cloud(clouds: dict[str, str]) -> None:
    """OS_CLOUD names it, OS_REGION_NAME still counts."""
    found = find_remote("env", {**clouds, "OS_CLOUD": "chi", "OS_REGION_NAME": "CHI@TACC"})
    assert (found.name, found.auth_type, found.region) == ("env", "v3applicationcredential", "CHI@TACC")


def test_rclones_remotes_go_before_clouds(clouds: dict[str, str], config: Config) -> None:
    """A name that both know is rclone's."""
    environ = clouds | config(COURSE.replace("[chi_tacc]", "[chi]"))
    assert find_remote("chi", environ).region == "CHI@TACC"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("old", "auth_type 'v2password' is not supported"),
        ("odd", "unknown auth_type 'nonesuch'"),
        ("bare", "lacks 'auth_url'"),
        ("nope", "there are bare:, chi:, odd:, old:, pw:"),
    ],
)
def test_a_cloud_that_cannot_be_used_is_refused(clouds: dict[str, str], name: str, said: str) -> None:
    """The error names the file, the cloud and what is wrong."""
    assert said in refused(name, clouds)


def test_a_broken_clouds_yaml_is_not_quoted(here: Path) -> None:
    """A YAML error shows the lines around it: ours has the number of the line instead."""
    (here / "clouds.yaml").write_text(f"clouds:\n  x:\n    auth: {{password: {CANARY}\n")
    assert "clouds.yaml" in refused("x", {"HOME": str(here)})


def test_without_openstacksdk_a_clouds_yaml_says_what_to_install(
    clouds: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, and only where there is such a file."""
    import sys

    monkeypatch.setitem(sys.modules, "openstack.config", None)
    assert "pip install 'swiftfs[clouds]'" in refused("chi", clouds)
    Path("clouds.yaml").unlink()
    assert "pip install" not in refused("chi", clouds)


# What holds for any input


FIELDS = sorted(Credentials.__dataclass_fields__)
SECRETS = {"password", "application_credential_secret", "token"}


@given(st.sets(st.sampled_from(FIELDS)))
@pytest.mark.row("S1")
def test_no_secret_is_ever_shown(names: set[str]) -> None:
    """Whichever fields are given, neither they, nor the login, nor the error shows a secret."""
    values = {name: CANARY if name in SECRETS else AUTH if name.endswith("url") else "x" for name in names}
    credentials = Credentials(**values)
    shown = repr(credentials)
    try:
        shown += repr(choose_login(credentials, "source", str))
    except SwiftFSError as error:
        shown += str(error) + repr(error)
    assert CANARY not in shown


# Directories


def test_directories_follow_xdg_and_own_variables(tmp_path: Path) -> None:
    """XDG's places where they are absolute, ours where SWIFTFS_* name others."""
    environ = {f"XDG_{kind}": str(tmp_path / kind) for kind in ("CACHE_HOME", "STATE_HOME", "RUNTIME_DIR")}
    assert tmp_path / "CACHE_HOME" / "swiftfs" / "chunks" == cache_directory(environ)
    assert tmp_path / "STATE_HOME" / "swiftfs" == state_directory(environ)
    assert tmp_path / "RUNTIME_DIR" / "swiftfs" == runtime_directory(environ)
    own = {"SWIFTFS_CACHE_DIR": str(tmp_path / "c"), "SWIFTFS_STATE_DIR": str(tmp_path / "s")}
    assert (tmp_path / "c", tmp_path / "s") == (cache_directory(own), state_directory(own))
    assert cache_directory({}) == cache_directory({"XDG_CACHE_HOME": "relative"})


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_no_umask_opens_our_directories(tmp_path: Path, mask: int) -> None:
    """Also those on the way to the one that is asked for are for their owner alone."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "home" / "state")}
    before = os.umask(mask)
    try:
        make_private(state_directory(environ) / "index", environ)
    finally:
        os.umask(before)

    made = [tmp_path / "home" / "state" / name for name in ("swiftfs", "swiftfs/index")]
    assert [path.stat().st_mode & 0o7777 for path in made] == [0o700, 0o700]


def test_a_directory_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    """Each one that is ours, by name; what lies above them, and what a user has named, is the user's affair."""
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for top, name in ((state_directory(environ), "index"), (cache_directory(environ).parent, "chunks")):
        make_private(top / name, environ)
        top.chmod(0o707)
        with pytest.raises(ConfigError, match=f"anybody may write to the directory {top}"):
            make_private(top / name, environ)
    state_directory(environ).chmod(0o700)
    (tmp_path / "state").chmod(0o777)
    make_private(state_directory(environ) / "index", environ)


def test_a_group_loses_its_right_to_write(tmp_path: Path) -> None:
    """As umask 002 gave it to everybody's own group on many systems; that costs nobody an error."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    make_private(runtime_directory(environ), environ)
    runtime_directory(environ).chmod(0o775)
    make_private(runtime_directory(environ), environ)

    assert runtime_directory(environ).stat().st_mode & 0o7777 == 0o755


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it first could put an index or a socket of theirs there."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    make_private(runtime_directory(environ), environ)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {os.getuid()}"):
        make_private(runtime_directory(environ), environ)


def test_sockets_never_lie_in_a_directory_that_all_share(tmp_path: Path) -> None:
    """Without a runtime directory they go below the state directory, not to /tmp."""
    found = runtime_directory({"SWIFTFS_STATE_DIR": str(tmp_path / "s")})
    assert found in {tmp_path / "s" / "run", Path("/run/user") / str(os.getuid()) / "swiftfs"}
