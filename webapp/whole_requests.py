"""How far a request has come (RFC 9112 2.1, 6, 7.1): a thread is worth it when all of it is there.

Nothing is believed here and nothing answered: whatever cannot be read counts as whole, and gunicorn's parser, which
reads it once more, refuses it. Bodies longer than ``MOST_AWAITED`` are not waited for; few may be at work at once.
"""

import re
from typing import Final

MOST_AWAITED: Final = 65_536  # octets of a body: requests of EST, OCSP and most of REST are far shorter

_END_OF_HEAD = b"\r\n\r\n"
_CRLF = b"\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class WholeRequest:
    """One request on a connection, as far as its client has sent it."""

    def __init__(self, head_octets: int) -> None:
        self.octets = bytearray()
        self.is_long = False  # its body is more than is waited for
        self.is_broken = False  # its chunks cannot be read
        self.wants_go_ahead = False  # RFC 9110 10.1.1: the client sends its body when it is told to
        self._most_head = head_octets
        self._searched = 0
        self._end: int | None = None  # of everything; None = not known
        self._body = 0
        self._chunk: int | None = None  # where the next chunk begins

    @property
    def has_head(self) -> bool:
        """Tell whether its head is there, so that the rest is waited for on a clock of its own."""
        return self._end is not None or self._chunk is not None

    def is_whole(self) -> bool:
        """Tell whether a thread can work on it without waiting for its client."""
        if not self.has_head and not self._find_head():
            return len(self.octets) > self._most_head
        if self._chunk is not None and not self.is_long:
            self._follow_chunks()
        is_all = self._end is not None and len(self.octets) >= self._end
        return is_all or self.is_long or self.is_broken

    def _find_head(self) -> bool:
        while self.octets.startswith(_CRLF):  # RFC 9112 2.2: empty lines before a request are passed over
            del self.octets[:2]
        end = self.octets.find(_END_OF_HEAD, max(self._searched - 3, 0))
        self._searched = len(self.octets)
        if end < 0 or end > self._most_head:
            return False
        head = bytes(self.octets[: end + 2])
        if _EXPECTS.search(head):
            # Told here, and taken out: the parser would tell it once more.
            self.wants_go_ahead = True
            shorter = _EXPECTS.sub(b"", head)
            self.octets[: end + 2] = shorter
            end = len(shorter) - 2
            head = shorter
        self._frame(head, end + len(_END_OF_HEAD))
        return True

    def _frame(self, head: bytes, body: int) -> None:
        """Find out how the body ends; with two opinions about that the parser refuses the request."""
        lengths, codings = [], []
        for line in head.split(_CRLF)[1:]:
            name, _, value = line.partition(b":")
            kind = name.strip().lower()
            if kind == b"content-length":
                lengths.append(value.strip())
            elif kind == b"transfer-encoding":
                codings.append(value.strip().lower())
        self._end = self._body = body
        if codings == [b"chunked"] and not lengths:
            self._end, self._chunk = None, body
        elif len(lengths) == 1 and not codings and _LENGTH.fullmatch(lengths[0]):
            self._end = body + int(lengths[0])
            self.is_long = int(lengths[0]) > MOST_AWAITED
        elif lengths or codings:
            self.is_long = True  # if it is not refused after all, it is one of few

    def _follow_chunks(self) -> None:
        """Go from chunk to chunk as far as they have come; then through the trailer (RFC 9112 7.1.2)."""
        while self._chunk is not None:
            line_end = self.octets.find(_CRLF, self._chunk)
            if line_end < 0:
                break
            size = bytes(self.octets[self._chunk : line_end]).partition(b";")[0].rstrip(b" \t")
            if not _CHUNK_SIZE.fullmatch(size):
                self.is_broken = True
                return
            after = line_end + 2 + int(size, 16)
            if not int(size, 16):
                self._end_with_trailer(line_end)
                break
            if len(self.octets) < after + 2:
                break
            if self.octets[after : after + 2] != _CRLF:
                self.is_broken = True
                return
            self._chunk = after + 2
        if self._end is None and len(self.octets) - self._body > MOST_AWAITED:
            self.is_long = True

    def _end_with_trailer(self, line_end: int) -> None:
        end = self.octets.find(_END_OF_HEAD, line_end)
        if end >= 0:
            self._end, self._chunk = end + len(_END_OF_HEAD), None
