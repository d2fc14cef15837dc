"""What a domain is: one row of one table, which says how its attempts are read, held against a reference and graded.

A third domain is a verifier in a module of its own and a row at the end of this one, or, from outside, `register`. Its
problems are rows of any known shape with the domain's name in the column `domain` and an answer or tests; the recipe
names it in `domains`; scores, figures and reports show it by its name, after the domains before it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from openklear.errors import UsageError
from openklear.types import Outcome, Problem, Verdict
from openklear.verifiers import official, sizes
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.blocks import extract_program
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.limits import Limits, is_address
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.tolerance import near
from openklear.verifiers.packages import versions
from openklear.verifiers.sandbox_fusion import SandboxFusionGrader
from openklear.verifiers.statements import checker_said, needs_checker
from openklear.verifiers.walls import Isolation


class Verifier(Protocol):
    """The code of a domain: grades what attempts answer. Any thread may call."""

    def grade(self, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        """The verdict on an answer or a program. With `stop_early` nothing is graded after the first failure."""
        ...

    def close(self) -> None:
        """Ends what it started; again is harmless."""
        ...


@runtime_checkable
class RunsPrograms(Protocol):
    """A verifier that runs the programs of others."""

    def isolation(self) -> Isolation | None:
        """What they are kept from; None where a server runs them. VerifierError where that is less than is demanded."""
        ...


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of problems, and all that the rest of the house asks about it."""

    name: str
    reference: Literal["answer", "tests"]
    """The field of a problem that its attempts are held against."""
    extract: Callable[[str, str | None], str | None]
    """(what follows the thought, the reference answer) -> what is graded; nothing where the text holds no answer."""
    verifier: Callable[[Limits], Verifier]
    """Opens the verifier; workers start with the first attempt, not here."""
    seconds: Callable[[Limits], float]
    """CPU seconds that an answer, or each test, may take."""
    settings: Callable[[Limits, bool], tuple[object, ...]]
    """(limits, stop_early) -> what a verdict depends on besides the attempt and the problem: part of its key."""
    refuse: Callable[[Problem], str] = lambda problem: ""
    """Why no attempt can be graded though there is a reference; empty where one can."""
    complete: Callable[[Problem], Problem] = lambda problem: problem
    """The problem with what its statement alone says of how attempts are graded."""
    undecidable: Callable[[Any, Problem], tuple[str, str] | None] | None = None
    """(the verifier, a problem) -> why its reference cannot tell right attempts from wrong ones, and what shows it.
    Curation asks before anything is trained or evaluated; None where the reference can, as all can without this."""
    runs_programs: bool = False
    """Attempts are programs: they need walls, and may run on a server."""
    whole: bool = False
    """`extract` reads the whole completion, its thought too."""
    batch: int = 1024
    """Attempts that are graded at a time where many stream by."""

    @property
    def file(self) -> Path | None:
        """Where the verifier of a domain from outside is written: stages that grade depend on it. None for ours."""
        name = self.verifier.__module__
        source = None if name.startswith("openklear.") else getattr(sys.modules.get(name), "__file__", None)
        return None if source is None else Path(source)

    @property
    def version(self) -> str:
        """Hash of that file: verdicts of another version are not believed. Empty for ours (tasks.GRADER_VERSION)."""
        return "" if self.file is None else _hash_of(self.file)

    @property
    def tested(self) -> bool:
        """Whether attempts are held against tests; a reward may then be the share of those that pass."""
        return self.reference == "tests"

    def total(self, problem: Problem) -> int:
        """Tests, or 1 for an answer."""
        return len(problem.tests) if self.tested else 1

    def missing(self, problem: Problem) -> str:
        """What the problem lacks to be graded at all; empty where it has a reference."""
        if self.tested:
            return "" if problem.tests else "no tests"
        return "" if problem.answer is not None else "no reference answer"


