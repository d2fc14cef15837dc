import json
import os
import subprocess
import sys

import pytest
from tests import shared_data
from tests.attacks import corpus, crowds, judges, storm, walls
from tests.attacks.arena import Arena, descendants
from tests.attacks.corpus import ADD, CALL_TESTS, HELD, INNOCENT, PRELUDE, SECRET

from openklear.errors import VerifierError
from openklear.verifiers import selftest
from openklear.verifiers.isolation import LEVELS, Boxes
from openklear.verifiers.pool import WorkerLost

WALLED = LEVELS[1:]
SURVEY = corpus.surveyed(path) if (path := shared_data.ROOT / "attacks" / "programs.json").exists() else []
WAITING = {"sleep_in_pieces", "threads", "cpu_over_children", "exec_a_loop", "output_from_children", "sleep_forever"}
WAITING |= {"thread_bomb", "read_tests_from_disk", "call_stopped_in_the_call", "assert_stopped_in_the_call"}
"""They take a second or more to be stopped, by what no level has a part in: tried at one level here, at all in storm."""


@pytest.fixture(scope="module")
def arena(request, tmp_path_factory):
    try:
        Boxes("rlimits", 2**28, request.param).start().close()
    except (WorkerLost, OSError, VerifierError) as error:
        pytest.skip(f"this host does not give {request.param}: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", None)
        patch.setenv(SECRET, "must not be seen")
        made = Arena(request.param, tmp_path_factory.mktemp("attacks"))
        yield made
        made.close()
        assert made.complaints == []


at_every_level = pytest.mark.parametrize("arena", WALLED, indirect=True)


def levels_and(attacks, at):
    return pytest.mark.parametrize(
        ("arena", "attack"),
        [(level, a) for level in WALLED for a in attacks if level in at(a)],
        indirect=["arena"],
        ids=str,
    )


def complaints_of(arena, attack):
    before = len(arena.complaints)
    arena.run(attack)
    found, arena.complaints[before:] = arena.complaints[before:], []
    return found


@at_every_level
def test_innocent_programs_pass(arena):
    assert arena.complaints == []


@levels_and(
    [*walls.ATTACKS, *crowds.ATTACKS, *(attack for attack in SURVEY if attack.tests == corpus.SUM_TESTS)],
    lambda attack: WALLED[:1] if attack.name in WAITING else WALLED,
)
def test_walls_hold(arena, attack):
    assert complaints_of(arena, attack) == []


@pytest.mark.parametrize(
    ("arena", "attack"),
    [("rlimits", a) for a in crowds.ATTACKS + walls.ATTACKS if a.plain and a.name not in WAITING],
    indirect=["arena"],
    ids=str,
)
def test_what_needs_no_walls_holds_without_them(arena, attack):
    assert complaints_of(arena, attack) == []


@levels_and(
    [*judges.ATTACKS, *(attack for attack in SURVEY if attack.tests != corpus.SUM_TESTS)], lambda attack: WALLED[-1:]
)
def test_the_judge_is_not_cheated(arena, attack):
    assert complaints_of(arena, attack) == []


def test_the_surveyed_attacks_are_there():
    assert len(corpus.surveyed(shared_data.shared("attacks/programs.json"))) == 39 + 2 * 10


def test_there_are_thirty_attacks_and_more_of_our_own():
    names = [attack.name for attack in (*walls.ATTACKS, *crowds.ATTACKS, *judges.ATTACKS)]
    assert len(set(names)) == len(names)
    assert len([*walls.ATTACKS, *crowds.ATTACKS]) >= 30
    assert len(judges.ATTACKS) >= 30


# What follows shows that attacks are attacks: without walls, and with the judges of the field, they succeed.


@pytest.mark.parametrize("attack", [attack for attack in (*walls.ATTACKS, *crowds.ATTACKS) if attack.control], ids=str)
def test_attacks_succeed_where_there_is_no_wall(attack, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-c", attack.program],
        input=attack.tests[0].stdin,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], SECRET: "seen"},
        timeout=60,
        check=False,
    )
    assert done.stdout.split("\n")[0] in ("5", "held"), done.stderr
    if "5" not in done.stdout:
        pytest.skip(f"this host denies {attack.name} to everybody")


# As in verl's prime_code and LiveCodeBench's testing_util: the program is run in the judge's own process, and a frame
# of the judge holds what it must return.
NAIVE = """
import json, sys
def judge(program, tests):
    namespace = {}
    exec(program, namespace)
    for test in tests:
        expected = test['expected']
        output = namespace['add'](*test['arguments'])
        if not output == expected: return False
    return True
program, tests = json.load(sys.stdin)
print('cheated' if judge(program, tests) else 'not cheated')
"""
REWARDED = ("call_equal_to_all", "call_search_for_expected", "call_true_for_all_operators", "fn_subclass_int_eq")


@pytest.mark.parametrize("name", [*REWARDED, "fn_frame_walk"])
def test_cheats_get_full_marks_from_a_judge_that_runs_programs_in_itself(name):
    attack = next((a for a in (*judges.ATTACKS, *SURVEY) if a.name == name), None)
    if attack is None:
        pytest.skip(f"{name} is in the shared material, which is not here")
    tests = [{"arguments": json.loads(test.args), "expected": json.loads(test.expected)} for test in CALL_TESTS]
    done = subprocess.run(
        [sys.executable, "-c", NAIVE],
        input=json.dumps([attack.program, tests]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "cheated\n", done.stderr


@at_every_level
@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (corpus.Attack("x", PRELUDE + "won()", "incorrect"), "must be incorrect"),
        (corpus.Attack("x", "print('held')", "incorrect", then=PRELUDE + "won()"), "next:"),
        (corpus.Attack("x", ADD, "incorrect", CALL_TESTS), "must be incorrect"),
        (corpus.Attack("x", PRELUDE + HELD, "incorrect", reason="timeout"), "must be incorrect 'timeout'"),
        (corpus.Attack("x", "print(5)", "correct", passed=2), "must be correct"),
    ],
)
def test_the_arena_complains(arena, broken, complaint):
    found = complaints_of(arena, broken)
    assert len(found) == 1
    assert complaint in found[0]


@at_every_level
def test_the_arena_sees_a_process_that_is_left(arena, monkeypatch):
    monkeypatch.setattr(arena, "settling", 0.3)
    held = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert held.pid in descendants()
        found = complaints_of(arena, INNOCENT[0])
        assert any("processes of the judge" in complaint for complaint in found)
    finally:
        held.kill()
        held.wait()
    assert complaints_of(arena, INNOCENT[0]) == []


@pytest.mark.chaos
def test_storm():
    assert storm.main(["--rounds", "2", "--seed", "7"]) == 0


@at_every_level
def test_the_self_test_finds_all_that_a_level_promises(arena):
    findings = selftest.measure(arena.level)
    assert [one.name for one in findings] == [one.name for one in selftest.GUARANTEES]
    assert [(one.name, one.why) for one in findings if not one.held] == []
    assert all(one.promised for one in findings)


def test_the_self_test_finds_what_is_open():
    held = {one.name: one for one in selftest.measure("rlimits")}
    for name in ("network", "files", "writes", "processes", "system calls", "shared memory"):
        assert not held[name].held
        assert not held[name].promised
    assert [(one.name, one.why) for one in held.values() if one.promised and not one.held] == []
    assert "server on this host" in held["network"].why
