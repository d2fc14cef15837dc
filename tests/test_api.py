"""The public names. A change of this list is a change of the interface: say it in CHANGELOG.md."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES: dict[str, str] = {}


@pytest.fixture(scope="module")
def api():
    spec = importlib.util.spec_from_file_location("api", ROOT / "tools" / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_public_names(api):
    assert {module: " ".join(api.exported(api.parse(module))) for module in api.MODULES} == NAMES


def test_public_names_can_be_imported(api):
    for module, names in NAMES.items():
        if not module.startswith("integrations"):  # they need their frameworks
            found = importlib.import_module(f"openklear.{module}")
            assert [name for name in names.split() if not hasattr(found, name)] == []


def test_public_functions_and_classes_have_docstrings(api):
    for module, names in NAMES.items():
        for name in names.split():
            _, node, text = api.definition(module, name)
            assert text or isinstance(node, api.ast.Assign | api.ast.AnnAssign) or api.ast.get_docstring(node), name


def test_the_page_is_up_to_date(api):
    assert api.PAGE.read_text() == api.page(), "run python tools/api.py"