@cache
def _hash_of(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()


DOMAINS: dict[str, Domain] = {}
"""Every domain by its name, in the order in which they are shown. Stored tables hold places in this order."""


def register(domain: Domain) -> Domain:
    """Adds a domain. UsageError where its name is taken."""
    if domain.name in DOMAINS:
        raise UsageError(f"there is a domain {domain.name} already; choose another name")
    DOMAINS[domain.name] = domain
    return domain


def domain_named(name: str) -> Domain:
    """The domain of that name. UsageError, with the nearest one, where there is none."""
    if name in DOMAINS:
        return DOMAINS[name]
    near = get_close_matches(name, DOMAINS, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"there is no domain {name}; {hint}the domains are {', '.join(DOMAINS)}")


def domain_under(limits: Limits, name: str) -> Domain:
    """The domain of that name as the harness of the limits has it."""
    domain = domain_named(name)
    return _officially(domain) if name == "code" and limits.harness == "official" else domain


def _officially(code: Domain) -> Domain:
    """Programs as LiveCodeBench's harness takes them; a statement of several answers is nothing to it."""
    return replace(
        code,
        extract=lambda completion, _: official.extract(completion),
        whole=True,
        refuse=lambda problem: official.refusal(problem.tests),
        complete=lambda problem: problem,
    )


def grader_faults(graders: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(domain, what is wrong) of graders for unknown domains, and of servers that would have nothing to run."""
    for name, grader in graders.items():
        try:
            domain = domain_named(name)
        except UsageError as error:
            yield name, str(error)
        else:
            if is_address(grader) and not domain.runs_programs:
                what = f"a server runs programs, which {name} has none of"
                yield name, f"{what}; name a module:function or an entry point"


def require_graders(graders: Mapping[str, str]) -> None:
    """UsageError for the first of `grader_faults`."""
    for name, fault in grader_faults(graders):
        raise UsageError(f"grader {name}={graders[name]}: {fault}")


class AnswerVerifier:
    """Mathematics: is the answer equal to the reference?"""

    def __init__(self, limits: Limits):
        self.grader = MathGrader(limits.workers, limits.math_seconds)

    def grade(self, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        """See `MathGrader.grade`; the problem's checker may allow an error (`mathematics.tolerance`)."""
        assert problem.answer is not None, "a problem without reference is refused before"
        verdict = self.grader.grade(problem.answer, graded)
        if verdict.outcome is Outcome.INCORRECT and near(problem.answer, graded, problem.checker):
            return replace(verdict, outcome=Outcome.CORRECT, reason="", passed=1)
        return verdict

    def undecidable(self, problem: Problem) -> tuple[str, str] | None:
        """See `MathGrader.undecidable`."""
        return self.grader.undecidable(problem.answer or "")

    def close(self) -> None:
        """Ends the workers."""
        self.grader.close()


class ProgramVerifier:
    """Code: how many of the tests does the program pass, in boxes of this machine or on a server?"""

    def __init__(self, limits: Limits):
        self.grader = _program_grader(limits)

    def grade(self, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        """See `CodeGrader.grade`. Python takes a file with a byte-order mark, but no text with one."""
        return self.grader.grade(graded.removeprefix("\ufeff"), problem.tests, problem.checker, stop_early)

    def isolation(self) -> Isolation | None:
        """What programs are kept from on this host, found by starting a worker; None where a server runs them."""
        return None if isinstance(self.grader, SandboxFusionGrader) else self.grader.isolation()

    def close(self) -> None:
        """Ends the boxes."""
        self.grader.close()


def _program_grader(limits: Limits) -> CodeGrader | official.OfficialGrader | SandboxFusionGrader:
    isolation, packages = limits.minimum_isolation, limits.packages
    if limits.harness == "official":
        seconds, memory_mb = limits.code_seconds, limits.code_memory_mb
        return official.OfficialGrader(limits.workers, seconds, memory_mb, isolation, packages)
    if limits.sandbox_url is None:
        return CodeGrader(limits.workers, limits.code_seconds, limits.code_memory_mb, isolation, packages=packages)
    return SandboxFusionGrader(limits.sandbox_url, limits.code_seconds, limits.code_memory_mb)


def _statement(problem: Problem) -> str:
    return "\n\n".join(message["content"] for message in problem.prompt)


def _without_its_checker(problem: Problem) -> str:
    needed = problem.checker is None and needs_checker(_statement(problem))
    return "many valid answers and no checker" if needed else ""


def _refusal(problem: Problem) -> str:
    return _without_its_checker(problem) or sizes.refusal(problem.tests)


def _with_its_checker(problem: Problem) -> Problem:
    """With the checker that the statement asks for, where the problem names none."""
    said = checker_said(_statement(problem)) if problem.checker is None and problem.tests else None
    return problem if said is None else replace(problem, checker=said)


def _code_settings(limits: Limits, stop_early: bool) -> tuple[object, ...]:
    where = "boxes" if limits.sandbox_url is None else "server"
    harness = (official.VERSION,) if limits.harness == "official" else ()
    return limits.code_seconds, limits.code_memory_mb, where, stop_early, *versions(limits.packages), *harness


register(
    Domain(
        name="math",
        reference="answer",
        extract=extract_answer,
        verifier=AnswerVerifier,
        seconds=lambda limits: limits.math_seconds,
        settings=lambda limits, stop_early: (limits.math_seconds,),
        undecidable=AnswerVerifier.undecidable,
    )
)
register(
    Domain(
        name="code",
        reference="tests",
        extract=lambda text, _: extract_program(text),
        verifier=ProgramVerifier,
        seconds=lambda limits: limits.code_seconds,
        settings=_code_settings,
        refuse=_refusal,
        complete=_with_its_checker,
        runs_programs=True,
        batch=64,
    )
)
