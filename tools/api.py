"""Writes docs/api.md from the docstrings of the public modules; nothing is imported but this file's own library.

python tools/api.py            write the page
python tools/api.py --check    end with 1 where the page is not up to date
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

MODULES = (
    "types",
    "errors",
    "objectives.policy",
    "objectives.advantages",
    "objectives.aggregate",
    "objectives.supervised",
    "objectives.correction",
    "integrations.trl",
    "integrations.verl",
    "conformance",
    "verifiers.judge",
    "verifiers.domains",
    "grading",
    "evaluation.statistics",
    "models.loading",
    "models.tiny",
    "models.chat",
    "models.batching",
    "models.logprobs",
    "rollout.open",
    "rollout.local",
    "rollout.protocol",
    "rollout.seeds",
    "training.optimizer",
    "recipe.load",
    "run.pipeline",
    "data.store",
    "demo.arithmetic",
)
"""What other projects may import: the names in `__all__`; without one, all that do not begin with _."""

HEAD = """\
# The Python interface

What other projects may import. Everything else may change without notice; what stands here changes with a line in the
[changelog](../CHANGELOG.md). Each name is imported from the module it stands under. `objectives` and `integrations`
need torch alone.

This page is made from docstrings by `python tools/api.py`.
"""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in MODULES:
        tree = parse(name)
        parts.append(f"## openklear.{name}\n\n{summary(tree)}\n")
        parts += [described(*definition(name, public)) for public in exported(tree)]
    return "\n".join(parts)


def parse(module: str) -> ast.Module:
    """The source of a module of the package."""
    path = ROOT / "src" / "openklear" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text())


def summary(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    """The first paragraph of a docstring."""
    return (ast.get_docstring(node) or "").partition("\n\n")[0]


def exported(tree: ast.Module) -> list[str]:
    """The public names of a module, in its own order."""
    names = []
    for node in tree.body:
        if "__all__" in assigned(node):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
        names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else assigned(node)
    return [name for name in names if name.isidentifier() and not name.startswith("_")]


def definition(module: str, name: str) -> tuple[str, Definition, str]:
    """(name, where it is defined, the text below it that explains a constant), through imports of other modules."""
    tree = parse(module)
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            return definition((node.module or "").removeprefix("openklear."), name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return name, node, ""
        if name in assigned(node):
            explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            return name, node, cleandoc(ast.literal_eval(following.value)) if explained else ""
    raise SystemExit(f"openklear.{module} has no {name}")


def assigned(node: ast.stmt) -> list[str]:
    """The names that a statement gives a value."""
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets]
    return [ast.unparse(node.target)] if isinstance(node, ast.AnnAssign) else []


def described(name: str, node: Definition, text: str) -> str:
    """A name's heading, signature and docstring."""
    if isinstance(node, ast.FunctionDef):
        return f"### {name}\n\n```python\n{signature(node)}\n```\n\n{ast.get_docstring(node) or ''}\n"
    if isinstance(node, ast.ClassDef):
        fields = "\n".join(members(node))
        block = f"```python\nclass {name}{bases(node)}\n{fields}".rstrip() + "\n```"
        return f"### {name}\n\n{block}\n\n{ast.get_docstring(node) or ''}\n"
    line = ast.unparse(node)
    block = f"```python\n{line}\n```\n\n" if len(line) <= 100 else ""
    return f"### {name}\n\n{block}{text}".rstrip() + "\n"


def bases(node: ast.ClassDef) -> str:
    """What follows a class's name."""
    listed = ", ".join(map(ast.unparse, node.bases))
    return f"({listed}):" if listed else ":"


def signature(node: ast.FunctionDef, indent: str = "") -> str:
    """`def name(...) -> ...`, on several lines where one is too long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{indent}def {node.name}({ast.unparse(node.args)}){returns}"
    if len(line) <= 100:
        return line
    arguments = ast.unparse(node.args).replace(", ", f",\n{indent}    ")
    return f"{indent}def {node.name}(\n{indent}    {arguments}\n{indent}){returns}"


def members(node: ast.ClassDef) -> Iterator[str]:
    """Fields, and public methods with the first line of their docstrings."""
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
            yield f"    {ast.unparse(member)}"
        if isinstance(member, ast.FunctionDef) and (member.name == "__init__" or not member.name.startswith("_")):
            if "property" in map(ast.unparse, member.decorator_list):
                yield "    @property"
            yield signature(member, "    ")
            if text := summary(member):
                yield f'        """{text.partition(chr(10))[0]}"""'


if __name__ == "__main__":
    made = page()
    if sys.argv[1:] == ["--check"]:
        sys.exit(PAGE.read_text() != made and "docs/api.md is not up to date: run python tools/api.py")
    PAGE.write_text(made)
