"""The layers by themselves: system call filter, memory cgroups."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from openklear.verifiers import cgroup
from openklear.verifiers.workers import kernel, seccomp

pytestmark = pytest.mark.skipif(not kernel.LINUX, reason="Linux only")

_BOOT = "import sys\nfrom openklear.verifiers.workers import kernel, seccomp\nkernel.no_new_privileges()\n"
ALLOW, KILL = 0x7FFF0000, 0x80000000
X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def refuse(code):
    return 0x00050000 | code


def run(filter_rules, architecture, number, *arguments):
    """What the kernel's interpreter would answer: the instructions that the filter uses, and no others."""
    data = {0: number, 4: architecture, **{16 + 8 * i: value for i, value in enumerate(arguments)}}
    accumulator = place = 0
    while True:
        code, if_true, if_false, operand = filter_rules[place]
        place += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            accumulator = data.get(operand, 0)
        else:
            truth = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            place += if_true if truth[code] else if_false


@pytest.mark.parametrize(("machine", "column", "architecture"), [("x86_64", 0, X86), ("aarch64", 1, ARM)])
def test_every_call_of_the_list_is_denied_and_no_other(machine, column, architecture):
    rules = seccomp.rules(machine)
    denied = {numbers[column] for numbers in seccomp.DENIED.values()} - {-1}
    for number in range(600):
        answer = run(rules, architecture, number)
        if number in denied:
            assert answer == refuse(errno.EPERM)
        elif number == 435 or number > 469:
            assert answer == refuse(errno.ENOSYS)
        elif number not in seccomp.special(column):
            assert answer == ALLOW, number


# (call's numbers on x86_64 and aarch64, arguments, answer): numbers from the kernel's unistd.h, written out once more.
@pytest.mark.parametrize(
    ("numbers", "arguments", "answer"),
    [
        ((56, 220), (17,), ALLOW),
        ((56, 220), (0x003D0F00,), ALLOW),  # a thread
        ((56, 220), (0x10000011,), refuse(errno.EPERM)),
        ((56, 220), (0x00020011,), refuse(errno.EPERM)),
        ((56, 220), (0x02000011,), refuse(errno.EPERM)),
        ((41, 198), (1, 1), ALLOW),
        ((41, 198), (2, 1), refuse(errno.EAFNOSUPPORT)),
        ((41, 198), (16, 3), refuse(errno.EAFNOSUPPORT)),
        ((53, 199), (1, 1), ALLOW),
        ((53, 199), (30, 1), refuse(errno.EAFNOSUPPORT)),
        ((302, 261), (0, 7), ALLOW),
        ((302, 261), (1, 7), refuse(errno.EPERM)),
        ((141, 140), (0, 0, 5), ALLOW),
        ((141, 140), (0, 1, 5), refuse(errno.EPERM)),
        ((141, 140), (2, 0, 5), refuse(errno.EPERM)),
        ((259, 33), (0, 0, 0o010666), ALLOW),
        ((259, 33), (0, 0, 0o020666), refuse(errno.EPERM)),
        ((259, 33), (0, 0, 0o060666), refuse(errno.EPERM)),
        ((16, 29), (0, 0x5401), ALLOW),
        ((16, 29), (0, 0x5412), refuse(errno.EPERM)),
        ((16, 29), (0, 0x541C), refuse(errno.EPERM)),
        ((16, 29), (0, 0x5423), refuse(errno.EPERM)),
        ((101, 117), (), refuse(errno.EPERM)),  # ptrace
        ((272, 97), (), refuse(errno.EPERM)),  # unshare
        ((165, 40), (), refuse(errno.EPERM)),  # mount
        ((59, 221), (), ALLOW),  # execve
        ((0, 63), (), ALLOW),  # read
        ((434, 434), (), ALLOW),  # pidfd_open
    ],
)
def test_arguments_decide_where_a_call_is_needed(numbers, arguments, answer):
    assert run(seccomp.rules("x86_64"), X86, numbers[0], *arguments) == answer
    assert run(seccomp.rules("aarch64"), ARM, numbers[1], *arguments) == answer


def test_foreign_architectures_are_killed():
    assert run(seccomp.rules("x86_64"), I386, 0) == KILL
    assert run(seccomp.rules("x86_64"), ARM, 0) == KILL
    assert run(seccomp.rules("aarch64"), X86, 63) == KILL
    assert run(seccomp.rules("x86_64"), X86, 0x40000000 + 39) == KILL


def python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", _BOOT + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_filter_is_inherited_by_what_is_started():
    code = "import subprocess\nseccomp.install()\nsubprocess.run(['cat', '/proc/self/status'], check=True)"
    assert "Seccomp:\t2\n" in python(code)


@pytest.fixture
def cage():
    made = cgroup.make(64 * 2**20)
    if made is None:
        pytest.skip("no memory cgroup can be made here")
    yield made
    made.remove()
    assert not made.path.exists()


def joined(cage, code):
    """A Python that enters the cage first, as a box does."""
    join = f"open({str(cage.path / 'cgroup.procs')!r}, 'w').write('0')\n"
    return [sys.executable, "-c", join + textwrap.dedent(code)]


def killed_in(cage):
    """How many processes the kernel killed there because the limit was reached."""
    counts = next(path for name in ("memory.events", "memory.oom_control") if (path := cage.path / name).exists())
    return int(dict(line.split(None, 1) for line in counts.read_text().splitlines())["oom_kill"])


def test_a_cage_bounds_a_family(cage):
    code = """
    import os, time
    children = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            kept = bytearray(40 << 20); time.sleep(0.5); os._exit(0)
        children.append(pid)
    print(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
    """
    code = "open('/proc/self/oom_score_adj', 'w').write('0')\n" + textwrap.dedent(code)
    done = subprocess.run(joined(cage, code), capture_output=True, text=True, timeout=60, check=False)
    assert killed_in(cage) >= 1
    assert done.returncode != 0 or int(done.stdout) >= 1


def test_a_cage_takes_what_is_in_it_along(cage):
    code = "kept = bytearray(20 << 20)\nprint(flush=True)\ninput()"
    inside = subprocess.Popen(joined(cage, code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    inside.stdout.readline()
    added = subprocess.Popen(["sleep", "1000"])
    (cage.path / "cgroup.procs").write_text(str(added.pid))
    assert set(map(int, (cage.path / "cgroup.procs").read_text().split())) == {inside.pid, added.pid}
    cage.remove()
    assert (inside.wait(30), added.wait(30)) == (-signal.SIGKILL, -signal.SIGKILL)
    cage.remove()


def test_cages_of_killed_processes_are_taken_away(cage):
    code = "from openklear.verifiers import cgroup\nmade = cgroup.make(2**24)\nprint(made.path, flush=True)\ninput()"
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    path = owner.stdout.readline().strip()
    other = cgroup.make(2**24)
    assert os.path.exists(path), "the cage of a living process is not touched"
    other.remove()
    left = subprocess.Popen(["sleep", "1000"])
    with open(f"{path}/cgroup.procs", "w") as file:
        file.write(str(left.pid))
    owner.kill()
    owner.wait()
    other = cgroup.make(2**24)
    assert not os.path.exists(path)
    assert left.wait(30) == -signal.SIGKILL
    other.remove()
