"""The local cloud keeps its word: it comes up from any state, keeps its data, and leaves nothing behind."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner
from fakes.programs import until

from swiftfs import localcloud
from swiftfs.cli.localcloud import localcloud as command
from swiftfs.errors import ConfigError, Unavailable
from swiftfs.localcloud import Cloud, CloudOptions, access_log, bootstrap, configs, install, ports, processes, tokens
from swiftfs.localcloud.model import PORT_NAMES, Layout, Seed

# The first run on a machine installs Keystone and Swift.
pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1800)]

restarts = pytest.mark.leaves("child|descriptor socket")
"""For a test that starts servers anew of a cloud that belongs to the whole module."""

TOKEN_TTL = 5
SLACK = 15
"""Seconds beyond a token's life that a busy machine may take to refuse it."""
SETTLE = 0.3


def quiet(line: str) -> None:
    """Say nothing: the tests look at what happened, not at what was said."""


@dataclass(frozen=True, slots=True)
class User:
    """A client of a cloud with one token."""

    cloud: Cloud
    token: str

    def send(self, method: str, path: str = "", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body of a request to `path` below the account."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.ports["proxy"], timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            target = f"/v1/AUTH_{self.cloud.project_id}{path}"
            connection.request(method, target, body=body, headers={"X-Auth-Token": self.token, **named})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def login(cloud: Cloud) -> User:
    """Log in with the application credential."""
    body = bootstrap.credential_login(cloud.application_credential_id, cloud.application_credential_secret)
    return User(cloud, bootstrap.login(cloud.ports["keystone"], body))


def marked(directory: Path) -> list[int]:
    """Every process that carries the mark of the cloud in this directory, found without the code under test."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"SWIFTFS_LOCALCLOUD={directory}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def listening(cloud: Cloud) -> list[str]:
    """The servers of the cloud whose ports accept connections."""
    found = []
    for name, port in cloud.ports.items():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            found.append(name)
    return found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for the module's cloud; whatever runs in it ends with the tests."""
    path = tmp_path_factory.mktemp("localcloud") / "one"
    yield path
    localcloud.down(path, quiet, purge=True)
    assert marked(path) == []
    assert not path.exists()


@pytest.fixture(scope="module")
def first_two(directory: Path) -> tuple[Cloud, Cloud]:
    """What two `up`s at the same time return."""
    with ThreadPoolExecutor(2) as pool:
        one, two = (pool.submit(localcloud.up, CloudOptions(directory), quiet) for _ in range(2))
        return one.result(), two.result()


@pytest.fixture
def cloud(directory: Path, first_two: tuple[Cloud, Cloud]) -> Cloud:
    """The module's cloud, running."""
    return localcloud.up(CloudOptions(directory), quiet)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A second cloud with small limits."""
    path = tmp_path_factory.mktemp("localcloud") / "two"
    base = next(n for n in range(41_000, 60_000, 10) if all(ports.is_free(n + i) for i in range(len(PORT_NAMES))))
    options = CloudOptions(path, TOKEN_TTL, base, proxy_workers=1, listing_limit=2, max_file_size=10)
    yield localcloud.up(options, quiet)
    localcloud.down(path, quiet, purge=True)


def test_two_ups_at_once_make_one_cloud(first_two: tuple[Cloud, Cloud]) -> None:
    """Of two `up`s at the same time one brings the cloud up and the other finds it."""
    one, two = first_two

    assert one == two
    assert set(one.pids) == {server.server for server in localcloud.status(one.directory) if server.healthy}


def test_up_leaves_a_running_cloud_alone(cloud: Cloud) -> None:
    """`up` of a cloud that runs as wanted starts nothing."""
    assert cloud == localcloud.up(CloudOptions(cloud.directory), quiet)


def test_load_finds_what_up_returned(cloud: Cloud) -> None:
    """`load` describes the cloud as `up` does."""
    assert cloud == localcloud.load(cloud.directory)


def test_the_remote_is_what_an_rclone_user_writes(cloud: Cloud) -> None:
    """rclone.conf has exactly the six keys of an application credential and only its owner may read it."""
    parser = configparser.ConfigParser()
    parser.read(cloud.rclone_conf)

    assert parser.sections() == ["local"]
    assert {
        "type": "swift",
        "user_id": cloud.user_id,
        "application_credential_id": cloud.application_credential_id,
        "application_credential_secret": cloud.application_credential_secret,
        "auth": f"http://127.0.0.1:{cloud.ports['keystone']}/v3",
        "region": "local",
    } == dict(parser["local"])
    assert stat.S_IMODE(cloud.rclone_conf.stat().st_mode) == 0o600


def test_everything_is_for_its_owner_alone(cloud: Cloud) -> None:
    """No other user can enter the directory of a cloud, nor read anything in it but what Swift itself wrote."""
    by_swift = (cloud.directory / "srv/d1", cloud.directory / "recon")
    found = [path for path in (cloud.directory, *cloud.directory.rglob("*")) if path.lstat().st_mode & 0o077]
    ours = [path for path in found if not set(by_swift) & set(path.parents) and not path.name.endswith(".ring.gz")]

    assert stat.S_IMODE(cloud.directory.stat().st_mode) == 0o700
    assert ours == []


@pytest.mark.row("S1")
def test_secrets_show_nowhere(cloud: Cloud) -> None:
    """No argument of a process, no log and no repr holds a password or the secret of the application credential."""
    seed = json.loads(Layout(cloud.directory).seed.read_text())
    hidden = [cloud.application_credential_secret, *(text for key, text in seed.items() if key != "ports")]
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in marked(cloud.directory)]
    shown += [path.read_text() for path in (cloud.directory / "log").iterdir()]
    shown += [repr(cloud)]

    assert len(hidden) == 6
    assert [secret for secret in hidden if any(secret in text for text in shown)] == []


def test_the_password_works_too(cloud: Cloud) -> None:
    """The user can log in by password, as the cloud `local-password` in clouds.yaml does."""
    body = bootstrap.password_login(cloud.user_name, cloud.user_password, cloud.project_name)
    user = User(cloud, bootstrap.login(cloud.ports["keystone"], body))

    assert user.send("HEAD")[0] == 204
    assert cloud.user_password in cloud.clouds_yaml.read_text()


def test_the_proxy_log_has_one_line_for_each_request(cloud: Cloud) -> None:
    """Each request of a client is one access line, whatever Swift asks itself to answer it."""
    user = login(cloud)
    segments = [{"path": f"/log/seg%20{n}"} for n in range(3)]
    names = "\n".join(f"log/seg%2520{n}" for n in range(3)).encode()
    requests = [
        ("PUT", "/log", b""),
        *(("PUT", f"/log/seg%2520{n}", b"12345") for n in range(3)),
        ("PUT", "/log/big?multipart-manifest=put", json.dumps(segments).encode()),
        ("GET", "/log/big", b""),
        ("GET", "/log?format=json&prefix=a%20b", b""),
        ("GET", "/log/none", b""),
        ("DELETE", "/log/big", b""),
        ("POST", "?bulk-delete=1", names),
        ("DELETE", "/log", b""),
    ]
    start = access_log.offset(cloud.proxy_log)
    statuses = [user.send(method, path, body, Content_Type="text/plain")[0] for method, path, body in requests]
    lines = access_log.requests(cloud, start, settle=SETTLE)

    account = f"/v1/AUTH_{cloud.project_id}"
    sent = [(method, account + path.partition("?")[0]) for method, path, _ in requests]
    assert statuses == [201, 201, 201, 201, 201, 200, 200, 404, 204, 200, 204]
    assert sent == [(line.method, line.path) for line in lines]
    assert statuses == [line.status for line in lines]
    assert lines[5].sent == 15
    assert parse_qs(lines[6].query)["prefix"] == ["a b"]
    assert len(requests) == len({line.txid for line in lines})


def test_the_keystone_log_counts_logins(cloud: Cloud) -> None:
    """Each login is one `POST /v3/auth/tokens` in Keystone's access log."""
    start = access_log.offset(cloud.keystone_log)
    for _ in range(3):
        login(cloud)
    lines = access_log.keystone_requests(cloud, start, settle=SETTLE)

    assert sum((line.method, line.path, line.status) == ("POST", "/v3/auth/tokens", 201) for line in lines) == 3


def test_a_revoked_token_is_refused_and_a_new_one_is_good(cloud: Cloud) -> None:
    """After `revoke_tokens` every older token gets a 401, while the application credential makes good new ones."""
    user = login(cloud)
    before = user.send("HEAD")[0]
    tokens.revoke_tokens(cloud)

    assert before == 204
    assert user.send("HEAD")[0] == 401
    assert login(cloud).send("HEAD")[0] == 204


def test_clouds_run_side_by_side(cloud: Cloud, other: Cloud) -> None:
    """Two clouds share no port, no process and no user."""
    base = other.ports["keystone"]
    assert {name: base + n for n, name in enumerate(PORT_NAMES)} == other.ports
    assert set() == set(cloud.ports.values()) & set(other.ports.values())
    assert set() == set(cloud.pids.values()) & set(other.pids.values())
    assert User(other, login(cloud).token).send("HEAD")[0] == 401
    assert login(other).send("HEAD")[0] == 204


def test_a_token_expires(other: Cloud) -> None:
    """A token is good for `token_ttl` seconds and not longer, though the proxy has seen it before."""
    start = time.monotonic()
    user = login(other)
    deadline = start + TOKEN_TTL + SLACK
    statuses = [user.send("HEAD")[0]]
    while statuses[-1] == 204 and time.monotonic() < deadline:
        time.sleep(0.2)
        statuses.append(user.send("HEAD")[0])
    lived = time.monotonic() - start

    assert statuses[0] == 204
    assert statuses[-1] == 401
    # Keystone counts whole seconds, so a token may die up to one early; the rest is the time that requests took.
    assert TOKEN_TTL - 1 <= lived <= TOKEN_TTL + SLACK + 1
    assert login(other).send("HEAD")[0] == 204


def test_the_limits_are_swifts_own(other: Cloud) -> None:
    """`listing_limit` cuts listings into pages and `max_file_size` refuses larger objects."""
    user = login(other)
    created = [user.send("PUT", "/limits")[0], *(user.send("PUT", f"/limits/{n}", b"0123456789")[0] for n in range(3))]

    assert created == [201, 201, 201, 201]
    assert user.send("GET", "/limits")[1] == b"0\n1\n"
    assert user.send("GET", "/limits?marker=1")[1] == b"2\n"
    assert user.send("PUT", "/limits/large", b"0123456789+")[0] == 413


@restarts
def test_up_applies_other_options(other: Cloud) -> None:
    """`up` with other options restarts the servers that they concern, and only those."""
    options = CloudOptions(other.directory, TOKEN_TTL + 1, None, proxy_workers=1, listing_limit=2, max_file_size=10)
    changed = localcloud.up(options, quiet)

    assert [name for name in changed.pids if changed.pids[name] != other.pids[name]] == ["keystone"]
    assert options == changed.options
    assert other.ports == changed.ports


@restarts
def test_down_leaves_no_process_and_up_finds_the_data(cloud: Cloud) -> None:
    """After `down` nothing of the cloud runs or listens, and the next `up` serves what was stored before."""
    content = secrets.token_bytes(100_000)
    user = login(cloud)
    assert [
        user.send("PUT", "/kept")[0],
        user.send("PUT", "/kept/object", content, X_Object_Meta_A="b")[0],
    ] == [201, 201]

    assert localcloud.down(cloud.directory, quiet)
    assert marked(cloud.directory) == []
    assert listening(cloud) == []
    assert [server.server for server in localcloud.status(cloud.directory) if server.healthy or server.pid] == []
    assert not localcloud.down(cloud.directory, quiet)

    again = localcloud.up(CloudOptions(cloud.directory), quiet)
    assert (200, content) == login(again).send("GET", "/kept/object")
    assert cloud.ports == again.ports
    assert cloud.application_credential_id == again.application_credential_id


@restarts
def test_up_recovers_when_every_process_was_killed(cloud: Cloud) -> None:
    """`up` brings a cloud back whose processes were all killed without warning."""
    user = login(cloud)
    assert [user.send("PUT", "/killed")[0], user.send("PUT", "/killed/object", b"content")[0]] == [201, 201]
    for pid in marked(cloud.directory):
        os.kill(pid, signal.SIGKILL)
    until(lambda: marked(cloud.directory) == [])

    again = localcloud.up(CloudOptions(cloud.directory), quiet)
    assert login(again).send("GET", "/killed/object") == (200, b"content")
    assert all(server.healthy for server in localcloud.status(cloud.directory))


@restarts
def test_up_replaces_a_killed_server_and_its_orphans(cloud: Cloud) -> None:
    """When the parent of the proxy's workers was killed, `up` ends the workers and starts a proxy, and only that."""
    os.kill(cloud.pids["proxy"], signal.SIGKILL)
    until(lambda: cloud.pids["proxy"] not in marked(cloud.directory))
    again = localcloud.up(CloudOptions(cloud.directory), quiet)
    proxies = [
        pid for pid in marked(cloud.directory) if b"proxy-server.conf" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]

    assert [name for name in again.pids if again.pids[name] != cloud.pids[name]] == ["proxy"]
    assert len(proxies) == 3
    assert {again.pids["proxy"]} == {os.getsid(pid) for pid in proxies}


def test_a_first_up_that_was_cut_short_is_finished(cloud: Cloud) -> None:
    """A cloud whose description was never written gets its project, user and credential from the next `up`."""
    Layout(cloud.directory).cloud.unlink()
    cloud.rclone_conf.unlink()
    with pytest.raises(ConfigError, match="there is no local cloud in"):
        localcloud.load(cloud.directory)

    again = localcloud.up(CloudOptions(cloud.directory), quiet)
    assert cloud.project_id == again.project_id
    assert again.application_credential_id in cloud.rclone_conf.read_text()
    assert login(again).send("HEAD")[0] == 204


def test_a_server_that_ends_is_named_with_its_last_words(cloud: Cloud) -> None:
    """When a server does not come up, the error names it, its log and its last line, and nothing is left running."""
    ring = Layout(cloud.directory).etc / "swift/object.ring.gz"
    localcloud.down(cloud.directory, quiet)
    ring.write_bytes(b"no ring")
    log = Layout(cloud.directory).log("proxy")
    with pytest.raises(Unavailable, match=rf"proxy ended: .+ \(see {log}\)"):
        localcloud.up(CloudOptions(cloud.directory), quiet)

    assert marked(cloud.directory) == []
    ring.unlink()


def test_a_port_that_was_taken_meanwhile_is_named(cloud: Cloud) -> None:
    """When another program listens on a port of the cloud, `up` says which port of which server."""
    localcloud.down(cloud.directory, quiet)
    with socket.create_server(("127.0.0.1", cloud.ports["account"])):
        with pytest.raises(Unavailable, match=f"port {cloud.ports['account']} of account is in use"):
            localcloud.up(CloudOptions(cloud.directory), quiet)
        assert marked(cloud.directory) == []


@restarts
def test_up_waits_for_a_port_that_is_being_freed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed server's port may be in use for a moment more: `up` looks again before it gives up."""
    localcloud.down(cloud.directory, quiet)
    is_free = ports.is_free
    with socket.create_server(("127.0.0.1", cloud.ports["account"])) as dying:

        def dies_when_seen(port: int) -> bool:
            free = is_free(port)
            if not free:
                dying.close()
            return free

        monkeypatch.setattr(ports, "is_free", dies_when_seen)
        localcloud.up(CloudOptions(cloud.directory), quiet)

    assert all(server.healthy for server in localcloud.status(cloud.directory))


def test_a_stranger_with_a_recorded_id_lives(tmp_path: Path) -> None:
    """`stop` never ends a process that has the id of a recorded one but started at another time."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        recorded = processes.Process("proxy", stranger.pid, start_time=1, digest="")
        ended = processes.stop(tmp_path, [recorded])
        code = stranger.poll()
        stranger.communicate(b"\n")

    assert ended == 0
    assert code is None


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """`stop` kills what does not end by itself, children of children included."""
    deaf = "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
    script = deaf + "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    log = tmp_path / "log"
    started = processes.start(processes.Command("deaf", [sys.executable, "-c", script], {}, log, ""), tmp_path)
    deadline = time.monotonic() + 30
    while len(marked(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)

    assert processes.stop(tmp_path, [started]) == 2
    assert marked(tmp_path) == []


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    """Neither `up` nor `down --purge` touches a directory that holds something else."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds other things, such as thesis\.tex"):
        localcloud.up(CloudOptions(tmp_path), quiet)
    with pytest.raises(ConfigError, match="nothing is removed"):
        localcloud.down(tmp_path, quiet, purge=True)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_memcached_is_named_with_its_mend(tmp_path: Path) -> None:
    """Without memcached the error says which command installs it."""
    with pytest.raises(ConfigError, match="memcached is not installed; apt-get install memcached"):
        install.find_memcached(str(tmp_path))


