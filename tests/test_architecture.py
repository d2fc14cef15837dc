"""The house's walls and its style: arrows point down, the core is pure, the command starts light, lines stay calm."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "openklear"

# Low to high. A module may import from lower layers, and in its own layer from its own room (first name) alone.
# The longest matching name decides, so a module can stand on another layer than its room.
LAYERS = (
    ("errors", "think"),
    ("types",),
    ("progress", "durable"),
    ("objectives", "verifiers", "evaluation.statistics"),
    ("integrations",),
    ("data", "demo"),
    ("curation.text", "curation.rules", "curation.near", "curation.contamination", "curation.profile"),
    ("recipe",),
    ("planner",),
    ("simulation",),
    ("models",),
    ("conformance",),
    ("rewards", "tracking"),
    ("rollout", "grading"),
    ("evaluation",),
    ("training", "distill", "curation"),
    ("run.context",),
    ("cluster",),
    ("reporting",),
    ("stages",),
    ("run",),
    ("ablation",),
    ("cli",),
    ("__main__",),
)
TORCH_ALONE = ("objectives", "integrations")
"""They install without dependencies into an environment with other pins: nothing from outside but torch and the peers."""
PEERS = {"integrations.trl": {"trl", "transformers", "accelerate"}, "integrations.verl": {"verl", "omegaconf"}}
LIGHT = (
    "cli.main recipe.load recipe.show recipe.lengths run.pipeline run.plan run.fork run.summary run.manifest "
    "run.fingerprint run.context durable.files progress planner.auto planner.machines"
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# Longer than the limits when the limits came; the numbers may only fall, and a line that is no longer needed must go.
LONGER_FILES: dict[str, int] = {}
LONGER_FUNCTIONS: dict[str, int] = {}

# Modules that code reaches by a name in a string, where the fingerprint of a stage cannot see it: pipeline starts
# stages (each has its own closure), curation.selection.steps the embedding of a model (Stage.also counts it), pool starts verifiers.workers (counted whole), box imports the standard library
# and the packages that a recipe allows (whose versions are settings),
# custom the user's own functions (whose files are inputs of the stages that use them).
IMPORT_BY_NAME = {
    "run.pipeline",
    "curation.selection.steps",
    "verifiers.pool",
    "verifiers.workers.zygote",
    "verifiers.workers.packages",
    "verifiers.custom",
    "verifiers.workers.custom",
}

MODULES = {
    ".".join(part for part in path.relative_to(HOUSE).with_suffix("").parts if part != "__init__"): path
    for path in sorted(HOUSE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(name: str) -> Iterator[tuple[int, str]]:
    """(line, module of the house) that a module imports, wherever in it, types alone included."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(TREES[name]):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{MODULES[name]}:{node.lineno}: an import from above by dots"
            base = f"openklear.{package}.{node.module or ''}".rstrip(".") if node.level else node.module
            found = [f"{base}.{alias.name}" for alias in node.names]
        for dotted in found:
            top, _, inside = dotted.partition(".")
            if top == "openklear":
                module = inside if inside in MODULES else inside.rpartition(".")[0]
                if module:
                    yield node.lineno, module


def layer(name: str) -> int:
    places = {prefix: i for i, names in enumerate(LAYERS) for prefix in names}
    words = name.split(".")
    prefixes = [".".join(words[:n]) for n in range(len(words), 0, -1)]
    found = next((places[p] for p in prefixes if p in places), None)
    assert found is not None, f"{name} stands on no layer; give it one in LAYERS"
    return found


NAMES = [name for name in MODULES if name and not (MODULES[name].name == "__init__.py" and not list(imports(name)))]


@pytest.mark.parametrize("name", NAMES)
def test_arrows_point_down(name):
    for line, other in imports(name):
        same_room = other.split(".")[0] == name.split(".")[0]
        allowed = layer(other) < layer(name) or (layer(other) == layer(name) and same_room)
        assert allowed, f"{MODULES[name]}:{line}: {name} must not import {other}, which is not below it"


def test_every_layer_is_lived_in():
    for prefix in (prefix for names in LAYERS for prefix in names):
        assert any(name == prefix or name.startswith(f"{prefix}.") for name in MODULES), (
            f"{prefix} is not there any more"
        )


@pytest.mark.parametrize("name", [n for n in NAMES if layer(n) in (layer("objectives"), layer("data"))])
def test_the_pure_core_knows_only_types_and_errors(name):
    """And verifiers the journal, in which verdicts outlive a kill; data what verifiers make of tests."""
    room = name.split(".")[0]
    more = {"data": {"verifiers"}, "verifiers": {"durable"}}
    allowed = {room, "types", "errors", "think"} | more.get(room, set())
    assert {other.split(".")[0] for _, other in imports(name)} <= allowed


@pytest.mark.parametrize("name", [n for n in NAMES if n.split(".")[0] in TORCH_ALONE])
def test_objectives_and_integrations_import_torch_alone(name):
    outside = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outside.add((node.module or "").split(".")[0])
    assert outside - set(sys.stdlib_module_names) <= {"torch", "openklear"} | PEERS.get(name, set())
    rooms = {other.split(".")[0] for _, other in imports(name)}
    assert rooms <= {"objectives", "errors", name.split(".")[0]}


