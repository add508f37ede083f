"""Apply transform rules to the names of objects on their way: the same rules that move files on disk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from swiftfs.load.plan import OWN_PLACE, refusal
from swiftfs.load.source import Refused
from swiftfs.load.transform import Move, Rules, check_targets
from swiftfs.model import in_dataset

if TYPE_CHECKING:
    from swiftfs.load.source import SourceObject


def renamed(
    objects: Sequence[SourceObject], rules: Rules, prefix: str
) -> tuple[list[SourceObject], list[Refused], tuple[Move, ...]]:
    """The objects under the names that the rules give them below ``prefix``, those whose new name is none, and where
    each one goes without the prefix.

    Raises UsageError as ``plan_moves`` does: when two would have one name, or one would lie below another.
    """
    pairs = [(rules.target(name), name) for name in (one.name[len(prefix) :] for one in objects)]
    check_targets(pairs)
    loaded: list[SourceObject] = []
    refused: list[Refused] = []
    for one, (target, name) in zip(objects, pairs, strict=True):
        if target == name:
            loaded.append(one)
        elif reason := refusal(prefix + target, one.size) or (
            None if in_dataset(prefix + target, prefix) else OWN_PLACE
        ):
            refused.append(Refused(one.name, f"would become {target}: {reason}"))
        else:
            # Every source's objects are dataclasses that keep elsewhere where their bytes are.
            loaded.append(cast("SourceObject", replace(cast("Any", one), name=prefix + target)))
    return loaded, refused, tuple(Move(name, target) for target, name in pairs)
