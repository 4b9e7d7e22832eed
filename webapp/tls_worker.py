"""A gunicorn worker that slow clients cannot stop: a connection gets a thread when it has said something whole.

gthread gives a thread to each connection at once; forty clients that send half a ClientHello then hold all threads.
Here the handshake (RFC 8446 2) and the head of a request (RFC 9112 2.1) are read as far as they have come and the
connection goes back to the poller; only a whole head gets a thread, and each of the two has a deadline for all of it.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn import http, sock
from gunicorn.workers import gthread

_END_OF_HEAD = b"\r\n\r\n"
_PIECE = 16_384
_LOOK_EVERY = 0.5  # seconds between two looks for connections whose time is up


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a client may take, in seconds, and how long the head of a request may be."""

    handshake: float
    head: float
    piece: float  # between two pieces of a body
    request: float  # from a whole head to the end of the answer
    head_octets: int


class _WaitingError(Exception):
    """The client has not sent enough yet; no thread waits for it."""


class _Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn is not typed
    """A connection that is read without waiting until a whole request head is there."""

    def __init__(self, cfg: Any, connected: socket.socket, client: Any, server: Any) -> None:  # noqa: ANN401
        super().__init__(cfg, connected, client, server)
        self.sock: socket.socket = connected
        self.data_ready = True  # the poller says when there is something
        self.deadlines: Deadlines = cfg.deadlines
        self.deadline = time.monotonic() + self.deadlines.handshake
        self.head = bytearray()

    def advance(self) -> None:
        """Go on with the handshake, then with the head of a request, as far as the client has sent them."""
        self.sock.settimeout(0)
        if not self.initialized:
            self._shake_hands()
        self._read_head()

    def init(self) -> None:
        """Let the thread wait from here on, for one piece of a body or of an answer at a time."""
        self.sock.settimeout(self.deadlines.piece)

    def expect_head(self) -> None:
        """Start the clock for the head of a request."""
        self.deadline = time.monotonic() + self.deadlines.head

    def _shake_hands(self) -> None:
        if self.cfg.is_ssl:
            connected = self.sock
            if not isinstance(connected, ssl.SSLSocket):
                context: ssl.SSLContext = sock.ssl_context(self.cfg)
                connected = context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
                self.sock = connected
            try:
                connected.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise _WaitingError from None
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.initialized = True
        self.expect_head()

    def _read_head(self) -> None:
        unreader = self.parser.unreader
        self.head += unreader.take_buffered()
        while _END_OF_HEAD not in self.head and len(self.head) <= self.deadlines.head_octets:
            try:
                piece = self.sock.recv(_PIECE)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                raise _WaitingError from None
            if not piece:
                break  # the parser finds out that this was all
            self.head += piece
        unreader.unread(bytes(self.head))  # when it is too long, the parser refuses it
        self.head.clear()


class DeadlineWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """Threads for requests, none for those who only begin one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._at_work: set[_Connection] = set()
        self._next_look = 0.0

    def accept(self, listener: Any) -> None:  # noqa: ANN401
        """Take a connection and wait for its first octets without a thread."""
        try:
            connected, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._wait(_Connection(self.cfg, connected, client, listener.getsockname()))

    def handle(self, conn: _Connection) -> Any:  # noqa: ANN401
        """Serve a request when its head is there."""
        try:
            conn.advance()
        except _WaitingError:
            return gthread._DEFER  # noqa: SLF001  # the mark its own loop knows
        except OSError as error:  # of TLS as well: a client that spoke something else, or went away
            self.log.debug("a connection ended before its request: %s", error)
            return False
        conn.deadline = time.monotonic() + conn.deadlines.request
        self._at_work.add(conn)
        try:
            return super().handle(conn)
        finally:
            self._at_work.discard(conn)

    def finish_request(self, conn: _Connection, fs: Any) -> None:  # noqa: ANN401
        """Put a connection that waits back to the poller, with the deadline it had."""
        result = False if fs.cancelled() or fs.exception() else fs.result()
        if result is gthread._DEFER:  # noqa: SLF001
            if not self.alive:  # it was accepted before the end was known: its client may ask yet, soon
                conn.deadline = min(conn.deadline, time.monotonic() + gthread.STOP_KEEPALIVE_LINGER)
            self._wait(conn)
        elif result is True and isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            # The next request was in the same TLS record: the poller would not see it.
            conn.expect_head()
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, fs)

    def on_client_socket_readable(self, conn: _Connection, client: Any) -> None:  # noqa: ANN401
        """Start the clock for the next request of a kept-alive connection."""
        conn.expect_head()
        super().on_client_socket_readable(conn, client)

    def murder_pending(self) -> None:
        """Close what waited too long for its client, and wake threads that did."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        for conn in [one for one in self.pending_conns if one.deadline <= now]:
            self._drop(conn)
        for conn in [one for one in tuple(self._at_work) if one.deadline <= now]:
            try:
                socket.socket.shutdown(conn.sock, socket.SHUT_RDWR)  # the thread's read ends; it closes what is its own
            except OSError:
                continue  # it has just ended by itself

    def _make_room(self) -> None:
        """Close the connection that has kept us waiting the longest: at the limit nobody else would get in."""
        if self.pending_conns:
            self._drop(min(self.pending_conns, key=lambda conn: conn.deadline))

    def _drop(self, conn: _Connection) -> None:
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _wait(self, conn: _Connection) -> None:
        if conn.deadline <= time.monotonic():  # a client that drips is never among those that only wait
            self.nr_conns -= 1
            conn.close()
            return
        conn.sock.settimeout(0)
        conn.timeout = conn.deadline
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))
