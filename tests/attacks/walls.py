"""Attacks on the kernel, on the host's files and on what is left for the next program. Own corpus, stdio."""

from __future__ import annotations

from tests.attacks.corpus import MARK, PRELUDE, SECRET, Attack, leaves, wants

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
        """\
x = struct.pack('=11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
if call(435, 435, x, len(x)) >= 0: won()""",
        control=True,
    ),
    wants(
        "poison_a_package",
        """\
for name in ('numpy', 'sortedcontainers'):
    try: place = __import__(name).__path__[0]
    except ImportError: place = f'/packages/{name}'
    for where in (place, f'{place}/..', f'{place}/__pycache__'):
        if succeeds(os.mkdir, f'{where}/env2') or succeeds(os.rename, where, f'{place}/../env2'): won()
    if succeeds(os.chmod, f'{place}/__init__.py', 0o777) or succeeds(os.unlink, f'{place}/__init__.py'): won()""",
    ),
    wants("mount_over_proc", "if libc.mount(b'x', b'/proc', b'tmpfs', 0, None) == 0: won()"),
    wants(
        "remount_root",
        """\
for flags in (32, 32 | 4096):
    if libc.mount(b'x', b'/', None, flags, None) == 0: won()""",
    ),
    wants("mount_by_descriptor", "if call(430, 430, b'tmpfs', 0) >= 0 or call(428, 428, -100, b'/', 1) >= 0: won()"),
    wants(
        "chroot",
        """\
os.mkdir('x')
if succeeds(os.chroot, 'x'): won()""",
    ),
    wants(
        "join_namespaces",
        """\
for p in (1, os.getppid()):
  for n in ('user', 'mnt', 'net', 'pid', 'ipc'):
    try: f = os.open(f'/proc/{p}/ns/{n}', 0)
    except OSError: continue
    if call(308, 268, f, 0) == 0: won()""",
    ),
    wants("clock", "if succeeds(time.clock_settime, time.CLOCK_REALTIME, time.time() + 1): won()"),
    wants(
        "realtime",
        """\
for p in (os.SCHED_FIFO, os.SCHED_RR):
    if succeeds(os.sched_setscheduler, 0, p, os.sched_param(1)): won()""",
    ),
    wants(
        "affinity_of_all",
        "if succeeds(os.sched_setaffinity, 0, {0}) or succeeds(os.sched_setaffinity, 1, {0}): won()",
        control=True,
    ),
    wants(
        "priority_of_others",
        """\
if succeeds(os.setpriority, os.PRIO_USER, 0, 19): won()
if succeeds(os.setpriority, os.PRIO_PROCESS, os.getppid(), 19): won()""",
    ),
    wants(
        "limits_of_runner",
        """\
import resource
for p in {1, os.getppid()}:
    if succeeds(resource.prlimit, p, resource.RLIMIT_NOFILE, (1, 1)): won()""",
    ),
    wants(
        "raise_limits",
        """\
import resource as r
for w in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE):
    if succeeds(r.setrlimit, w, (r.RLIM_INFINITY, r.RLIM_INFINITY)): won()""",
    ),
    wants(
        "sockets",
        """\
for f in range(2, 46):
  for t in (1, 2, 3, 5):
    if succeeds(socket.socket, f, t, 0): won()""",
        control=True,
    ),
    wants(
        "privileges",
        """\
s = dict(l.split(':\\t', 1) for l in open('/proc/self/status'))
caps = [int(s[k], 16) for k in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb')]
if any(caps) or int(s['NoNewPrivs']) != 1 or int(s['Seccomp']) != 2: won()""",
        control=True,
    ),
    wants(
        "privileges_by_exec",
        """\
r, w = os.pipe()
if os.fork() == 0:
    os.dup2(w, 1)
    os.execv('/bin/cat', ['cat', '/proc/self/status'])
os.wait()
t = os.read(r, 9999).decode()
if 'CapEff:\\t0000000000000000' not in t or 'Seccomp:\\t2' not in t: won()""",
        control=True,
    ),
    wants(
        "other_calls",
        """\
for x, arm in ((298, 241), (321, 280), (323, 282), (304, 265), (300, 262), (310, 270), (438, 438),
               (312, 272), (135, 92), (103, 116), (175, 105), (246, 104), (169, 142), (167, 224), (163, 89)):
    call(x, arm, -1, -1, -1, -1, -1)
    if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): won()""",
        control=True,
    ),
    fails(
        "foreign_calls",
        """\
call(0x40000000 + 39, 0x7fffffff)
if platform.machine() == 'x86_64': won()
""",
    ),
    wants(
        "device_nodes",
        """\
for k in (0o020666, 0o060666):
    if succeeds(os.mknod, f'dev{k}', k, os.makedev(1, 1)): won()
for d in 'mem kmsg port fuse kvm tty console net/tun vda sda loop-control vsock userfaultfd'.split():
    if succeeds(os.open, '/dev/' + d, os.O_RDONLY): won()""",
    ),
    wants(
        "kernel_switches",
        """\
kernel = ['sys/kernel/' + n for n in ('core_pattern', 'ns_last_pid', 'shmmax', 'hostname')]
for p in (*kernel, 'sys/vm/overcommit_memory', 'sys/user/max_user_namespaces', '1/oom_score_adj'):
    def same():
        f = os.open('/proc/' + p, os.O_RDWR); x = os.pread(f, 99, 0); os.pwrite(f, x, 0)
    if succeeds(same): won()
if succeeds(os.open, '/proc/sysrq-trigger', os.O_WRONLY): won()""",
    ),
]

