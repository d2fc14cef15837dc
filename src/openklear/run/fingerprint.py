"""What a stage's result depends on, as one number: a finished stage with the same fingerprint is not run again.

A fingerprint is the hash of four parts, each kept beside it so that a change can be named:

    recipe    the keys the stage reads, as JSON
    code      a hash of every module the stage's module imports, directly or through others, inside its package
    inputs    the fingerprints of the stages it reads, and the contents of data files from outside the run
    packages  major.minor versions of the libraries whose arithmetic or text handling ends up in the bits

The versions are in it because a minor release of torch may change kernels and initialisation, one of transformers a
model's forward, of tokenizers the ids, of numpy a generator's stream, of daft its MinHashes, of py3langid a language
and of math-verify a verdict; weights made under both would be a mixture that nobody can reproduce. Patch releases fix
bugs, and the manifest records them in full. A stage that imports none of a library does not depend on it. The git
revision is no part: a change of documentation repeats no training. Comments and docstrings are no part of the code
either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from openklear.durable.files import hash_file

Parts = dict[str, dict[str, Any]]

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "transformers": ("transformers", "tokenizers"),
    "numpy": ("numpy",),
    "math_verify": ("math-verify",),
    "daft": ("daft",),
    "py3langid": ("py3langid",),
}
"""Imported name -> distributions whose version counts once a stage's code imports it."""

WITHOUT_EFFECT = ("openklear", "openklear.errors", "openklear.progress")
"""Modules that name and show things: they change no bits. (`openklear` itself holds the version alone.)"""

THROUGH_VALUES = ("openklear.recipe",)
"""Packages that act through the recipe's resolved values, which are a part of their own."""

WHOLE = ("openklear.verifiers.workers",)
"""Packages whose modules are started by name in other processes: touching one of them counts as touching all."""


def fingerprint(parts: Parts) -> str:
    """32 hexadecimal digits: blake2b over the parts as canonical JSON."""
    return _hash(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode())


Code = tuple[dict[str, str], dict[str, str]]
"""Hash of each module, version of each package: what a stage's code comes to."""


def stage_parts(
    recipe: Mapping[str, Any],
    module: str,
    inputs: Mapping[str, str],
    also: tuple[str, ...] = (),
    code: Callable[..., Code] | None = None,
) -> Parts:
    """The four parts of a stage: `recipe` and `inputs` as given, code and packages from what the modules import.

    `code` may remember what `code_of` said.
    """
    hashes, packages = (code or code_of)(module, *also)
    return {
        "recipe": json.loads(json.dumps(dict(recipe))),
        "code": dict(hashes),
        "inputs": dict(inputs),
        "packages": dict(packages),
    }


def code_of(module: str, *also: str) -> Code:
    """What the modules import, of the house and from outside, as it stands on the disk now."""
    sources, imported = closure(module, *also)
    code: dict[str, str] = {}
    for _, hashes in sorted(sources.items()):
        code |= hashes
    return code, package_versions(imported)


def package_versions(imported: set[str]) -> dict[str, str]:
    """major.minor of the counted distributions behind the imported names; "absent" where one is not installed."""
    counted = chain.from_iterable(names for key, names in PACKAGES.items() if key in imported)
    return {name: _version(name) for name in counted}


@cache
def _version(distribution: str) -> str:
    try:
        return ".".join(metadata.version(distribution).split("+")[0].split(".")[:2])
    except metadata.PackageNotFoundError:
        return "absent"


def difference(old: Parts, new: Parts) -> list[str]:
    """Readable lines, one per change: `recipe rl.phase.math.learning_rate: 1e-06 -> 2e-06`, `code a.b changed`."""
    before, after = flat(old.get("recipe", {})), flat(new.get("recipe", {}))
    lines = [f"recipe {key}: {_shown(a)} -> {_shown(b)}" for key, a, b in _changes(before, after)]
    if not lines and old.get("recipe", {}) != new.get("recipe", {}):
        lines.append("recipe: the order of a list changed")
    for title, word in (("code", "code"), ("inputs", "input")):
        for key, a, b in _changes(old.get(title, {}), new.get(title, {})):
            lines.append(f"{word} {key} {'added' if a is None else 'removed' if b is None else 'changed'}")
    versions = _changes(old.get("packages", {}), new.get("packages", {}))
    return lines + [f"package {key}: {_shown(a)} -> {_shown(b)}" for key, a, b in versions]


