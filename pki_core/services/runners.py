"""Runners: who holds a lease. A runner's token tells, on its own machine, whether it is still alive."""

import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5): of one installation, kept over restarts
_MACHINE_ID_DIGITS = 32
_STARTED_AT = 19  # field 22 of /proc/PID/stat, counted behind the parenthesised command name

_REMEMBERED = 1000

# Process-wide because a process is what a token stands for: tokens of this process whose work is over.
_ended: dict[str, None] = {}


def runner_token() -> str:
    """Return a new token for work this process does: ``host/machine/boot/pid namespace/pid/start/random``."""
    pid = os.getpid()
    return f"{_here()}/{pid}/{_start_of(pid)}/{secrets.token_hex(8)}"


@contextmanager
def running() -> Iterator[str]:
    """Give a token for the length of a block; behind it the token is dead, though its process may live on."""
    token = runner_token()
    try:
        yield token
    finally:
        _ended[token] = None
        while len(_ended) > _REMEMBERED:
            _ended.pop(next(iter(_ended)))


def is_dead(token: str) -> bool:
    """Tell whether the work behind a token is known to be over: its process gone, or its block in this one left.

    False for a runner on another machine, or in another container: there only its lease can tell.
    """
    if token in _ended:
        return True
    place, _, rest = token.rpartition("/")
    place, _, start = place.rpartition("/")
    place, _, pid = place.rpartition("/")
    if not rest or not (pid.isascii() and pid.isdecimal()):
        return False
    if place == _here():
        return _start_of(int(pid)) != start
    return _is_of_an_earlier_boot(place)


def _is_of_an_earlier_boot(place: str) -> bool:
    """Tell whether a place is this machine before it was started anew; another pid namespace is another container.

    By its machine id: two machines may have one name. Where there is none, only the lease can tell.
    """
    theirs, (host, machine, boot, _) = place.split("/"), _here().split("/")
    return bool(machine and boot) and theirs[:2] == [host, machine] and theirs[2] != boot


@lru_cache(maxsize=1)
def _here() -> str:
    boot = _read(_PROC / "sys/kernel/random/boot_id")
    try:
        namespace = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        namespace = ""
    host, namespace = socket.gethostname()[:40], namespace.removeprefix("pid:").strip("[]")
    return f"{host}/{_machine()}/{boot[:18]}/{namespace}"


def _machine() -> str:
    """Return what tells this machine from another of its name; "" when nothing does, as in many containers."""
    machine_id = _read(_MACHINE_ID)
    if len(machine_id) != _MACHINE_ID_DIGITS:
        return ""
    # machine-id(5): not to be shown as it is; hashed for one purpose.
    return hashlib.sha256(f"pncpki runner {machine_id}".encode()).hexdigest()[:16]


def _start_of(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; "" when there is none or it is a zombie."""
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) <= _STARTED_AT or fields[0] in "ZX":
        return ""
    return fields[_STARTED_AT]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
