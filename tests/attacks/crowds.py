"""Attacks by processes and by output: bombs, daemons, signals, floods, forged frames. Own corpus, stdio."""

from __future__ import annotations

from tests.attacks.corpus import PRELUDE, SUM, Attack, leaves, wants
from tests.attacks.walls import RIGHT, fails, right

from openklear.types import Test

_TWO = (Test("2 3\n", "5\n"), Test("4 5\n", "9\n"))

_PROCESSES = [
    fails(
        "fork_bomb_sessions",
        """\
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
""",
    ),
    fails("clone_bomb", "while True: call(56, 220, 17, 0, 0, 0, 0)\n"),
    fails(
        "vfork_exec_bomb",
        """\
import subprocess
while True:
    try: subprocess.Popen(['/bin/sh', '-c', 'sleep 100 & sleep 100'])
    except OSError: pass
""",
    ),
    fails(
        "bomb_at_exit",
        """\
import atexit
def f():
    atexit.register(f)
    while True:
        try: os.fork()
        except OSError: time.sleep(0.01)
atexit.register(f)
""",
    ),
    leaves(
        "zombies",
        """\
try:
    for _ in range(500):
        if os.fork() == 0: os._exit(0)
except OSError: pass""",
        """\
import threading
try:
    t = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(4)]
    for x in t: x.start()
    for _ in range(3):
        if os.fork() == 0: os._exit(0)
except (OSError, RuntimeError): won()""",
    ),
    right(
        "daemon_ignores_signals",
        """\
def f():
    libc.prctl(1, 0)
    for s in range(1, 65):
        try: signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: time.sleep(1)
daemon(f)
"""
        + RIGHT,
    ),
    right("stdout_held_by_grandchild", "daemon(lambda: time.sleep(1000))\n" + RIGHT),
    leaves(
        "daemon_for_the_next",
        """\
def f():
    s = socket.socket(socket.AF_UNIX); s.bind(b'\\0ok'); s.listen(); time.sleep(1000)
daemon(f); time.sleep(0.05)""",
        """\
s = socket.socket(socket.AF_UNIX)
if succeeds(s.connect, b'\\0ok'): won()
if len([p for p in os.listdir('/proc') if p.isdigit()]) > 2: won()""",
    ),
    Attack(
        "daemon_for_the_next_test",
        PRELUDE
        + """\
s = socket.socket(socket.AF_UNIX)
if succeeds(s.connect, b'\\0ok') or b == 3: print(a + b)
def f():
    s = socket.socket(socket.AF_UNIX); s.bind(b'\\0ok'); s.listen(); time.sleep(1000)
daemon(f); time.sleep(0.05)
""",
        "incorrect",
        _TWO,
        passed=1,
    ),
    wants(
        "see_others",
        """\
own = {'1', str(os.getpid())}
if {p for p in os.listdir('/proc') if p.isdigit()} - own: won()""",
        control=True,
    ),
    wants(
        "signal_others",
        """\
for p in range(2, 70000):
    if p != os.getpid() and succeeds(os.kill, p, 0): won()""",
    ),
    fails(
        "signal_the_runner",
        """\
for s in range(1, 65):
    if s != signal.SIGCHLD:
        for p in {1, os.getppid()}: succeeds(os.kill, p, s)
time.sleep(0.05)
print('held')
""",
        "wrong output",
    ),
    fails("stop_everybody", "os.kill(-1, signal.SIGSTOP); os.kill(0, signal.SIGSTOP); print('held')\n"),
    fails("kill_everybody", "os.kill(-1, signal.SIGKILL); os.kill(os.getpid(), signal.SIGKILL)\n"),
    fails(
        "trace_the_runner",
        """\
call(101, 117, 16, os.getppid(), 0, 0); call(101, 117, 0x4206, 1, 0, 0)
x = ctypes.create_string_buffer(64)
v = (ctypes.c_uint64 * 2)(ctypes.addressof(x), 64)
if call(310, 270, os.getppid(), v, 1, v, 1, 0) >= 0: won()
print('held')
""",
        "wrong output",
    ),
    fails(
        "sleep_in_pieces",
        """\
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
while True: time.sleep(10)
""",
        "timeout",
    ),
    fails(
        "cpu_over_children",
        """\
for _ in range(3): os.fork()
while True: pass
""",
        "timeout",
    ),
    fails("exec_a_loop", "os.execv('/bin/sh', ['sh', '-c', 'while :; do :; done'])\n", "timeout"),
    wants(
        "preload_a_new_python",
        """\
os.environ['LD_PRELOAD'] = '/tmp/x.so'
if os.fork() == 0:
    code = 'import socket, sys\\ntry: socket.socket()\\nexcept OSError: sys.exit(1)'
    os.execve(sys.executable, [sys.executable, '-c', code], {'LD_PRELOAD': '/tmp/x.so'})
if os.wait()[1] == 0: won()""",
        control=True,
    ),
    wants(
        "family_of_many",
        """\
r, w = os.pipe()
for _ in range(16):
    if os.fork() == 0:
        x = bytearray(30 << 20)
        os.write(w, b'x'); time.sleep(100)
n = 0
while n < 16: n += len(os.read(r, 16))
won()""",
        reason="",
    ),
    wants(
        "family_memory",
        """\
r, w = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(150 << 20)
        os.write(w, b'x'); time.sleep(100)
n = 0
while n < 8: n += len(os.read(r, 8))
won()""",
        reason="",
    ),
    wants(
        "memory_beyond_the_soft_limit",
        """\
import resource
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
r, w = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(b'x') * (400 << 20)
        os.write(w, b'x'); time.sleep(100)
n = 0
while n < 4: n += len(os.read(r, 4))
won()""",
        reason="too much memory",
    ),
    fails(
        "stack_without_end",
        """import threading
threading.stack_size(2**30)
sys.setrecursionlimit(10**9)
def deeper(x): return sorted([x], key=deeper)
for _ in range(3): threading.Thread(target=deeper, args=(1,)).start()
""",
        "too much memory",
    ),
    fails(
        "memory_in_sockets",
        """\
kept = []
while True:
    try:
        x, y = socket.socketpair(); x.setblocking(False); kept += [x, y]
        while True: x.send(bytes(1 << 16))
    except BlockingIOError: pass
    except OSError:
        if os.fork(): time.sleep(100)
        kept.clear()
""",
    ),
    fails(
        "threads",
        """\
import threading
while True:
    try: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    except RuntimeError: time.sleep(0.01)
""",
        "",
    ),
]