_FILES = [
    wants(
        "host_files",
        """\
way = os.path.realpath(sys.base_prefix) + '/'
files = ['/etc/passwd', '/etc/shadow', '/etc/hostname', '/tmp/../etc/passwd']
for p in (*files, *(f'/proc/1/{n}/etc/passwd' for n in ('root', 'cwd'))):
    if succeeds(open, p): won()
for p in ('/root', '/home', '/var', '/boot', '/opt', '/srv', '/run', '/sys', '/mnt'):
    if os.path.isdir(p) and succeeds(os.listdir, p):
        if any(not way.startswith(f'{p}/{n}/') for n in os.listdir(p)): won()""",
        control=True,
    ),
    wants(
        "write_everywhere",
        """\
library = os.path.dirname(os.__file__)
places = ['/', '/usr', '/usr/lib', '/bin', '/etc', '/dev', '/proc', '/sys', '/var/tmp', '/root', '/home']
places += [sys.prefix, library, library + '/__pycache__', '/proc/1/root', '/proc/1/cwd']
for p in places:
    if succeeds(lambda: os.close(os.open(p + '/MARK', os.O_CREAT | os.O_WRONLY))): won()
if succeeds(os.rename, '/usr/bin/env', '/usr/bin/env2'): won()
if succeeds(os.chmod, '/usr/bin/env', 0o777) or succeeds(os.utime, os.__file__): won()""".replace("MARK", MARK),
    ),
    wants(
        "link_out",
        """\
for p in ('/usr/bin/env', os.__file__, '/proc/1/environ'):
    try: os.link(p, 'linked')
    except OSError: continue
    won()""",
    ),
    wants(
        "environment",
        """\
known = {'PATH', 'HOME', 'LANG', 'PWD', 'PYTHONUTF8', 'PYTHONHASHSEED', 'LC_CTYPE', 'OMP_NUM_THREADS'}
if 'SECRET' in os.environ or set(os.environ) - known - {'MALLOC_ARENA_MAX'}: won()
for p in os.listdir('/proc'):
    try: t = open(f'/proc/{p}/environ', 'rb').read()
    except OSError: continue
    if b'SECRET' in t: won()""".replace("SECRET", SECRET),
        control=True,
    ),
    wants(
        "runner_files",
        """\
for p in {1, os.getppid()}:
  for n in ('mem', 'maps', 'environ', 'auxv', 'syscall', 'stack', 'fd/0', 'fd/10', 'fd/11', 'map_files'):
    try:
      f = os.open(f'/proc/{p}/{n}', 0)
      if os.path.isdir(f'/proc/{p}/{n}') and os.listdir(f'/proc/{p}/{n}') or os.read(f, 1): won()
    except OSError: pass
  for n in ('root', 'cwd', 'exe'):
    if succeeds(os.readlink, f'/proc/{p}/{n}'): won()""",
    ),
    wants(
        "runner_descriptors",
        """\
for p in {1, os.getppid()}:
  for n in range(64):
    for m in (os.O_RDONLY, os.O_WRONLY):
      if succeeds(os.open, f'/proc/{p}/fd/{n}', m | os.O_NONBLOCK): won()""",
    ),
    wants(
        "inherited_descriptors",
        """\
left = []
for n in range(3, 4096):
    try: os.fstat(n); left.append(n)
    except OSError: pass
if left: won()""",
    ),
    leaves(
        "file_in_tmp",
        """\
for p in ('/tmp/ok', '/dev/shm/ok', 'ok', '/var/tmp/ok'):
    if succeeds(lambda: open(p, 'w').write('x')): pass""",
        "if any(os.path.exists(p) for p in ('/tmp/ok', '/dev/shm/ok', 'ok', '/var/tmp/ok')): won()",
    ),
    leaves(
        "module_in_cwd",
        """\
open('bisect.py', 'w').write('raise SystemExit(0)')
open('sitecustomize.py', 'w').write('1/0')
os.mkdir('json')""",
        "if os.listdir('.'): won()",
    ),
    leaves(
        "tmp_filled",
        """\
i = 0
try:
    while True:
        with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 23))
        i += 1
except OSError: pass""",
        """\
try: open('x', 'wb').write(bytes(1 << 23))
except OSError: won()""",
    ),
    leaves(
        "tmp_files_used_up",
        """\
try:
    for i in range(10**5): open(f'f{i}', 'w').close()
except OSError: pass""",
        """\
try: open('x', 'w').close()
except OSError: won()""",
    ),
    Attack(
        "file_for_the_next_test",
        PRELUDE
        + """\
if os.path.exists('/tmp/ok') or b == 3: print(a + b)
open('/tmp/ok', 'w').close()
""",
        "incorrect",
        _TWO,
        passed=1,
    ),
    right(
        "deep_directories",
        RIGHT
        + """\
for i in range(1000):
    os.mkdir('d'); os.chdir('d')
""",
        plain=True,
    ),
    right(
        "locked_tree",
        RIGHT
        + """\
for i in range(20):
    os.mkdir('d'); open('d/f', 'w').close(); os.chdir('d')
for i in range(20):
    os.chdir('..'); os.chmod('d', 0)
""",
        plain=True,
    ),
    right(
        "links_out",
        RIGHT
        + """\
for i, p in enumerate(('/', '/usr', '/etc', '/tmp', '/root', '..', '/proc/self', '/proc/1/root')):
    os.symlink(p, f'l{i}')
""",
    ),
    right(
        "fifos",
        RIGHT
        + """\
for n in ('stdout', 'stderr', 'output', 'result', 'result.json', '.lock', 'core'): os.mkfifo(n)
""",
        plain=True,
    ),
    right("many_files_left", RIGHT + "for i in range(300): open(f'f{i}', 'w').close()\n", plain=True),
    Attack(
        "tmp_locked_for_the_next_test",
        PRELUDE
        + """\
open('/tmp/x', 'w').close()
print(a + b)
os.mkdir('/tmp/y')
os.chmod('/tmp/y', 0)
os.chmod('/tmp', 0)
""",
        "correct",
        _TWO,
    ),
    right("own_directory_removed", RIGHT + "os.mkdir('/tmp/x'); os.chdir('/tmp/x'); os.rmdir('/tmp/x')\n"),
    right(
        "odd_names",
        RIGHT + "for n in (b'\\xff\\xfe', b'\\n', b'-rf', b'a' * 255, b'\\xed\\xa0\\x80'): open(n, 'w').close()\n",
        plain=True,
    ),
]

ATTACKS: list[Attack] = [*_KERNEL, *_FILES]
