"""Hosts of their own on one machine: network namespaces with real addresses, joined by a bridge whose ports can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
BRIDGE, PORT = "okbridge", 6379
NETNS = Path("/etc/netns")
"""What lies in NETNS/NAME stands over /etc for whatever runs in that namespace: ip-netns(8)."""
TRIES = 5
SEEN_SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""A node that is cut off counts as dead after about 10 s; by default after a minute."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def missing() -> str | None:
    """Why there can be no such hosts here; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need Linux, root and iproute2"
    try:
        ip("netns", "add", "oktrial")
        ip("netns", "del", "oktrial")
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr.decode().strip()}"
    return None


class Hosts:
    """Use it as a context manager; at its end all that ran on them is killed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._running: list[subprocess.Popen[bytes]] = []
        self._temporary = tempfile.mkdtemp(prefix="okray")  # sockets lie in it, whose paths must be short

    @staticmethod
    def address(host: int) -> str:
        return f"10.77.0.{host + 1}"

    def __enter__(self) -> Hosts:
        self._remove()
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", "10.77.0.254/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for host in range(self.number):
            name, port = f"okhost{host}", f"okport{host}"
            self._name_all(NETNS / name)
            ip("netns", "add", name)
            ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", port, "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "route", "add", "default", "via", "10.77.0.254")
        return self

    def _name_all(self, etc: Path) -> None:
        """The hosts know each other by name, as anywhere: else ranks that meet wait ten seconds for a name server."""
        etc.mkdir(parents=True, exist_ok=True)
        names = [f"{self.address(host)} okhost{host}\n" for host in range(self.number)]
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
        (etc / "nsswitch.conf").write_text("hosts: files\n")

    def __exit__(self, *error: object) -> None:
        for host in range(self.number):
            self.kill(host)
        for process in self._running:
            process.wait(timeout=30)
        self._remove()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _remove(self) -> None:
        left = [["link", "del", BRIDGE]]
        for host in range(self.number):
            left += [["link", "del", f"okport{host}"], ["netns", "del", f"okhost{host}"]]
            shutil.rmtree(NETNS / f"okhost{host}", ignore_errors=True)
        for words in left:
            subprocess.run(["ip", *words], check=False, capture_output=True)

    def ray(self, host: int, cpus: int) -> None:
        """Starts Ray there: the head on host 0, which the others join."""
        binary = str(Path(sys.executable).with_name("ray"))
        mine = [f"--node-ip-address={self.address(host)}", f"--num-cpus={cpus}", "--disable-usage-stats", "--block"]
        role = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._temporary}"]
        if host:
            role = [f"--address={self.address(0)}:{PORT}"]
        for _ in range(TRIES):
            process = self.start(host, [binary, "start", *role, *mine], out=subprocess.PIPE)
            self._running.append(process)
            assert process.stdout is not None
            while line := process.stdout.readline():
                if b"Ray runtime started" in line:
                    threading.Thread(target=process.stdout.read, daemon=True).start()
                    return
            process.wait()
        raise RuntimeError(f"Ray does not start on host {host}")

    def start(self, host: int, words: Sequence[str], *, out: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """A process on the host; what it says on stderr can be read, unless its output is asked for."""
        environment = {**os.environ, **SEEN_SOON, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONPATH": str(SRC), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        error = subprocess.PIPE if out == subprocess.DEVNULL else subprocess.DEVNULL
        full = ["ip", "netns", "exec", f"okhost{host}", *words]
        return subprocess.Popen(full, env=environment, stdout=out, stderr=error)

    def pids(self) -> list[int]:
        """All that runs on any of them."""
        return [pid for host in range(self.number) for pid in self._pids(host)]

    def kill(self, host: int) -> None:
        """All that runs there, at once, as when its power goes."""
        for pid in self._pids(host):
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)

    def _pids(self, host: int) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", f"okhost{host}"], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def cut(self, host: int) -> None:
        """Nothing reaches it, and nothing comes from it."""
        ip("link", "set", f"okport{host}", "down")

    def mend(self, host: int) -> None:
        """Its link is up again. Ray does not take such a node back: what runs there is killed, and can be started anew."""
        self.kill(host)
        ip("link", "set", f"okport{host}", "up")