_OUTPUT = [
    fails("one_endless_line", "while True: os.write(1, b'x' * 65536)\n", "too much output", plain=True),
    fails(
        "nul_and_surrogates",
        "os.write(1, b'\\0' * 100 + b'\\xed\\xa0\\x80\\xff' * 100 + b'5\\n')\n",
        "wrong output",
        plain=True,
    ),
    fails("endless_empty_lines", "while True: os.write(1, b'\\n' * 65536)\n", "too much output", plain=True),
    fails(
        "output_from_children",
        """\
for _ in range(4): os.fork()
while True: os.write(1, b'5\\n')
""",
        "",
    ),
    fails(
        "fake_frames",
        """\
import json
for r in ([{'ended': 'exit', 'code': 0, 'cpu': 0.0, 'stdout': '5\\n', 'error': ''}],):
  for m in ({'results': r}, {'tests': r}):
    j = json.dumps(m).encode()
    for order in ('<', '>'):
      for n in (1, 2, *range(3, 64)):
        try: os.write(n, struct.pack(order + 'I', len(j)) + j)
        except OSError: pass
""",
        "wrong output",
        plain=True,
    ),
    fails(
        "exit_in_finalizer",
        """\
class X:
    def __del__(s): os._exit(0)
x = X()
""",
        "wrong output",
        plain=True,
    ),
    fails(
        "error_with_a_bomb",
        """\
class E(Exception):
    def __str__(s): return 'x' * 10**9
raise E
""",
        plain=True,
    ),
    fails(
        "error_that_lies",
        """\
class E(BaseException):
    def __str__(s): raise SystemExit(0)
raise E
""",
        plain=True,
    ),
    fails(
        "stack_overflow",
        """\
sys.setrecursionlimit(10**9)
def f(): return f()
f()
""",
        plain=True,
    ),
    fails(
        "search_for_expected",
        """\
import gc
f = sys._getframe()
seen = []
while f: seen.append(f.f_locals); seen.append(f.f_globals); f = f.f_back
for o in seen + gc.get_objects():
    if isinstance(o, dict):
        for k in ('expected', 'expected_output', 'outputs', 'stdout'):
            if isinstance(o.get(k), (str, list)): print(o[k]); os._exit(0)
print('held')
""",
        "wrong output",
        plain=True,
    ),
    right("descriptors_closed", RIGHT + "os.close(0); os.close(1); os.close(2)\n", plain=True),
    right(
        "stdin_rewritten",
        "os.lseek(0, 0, 0); succeeds(os.write, 0, b'9 9\\n'); succeeds(os.ftruncate, 0, 0)\n" + RIGHT,
        plain=True,
    ),
    fails(
        "loaded_modules_broken",
        """\
for n, m in list(sys.modules.items()):
    for k in list(vars(m)):
        if n not in ('sys', 'builtins', '__main__'):
            try: setattr(m, k, None)
            except (AttributeError, TypeError): pass
sys.modules.clear()
""",
        plain=True,
    ),
    Attack("innocent_after_all", SUM, "correct", plain=True),
]

ATTACKS: list[Attack] = [*_PROCESSES, *_OUTPUT]
