"""load.apply: rules carried out on a real directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftfs.errors import ContainerNotFound, LocalFileError, UsageError
from swiftfs.load.apply import load_rules, transform_directory
from swiftfs.load.transform import FOOD11, Rules, make_rule


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def food(tmp_path: Path) -> Path:
    """A small Food-11 as it is shipped."""
    for split in ("training", "validation", "evaluation"):
        (tmp_path / split).mkdir()
        for cls in range(11):
            (tmp_path / split / f"{cls}_7.jpg").write_bytes(f"{split}{cls}".encode())
    (tmp_path / "README").write_bytes(b"x")
    return tmp_path


def test_food11_ends_in_class_directories_and_stays_there(food: Path) -> None:
    """Every image is in the directory of its class with its own bytes, and a second run moves nothing."""
    result = transform_directory(str(food), FOOD11)
    assert (result.files, len(result.moves)) == (34, 33)
    assert {"README": b"x"} | {
        f"{split}/class_{cls:02d}/{cls}_7.jpg": f"{split}{cls}".encode()
        for split in ("training", "validation", "evaluation")
        for cls in range(11)
    } == tree(food)
    assert transform_directory(str(food), FOOD11).moves == ()


def test_a_dry_run_moves_nothing(food: Path) -> None:
    """A dry run names the moves and makes none."""
    before = tree(food)
    assert len(transform_directory(str(food), FOOD11, dry_run=True).moves) == 33
    assert before == tree(food)


def test_a_run_that_was_killed_is_continued(food: Path) -> None:
    """With some files moved already, the next run moves the others only."""
    (food / "training" / "class_03").mkdir()
    (food / "training" / "3_7.jpg").rename(food / "training" / "class_03" / "3_7.jpg")
    assert len(transform_directory(str(food), FOOD11).moves) == 32


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "directory"])
def test_nothing_is_overwritten_and_nothing_moved_before_that_is_known(food: Path, kind: str) -> None:
    """Whatever is in a target's place already, the run is an error and not one file has moved."""
    place = food / "evaluation" / "class_10" / "10_7.jpg"
    place.parent.mkdir()
    if kind == "file":
        place.write_bytes(b"mine")
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(food / ("README" if kind == "link" else "none"))
    before = tree(food)
    with pytest.raises(UsageError, match=r"10_7\.jpg"):
        transform_directory(str(food), FOOD11)
    assert before == tree(food)


def test_a_link_does_not_lead_out(food: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A class directory that is a link elsewhere is refused, and nothing arrives there."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (food / "training" / "class_03").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="class_03 is no directory"):
        transform_directory(str(food), FOOD11)
    assert tree(elsewhere) == {}


def test_a_clash_moves_nothing(tmp_path: Path) -> None:
    """Two files that would become one leave the directory as it was."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="would both become c/x"):
        transform_directory(str(tmp_path), Rules((make_rule("[ab]/(?P<name>.+)", "c/{name}"),)))
    assert before == tree(tmp_path)


def test_rules_come_from_a_preset_or_a_file(tmp_path: Path) -> None:
    """A preset's name gives the preset, a path gives the file's rules, and other names list the presets."""
    (tmp_path / "r.toml").write_text('[[rule]]\npattern = "(?P<n>a)"\nreplacement = "b/{n}"\n')
    assert FOOD11 is load_rules("food11")
    assert load_rules(str(tmp_path / "r.toml")).target("a") == "b/a"
    with pytest.raises(UsageError, match="food11, imagefolder-by-prefix"):
        load_rules("food12")


@pytest.mark.parametrize("text", ["[[rule", "rule = 3", "\x00"])
def test_a_file_that_is_no_rules_is_one_error(tmp_path: Path, text: str) -> None:
    """A file that is no TOML, or holds no rules, is a usage error that names it."""
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError, match=r"r\.toml"):
        load_rules(str(tmp_path / "r.toml"))


def test_rules_that_cannot_be_read_are_a_local_error(tmp_path: Path) -> None:
    """A directory given as the rules file is an error of this machine."""
    with pytest.raises(LocalFileError, match="cannot read the rules"):
        load_rules(str(tmp_path))


def test_a_missing_directory_is_exit_code_3(tmp_path: Path) -> None:
    """A directory that is not there is "directory not found"."""
    with pytest.raises(ContainerNotFound, match="directory not found"):
        transform_directory(str(tmp_path / "none"), FOOD11)
