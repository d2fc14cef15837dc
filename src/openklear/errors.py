"""Everything that OpenKlear raises on purpose.

OpenKlearError                what went wrong, where, and what to do; the terminal prints it without a traceback
|-- UsageError                the caller can fix it: exit code 2
|   |-- RecipeError           a key of the recipe (missing, unknown, impossible with another key)
|   |-- DataError             a file or a row of it (file:line stands in the message)
|   |-- ModelError            a model directory, a tokenizer, a chat template
|   `-- StageChanged          the recipe or the code changed under an unfinished stage
`-- RunError                  the run could not go on: exit code 1
    |-- RunLocked             another process works in the run directory
    |-- NoSpace               the disk is too full for what the stage will write
    |-- NonFinite             a loss or a gradient is not a number; the batch was dumped
    |-- EngineError           the sampler failed
    `-- VerifierError         the verifiers cannot run here (the isolation asked for is not available)
"""

from __future__ import annotations


class OpenKlearError(Exception):
    """Base of every error raised on purpose; `str(error)` is complete: what, where, and what to do."""

    exit_code = 1


class UsageError(OpenKlearError):
    """The caller can fix it."""

    exit_code = 2


class RecipeError(UsageError):
    """A key of the recipe is missing, unknown, or impossible together with another."""


class DataError(UsageError):
    """A data file is missing, malformed, or holds an impossible row."""


class ModelError(UsageError):
    """A model directory, tokenizer or chat template cannot be used."""


class StageChanged(UsageError):
    """The recipe or the code changed under an unfinished stage."""


class RunError(OpenKlearError):
    """The run could not go on; what was done is kept."""


class RunLocked(RunError):
    """Another process works in the run directory."""


class NoSpace(RunError):
    """The disk is too full for what the stage will write."""


class NonFinite(RunError):
    """A loss or a gradient is not finite; the last good checkpoint is kept and the batch was dumped."""


class EngineError(RunError):
    """The sampler failed."""


class VerifierError(RunError):
    """The verifiers cannot run here."""
