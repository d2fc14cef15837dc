"""Attacks on the judge: functions that are called with arguments, and asserted about, and try to pass all the same."""

from __future__ import annotations

from tests.attacks.corpus import ASSERT_TESTS, CALL_TESTS, Attack

_BROKEN: dict[str, str] = {
    "equal_to_all": """
class Any(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return hash(5)
def add(a, b): return Any('x')
""",
    "equal_list": """
class Any(list):
    def __eq__(self, other): return True
    def __len__(self): return 1
def add(a, b): return Any()
""",
    "claims_a_class": """
class Liar:
    @property
    def __class__(self): return int
    def __eq__(self, other): return True
    def __int__(self): return 5
    def __index__(self): return 5
def add(a, b): return Liar()
""",
    "lying_repr": """
class Liar(float):
    def __repr__(self): return '5'
    __str__ = __format__ = lambda self, *a: '5'
def add(a, b): return Liar(0.0)
""",
    "lying_reduce": """
class Liar:
    def __reduce__(self): return (eval, ('5',))
    def __getstate__(self): raise SystemExit(0)
def add(a, b): return Liar()
""",
    "json_patched": """
import json, json.encoder, json.decoder
for module in (json, json.encoder, json.decoder):
    for name in dir(module):
        if name[:2] != '__':
            try: setattr(module, name, lambda *a, **k: '5')
            except (AttributeError, TypeError): pass
def add(a, b): return 0
""",
    "builtins_patched": """
import builtins
_int = int
builtins.isinstance = lambda *a: True
builtins.type = lambda *a: _int
builtins.len = lambda *a: 1
builtins.repr = builtins.str = lambda *a: '5'
builtins.getattr = lambda *a: 5
def add(a, b): return 0
""",
    "os_patched": """
import os
write = os.write
def liar(fd, data): return write(fd, b'5' if fd > 2 else data)
os.write = liar
os._exit = lambda *a: None
os.writev = lambda fd, parts: liar(fd, b''.join(parts))
def add(a, b): return 0
""",
    "runner_modules_patched": """
import sys
def walk():
    frame = sys._getframe()
    while frame:
        for name, value in list(frame.f_globals.items()):
            if callable(value) and name not in ('add', 'walk'):
                try: frame.f_globals[name] = lambda *a, **k: 5
                except TypeError: pass
        frame = frame.f_back
def add(a, b):
    walk()
    return 0
""",
    "guesses_before_the_call": """
import os, json, struct
def guess():
    for value in range(-20, 20):
        for text in (json.dumps(value), json.dumps({'value': value}), json.dumps(['value', value])):
            data = text.encode()
            frames = [struct.pack(order + 'I', len(data)) + data for order in '<>']
            for whole in (data, data + b'\\n', *frames):
                for fd in range(3, 16):
                    try: os.write(fd, whole)
                    except OSError: pass
guess()
def add(a, b): return 77
""",
    "guesses_and_goes": """
import os
def add(a, b):
    for fd in range(1, 16):
        try:
            for value in range(10): os.write(fd, b'%d\\n' % value)
        except OSError: pass
    os._exit(0)
""",
    "forks_and_guesses": """
import os
def add(a, b):
    for value in range(12):
        if os.fork() == 0: return value
    return 77
""",
    "channel_closed": """
import os
def add(a, b):
    os.closerange(0, 64)
    return 5
""",
    "channel_replaced": """
import os
def add(a, b):
    for fd in range(3, 10):
        try: os.dup2(1, fd)
        except OSError: pass
    print(5)
    return 5
""",
    "exit_at_import": "import os\nos._exit(0)\n",
    "exit_at_call": "def add(a, b): raise SystemExit(0)\n",
    "exit_in_finalizer": """
import os
class Bye:
    def __del__(self): os._exit(0)
def add(a, b):
    bye = Bye()
    return 0
""",
    "no_function": "addition = 5\n",
    "function_is_a_value": "add = 5\n",
    "getattr_bomb": """
class Meta(type):
    def __getattribute__(self, name):
        while True: pass
class add(metaclass=Meta): pass
""",
    "trace_the_runner": """
import sys
def tracer(frame, event, arg):
    for name in list(frame.f_locals):
        if name in ('value', 'result', 'answer', 'returned'): frame.f_locals[name] = 5
    return tracer
sys.settrace(tracer); sys.setprofile(lambda *a: None)
frame = sys._getframe()
while frame:
    frame.f_trace = tracer
    frame = frame.f_back
def add(a, b): return 0
""",
    "search_for_expected": """
import gc, sys
def add(a, b):
    frame, seen = sys._getframe(), []
    while frame:
        seen += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    for found in seen + [o for o in gc.get_objects() if isinstance(o, dict)]:
        for name in ('expected', 'gt_out', 'outputs', 'expected_output', 'all_outputs'):
            if name in found: return found[name]
    return 0
""",
    "infinite_iterator": """
import itertools
def add(a, b): return itertools.count()
""",
    "deep_list": """
def add(a, b):
    x = []
    for _ in range(10**6): x = [x]
    return x
""",
    "shared_list_bomb": """
def add(a, b):
    x = [5]
    for _ in range(60): x = [x, x]
    return x
""",
    "dict_of_itself": """
def add(a, b):
    d = {}
    d['d'] = d
    return d
""",
    "huge_string": "def add(a, b): return 'x' * (64 << 20)\n",
    "huge_integer": "def add(a, b): return 10 ** (10 ** 6)\n",
    "not_a_number": "def add(a, b): return float('nan')\n",
    "lone_surrogate": "def add(a, b): return '\\ud800' * 100\n",
    "hostile_mapping": """
class D(dict):
    def items(self): return [('a', 5)]
    def __iter__(self): raise SystemExit(0)
    def keys(self): return ['a']
def add(a, b): return D(x=1)
""",
    "changes_itself": """
import threading
shared = [0]
def flip():
    while True: shared.append(5); shared.pop()
threading.Thread(target=flip, daemon=True).start()
def add(a, b): return shared
""",
    "print_the_answer": "def add(a, b):\n    print(5, flush=True)\n",
    "raises_a_bomb": """
class E(BaseException):
    def __str__(self): return 'x' * 10**9
    def __repr__(self): raise SystemExit(0)
def add(a, b): raise E
""",
    "assertion_error_patched": """
import builtins, os
class Quiet(Exception):
    def __init__(self, *a): os._exit(0)
builtins.AssertionError = Quiet
def add(a, b): return 0
""",
    "true_for_all_operators": """
class Yes:
    pass
for name in ('eq', 'ne', 'lt', 'le', 'gt', 'ge', 'bool', 'contains', 'instancecheck'):
    setattr(Yes, f'__{name}__', lambda *a: True)
def add(a, b): return Yes()
""",
    "stopped_in_the_call": """
import os, signal
def add(a, b):
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0
""",
    "daemon_answers": """
import os, time
def add(a, b):
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.05)
        return 5
    os._exit(0)
""",
}

_PASSED_FROM_ONE_CALL_TO_THE_NEXT = """
import os
count = 0
def add(a, b):
    global count
    count += 1
    left = os.path.exists('/tmp/ok')
    open('/tmp/ok', 'w').close()
    return 77 if count == 1 and not left else (5, 0)[count - 2]
"""

ATTACKS: list[Attack] = [
    *(Attack(f"call_{name}", program, "incorrect", CALL_TESTS) for name, program in _BROKEN.items()),
    *(Attack(f"assert_{name}", program, "incorrect", ASSERT_TESTS) for name, program in _BROKEN.items()),
    Attack("call_counts_calls", _PASSED_FROM_ONE_CALL_TO_THE_NEXT, "incorrect", CALL_TESTS, passed=0),
]
