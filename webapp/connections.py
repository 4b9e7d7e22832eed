"""A connection of the HTTPS listener: handshake (RFC 8446 2), request and end, each as far as the client has come.

None of it waits: what the client has not sent yet is waited for in the poller, without a thread, and with a deadline.
"""

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn import http, sock
from gunicorn.workers import gthread

from webapp.whole_requests import WholeRequest

_PIECE = 16_384
_GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
_PARTING_SECONDS = 2.0
_MOST_PARTING = 65_536  # octets that are still taken from a client that was answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a client may take, in seconds, and how long the head of a request may be."""

    handshake: float
    head: float  # for all of it; then as long again for a body that is awaited
    piece: float  # between two pieces of a longer body
    request: float  # from a whole request to the end of the answer
    head_octets: int


class WaitingError(Exception):
    """The client has not sent enough yet; no thread waits for it."""


class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn is not typed
    """A connection that is read without waiting until a whole request is there."""

    def __init__(self, cfg: Any, connected: socket.socket, client: Any, server: Any) -> None:  # noqa: ANN401
        super().__init__(cfg, connected, client, server)
        self.sock: socket.socket = connected
        self.data_ready = True  # the poller says when there is something
        self.deadlines: Deadlines = cfg.deadlines
        self.deadline = time.monotonic() + self.deadlines.handshake
        self.is_dropped = False  # closed, though the poller may have an event of it in hand
        self.request = WholeRequest(self.deadlines.head_octets)
        self.is_long = self.is_broken = False  # the request that a thread has now
        self._taken = 0

    def advance(self) -> None:
        """Go on with the handshake, then with a request, as far as the client has sent them.

        Raises:
            WaitingError: there is no whole request yet.
            OSError: the client went away, or speaks something else.
        """
        self.sock.settimeout(0)
        if not self.initialized:
            self._shake_hands()
        self._read_request()

    def init(self) -> None:
        """Let the thread wait from here on, for one piece of a body or of an answer at a time."""
        self.sock.settimeout(self.deadlines.piece)

    def expect_request(self) -> None:
        """Start the clock for the head of a request."""
        self.deadline = time.monotonic() + self.deadlines.head

    def part(self) -> bool:
        """Say that nothing more will be sent; False when there is nobody to wait for.

        RFC 9112 9.6: a connection that is closed with octets unread is reset, and the answer may be lost with it. So
        what still comes is read until the client closes as well.
        """
        self.sock.settimeout(0)
        if isinstance(self.sock, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self.sock.unwrap()  # RFC 8446 6.1: close_notify; the client's own is not waited for
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError:
            return False
        self.deadline = time.monotonic() + _PARTING_SECONDS
        return True

    def has_parted(self) -> bool:
        """Take what a client still sends; tell whether it has closed, or sent too much."""
        try:
            piece = socket.socket.recv(self.sock, _PIECE)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._taken += len(piece)
        return not piece or self._taken > _MOST_PARTING

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
                raise WaitingError from None
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.initialized = True
        self.expect_request()

    def _read_request(self) -> None:
        unreader = self.parser.unreader
        self.request.octets += unreader.take_buffered()
        while not self._is_whole():
            try:
                piece = self.sock.recv(_PIECE)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                raise WaitingError from None
            if not piece:
                break  # the parser finds out that this was all
            self.request.octets += piece
        unreader.unread(bytes(self.request.octets))  # what is too long or unreadable, the parser refuses
        self.is_long, self.is_broken = self.request.is_long, self.request.is_broken
        self.request = WholeRequest(self.deadlines.head_octets)

    def _is_whole(self) -> bool:
        had_head = self.request.has_head
        is_whole = self.request.is_whole()
        if self.request.has_head and not had_head:
            self.expect_request()  # the same time again, for the body
            if self.request.wants_go_ahead:
                with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    self.sock.send(_GO_AHEAD)
        return is_whole
