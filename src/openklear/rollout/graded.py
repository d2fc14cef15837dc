"""Grading while sampling: completions on their way to verdicts, and when to give up on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openklear import progress
from openklear.models.chat import decode_completion
from openklear.models.loading import LoadedModel
from openklear.rollout.encoding import EncodedProblem
from openklear.think import FormatFault, split_thought
from openklear.types import Attempt, Completion, Outcome, Problem, StopReason, Verdict
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import AttemptBatch
from openklear.verifiers.unscorable import refuse_verdicts


@dataclass(frozen=True, slots=True)
class GradingWatch:
    """Ends a collection that cannot end well: nobody samples on for verdicts that will not come."""

    batch: AttemptBatch
    total: int
    share: float
    where: str

    def check(self) -> None:
        """Raises what judging raised; RunError once more is unscorable than may be, whatever the rest comes to."""
        self.batch.check()
        refuse_verdicts(self.batch.unscorable, self.total, self.share, self.where)


class Graded:
    """Completions on their way to verdicts: each goes to the judge as soon as it has ended."""

    def __init__(
        self, loaded: LoadedModel, owners: Sequence[EncodedProblem], watch: GradingWatch, *, graded_when_cut: bool
    ) -> None:
        self.watch, self._batch = watch, watch.batch
        self.texts = [""] * len(owners)
        self._loaded, self._owners, self._graded_when_cut = loaded, owners, graded_when_cut
        self._cut: dict[int, Verdict] = {}
        self._added: list[int] = []

    def add(self, index: int, completion: Completion) -> None:
        """A completion that has ended, of the rollout with this index."""
        owner = self._owners[index]
        text = decode_completion(self._loaded.tokenizer, completion.token_ids, self._loaded.end_ids)
        self.texts[index] = text
        if completion.stop_reason is StopReason.LENGTH and not self._graded_when_cut:
            self._cut[index] = stopped_by_length(owner.problem, text, owner.prompt_tail)
            return
        self._added.append(index)
        self._batch.add(Attempt(owner.problem, text, owner.prompt_tail, completion.stop_reason))

    def finish(self, label: str | None, go: Callable[[], None] | None = None) -> dict[int, Verdict]:
        """The verdicts by the index that each was added with; what `go` raises ends it."""

        def check() -> None:
            self.watch.check()
            if go is not None:
                go()

        if label is None:
            found = self._batch.finish(lambda judged: check())
        else:
            with progress.task(f"{label}: grading", len(self._added), "rollouts", brief=True) as advance:

                def report(judged: int) -> None:
                    check()
                    advance(judged)

                found = self._batch.finish(report)
        return self._cut | dict(zip(self._added, found, strict=True))


def stopped_by_length(problem: Problem, text: str, prompt_tail: str) -> Verdict:
    """A cut answer is wrong and badly formed: our rewards must not punish it less than a wrong one."""
    fault = split_thought(text, prompt_tail).fault
    total = DOMAINS[problem.domain].total(problem)
    return Verdict(Outcome.INCORRECT, "stopped by length", total=total, format_fault=fault or FormatFault.NO_ANSWER)
