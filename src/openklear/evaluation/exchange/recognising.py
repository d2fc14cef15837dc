"""Which tool a file is of, told from what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from openklear.errors import DataError, UsageError
from openklear.evaluation.exchange import evalscope, inspect_logs, livecodebench, lm_eval, nemo_skills
from openklear.evaluation.exchange.names import Tool
from openklear.evaluation.exchange.opening import OpenedFile, open_file
from openklear.evaluation.exchange.rows import ImportChoice, ImportedFiles
from openklear.verifiers.domains import DOMAINS

TOOLS: dict[str, ModuleType] = {
    "inspect": inspect_logs,
    "lm-eval": lm_eval,
    "evalscope": evalscope,
    "nemo-skills": nemo_skills,
    "livecodebench": livecodebench,
}
"""Each has `role` (what a file is to it), `read` and `LOOKED_FOR`. The first that knows a file has it."""


def read_files(paths: Sequence[Path], tool: Tool | None = None, choice: ImportChoice | None = None) -> ImportedFiles:
    """Reads the files of one evaluation, of the tool that is named, or whose they are by what is in them.

    DataError, with the place, where a file is damaged, unknown, or of another tool than the first; UsageError for a
    domain that there is not.
    """
    if choice is not None and choice.domain not in (None, *DOMAINS):
        raise UsageError(f"no domain is called {choice.domain}; known are {', '.join(DOMAINS)}")
    opened = [open_file(path) for path in paths]
    name = tool or _tool_of(opened[0])
    module = TOOLS[name]
    files: list[tuple[str, OpenedFile]] = []
    for file in opened:
        role = module.role(file)
        if role is None:
            other = _told(file)
            what = f"is of {other}" if other else "was not recognised"
            remedy = "import each tool's files by themselves" if other else "leave it out, or name another --format"
            raise DataError(f"{file.path}: {what}; of {name}, {module.LOOKED_FOR} was looked for: {remedy}")
        files.append((role, file))
    found: ImportedFiles = module.read(files, choice or ImportChoice())
    return found


def _told(file: OpenedFile) -> str | None:
    return next((name for name, module in TOOLS.items() if module.role(file) is not None), None)


def _tool_of(file: OpenedFile) -> str:
    name = _told(file)
    if name is None:
        looked = "; ".join(f"{tool}: {module.LOOKED_FOR}" for tool, module in TOOLS.items())
        raise DataError(f"{file.path}: is of no tool that is known here. Looked for were {looked}")
    return name
