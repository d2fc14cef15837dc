"""Attacks on the host, on other programs, and on the box: own corpus, stdio."""

from __future__ import annotations

from tests.attacks.corpus import MARK, PRELUDE, SECRET, SUM, Attack, leaves, wants

from openklear.types import Test

RIGHT = "os.write(1, b'%d\\n' % (a + b))\n"
_TWO = (Test("2 3\n", "5\n"), Test("4 5\n", "9\n"))


def right(name: str, body: str, **more: object) -> Attack:
    """A program that answers rightly and does something on the side: judged correct, and nothing may come of it."""
    return Attack(name, PRELUDE + body, "correct", **more)  # type: ignore[arg-type]


def fails(name: str, body: str, reason: str = "", **more: object) -> Attack:
    """A program that must be stopped."""
    return Attack(name, PRELUDE + body, "incorrect", reason=reason, **more)  # type: ignore[arg-type]


_KERNEL = [
    wants("io_uring", "if call(425, 425, 8, ctypes.create_string_buffer(120)) >= 0: won()"),
    wants("keyring", "if call(248, 217, b'user', b'ok', b'x', 1, -4) >= 0: won()", control=True),
    wants("memfd", "if call(319, 279, b'x', 0) >= 0: won()", control=True),
    wants("shm_segment", "if call(29, 194, 0, 4096, 0o1666) >= 0: won()", control=True),
    wants("namespace_user", "if call(272, 97, 0x10000000) == 0: won()", control=True),
    wants("namespace_by_clone", "if call(56, 220, 0x10000011, 0, 0, 0, 0) >= 0: won()", control=True),
    wants(
        "namespace_by_clone3",
        "x = struct.pack('=11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)\nif call(435, 435, x, len(x)) >= 0: won()",
        control=True,
    ),
    wants("mount_over_proc", "if libc.mount(b'x', b'/proc', b'tmpfs', 0, None) == 0: won()"),
    wants(
        "remount_root", "for flags in (32, 32 | 4096):\n    if libc.mount(b'x', b'/', None, flags, None) == 0: won()"
    ),
    wants("mount_by_descriptor", "if call(430, 430, b'tmpfs', 0) >= 0 or call(428, 428, -100, b'/', 1) >= 0: won()"),
    wants("chroot", "os.mkdir('x')\nif succeeds(os.chroot, 'x'): won()"),
    wants(
        "join_namespaces",
        "for p in (1, os.getppid()):\n  for n in ('user', 'mnt', 'net', 'pid', 'ipc'):\n    try: f = os.open(f'/proc/{p}/ns/{n}', 0)\n    except OSError: continue\n    if call(308, 268, f, 0) == 0: won()",
    ),
    wants("clock", "if succeeds(time.clock_settime, time.CLOCK_REALTIME, time.time() + 1): won()"),
    wants(
        "realtime",
        "for p in (os.SCHED_FIFO, os.SCHED_RR):\n    if succeeds(os.sched_setscheduler, 0, p, os.sched_param(1)): won()",
    ),
    wants(
        "affinity_of_all",
        "if succeeds(os.sched_setaffinity, 0, {0}) or succeeds(os.sched_setaffinity, 1, {0}): won()",
        control=True,
    ),
    wants(
        "priority_of_others",
        "if succeeds(os.setpriority, os.PRIO_USER, 0, 19) or succeeds(os.setpriority, os.PRIO_PROCESS, os.getppid(), 19): won()",
    ),
    wants(
        "limits_of_runner",
        "import resource\nfor p in {1, os.getppid()}:\n    if succeeds(resource.prlimit, p, resource.RLIMIT_NOFILE, (1, 1)): won()",
    ),
    wants(
        "raise_limits",
        "import resource as r\nfor w in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE):\n    if succeeds(r.setrlimit, w, (r.RLIM_INFINITY, r.RLIM_INFINITY)): won()",
    ),
    wants(
        "sockets",
        "for f in range(2, 46):\n  for t in (1, 2, 3, 5):\n    if succeeds(socket.socket, f, t, 0): won()",
        control=True,
    ),
    wants(
        "privileges",
        "s = dict(l.split(':\\t', 1) for l in open('/proc/self/status'))\n"
        "caps = [int(s[k], 16) for k in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb')]\n"
        "if any(caps) or int(s['NoNewPrivs']) != 1 or int(s['Seccomp']) != 2: won()",
        control=True,
    ),
    wants(
        "privileges_by_exec",
        "r, w = os.pipe()\nif os.fork() == 0:\n    os.dup2(w, 1)\n    os.execv('/bin/cat', ['cat', '/proc/self/status'])\n"
        "os.wait()\nt = os.read(r, 9999).decode()\nif 'CapEff:\\t0000000000000000' not in t or 'Seccomp:\\t2' not in t: won()",
        control=True,
    ),
    wants(
        "other_calls",
        "for x, arm in ((298, 241), (321, 280), (323, 282), (304, 265), (300, 262), (310, 270), (438, 438),\n"
        "               (312, 272), (135, 92), (103, 116), (175, 105), (246, 104), (169, 142), (167, 224), (163, 89)):\n"
        "    call(x, arm, -1, -1, -1, -1, -1)\n    if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): won()",
        control=True,
    ),
    fails("foreign_calls", "call(0x40000000 + 39, 0x7fffffff)\nif platform.machine() == 'x86_64': won()\n", plain=True),
    wants(
        "device_nodes",
        "for k in (0o020666, 0o060666):\n    if succeeds(os.mknod, f'dev{k}', k, os.makedev(1, 1)): won()\n"
        "for d in ('mem', 'kmsg', 'port', 'fuse', 'kvm', 'tty', 'console', 'net/tun', 'vda', 'sda', 'loop-control', 'vsock', 'userfaultfd'):\n"
        "    if succeeds(os.open, '/dev/' + d, os.O_RDONLY): won()",
    ),
    wants(
        "kernel_switches",
        "for p in ('sys/kernel/core_pattern', 'sys/vm/overcommit_memory', 'sys/kernel/ns_last_pid', 'sys/user/max_user_namespaces', 'sys/kernel/shmmax', 'sys/kernel/hostname', '1/oom_score_adj'):\n"
        "    def same():\n        f = os.open('/proc/' + p, os.O_RDWR); x = os.pread(f, 99, 0); os.pwrite(f, x, 0)\n"
        "    if succeeds(same): won()\nif succeeds(os.open, '/proc/sysrq-trigger', os.O_WRONLY): won()",
    ),
]

