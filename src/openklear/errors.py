"""Everything that OpenKlear raises on purpose."""

from __future__ import annotations


class OpenKlearError(Exception):
    """Base of every error raised on purpose; `str(error)` is complete: what, where, and what to do."""

    exit_code = 1


class UsageError(OpenKlearError):
    """The caller can fix it: exit code 2."""

    exit_code = 2


class RecipeError(UsageError):
    """A key of the recipe is missing, unknown, or impossible together with another."""


class DataError(UsageError):
    """A data file is missing, malformed, or holds an impossible row; the message names file:line."""


class ModelError(UsageError):
    """A model directory, tokenizer or chat template cannot be used."""


class RowRefused(DataError):
    """A row that cannot be trained, or a problem that cannot be asked: it is dropped and counted under its kind."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class TemplateRefused(RowRefused, ModelError):
    """The chat template does not take this conversation: the row and the template do not fit each other."""

    def __init__(self, text: str, kind: str = "refused by the chat template") -> None:
        super().__init__(text, kind)


class StageChanged(UsageError):
    """The recipe or the code changed under an unfinished stage."""


class RunError(OpenKlearError):
    """The run could not go on; what was done is kept: exit code 1."""


class RunLocked(RunError):
    """Another process works in the run directory."""


class NoSpace(RunError):
    """The disk is too full for what the stage will write."""


class Preempted(RunError):
    """The process was told to end (SIGTERM), and saved what was done; exit code 143, as SIGTERM itself leaves."""

    exit_code = 143


class NonFinite(RunError):
    """A loss or a gradient is not finite; the last good checkpoint is kept and the batch was dumped."""


class ProcessLost(RunError):
    """A process of the run, here or on another machine, died or hangs; its stage can go on from its checkpoint."""


class RankLost(ProcessLost):
    """A trainer of a cluster died or hangs; judges carry on, and samplers that have places of their own."""


class EngineError(RunError):
    """The sampler failed."""


class VerifierError(RunError):
    """The verifiers cannot run here: the isolation asked for is not available."""
