"""The walls hold where LiveCodeBench's harness is followed: the process is walled in as any other, None or not."""

import pytest
from tests.attacks.corpus import HELD, INNOCENT, PRELUDE, SUM_TESTS, Attack
from tests.attacks.test_attacks import WAITING, WALL_ATTACKS, WALLED

from openklear.types import Outcome
from openklear.verifiers.official import OfficialGrader

SECONDS, MEMORY_MB = 1.0, 256
_SAID = 'os.write(1, b"%d\\n" % (a + b))\n    os._exit(0)'
_CAUGHT = 'sys.stdout.write("%d\\n" % (a + b))\n    raise SystemExit'
_OPEN = {"inherited_descriptors"}
"""The channel of the answers is open to the process, as where functions are called: it says what it could print."""
_WANTING = [
    attack
    for attack in WALL_ATTACKS
    if attack.program.startswith(PRELUDE) and attack.program.endswith(HELD) and attack.name not in WAITING | _OPEN
]


def officially(program):
    """An attack that says what it got where the harness looks, and takes back what the harness takes away."""
    assert _SAID in program
    given = (
        "import posix\nfor _ in dir(posix):\n    if callable(getattr(posix, _)): setattr(os, _, getattr(posix, _))\n"
    )
    return program.replace(_SAID, _CAUGHT).replace("libc = ", given + "libc = ", 1)


@pytest.fixture
def harness(arena):
    """The harness in the arena's own boxes, so that its processes are looked after."""
    made = OfficialGrader(1, SECONDS, MEMORY_MB, arena.level, ())
    made.close()
    made._boxes = arena.grader
    return made


at_one_level = pytest.mark.parametrize("arena", WALLED[-1:], indirect=True)


@at_one_level
def test_an_attack_that_wins_is_seen(harness):
    program = officially(PRELUDE + "won()" + HELD)
    assert harness.grade(program, SUM_TESTS).correct
    assert harness.grade(officially(PRELUDE + "os.getcwd(); os.kill(os.getpid(), 0)\nwon()" + HELD), SUM_TESTS).correct


@at_one_level
@pytest.mark.parametrize("attack", _WANTING, ids=str)
def test_walls_hold(arena, harness, attack):
    before = len(arena.complaints)
    verdict = harness.grade(officially(attack.program), attack.tests)
    assert verdict.outcome is Outcome.INCORRECT, verdict
    if attack.then:
        assert harness.grade(officially(attack.then), SUM_TESTS).outcome is Outcome.INCORRECT
    arena.run(Attack("look", INNOCENT[0].program, "correct"))  # processes and files that are left, and the next program
    found, arena.complaints[before:] = arena.complaints[before:], []
    assert found == []


def test_there_are_attacks():
    assert len(_WANTING) > 40
