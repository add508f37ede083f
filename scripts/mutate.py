"""Changes the code one thing at a time, in a copy, and shows which changes no test notices.

    python scripts/mutate.py                  all modules below
    python scripts/mutate.py swiftfs/x.py     one of them

A change is: another comparison, another operator, a number one higher, a condition negated, True for False, a statement
left out, a return without its value. The tests are those that the module is named with here. Each mutant gets a fresh
process that is forked from one which has the test libraries loaded already, and a time limit: a loop that no longer
ends counts as noticed. ``tests/rows.toml`` records the counts and explains the survivors that are equivalent.
"""

from __future__ import annotations

import ast
import copy
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PURE = "tests/t0_pure"
TARGETS = {
    "swiftfs/swift/retry.py": ([f"{PURE}/test_retry.py"], None),
    "swiftfs/swift/pace.py": ([f"{PURE}/test_pace.py"], None),
    "swiftfs/swift/wire.py": (
        [f"{PURE}/test_wire.py"],
        {"range_header", "parse_content_range", "check_range", "bare_etag", "pin_headers"},
    ),
    "swiftfs/cache/names.py": ([f"{PURE}/test_cache_names.py"], None),
    "swiftfs/cache/budget.py": ([f"{PURE}/test_budget.py"], None),
    "swiftfs/model.py": ([f"{PURE}/test_model.py"], {"ByteRange"}),
}
"""The tests of each module, and the names in it that are changed (None: all)."""
SECONDS = 180
"""For the tests of one mutant; unchanged they take three, on a busy machine thirty."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module: where, what, and its whole text."""

    line: int
    what: str
    text: str


def mutants(source: str, names: set[str] | None) -> Iterator[Mutant]:
    """Every mutant of ``source`` within the top-level ``names`` (None: everywhere)."""
    tree = ast.parse(source)
    count = sum(1 for _ in _places(tree, names))
    for number in range(count):
        changed = copy.deepcopy(tree)
        line, what, change = next(place for n, place in enumerate(_places(changed, names)) if n == number)
        change()
        yield Mutant(line, what, ast.unparse(ast.fix_missing_locations(changed)))


def _places(tree: ast.Module, names: set[str] | None) -> Iterator[tuple[int, str, Callable[[], None]]]:
    for top in tree.body:
        if names is not None and getattr(top, "name", None) not in names:
            continue
        if isinstance(top, ast.Import | ast.ImportFrom) or _is_typing(top):
            continue
        docstrings = {id(node.body[0]) for node in ast.walk(top) if _has_docstring(node)}
        skipped = {id(part) for node in ast.walk(top) for part in _annotations(node)}
        yield from _within(top, docstrings, skipped)


def _within(node: ast.AST, docstrings: set[int], skipped: set[int]) -> Iterator[tuple[int, str, Callable[[], None]]]:
    if id(node) in docstrings or id(node) in skipped:
        return
    yield from _changes(node)
    for child in ast.iter_child_nodes(node):
        yield from _within(child, docstrings, skipped)


