"""When a request is whole: head, length, chunks, trailer; what cannot be read is for the parser to refuse."""

import pytest

from webapp.whole_requests import MOST_AWAITED, WholeRequest

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"


def fed(octets, most_head=65_536):
    """A request that came octet by octet: (the octets after which it was whole, the request)."""
    request = WholeRequest(most_head)
    for number, octet in enumerate(octets, 1):
        request.octets.append(octet)
        if request.is_whole():
            return number, request
    return None, request


@pytest.mark.parametrize(
    "whole",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        HEAD + b"Content-Length: 5\r\n\r\nabcde",
        HEAD + b"content-length:0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: Chunked\r\n\r\n0\r\nDigest: x\r\n\r\n",
    ],
)
def test_a_request_is_whole_with_its_last_octet_and_no_earlier(whole):
    octets, request = fed(whole)
    assert octets == len(whole)
    assert (request.is_long, request.is_broken) == (False, False)


@pytest.mark.parametrize("chunks", [b"x\r\n", b"+5\r\n", b"\r\n", b"3\r\nabcde", b"fffffffff\r\n"])
def test_chunks_that_cannot_be_read_are_not_waited_for(chunks):
    octets, request = fed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert octets is not None
    assert request.is_broken


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: 3x",
        b"Content-Length: %d" % (MOST_AWAITED + 1),
    ],
)
def test_what_ends_in_two_ways_or_late_is_one_of_few(framing):
    octets, request = fed(HEAD + framing + b"\r\n\r\n")
    assert octets is not None
    assert request.is_long


def test_a_chunked_body_is_long_when_more_came_than_is_awaited():
    request = WholeRequest(65_536)
    request.octets += HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + bytes(MOST_AWAITED - 10)
    assert not request.is_whole()
    request.octets += bytes(10)
    assert request.is_whole()
    assert request.is_long


def test_a_client_that_expects_to_be_told_to_go_on_is_told_once():
    octets, request = fed(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab")
    assert octets is not None
    assert request.wants_go_ahead
    assert bytes(request.octets) == HEAD + b"Content-Length: 2\r\n\r\nab"


def test_a_head_without_an_end_is_given_up_at_its_limit():
    octets, _ = fed(b"GET /" + b"x" * 200, most_head=100)
    assert octets == 101