def test_modules_do_not_import_each_other_in_circles():
    edges = {name: {other for _, other in imports(name)} for name in MODULES}
    left = dict(edges)
    while True:
        free = [name for name, others in left.items() if not others & set(left) - {name}]
        if not free:
            break
        for name in free:
            del left[name]
    assert not left, f"circles among {sorted(left)}"


@pytest.mark.parametrize(
    ("modules", "banned"),
    [
        (LIGHT, "torch transformers pyarrow scipy sympy altair jinja2 tokenizers"),
        (
            "cli.main cli.options cli.objectives cli.grade cli.doctor cli.distill cli.export cli.exits errors",
            "torch transformers pyarrow pydantic numpy jinja2",
        ),
    ],
    ids=["light", "lightest"],
)
def test_what_starts_light_imports_nothing_heavy(modules, banned):
    names = [f"openklear.{name}" for name in modules.split()]
    code = f"import sys, {', '.join(names)}; print(*(set(sys.modules) & set({banned.split()!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(HOUSE.parent), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_files_are_readable_in_one_go():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    held_to(lengths, LONGER_FILES, LONGEST_FILE)


def test_functions_are_short():
    lengths = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 300, "the test looks at the wrong thing"
    held_to(lengths, LONGER_FUNCTIONS, LONGEST_FUNCTION)


def held_to(lengths: dict[str, int], longer: dict[str, int], limit: int) -> None:
    for name, length in lengths.items():
        assert length <= longer.get(name, limit), f"{name} has {length} lines"
    for name in longer:
        assert lengths.get(name, 0) > limit, f"{name} needs no exception any more"


def test_comprehensions_have_one_for_and_are_not_nested():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            assert not isinstance(node, COMPREHENSIONS) or not is_dense(node), (
                f"{MODULES[name]}:{node.lineno}: write a loop, or give a part a name"
            )


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def is_dense(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> bool:
    inside = [other for other in ast.walk(node) if isinstance(other, COMPREHENSIONS)]
    return len(inside) > 1 or len(node.generators) > 1


def test_a_class_name_stands_in_one_file():
    places: dict[str, list[str]] = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    for name, modules in places.items():
        assert len(modules) == 1, f"{name} stands in {', '.join(modules)}: name one of them better"


def test_tests_use_no_private_names_of_other_modules():
    for path in sorted((ROOT / "tests").rglob("*.py")):
        found = sorted(set(private_names(ast.parse(path.read_text()))))
        assert not found, f"{path}: test through the public door, or make it public: {found}"


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name): `from openklear.x import _y`, `x._y`, `setattr(x, "_y", ...)` and "openklear.x._y"."""
    ours = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openklear"):
            ours |= {alias.asname or alias.name for alias in node.names}
            yield from ((node.lineno, alias.name) for alias in node.names if is_private(alias.name))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in ours and is_private(name):
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[ast.Name(id=owner), ast.Constant(str(name)), *_]):
                if owner in ours and is_private(name):
                    yield node.lineno, name
            case ast.Constant(str(text)) if re.fullmatch(r"openklear[.\w]*\._\w+", text):
                yield node.lineno, text


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_broad_excepts_say_why():
    for name, tree in TREES.items():
        lines = MODULES[name].read_text().splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not raises_again(node):
                near = lines[node.lineno - 2 : node.lineno + 1]
                assert any("#" in line for line in near), (
                    f"{MODULES[name]}:{node.lineno}: a broad except without reason"
                )


def is_broad(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in names)


def raises_again(handler: ast.ExceptHandler) -> bool:
    """It cleans up and hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_nothing_depends_on_pythons_salted_hash():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called != "hash", (
                f"{MODULES[name]}:{node.lineno}: hash() differs from process to process; use blake2"
            )


def test_only_known_places_import_by_name():
    pattern = re.compile(r"import_module\(|__import__\(|spec_from_file_location|runpy")
    assert {name for name, path in MODULES.items() if pattern.search(code_of(path))} == IMPORT_BY_NAME


def code_of(path: Path) -> str:
    """The source without its comments."""
    with open(path, "rb") as file:
        return " ".join(t.string for t in tokenize.tokenize(file.readline) if t.type != tokenize.COMMENT).replace(
            " (", "("
        )


def test_the_package_itself_holds_nothing_that_could_change_a_result():
    """Its code is in no fingerprint."""
    assert [type(node).__name__ for node in TREES[""].body] == ["Expr", "Assign"]


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_addresses_of_registries_and_no_paths_of_one_machine():
    places = [r"/ro" + r"ot/", r"/wo" + r"rk/", r"/ho" + r"me/\w"]
    hosts = [r"https?://\S*(py" + r"pi\.|pythonho" + r"sted|download\.pyto" + r"rch)"]
    pattern = re.compile("|".join(places + hosts))
    for path in tracked():
        if path.stat().st_size < 400_000 and path.suffix not in (".png", ".parquet"):
            found = pattern.search(path.read_text(errors="replace"))
            assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"


def test_constraints_are_names_and_versions_alone():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


def test_constraints_pin_what_the_package_asks_for():
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        assert requirement.name.lower() in pinned, requirement.name
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement
