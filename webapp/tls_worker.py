"""A gunicorn worker that slow clients cannot stop: a connection gets a thread when it has said something whole.

gthread gives a thread to each connection at once; forty clients that send half a ClientHello then hold all threads.
Here handshake and request are read as far as they have come and the connection goes back to the poller; a thread works
on whole requests. Of longer bodies, which are read while they come, few are at work at once.
"""

import select
import socket
import ssl
import time
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from threading import BoundedSemaphore
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers import gthread

from webapp.connections import Connection, WaitingError
from webapp.refusals import check_head, refusal_of, refusal_text

_LOOK_EVERY = 0.5  # seconds between two looks for connections whose time is up
_MOMENT_MILLISECONDS = 2
_SHARE_OF_LONG = 4  # one thread in so many may read a long body


class DeadlineWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """Threads for requests, none for those who only begin one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._at_work: set[Connection] = set()
        self._next_look = 0.0
        self._long = BoundedSemaphore(max(self.cfg.threads // _SHARE_OF_LONG, 1))

    def accept(self, listener: Any) -> None:  # noqa: ANN401
        """Take a connection and wait for its first octets without a thread."""
        try:
            connected, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no file handles left: somebody who only waits gives one back
            self.log.warning("a connection could not be taken: %s", error)
            self._make_room()
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._wait(Connection(self.cfg, connected, client, listener.getsockname()))

    def handle(self, conn: Connection) -> Any:  # noqa: ANN401
        """Serve a request when all of it is there, or as much as is waited for; and those that follow at once."""
        result = self._serve(conn)
        while result is True and self._goes_on(conn):
            conn.expect_request()
            result = self._serve(conn)
        return result

    def _goes_on(self, conn: Connection) -> bool:
        """Wait a moment for the next request of a client who was answered, unless others wait for this thread.

        To and from the poller a connection passes two threads, which takes a third of what an enrolment does.
        """
        if not self.alive or not self.tpool._work_queue.empty():  # noqa: SLF001  # it has no name for outsiders
            return False
        readable = select.poll()
        try:
            readable.register(conn.sock, select.POLLIN)
        except (OSError, ValueError):
            return False  # closed meanwhile; the loop finds out
        return bool(readable.poll(_MOMENT_MILLISECONDS))

    def _serve(self, conn: Connection) -> Any:  # noqa: ANN401
        try:
            conn.advance()
        except WaitingError:
            return gthread._DEFER  # noqa: SLF001  # the mark its own loop knows
        except OSError as error:  # of TLS as well: a client that spoke something else, or went away
            self.log.debug("a connection ended before its request: %s", error)
            return False
        conn.deadline = time.monotonic() + conn.deadlines.request
        if conn.is_broken:
            return self._refuse(conn, 400, "The body of the request could not be read.")
        if conn.is_long and not self._long.acquire(blocking=False):
            return self._refuse(conn, 503, "Too many long requests come in at once; ask again.")
        self._at_work.add(conn)
        try:
            return super().handle(conn)
        finally:
            self._at_work.discard(conn)
            if conn.is_long:
                self._long.release()

    def handle_request(self, req: Any, conn: Connection) -> Any:  # noqa: ANN401
        """Answer; a client that stops in the middle is one short line of the log."""
        check_head(req.version, req.headers)
        try:
            return super().handle_request(req, conn)
        except OSError as error:
            self.log.info("a client stopped in the middle of its request or answer: %s", type(error).__name__)
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ANN401, ARG002
        """Refuse what cannot be read, in plain text; a fault of ours is 500 and logged."""
        if isinstance(exc, ssl.SSLError):
            return  # nothing can be sent any more
        status, message = refusal_of(exc)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("a request failed", exc_info=exc)
        else:
            self.log.info("a request could not be read: %s", type(exc).__name__)
        self._send(client, status, message)

    def finish_request(self, conn: Connection, fs: Any) -> None:  # noqa: ANN401
        """Put a connection that waits back to the poller; end one that is done without waiting for its client."""
        result = False if fs.cancelled() or fs.exception() else fs.result()
        if result is gthread._DEFER:  # noqa: SLF001
            if not self.alive:  # it was accepted before the end was known: its client may ask yet, soon
                conn.deadline = min(conn.deadline, time.monotonic() + gthread.STOP_KEEPALIVE_LINGER)
            self._wait(conn)
            return
        if not result:
            self._part(conn)
            return
        conn.expect_request()
        if isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            self.enqueue_req(conn)  # the next request was in the same TLS record: the poller would not see it
        else:
            super().finish_request(conn, fs)

    def on_client_socket_readable(self, conn: Connection, client: Any) -> None:  # noqa: ANN401
        """Start the clock for the next request of a kept-alive connection."""
        if not conn.is_dropped:
            conn.expect_request()
            super().on_client_socket_readable(conn, client)

    def on_pending_socket_readable(self, conn: Connection, client: Any) -> None:  # noqa: ANN401
        """Go on with a connection, unless it was closed by an earlier event of the same look at the poller."""
        if not conn.is_dropped:
            super().on_pending_socket_readable(conn, client)

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

    def _keepalive_after(self, conn: Connection, keepalive: Any) -> bool:  # noqa: ANN401
        if conn.is_long:  # what is left of it is not waited for; webapp/closing.py has said so
            return False
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except (OSError, http_errors.ParseException):
            return False  # it was answered; where a next request would begin nobody knows

    def _make_room(self) -> None:
        """Close the connection that has kept us waiting the longest: at the limit nobody else would get in."""
        if self.pending_conns:
            self._drop(min(self.pending_conns, key=lambda conn: conn.deadline))
        elif self.keepalived_conns:
            self._drop(self.keepalived_conns[0])

    def _drop(self, conn: Connection) -> None:
        waiting = self.pending_conns if conn in self.pending_conns else self.keepalived_conns
        waiting.remove(conn)
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        conn.is_dropped = True
        self.nr_conns -= 1
        conn.close()

    def _wait(self, conn: Connection) -> None:
        if conn.deadline <= time.monotonic():  # a client that drips is never among those that only wait
            self._close(conn)
            return
        conn.sock.settimeout(0)
        self._watch(conn, self.on_pending_socket_readable)

    def _watch(self, conn: Connection, then: Any) -> None:  # noqa: ANN401
        conn.timeout = conn.deadline
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(then, conn))

    def _part(self, conn: Connection) -> None:
        """Close a connection as its client does: the loop itself must never wait for that."""
        if conn.sock.fileno() >= 0 and conn.part():
            self._watch(conn, self._on_parting)
        else:
            self._close(conn)

    def _on_parting(self, conn: Connection, _client: Any) -> None:  # noqa: ANN401
        if not conn.is_dropped and conn.has_parted():
            self._drop(conn)

    def _refuse(self, conn: Connection, status: int, message: str) -> bool:
        self._send(conn.sock, status, message)
        return False

    def _send(self, client: socket.socket, status: int, message: str) -> None:
        try:
            client.settimeout(0)
            client.send(refusal_text(status, message))
        except (OSError, ValueError) as error:
            self.log.debug("a refusal could not be sent: %s", type(error).__name__)
