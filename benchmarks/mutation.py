"""How many faults put into a module on purpose do its tests find? A sample of them, one forked pytest for each.

A mutant has one comparison, condition, constant, sum or statement changed; it exists in memory only, no file is written.
"Survived" means: survived these test files, not the whole suite. It forks, so it runs on Linux and macOS.

Run: python benchmarks/mutation.py [MODULE ...] [-n 60] [--seed 0] [--limit 60], modules by the names in MODULES.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.util
import os
import random
import select
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "intervals": ("easydl/evaluation/intervals.py", "tests/evaluation/test_intervals.py"),
    "splits": ("easydl/studies/splits.py", "tests/studies/test_splits.py", "tests/studies/test_load_and_split.py"),
    "cohort": ("easydl/studies/cohort.py", "tests/studies/test_splits.py", "tests/studies/test_heads_and_covariates.py"),
    "deidentification": (
        "easydl/clinical/deidentification.py", "tests/clinical/test_deidentify.py", "tests/clinical/test_quarantine.py",
        "tests/clinical/test_carried_pixels.py",
    ),
    "geometry": ("easydl/images/geometry.py", "tests/images/test_geometry.py", "tests/studies/test_masks.py"),
    "volumes": (
        "easydl/images/volumes.py", "tests/images/test_volumes.py", "tests/images/test_dicom_geometry.py",
        "tests/bad_inputs/test_bad_inputs.py",
    ),
}  # fmt: skip
"""Each module with the test files that should find its faults."""
IN_THIS_PROCESS = "not test_the_command_says_the_same"
"""That test starts a separate process, which would import the module as it is on disk."""
LIBRARIES = ("numpy", "pandas", "scipy.stats", "sklearn.metrics", "statsmodels.api", "pydicom", "highdicom", "pytest")
"""Imported once, before the forks. TensorFlow is not: its threads do not survive one."""
OTHER_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}  # fmt: skip
OTHER_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.MatMult: ast.Mult,
}  # fmt: skip
NOT_MUTATED = {"annotation", "returns", "decorator_list", "bases", "keywords", "type_params", "format_spec"}
"""Fields of definitions and formatted text; the keywords of a call are."""

Place = tuple[tuple[str, int | None], ...]


class Mutant(NamedTuple):
    """Where a node is in the tree, and what takes its place."""

    function: str
    line: int
    place: Place
    old: ast.AST
    new: ast.AST

    def __str__(self) -> str:
        old, new = (" ".join(ast.unparse(node).split())[:70] for node in (self.old, self.new))
        return f"{self.line} {self.function}: `{old}` -> `{new}`"


def instead(node: ast.AST, *, is_test: bool) -> Iterator[ast.AST]:
    """Everything that may take the place of one node."""

    def changed(**fields: Any) -> ast.AST:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.Compare(ops=ops):
            for k, op in enumerate(ops):
                for other in OTHER_COMPARISONS[type(op)]:
                    yield changed(ops=[*ops[:k], other(), *ops[k + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield changed(op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for k in range(len(values)):
                rest = [*values[:k], *values[k + 1 :]]
                yield rest[0] if len(rest) == 1 else changed(values=rest)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OTHER_ARITHMETIC:
            yield changed(op=OTHER_ARITHMETIC[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
    if is_test and not isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]
    is_lone_if = isinstance(node, ast.If) and not node.orelse
    if is_lone_if or isinstance(node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign | ast.Expr):
        yield ast.Pass()


def mutants(tree: ast.Module) -> list[Mutant]:
    """All mutants of a module; docstrings, imports, annotations and the text of messages stay as they are."""
    found: list[Mutant] = []

    def visit(node: ast.AST, place: Place, function: str, line: int, is_test: bool) -> None:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            return
        line = getattr(node, "lineno", line)
        found.extend(Mutant(function, line, place, node, new) for new in instead(node, is_test=is_test))
        if isinstance(node, ast.Raise | ast.FormattedValue):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".removeprefix("<module>.")
        for field, value in ast.iter_fields(node):
            if field in NOT_MUTATED and not isinstance(node, ast.Call):
                continue
            for k, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST):
                    step = (field, k if isinstance(value, list) else None)
                    visit(child, (*place, step), function, line, field == "test")

    visit(tree, (), "<module>", 0, False)
    return found


def sample(found: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many mutants, spread evenly over the functions."""
    rng = random.Random(seed)
    by_function: dict[str, list[Mutant]] = {}
    for mutant in rng.sample(found, len(found)):
        by_function.setdefault(mutant.function, []).append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < min(count, len(found)):
        chosen += [left.pop() for left in by_function.values() if left][: count - len(chosen)]
    return sorted(chosen, key=lambda mutant: mutant.line)


def replaced(node: Any, place: Place, new: ast.AST) -> Any:
    """A copy of the tree with another node at this place; it shares everything else."""
    if not place:
        return ast.copy_location(new, node)
    (field, k), copied = place[0], copy.copy(node)
    value = getattr(node, field)
    if k is None:
        setattr(copied, field, replaced(value, place[1:], new))
    else:
        setattr(copied, field, [*value[:k], replaced(value[k], place[1:], new), *value[k + 1 :]])
    return copied


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path = path
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.code = compile(ast.fix_missing_locations(tree), str(path), "exec")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(self.path)
        exec(self.code, module.__dict__)


def outcome(tests: list[str], limit_s: float, finder: Mutated | None) -> str:
    """What becomes of the tests in a process that imports the mutant: survived, killed, timeout or died.

    A process may die because the machine has no memory left, which says nothing about the tests.
    """
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        run_tests(tests, finder, send)
    os.close(send)
    in_time = bool(select.select([receive], [], [], limit_s)[0])
    code = os.read(receive, 1) if in_time else b""
    os.close(receive)
    if not in_time:
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not code:
        return "died" if in_time else "timeout"
    return "killed" if code[0] else "survived"


def run_tests(tests: list[str], finder: Mutated | None, send: int) -> None:
    """Write the exit status of pytest and end the process."""
    os.setsid()  # so that processes which the tests start can be ended with it
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    if finder is not None:
        sys.meta_path.insert(0, finder)
    code = 1
    try:
        import pytest

        with tempfile.TemporaryDirectory() as folder:
            options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={folder}/tests", "-k", IN_THIS_PROCESS]
            code = int(pytest.main([*tests, *options]))
    finally:
        os.write(send, bytes([code]))
        os._exit(0)


def measure(name: str, count: int, seed: int, limit_s: float) -> None:
    """Try mutants of one module and print those that are not killed."""
    module, *tests = MODULES[name]
    path = ROOT / module
    tree = ast.parse(path.read_text("utf-8"))
    if outcome(tests, 10 * limit_s, None) != "survived":
        sys.exit(f"{name}: the tests fail without a mutant.")
    counts: Counter[str] = Counter()
    for mutant in sample(mutants(tree), count, seed):
        result = outcome(tests, limit_s, Mutated(path, replaced(tree, mutant.place, mutant.new)))
        counts[result] += 1
        if result != "killed":
            print(f"   {result}: {module}:{mutant}", flush=True)
    print(f"{name}: {counts.total()} mutants, {', '.join(f'{n} {what}' for what, n in counts.items())}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("-n", type=int, default=60, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the tests of one mutant")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT)]
    for library in LIBRARIES:
        importlib.import_module(library)
    for name in given.modules or MODULES:
        measure(name, given.n, given.seed, given.limit)
