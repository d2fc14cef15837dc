import json
import os
import subprocess
import sys

import pytest
from tests import shared_data
from tests.attacks import corpus, crowds, judges, storm, walls
from tests.attacks.arena import descendants
from tests.attacks.corpus import ADD, CALL_TESTS, HELD, INNOCENT, PRELUDE, SECRET

from openklear.verifiers import selftest
from openklear.verifiers.walls import LEVELS

WALLED = LEVELS[1:]
SURVEY = corpus.surveyed(path) if (path := shared_data.ROOT / "attacks" / "programs.json").exists() else []
WALL_ATTACKS = [*walls.ATTACKS, *crowds.ATTACKS, *(attack for attack in SURVEY if attack.tests == corpus.SUM_TESTS)]
JUDGE_ATTACKS = [*judges.ATTACKS, *(attack for attack in SURVEY if attack.tests != corpus.SUM_TESTS)]
WAITING = {
    *("sleep_in_pieces", "threads", "cpu_over_children", "exec_a_loop", "output_from_children", "clone_bomb"),
    *("bomb_at_exit", "memory_in_sockets", "sleep_forever", "thread_bomb", "read_tests_from_disk"),
}
"""They take a second or more to be stopped, by limits that no level has a part in. The storm tries them at all."""


at_every_level = pytest.mark.parametrize("arena", WALLED, indirect=True)
at_one_level = pytest.mark.parametrize("arena", WALLED[:1], indirect=True)


def complaints_of(arena, attack):
    before = len(arena.complaints)
    arena.run(attack)
    found, arena.complaints[before:] = arena.complaints[before:], []
    return found


@at_every_level
def test_innocent_programs_pass(arena):
    assert arena.complaints == []


@at_every_level
@pytest.mark.parametrize("attack", [attack for attack in WALL_ATTACKS if attack.name not in WAITING], ids=str)
def test_walls_hold(arena, attack):
    assert complaints_of(arena, attack) == []


@at_one_level
@pytest.mark.parametrize("attack", [attack for attack in WALL_ATTACKS if attack.name in WAITING], ids=str)
def test_limits_hold(arena, attack):
    assert complaints_of(arena, attack) == []


@at_one_level
@pytest.mark.parametrize("attack", JUDGE_ATTACKS, ids=str)
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
