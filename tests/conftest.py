"""What every test shares: a real cloud for the session, remotes on it, and a run that fails when a test is skipped."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from fakes.discipline import Discipline
from fakes.fault_proxy import FaultProxy
from fakes.programs import swift_environ, through
from fakes.rgw_dialect import PREFIX, Rgw
from hypothesis import settings

from swiftfs import localcloud
from swiftfs.config import Remote, find_remote
from swiftfs.localcloud import Cloud, CloudOptions

# CI's is Hypothesis' own profile of that name, smaller: it takes it by itself where CI is set, and draws the same
# examples each time. The long one is for hand runs; the state machines have their sizes in fakes.profiles.
_usual = settings.get_profile("default")
settings.register_profile("default", _usual, deadline=None)  # how long an example takes is the machine's affair
settings.register_profile(
    "ci", _usual, derandomize=True, database=None, print_blob=True, deadline=None, max_examples=60
)
settings.register_profile("long", _usual, deadline=None, print_blob=True, max_examples=5000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dialect", choices=["swift", "rgw"], default="swift", help="the manners of the store")
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test fails the run")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Discipline(), "discipline")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in its background so; programs under test would inherit it and outlive their Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", ())) if reporter else 0
    if skipped and session.config.getoption("--fail-on-skip") and exitstatus == 0:
        session.exitstatus = 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about another store's manners than those of this run."""
    spoken = config.getoption("--dialect")
    others = [item for item in items if (mark := item.get_closest_marker("dialect")) and spoken not in mark.args]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collection after each test need not go through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = len(terminalreporter.stats.get("skipped", ()))
    if skipped and config.getoption("--fail-on-skip"):
        terminalreporter.write_line(f"{skipped} tests did not run, and they should have", red=True)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Anything left open by a test warns when it is collected, and warnings are errors."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the configuration, cache or state of who runs it."""
    home = tmp_path_factory.mktemp("home")
    # The servers' own environment takes minutes to install: that one is shared.
    servers = home / ".cache" / "swiftfs" / "localcloud"
    servers.parent.mkdir(parents=True)
    servers.symlink_to(platformdirs.user_cache_path("swiftfs") / "localcloud")
    for name in list(os.environ):
        if name.startswith(("OS_", "RCLONE_", "SWIFTFS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """A real Keystone and Swift of this run's own; with ``--dialect rgw`` behind the manners of Ceph RGW."""
    directory = tmp_path_factory.mktemp("cloud")
    made = localcloud.up(CloudOptions(directory), print)
    try:
        if request.config.getoption("--dialect") == "rgw":
            with FaultProxy(made.storage_url, dialect=Rgw()) as proxy:
                yield spoken(made, proxy, tmp_path_factory.mktemp("rgw"))
        else:
            yield made
    finally:
        localcloud.down(directory, print)


def spoken(cloud: Cloud, proxy: FaultProxy, top: Path) -> Cloud:
    """The cloud as its users see it through a proxy with other manners."""
    url = proxy.url.replace("/v1/", f"{PREFIX}/v1/")
    config, clouds = Path(through(cloud, url, top)["RCLONE_CONFIG"]), top / "clouds.yaml"
    clouds.write_text(cloud.clouds_yaml.read_text())
    clouds.chmod(0o600)
    return dataclasses.replace(cloud, storage_url=url, rclone_conf=config, clouds_yaml=clouds)


@pytest.fixture
def remote(cloud: Cloud) -> Remote:
    """The remote ``local`` as rclone.conf of the cloud has it."""
    return find_remote("local", {"RCLONE_CONFIG": str(cloud.rclone_conf)})


@pytest.fixture
def local_environ(cloud: Cloud) -> dict[str, str]:
    """The environment of a user of the cloud, for programs that are run."""
    return {**os.environ, "RCLONE_CONFIG": str(cloud.rclone_conf), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def swiftclient_environ(cloud: Cloud) -> dict[str, str]:
    """The environment of a user of python-swiftclient."""
    return {**os.environ, **swift_environ(cloud)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
