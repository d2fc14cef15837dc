"""What the documents say exists."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def spans(page: Path) -> list[str]:
    """Code in backticks, outside blocks."""
    return CODE.findall(BLOCK.sub("", page.read_text()))


def commands(page: Path) -> list[str]:
    """Lines of shell blocks, and spans, joined where they go on after a backslash."""
    blocks = "\n".join(BLOCK.findall(page.read_text())).replace("\\\n", " ")
    return [line.strip().removeprefix("$ ") for line in (*blocks.splitlines(), *spans(page))]


def test_there_are_pages():
    assert len(PAGES) >= 3


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_paths_of_the_repository_exist(page):
    pattern = re.compile(r"^(?:src|tests|docs|recipes|benchmarks|examples|studies|\.ci|\.github)/[\w./-]+$")
    for span in spans(page):
        for word in span.split():
            if pattern.match(word):
                assert (ROOT / word).exists(), word


@each_page
def test_names_of_the_package_exist(page):
    """`objectives.policy.gppo` or `openklear.durable.files`: a module of the house and what it defines."""
    house = ROOT / "src" / "openklear"
    rooms = {p.stem for p in house.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    sections = recipe_sections()
    for span in spans(page):
        found = re.fullmatch(r"(?:openklear\.)?([a-z]\w*(?:\.\w+)+)(?:\(.*\))?", span)
        words = found[1].split(".") if found else []
        if not words or words[0] not in rooms or words[0] in sections or words[-1] in ("py", "toml", "json", "md"):
            continue
        assert defined(house, words), span


def recipe_sections() -> set[str]:
    from openklear.recipe.schema import Recipe

    return set(Recipe.model_fields)


def defined(house: Path, words: list[str]) -> bool:
    place = house
    for index, word in enumerate(words):
        if (place / word / "__init__.py").is_file():
            place = place / word
        elif (place / f"{word}.py").is_file():
            rest = words[index + 1 :]
            text = (place / f"{word}.py").read_text()
            return (
                not rest or re.search(rf"^\s*(?:def |class )?{re.escape(rest[-1])}\b", text, re.MULTILINE) is not None
            )
        else:
            names = (place / "__init__.py").read_text() if (place / "__init__.py").is_file() else ""
            return index == len(words) - 1 and re.search(rf"\b{re.escape(word)}\b", names) is not None
    return True


@each_page
def test_recipe_keys_exist(page):
    """Spans such as `sft.learning_rate` and `[rl.objective]` name keys of the schema."""
    from openklear.recipe.keys import keys
    from openklear.recipe.schema import Recipe

    known = {re.sub(r"\.(NAME)\b", "", key.path) for key in keys(Recipe)}
    known |= {key.replace("rl.phase.", "rl.") for key in known}
    tables = {key.rpartition(".")[0] for key in known}
    sections = "|".join(Recipe.model_fields)
    for span in spans(page):
        found = re.fullmatch(rf"\[?\[?((?:{sections})\.[a-z_.]+)\]?\]?(?: ?=.*)?", span)
        if found and importlib.util.find_spec("openklear." + span.split(".")[0]) is None:
            assert found[1] in known | tables, span


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page):
        found = re.match(r"make ((?:[\w-]+(?=\s|$)\s*)+)", command)
        for word in found[1].split() if found else ():
            assert word in targets, command


@each_page
def test_commands_and_their_options_exist(page):
    import click
    from typer.main import get_command

    from openklear.cli.groups import DefaultGroup
    from openklear.cli.main import app

    for line in commands(page):
        found = re.match(r"(?:\.venv/bin/)?openklear((?: [a-z-]+)+)", line)
        if not found:
            continue
        command, words = get_command(app), line.partition("openklear ")[2].split()
        for place, word in enumerate(found[1].split()):
            below = getattr(command, "commands", None)
            if below is None:
                break
            if isinstance(command, DefaultGroup) and command.meant(words[place:]):
                break
            assert word in below, line
            command = below[word]
        if isinstance(command, DefaultGroup) and (meant := command.meant(words[1:])):
            command = command.commands[meant]
            line = line.replace("--rescore", "")
        options = {name for one in command.params for name in one.opts} | {"--help"}
        assert isinstance(command, click.Command) or command.params is not None
        for option in re.findall(r"(?<=\s)(--?[a-z][\w-]*)", line):
            assert option in options, f"{line}: {option}"


SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_house_rules_that_code_cites_are_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rules = [int(number) for number in re.findall(r"^(\d+)\. \*\*", page, re.MULTILINE)]
    assert rules == list(range(1, 13))
    cited = 0
    for path in SOURCES:
        for number in re.findall(r"\brule (\d+)", path.read_text()):
            assert int(number) in rules, f"{path.relative_to(ROOT)}: rule {number}"
            cited += 1
    assert cited > 10, "the test looks at the wrong thing"


def test_pages_that_code_names_are_there():
    for path in SOURCES:
        for word in re.findall(r"[\w/-]+\.md\b", path.read_text()):
            assert (ROOT / word).is_file() or word in WRITTEN, f"{path.relative_to(ROOT)}: {word}"


WRITTEN = {"data-card.md", "study.md", "page.md", "studies-index.md", "index.md"} | {
    f"reports/{name}.md" for name in ("index", "NAME/page")
}
"""Pages that a run or a study writes, and templates of them."""


def test_makefile_recipes_and_scripts_name_files_that_exist():
    text = (ROOT / "Makefile").read_text() + (ROOT / ".ci" / "run").read_text()
    for word in re.findall(r"(?:recipes|tests|\.ci)/[\w./-]+\w", text):
        assert (ROOT / word).exists(), word


def test_the_licence_is_the_one_that_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
