"""On the plain listener: connections whose reader takes next to nothing of a long answer are shut down.

granian blocks the thread of such an answer for as long as the reader likes. WSGI does not tell which connection is
whose; the kernel knows how much each reader has acknowledged and how much waits for it (struct tcp_info).
"""

import os
import socket
import struct
import sys
import time
from threading import Event, Thread

from webapp.plain_front import DESCRIPTORS, is_ours, socket_of

LEAST_OCTETS = 8_192  # a second
_LOOK_EVERY = 1.0
_LOOKS_GO_ON = 4  # times the deadline, after the last piece of a long answer
_ACKED_AND_WAITING = struct.Struct("=120xQ16xI")  # tcpi_bytes_acked, tcpi_notsent_bytes

_Connection = tuple[int, object]  # file handle and peer: the number may become another connection's


class SlowReaders:
    """Looks for them while long answers are under way."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._until = 0.0
        self._wanted = Event()
        self._seen: dict[_Connection, tuple[float, int]] = {}  # since when, and what was acknowledged then
        if sys.platform == "linux":
            Thread(target=self._keep_looking, daemon=True, name="slow-readers").start()

    def watch(self) -> None:
        """Go on looking: a piece of a long answer is sent."""
        self._until = time.monotonic() + _LOOKS_GO_ON * self._seconds
        self._wanted.set()

    def _keep_looking(self) -> None:
        while self._wanted.wait():
            if time.monotonic() > self._until:
                self._wanted.clear()
                continue
            time.sleep(_LOOK_EVERY)
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        waiting: dict[_Connection, tuple[float, int]] = {}
        for name in os.listdir(DESCRIPTORS):  # noqa: PTH208  # numbers, not paths
            try:
                with socket_of(int(name)) as connection:
                    if is_ours(connection, self._port):
                        self._judge(int(name), connection, waiting, now)
            except OSError:
                continue  # closed meanwhile, or no socket
        self._seen = waiting

    def _judge(
        self, number: int, connection: socket.socket, waiting: dict[_Connection, tuple[float, int]], now: float
    ) -> None:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AND_WAITING.size)
        if len(told) < _ACKED_AND_WAITING.size:
            return  # a kernel before 4.6
        acked, unsent = _ACKED_AND_WAITING.unpack(told)
        if not unsent:
            return
        key = (number, connection.getpeername())
        since, before = waiting[key] = self._seen.get(key, (now, acked))
        if now - since < self._seconds:
            return
        if acked - before < LEAST_OCTETS * self._seconds:
            connection.shutdown(socket.SHUT_RDWR)
        waiting[key] = (now, acked)