def test_a_port_base_in_use_is_refused(tmp_path: Path) -> None:
    """A wanted port that is taken is named before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {taken}, wanted for keystone, is in use"):
            ports.choose_ports(taken)


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_ttl", 0), ("proxy_workers", 0), ("listing_limit", 0), ("max_file_size", 0), ("port_base", 80)],
)
def test_senseless_options_are_refused(tmp_path: Path, name: str, value: int) -> None:
    """An option that makes no sense is named."""
    with pytest.raises(ConfigError, match=name):
        CloudOptions(tmp_path, **{name: value})


@pytest.mark.parametrize("name", ["a$b", "a%b", "a#b", "a?b", "a\nb", "a;b", 'a"b'])
def test_a_path_that_configuration_files_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    """A directory whose name would change the meaning of a configuration file is refused."""
    with pytest.raises(ConfigError, match="cannot be named in a configuration file"):
        CloudOptions(tmp_path / name)


def test_the_proxys_log_is_read_back_field_by_field() -> None:
    """Access lines are told from other lines and decoded once; a line that is still being written is left out."""
    text = (
        "proxy-server: Started child 1 from parent 2\n"
        "access: GET /v1/a/c%2520d%3Fformat%3Djson%26limit%3D3 200 tx1 - 170 0.1425 rclone/v1%20x 1795390544.6\n"
        "access: PUT /v1/a/c 201 tx2 5 - 0.1 - 1795390544.7\n"
        "access: DELETE /v1/a/c 204 tx3 - - 0.1 - 17953"
    )

    assert [
        access_log.AccessLine("GET", "/v1/a/c%20d", "format=json&limit=3", 200, "tx1", 170, "rclone/v1 x"),
        access_log.AccessLine("PUT", "/v1/a/c", "", 201, "tx2", 0, ""),
    ] == access_log.parse_proxy(text)


def test_keystones_log_is_read_back_field_by_field() -> None:
    """Lines of Keystone's access log give method, path, status, request id, bytes and user agent."""
    text = (
        'POST /v3/auth/tokens 201 req-1 - 1905 0.118354 "keystoneauth1/5 requests/2"\nGET /v3 200 req-2 - 250 0.1 "-"\n'
    )

    assert [
        access_log.AccessLine("POST", "/v3/auth/tokens", "", 201, "req-1", 1905, "keystoneauth1/5 requests/2"),
        access_log.AccessLine("GET", "/v3", "", 200, "req-2", 250, ""),
    ] == access_log.parse_keystone(text)


