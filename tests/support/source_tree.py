"""Python source read as facts: which module refers to what. Nothing is imported, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reference:
    """A dotted name that a module uses: `asyncio.sleep`, `nodelink.task`. Names behind an alias are spelled out."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. An import for type checking is an import like any other."""

    name: str
    is_package: bool
    imports: tuple[Reference, ...]
    """Each imported name in full: `from a import b` is `a.b`, whether b is a module or not."""
    late_imports: tuple[Reference, ...]
    """Those of them that stand inside a function."""
    uses: tuple[Reference, ...]
    """Imported names and the attributes read from them."""


def read_tree(root: Path, *packages: str) -> dict[str, Module]:
    """Every module of these packages under `root`, by name. A package that is not there has none."""
    paths = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    modules = (_read(root, path) for path in paths)
    return {module.name: module for module in modules}


def own_imports(module: Module, tree: Mapping[str, Module]) -> Iterator[Reference]:
    """What the module imports from the tree itself, as names of modules; each once a line."""
    targets = {Reference(_longest_module(each.name, tree) or "", each.line): None for each in module.imports}
    return (target for target in targets if target.name)


def foreign_imports(module: Module, tree: Mapping[str, Module]) -> Iterator[Reference]:
    """What the module imports from elsewhere, as names of top-level packages."""
    for reference in module.imports:
        if _longest_module(reference.name, tree) is None:
            yield Reference(reference.name.partition(".")[0], reference.line)


def _longest_module(name: str, tree: Mapping[str, Module]) -> str | None:
    while name:
        if name in tree:
            return name
        name = name.rpartition(".")[0]
    return None


def _read(root: Path, path: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    reader = _Reader(package=name if is_package else name.rpartition(".")[0])
    reader.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return Module(name, is_package, tuple(reader.imports), tuple(reader.late_imports), tuple(reader.uses))


class _Reader(ast.NodeVisitor):
    """Gathers the references of one file in the order of its lines."""

    def __init__(self, package: str) -> None:
        self.imports: list[Reference] = []
        self.late_imports: list[Reference] = []
        self.uses: list[Reference] = []
        self._package = package
        self._aliases: dict[str, str] = {}
        self._depth = 0

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(alias.name, node.lineno)
            local = alias.asname or alias.name.partition(".")[0]
            self._aliases[local] = alias.name if alias.asname else local

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = self._absolute(node)
        for alias in node.names:
            full = source if alias.name == "*" else f"{source}.{alias.name}"
            self._imported(full, node.lineno)
            self._aliases[alias.asname or alias.name] = full

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._inside_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._inside_function(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        if name is not None:
            self.uses.append(Reference(name, node.lineno))
        self.generic_visit(node)

    def _inside_function(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def _imported(self, name: str, line: int) -> None:
        reference = Reference(name, line)
        self.imports.append(reference)
        self.uses.append(reference)
        if self._depth:
            self.late_imports.append(reference)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self._package.split(".")
        base = parents[: len(parents) - (node.level - 1)]
        return ".".join([*base, node.module] if node.module else base)

    def _dotted(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self._aliases.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._dotted(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        return None