_FILES = [
    wants(
        "host_files",
        "way = os.path.realpath(sys.base_prefix) + '/'\n"
        "for p in ('/etc/passwd', '/etc/shadow', '/etc/hostname', '/proc/1/root/etc/passwd', '/proc/1/cwd/etc/passwd', '/tmp/../etc/passwd'):\n    if succeeds(open, p): won()\n"
        "for p in ('/root', '/home', '/var', '/boot', '/opt', '/srv', '/run', '/sys', '/mnt'):\n    if os.path.isdir(p) and succeeds(os.listdir, p) and any(not way.startswith(f'{p}/{n}/') for n in os.listdir(p)): won()",
        control=True,
    ),
    wants(
        "write_everywhere",
        f"places = ['/', '/usr', '/usr/lib', '/bin', '/etc', '/dev', '/proc', '/sys', '/var/tmp', '/root', '/home', sys.prefix, os.path.dirname(os.__file__), os.path.dirname(os.__file__) + '/__pycache__', '/proc/1/root', '/proc/1/cwd']\n"
        f"for p in places:\n    if succeeds(lambda: os.close(os.open(p + '/{MARK}', os.O_CREAT | os.O_WRONLY))): won()\n"
        "if succeeds(os.rename, '/usr/bin/env', '/usr/bin/env2') or succeeds(os.chmod, '/usr/bin/env', 0o777) or succeeds(os.utime, os.__file__): won()",
    ),
    wants(
        "link_out",
        "for p in ('/usr/bin/env', os.__file__, '/proc/1/environ'):\n    try: os.link(p, 'linked')\n    except OSError: continue\n    won()",
    ),
    wants(
        "environment",
        f"if '{SECRET}' in os.environ or set(os.environ) - {{'PATH', 'HOME', 'LANG', 'PWD', 'PYTHONUTF8', 'PYTHONHASHSEED', 'OMP_NUM_THREADS', 'LC_CTYPE', 'MALLOC_ARENA_MAX'}}: won()\n"
        f"for p in os.listdir('/proc'):\n    try: t = open(f'/proc/{{p}}/environ', 'rb').read()\n    except OSError: continue\n    if b'{SECRET}' in t: won()",
        control=True,
    ),
    wants(
        "runner_files",
        "for p in {1, os.getppid()}:\n  for n in ('mem', 'maps', 'environ', 'auxv', 'syscall', 'stack', 'fd/0', 'fd/10', 'fd/11', 'map_files'):\n"
        "    try:\n      f = os.open(f'/proc/{p}/{n}', 0)\n      if os.path.isdir(f'/proc/{p}/{n}') and os.listdir(f'/proc/{p}/{n}') or os.read(f, 1): won()\n    except OSError: pass\n"
        "  for n in ('root', 'cwd', 'exe'):\n    if succeeds(os.readlink, f'/proc/{p}/{n}'): won()",
    ),
    wants(
        "runner_descriptors",
        "for p in {1, os.getppid()}:\n  for n in range(64):\n    for m in (os.O_RDONLY, os.O_WRONLY):\n      if succeeds(os.open, f'/proc/{p}/fd/{n}', m | os.O_NONBLOCK): won()",
    ),
    wants(
        "inherited_descriptors",
        "left = []\nfor n in range(3, 4096):\n    try: os.fstat(n); left.append(n)\n    except OSError: pass\nif left: won()",
    ),
    leaves(
        "file_in_tmp",
        "for p in ('/tmp/ok', '/dev/shm/ok', 'ok', '/var/tmp/ok'):\n    if succeeds(lambda: open(p, 'w').write('x')): pass",
        "if any(os.path.exists(p) for p in ('/tmp/ok', '/dev/shm/ok', 'ok', '/var/tmp/ok')): won()",
    ),
    leaves(
        "module_in_cwd",
        "open('bisect.py', 'w').write('raise SystemExit(0)')\nopen('sitecustomize.py', 'w').write('1/0')\nos.mkdir('json')",
        "if os.listdir('.'): won()",
    ),
    leaves(
        "tmp_filled",
        "i = 0\ntry:\n    while True:\n        with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 23))\n        i += 1\nexcept OSError: pass",
        "try: open('x', 'wb').write(bytes(1 << 23))\nexcept OSError: won()",
    ),
    leaves(
        "tmp_files_used_up",
        "try:\n    for i in range(10**5): open(f'f{i}', 'w').close()\nexcept OSError: pass",
        "try: open('x', 'w').close()\nexcept OSError: won()",
    ),
    Attack(
        "file_for_the_next_test",
        PRELUDE + "if os.path.exists('/tmp/ok') or b == 3: print(a + b)\nopen('/tmp/ok', 'w').close()\n",
        "incorrect",
        _TWO,
        passed=1,
    ),
    right("deep_directories", RIGHT + "for i in range(1000):\n    os.mkdir('d'); os.chdir('d')\n", plain=True),
    right(
        "locked_tree",
        RIGHT
        + "for i in range(20):\n    os.mkdir('d'); open('d/f', 'w').close(); os.chdir('d')\nfor i in range(20):\n    os.chdir('..'); os.chmod('d', 0)\n",
        plain=True,
    ),
    right(
        "links_out",
        RIGHT
        + "for i, p in enumerate(('/', '/usr', '/etc', '/tmp', '/root', '..', '/proc/self', '/proc/1/root')):\n    os.symlink(p, f'l{i}')\n",
        plain=True,
    ),
    right(
        "fifos",
        RIGHT + "for n in ('stdout', 'stderr', 'output', 'result', 'result.json', '.lock', 'core'): os.mkfifo(n)\n",
        plain=True,
    ),
    right("many_files_left", RIGHT + "for i in range(3000): open(f'f{i}', 'w').close()\n", plain=True),
    right("own_directory_removed", RIGHT + "os.mkdir('/tmp/x'); os.chdir('/tmp/x'); os.rmdir('/tmp/x')\n"),
    right(
        "odd_names",
        RIGHT + "for n in (b'\\xff\\xfe', b'\\n', b'-rf', b'a' * 255, b'\\xed\\xa0\\x80'): open(n, 'w').close()\n",
        plain=True,
    ),
]

