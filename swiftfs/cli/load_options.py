"""The options of `swiftfs load` that rclone has too, beyond the transfers themselves: compare, delete, limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from swiftfs.cli.filtering import filter_options, filters_from
from swiftfs.cli.parameters import BANDWIDTH, LIMIT

if TYPE_CHECKING:
    from swiftfs.load.options import LoadOptions
    from swiftfs.swift.rate import RateLimit

C = TypeVar("C", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-c", "--checksum", is_flag=True, help="Skip what has the same size and MD5. The default."),
    click.option("--size-only", is_flag=True, help="Skip what has the same size."),
    click.option("--ignore-existing", is_flag=True, help="Skip what is there, whatever it holds."),
    click.option("-u", "--update", is_flag=True, help="Of what differs, skip also what is newer in the container."),
    click.option("-I", "--ignore-times", is_flag=True, help="Skip nothing."),
    click.option("--immutable", is_flag=True, help="An object that differs is an error and stays as it is."),
    click.option("--delete-extra", is_flag=True, help="At the end, delete the objects that the source does not have."),
    click.option("--clean", is_flag=True, help="First delete all objects that are there."),
    click.option(
        "--max-delete",
        type=click.IntRange(-1),
        metavar="N",
        help="Do nothing at all if more objects would be deleted; -1: any number may.",
    ),
    click.option(
        "--max-transfer",
        type=LIMIT,
        metavar="SIZE",
        help="End before the object that would go past so many bytes, KiB without a unit; exit code 8.",
    ),
    click.option(
        "--bwlimit", type=BANDWIDTH, metavar="RATE", help="Bytes a second at the most, KiB without a unit: 10M."
    ),
    click.option(
        "--tpslimit", type=click.FloatRange(0), metavar="N", help="Requests a second at the most; 0: any number."
    ),
    click.option("--manifest", is_flag=True, help="Write the dataset's manifest; print its digest, the version."),
)


def load_options(command: C) -> C:
    """Add the options to a command; their values are for :func:`options_from` and :func:`rate_from`."""
    command = filter_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def options_from(given: Mapping[str, Any]) -> LoadOptions:
    """What the arguments ask for. Raises UsageError where they contradict each other."""
    from swiftfs.errors import UsageError
    from swiftfs.load.options import LoadOptions
    from swiftfs.load.plan import Compare

    modes = [mode for mode in Compare if given[mode.value.replace("-", "_")]]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0].value} and --{modes[1].value} exclude each other")
    compare = modes[0] if modes else Compare.CONTENT
    if given["update"] and compare in {Compare.NAME, Compare.NOTHING}:
        raise UsageError(f"--update and --{compare.value} exclude each other")
    if given["immutable"] and compare is Compare.NOTHING:
        raise UsageError("--immutable and --ignore-times exclude each other")
    if given["clean"] and given["delete_extra"]:
        raise UsageError("--clean and --delete-extra exclude each other")
    if given["manifest"] and (given["update"] or compare in {Compare.SIZE, Compare.NAME}):
        mode = "update" if given["update"] else compare.value
        raise UsageError(f"--manifest needs every file compared by content, which --{mode} does not do")
    return LoadOptions(
        compare=compare,
        update=given["update"],
        immutable=given["immutable"],
        filters=filters_from(given),
        delete_extra=given["delete_extra"],
        clean=given["clean"],
        max_delete=None if given["max_delete"] == -1 else given["max_delete"],
        max_transfer=given["max_transfer"],
        manifest=given["manifest"],
    )


def rate_from(given: Mapping[str, Any]) -> RateLimit | None:
    """The limits of bytes and requests a second; None when there are none."""
    if not given["bwlimit"] and not given["tpslimit"]:
        return None
    from swiftfs.swift.rate import RateLimit

    return RateLimit(given["bwlimit"] or None, given["tpslimit"] or None)