def hash_files(label: str, path: Path) -> dict[str, str]:
    """`label` (a file) or `label/NAME` (each file of a directory) -> hash of the content; "missing" if not there."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return {f"{label}/{p.relative_to(path).as_posix()}": hash_file(p) for p in files}
    return {label: hash_file(path) if path.is_file() else "missing"}


def closure(module: str, *also: str) -> tuple[dict[str, dict[str, str]], set[str]]:
    """What the modules import: ({module: {name: hash}} inside the top-level package, names imported from elsewhere).

    Imports inside functions count, those under TYPE_CHECKING do not. The entry of a package holds its other files too
    (templates). Nothing is executed but the search for the top-level package.
    """
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package named {top}")
    modules = _modules(Path(spec.submodule_search_locations[0]), top)
    found: dict[str, dict[str, str]] = {}
    elsewhere: set[str] = set()
    waiting = [module, *also]
    while waiting:
        name = waiting.pop()
        path = modules.get(name)
        if name in found or path is None or name in WITHOUT_EFFECT or name.startswith(THROUGH_VALUES):
            continue
        hashed, imports = _read(path, name, path.stat().st_mtime_ns)
        found[name] = {name: hashed, **_resources(path, name)}
        elsewhere |= {i.split(".")[0] for i in imports} - {top}
        waiting += [i for i in imports if i.split(".")[0] == top]
        waiting += [name.rpartition(".")[0]] if "." in name else []
        if name in WHOLE:
            waiting += [f"{name}.{p.stem}" for p in path.parent.glob("*.py") if p.stem != "__init__"]
    return found, elsewhere


@cache
def _read(path: Path, name: str, modified: int) -> tuple[str, tuple[str, ...]]:
    """Hash and imports of a source file; `modified` is there for the cache."""
    tree = ast.parse(path.read_bytes(), str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = tuple(dict.fromkeys(_imports(tree, package)))
    return _hash(ast.dump(_WithoutDocstrings().visit(tree)).encode()), imports


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that an import may mean: `from a import b` names `a` and perhaps the module `a.b`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name
        elif isinstance(child, ast.ImportFrom):
            above = package.rsplit(".", child.level - 1)[0] + "." if child.level else ""
            base = (above + (child.module or "")).rstrip(".")
            yield base
            for alias in child.names:
                yield f"{base}.{alias.name}"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _imports(other, package)
        else:
            yield from _imports(child, package)


def _modules(home: Path, top: str) -> dict[str, Path]:
    """Dotted name -> file of every module below a package's directory, as they lie there now."""
    found: dict[str, Path] = {}
    for directory, _, files in os.walk(home):
        place = ".".join((top, *Path(directory).relative_to(home).parts))
        for file in (name for name in files if name.endswith(".py") and name != "__init__.py"):
            found.setdefault(f"{place}.{file.removesuffix('.py')}", Path(directory, file))
        if "__init__.py" in files:  # a package is found before a module of its name
            found[place] = Path(directory, "__init__.py")
    return found


def _resources(path: Path, name: str) -> dict[str, str]:
    """A package's files that are not Python (templates, style sheets), in directories that are not packages."""
    if path.name != "__init__.py":
        return {}
    found: dict[str, str] = {}
    waiting = [path.parent]
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            if entry.is_dir() and entry.name != "__pycache__" and not (entry / "__init__.py").exists():
                waiting.append(entry)
            elif entry.is_file() and entry.suffix not in (".py", ".pyc"):
                found[f"{name}/{entry.relative_to(path.parent).as_posix()}"] = hash_file(entry)
    return found


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> leaf; items of a list of tables go by their name."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{prefix}{key}.")
        elif isinstance(item, list) and item and all(isinstance(i, Mapping) and "name" in i for i in item):
            found |= flat({i["name"]: i for i in item}, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = item
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys((*old, *new))
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