_PROCESSES = [
    fails(
        "fork_bomb_sessions",
        "while True:\n    try:\n        if os.fork() == 0: os.setsid()\n    except OSError: pass\n",
    ),
    fails("clone_bomb", "while True: call(56, 220, 17, 0, 0, 0, 0)\n"),
    fails(
        "vfork_exec_bomb",
        "import subprocess\nwhile True:\n    try: subprocess.Popen(['/bin/sh', '-c', 'sleep 100 & sleep 100'])\n    except OSError: pass\n",
    ),
    fails(
        "bomb_at_exit",
        "import atexit\ndef f():\n    atexit.register(f)\n    while True:\n        try: os.fork()\n        except OSError: time.sleep(0.01)\natexit.register(f)\n",
    ),
    leaves(
        "zombies",
        "try:\n    for _ in range(500):\n        if os.fork() == 0: os._exit(0)\nexcept OSError: pass",
        "import threading\ntry:\n    t = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(4)]\n    for x in t: x.start()\n    for _ in range(3):\n        if os.fork() == 0: os._exit(0)\nexcept (OSError, RuntimeError): won()",
    ),
    right(
        "daemon_ignores_signals",
        "def f():\n    libc.prctl(1, 0)\n    for s in range(1, 65):\n        try: signal.signal(s, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    while True: time.sleep(1)\ndaemon(f)\n"
        + RIGHT,
    ),
    right("stdout_held_by_grandchild", "daemon(lambda: time.sleep(1000))\n" + RIGHT),
    leaves(
        "daemon_for_the_next",
        "def f():\n    s = socket.socket(socket.AF_UNIX); s.bind(b'\\0ok'); s.listen(); time.sleep(1000)\ndaemon(f); time.sleep(0.05)",
        "s = socket.socket(socket.AF_UNIX)\nif succeeds(s.connect, b'\\0ok'): won()\nif len([p for p in os.listdir('/proc') if p.isdigit()]) > 2: won()",
    ),
    Attack(
        "daemon_for_the_next_test",
        PRELUDE
        + "s = socket.socket(socket.AF_UNIX)\nif succeeds(s.connect, b'\\0ok') or b == 3: print(a + b)\ndef f():\n    s = socket.socket(socket.AF_UNIX); s.bind(b'\\0ok'); s.listen(); time.sleep(1000)\ndaemon(f); time.sleep(0.05)\n",
        "incorrect",
        _TWO,
        passed=1,
    ),
    wants(
        "see_others",
        "own = {'1', str(os.getpid())}\nif {p for p in os.listdir('/proc') if p.isdigit()} - own: won()",
        control=True,
    ),
    wants("signal_others", "for p in range(2, 70000):\n    if p != os.getpid() and succeeds(os.kill, p, 0): won()"),
    fails(
        "signal_the_runner",
        "for s in range(1, 65):\n    if s != signal.SIGCHLD:\n        for p in {1, os.getppid()}: succeeds(os.kill, p, s)\ntime.sleep(0.05)\nprint('held')\n",
        "wrong output",
    ),
    fails("stop_everybody", "os.kill(-1, signal.SIGSTOP); os.kill(0, signal.SIGSTOP); print('held')\n"),
    fails("kill_everybody", "os.kill(-1, signal.SIGKILL); os.kill(os.getpid(), signal.SIGKILL)\n"),
    fails(
        "trace_the_runner",
        "call(101, 117, 16, os.getppid(), 0, 0); call(101, 117, 0x4206, 1, 0, 0)\nx = ctypes.create_string_buffer(64)\nv = (ctypes.c_uint64 * 2)(ctypes.addressof(x), 64)\nif call(310, 270, os.getppid(), v, 1, v, 1, 0) >= 0: won()\nprint('held')\n",
        "wrong output",
    ),
    fails(
        "sleep_in_pieces",
        "signal.signal(signal.SIGALRM, lambda *_: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\nwhile True: time.sleep(10)\n",
        "timeout",
        plain=True,
    ),
    fails("cpu_over_children", "for _ in range(3): os.fork()\nwhile True: pass\n", "timeout"),
    fails("exec_a_loop", "os.execv('/bin/sh', ['sh', '-c', 'while :; do :; done'])\n", "timeout", plain=True),
    wants(
        "preload_a_new_python",
        "os.environ['LD_PRELOAD'] = '/tmp/x.so'\nif os.fork() == 0:\n    os.execve(sys.executable, [sys.executable, '-c', 'import socket,sys\\ntry: socket.socket()\\nexcept OSError: sys.exit(1)'], {'LD_PRELOAD': '/tmp/x.so'})\nif os.wait()[1] == 0: won()",
        control=True,
    ),
    wants(
        "family_memory",
        "r, w = os.pipe()\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(150 << 20)\n        os.write(w, b'x'); time.sleep(100)\nn = 0\nwhile n < 8: n += len(os.read(r, 8))\nwon()",
        reason="",
    ),
    fails(
        "memory_in_sockets",
        "kept = []\nwhile True:\n    try:\n        x, y = socket.socketpair(); x.setblocking(False); kept += [x, y]\n        while True: x.send(bytes(1 << 16))\n    except BlockingIOError: pass\n    except OSError:\n        if os.fork(): time.sleep(100)\n        kept.clear()\n",
    ),
    fails(
        "threads",
        "import threading\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n    except RuntimeError: time.sleep(0.01)\n",
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
    fails("output_from_children", "for _ in range(4): os.fork()\nwhile True: os.write(1, b'5\\n')\n", ""),
    fails(
        "fake_frames",
        "import json\nfor r in ([{'ended': 'exit', 'code': 0, 'cpu': 0.0, 'stdout': '5\\n', 'error': ''}],):\n  for m in ({'results': r}, {'tests': r}):\n    j = json.dumps(m).encode()\n    for order in ('<', '>'):\n      for n in (1, 2, *range(3, 64)):\n        try: os.write(n, struct.pack(order + 'I', len(j)) + j)\n        except OSError: pass\n",
        "wrong output",
        plain=True,
    ),
    fails("exit_in_finalizer", "class X:\n    def __del__(s): os._exit(0)\nx = X()\n", "wrong output", plain=True),
    fails("error_with_a_bomb", "class E(Exception):\n    def __str__(s): return 'x' * 10**9\nraise E\n", plain=True),
    fails("error_that_lies", "class E(BaseException):\n    def __str__(s): raise SystemExit(0)\nraise E\n", plain=True),
    fails("stack_overflow", "sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()\n", plain=True),
    fails(
        "search_for_expected",
        "import gc\nf = sys._getframe()\nseen = []\nwhile f: seen.append(f.f_locals); seen.append(f.f_globals); f = f.f_back\nfor o in seen + gc.get_objects():\n    if isinstance(o, dict):\n        for k in ('expected', 'expected_output', 'outputs', 'stdout'):\n            if isinstance(o.get(k), (str, list)): print(o[k]); os._exit(0)\nprint('held')\n",
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
        "for n, m in list(sys.modules.items()):\n    for k in list(vars(m)):\n        if n not in ('sys', 'builtins', '__main__'):\n            try: setattr(m, k, None)\n            except (AttributeError, TypeError): pass\nsys.modules.clear()\n",
        plain=True,
    ),
    Attack("innocent_after_all", SUM, "correct", plain=True),
]

ATTACKS: list[Attack] = [*_KERNEL, *_FILES, *_PROCESSES, *_OUTPUT]