def _changes(node: ast.AST) -> Iterator[tuple[int, str, Callable[[], None]]]:
    line = getattr(node, "lineno", 0)
    match node:
        case ast.Compare(ops=[operation, *_]) if type(operation) in COMPARISONS:
            for number, one in enumerate(node.ops):
                if other := COMPARISONS.get(type(one)):
                    yield line, f"{ast.unparse(node)}: {other.__name__}", _setter(node.ops, number, other())
        case ast.BinOp(op=operation) if other_operator := OPERATORS.get(type(operation)):
            yield line, f"{ast.unparse(node)}: {other_operator.__name__}", _attribute(node, "op", other_operator())
        case ast.BoolOp():
            turned = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield line, f"{ast.unparse(node)}: {type(turned).__name__}", _attribute(node, "op", turned)
        case ast.UnaryOp(op=ast.USub()):
            yield line, f"{ast.unparse(node)}: without its sign", _attribute(node, "op", ast.UAdd())
        case ast.Constant(value=bool()):
            yield line, f"not {node.value}", _attribute(node, "value", not node.value)
        case ast.Constant(value=int() | float()):
            yield line, f"{node.value} + 1", _attribute(node, "value", node.value + 1)
        case ast.If() | ast.While() | ast.IfExp():
            negated = ast.UnaryOp(ast.Not(), node.test)
            yield line, f"not ({ast.unparse(node.test)})", _attribute(node, "test", negated)
        case ast.Return(value=ast.expr() as given) if ast.unparse(given) != "None":
            yield line, f"{ast.unparse(node)}: returns None", _attribute(node, "value", ast.Constant(None))
        case ast.Raise():
            yield line, "raise left out", _emptied(node)
        case ast.AugAssign():
            yield line, f"{ast.unparse(node)}: left out", _attribute(node, "value", ast.Constant(0))
            if other_operator := OPERATORS.get(type(node.op)):
                yield line, f"{ast.unparse(node)}: {other_operator.__name__}", _attribute(node, "op", other_operator())
        case ast.Expr(value=ast.Call()):
            yield line, f"{ast.unparse(node)}: left out", _attribute(node, "value", ast.Constant(None))


def _setter(items: list[ast.cmpop], number: int, value: ast.cmpop) -> Callable[[], None]:
    return lambda: items.__setitem__(number, value)


def _attribute(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, name, value)


def _emptied(node: ast.Raise) -> Callable[[], None]:
    def change() -> None:
        node.__class__ = ast.Pass  # type: ignore[assignment]

    return change


def _is_typing(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _has_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    )


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """What says types or is shown to people: changing it changes nothing that runs."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.decorator_list
            if node.returns is not None:
                yield node.returns
        case ast.ClassDef():
            yield from node.decorator_list
        case ast.arg(annotation=ast.expr()) | ast.AnnAssign():
            yield node.annotation
        case ast.JoinedStr():
            yield node


def survives(copy_of: Path, path: str, mutant: Mutant, tests: list[str]) -> bool:
    """Whether the tests pass with the mutant in the place of its module."""
    (copy_of / path).write_text(mutant.text)
    pid = os.fork()
    if pid == 0:
        _run(copy_of, tests)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _run(copy_of: Path, tests: list[str]) -> None:
    os.setsid()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.chdir(copy_of)
    import pytest

    code = 1
    try:
        options = [
            "-x",
            "--assert=plain",
            "--noconftest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(copy_of),
            "-c",
            str(copy_of / "pyproject.toml"),
        ]
        code = int(pytest.main([*options, *(str(copy_of / test) for test in tests)]))
    finally:
        os._exit(code)


def main() -> None:
    """Print every mutant that survives, and the counts of each module."""
    wanted = sys.argv[1:] or list(TARGETS)
    with tempfile.TemporaryDirectory(prefix="swiftfs-mutants-") as place:
        copy_of = Path(place)
        for name in ("swiftfs", "tests"):
            shutil.copytree(TOP / name, copy_of / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        shutil.copy(TOP / "pyproject.toml", copy_of)
        os.environ.update(CI="true", PYTHONDONTWRITEBYTECODE="1")
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(copy_of), str(copy_of / "tests")]
        import hypothesis  # noqa: F401 (loaded once, before the forks)
        import pytest_asyncio  # noqa: F401
        import pytest_trio  # noqa: F401

        for path in wanted:
            tests, names = TARGETS[path]
            source = (TOP / path).read_text()
            if not survives(copy_of, path, Mutant(0, "unchanged", source), tests):
                sys.exit(f"the tests of {path} do not pass as it is")
            found = list(mutants(source, names))
            left = 0
            for mutant in found:
                if survives(copy_of, path, mutant, tests):
                    left += 1
                    print(f"  line {mutant.line}: {mutant.what}", flush=True)
            (copy_of / path).write_text(source)
            print(f"{path}: {len(found)} mutants, {left} survive", flush=True)


if __name__ == "__main__":
    main()
