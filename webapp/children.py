"""A listener's process: started, and started again when it falls, with growing pauses and not for ever."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_MOST_FALLS, _WITHIN = 5, 60.0  # in so many seconds: then starting it again helps nobody
_FIRST_PAUSE = 0.5  # seconds; twice as long after each further fall


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a process is started."""

    name: str  # for people
    command: Sequence[str]
    environment: Mapping[str, str]
    keep: int | None = None  # a file handle it inherits: the socket it listens on


class Child:
    """One such process."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._falls: list[float] = []
        self._again_at: float | None = None
        self.process = self._started()

    @property
    def name(self) -> str:
        """What people call it."""
        return self._start.name

    def is_up(self) -> bool:
        """Tell whether it runs."""
        return self.process.poll() is None

    def look(self, now: float) -> bool:
        """Start it again when it has fallen and the pause is over; False when it falls too often for that."""
        if self.is_up():
            return True
        if self._again_at is None:
            self._falls = [*(fall for fall in self._falls if now - fall < _WITHIN), now]
            if len(self._falls) >= _MOST_FALLS:
                return False
            self._again_at = now + _FIRST_PAUSE * 2 ** (len(self._falls) - 1)
            sys.stderr.write(f"pncpki: the {self.name} fell ({self._ended()}) and is started again\n")
        if now >= self._again_at:
            self._again_at = None
            self.process = self._started()
        return True

    def _ended(self) -> str:
        code = self.process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _started(self) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl-C reaches the supervisor alone, which ends its children in order.
        return subprocess.Popen(  # noqa: S603  # our own module
            self._start.command,
            env=dict(self._start.environment),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # granian logs there; our own standard output is for results
            pass_fds=[] if self._start.keep is None else [self._start.keep],
            start_new_session=True,
        )
