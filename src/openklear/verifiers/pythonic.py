"""Whether a block of text is a program in Python, told by its looks and, where that is safe, by Python's own parser.

The text is hostile: patterns are linear in it, and nothing long or deeply nested reaches the parser.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from enum import IntEnum

MOST_PARSED = 20_000
"""Characters; the parser takes a fifth of a second for the worst text of that length."""
_DEEPEST = 20
"""Brackets within brackets; more make the parser slow."""


class Looks(IntEnum):
    """How much a text looks like a program in Python."""

    NOTHING = 0
    """Values, words, another language, a session or a traceback."""
    SNIPPET = 1
    """Statements or calls, which neither define, read nor print anything."""
    PROGRAM = 2
    """It defines a function or a class, imports, reads or prints."""


_PROGRAM = re.compile(
    r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*(?:\([^()\n]{0,200}\))?[ \t]*:|import[ \t]+\w"
    r"|from[ \t]+[\w.]+[ \t]+import\b|\w+[ \t]*=[ \t]*lambda\b)"
    r"|\b(?:print|input|open|exec|eval)[ \t]*\(|\bsys\.std(?:in|out)\b",
    re.MULTILINE,
)
_STATEMENT = re.compile(
    r"^[ \t]*(?:(?:for|while|if|elif|with|try|else|except)\b[^\n]*:[ \t]*(?:$|\S)|return\b|assert\b|raise\b|del\b)"
    r"|^[ \t]*[A-Za-z_][\w.]*(?:[ \t]*,[ \t]*[A-Za-z_]\w*)*(?:\[[^\n]*\])?[ \t]*(?:[-+*/%|&^@]|//|\*\*|<<|>>)?=(?!=)"
    r"|^[ \t]*[A-Za-z_][\w.]*\(",
    re.MULTILINE,
)
_NOT_PYTHON = re.compile(
    r"^[ \t]*(?:#include|#!/(?:usr/)?bin/(?:env )?(?:ba|z)?sh|using namespace|public class|package \w|fn main|func main"
    r"|>>> |\$ |Traceback \(most recent call last\)|File \"|import java|(?:int|void|long long) main[ \t]*\()",
    re.MULTILINE,
)
_FOREIGN_END = re.compile(r"[;{}][ \t]*$", re.MULTILINE)


def looks(text: str) -> Looks:
    """How much it looks like Python."""
    if not text.strip() or _NOT_PYTHON.search(text):
        return Looks.NOTHING
    lines = text.count("\n") + 1
    if len(_FOREIGN_END.findall(text)) * 2 > lines and not is_program(text):
        return Looks.NOTHING
    if _PROGRAM.search(text):
        return Looks.PROGRAM
    return Looks.SNIPPET if _STATEMENT.search(text) else Looks.NOTHING


def is_program(text: str) -> bool:
    """Whether it parses; False too for what is not safe to parse here."""
    return parsed(text) is not None


def parsed(text: str) -> ast.Module | None:
    """Its tree; None where it has none, and for what is not safe to parse here."""
    if len(text) > MOST_PARSED or _depth(text) > _DEEPEST:
        return None
    try:
        return ast.parse(_BAD_ESCAPE.sub(_without_backslash, text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_BAD_ESCAPE = re.compile(r"\\(?:\\|([^\n'\"abfnrtvxuUN0-7\\]))")
"""The parser would warn of it."""


def _without_backslash(match: re.Match[str]) -> str:
    return match[1] or match[0]


def _depth(text: str) -> int:
    """Brackets within brackets, those in strings counted too."""
    depth = deepest = 0
    for match in re.finditer(r"([(\[{])|[)\]}]", text):
        depth = depth + 1 if match[1] else max(depth - 1, 0)
        deepest = max(depth, deepest)
    return deepest


def borrowed(tree: ast.Module) -> set[str]:
    """The names that a program uses and does not make: neither defines, assigns, imports nor finds in Python.

    Empty for one that defines a function or a class of its own, but for tests of others.
    """
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if any(isinstance(node, defined) and not node.name.lower().startswith("test") for node in tree.body):
        return set()
    used, made = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
        else:
            made.update(_bound(node))
    return used - made - vars(builtins).keys()


def is_outline(tree: ast.Module) -> bool:
    """Whether it only says which functions there are: their bodies hold nothing but `pass`, `...` or texts."""
    statements = list(tree.body)
    for statement in statements:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            statements += statement.body
        elif not _says_nothing(statement):
            return False
    return True


def _says_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Import | ast.ImportFrom)


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node makes."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, _NAMED) and node.name:
        yield node.name


_MADE = re.compile(
    r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^[ \t]*(\w+)(?:[ \t]*,[ \t]*(\w+)){0,5}[ \t]*=(?!=)"
    r"|\bfor[ \t]+(\w+)",
    re.MULTILINE,
)


def made_names(text: str) -> set[str]:
    """The names that a program defines, assigns or runs through, as far as a pattern tells."""
    names = set[str]()
    for match in _MADE.finditer(text):
        names.update(filter(None, match.groups()))
    return names