def test_configuration_files_listen_on_loopback_alone(tmp_path: Path) -> None:
    """Every address in a configuration file is the loopback interface's."""
    seed = Seed(dict(zip(PORT_NAMES, range(4000, 4006), strict=True)), "p", "s", "a", "b", "c")
    texts = configs.render(configs.Settings(Layout(tmp_path), CloudOptions(tmp_path), "me", seed))
    binds = [line for text in texts.values() for line in text.splitlines() if line.startswith(("bind_ip", "bind ="))]

    assert [line for line in binds if line.startswith("bind_ip")] == ["bind_ip = 127.0.0.1"] * 4
    assert [line for line in binds if line.startswith("bind =")] == ['bind = "127.0.0.1:4000"']


def test_the_command_line_brings_a_cloud_up_and_tells_its_state(cloud: Cloud) -> None:
    """`up` prints the line that selects the remote; `status` exits with 0 while all is well and with 1 afterwards."""
    runner = CliRunner()
    arguments = ["--dir", str(cloud.directory)]

    up = runner.invoke(command, ["up", *arguments], catch_exceptions=False)
    assert (0, f"export RCLONE_CONFIG={cloud.rclone_conf}") == (up.exit_code, up.stdout.splitlines()[-1])
    well = runner.invoke(command, ["status", *arguments], catch_exceptions=False)
    assert (well.exit_code, well.stdout.count("healthy")) == (0, 8)
    os.kill(cloud.pids["memcached"], signal.SIGKILL)
    until(lambda: cloud.pids["memcached"] not in marked(cloud.directory))  # a signal takes its time on a busy machine
    ill = runner.invoke(command, ["status", *arguments], catch_exceptions=False)
    assert (ill.exit_code, ill.stdout.count("healthy")) == (1, 7)
    down = runner.invoke(command, ["down", *arguments], catch_exceptions=False)
    assert down.exit_code == 0
    assert marked(cloud.directory) == []


@pytest.mark.parametrize("words", [[], ["up"], ["down"], ["status"]])
def test_every_command_has_an_example(words: list[str]) -> None:
    """Each `--help` ends with an example that can be copied."""
    shown = CliRunner().invoke(command, [*words, "--help"])

    assert shown.exit_code == 0
    assert "Example:\n    swiftfs localcloud" in shown.stdout
