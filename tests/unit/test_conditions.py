"""Conditions of HTTP requests (RFC 9110 13): dates that are none, and what the application is shown of them."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_date, parse_if_range_header

from webapp.conditions import ReadableDates, _read, http_date, names_tag

MOMENT = "Sun, 06 Nov 1994 08:49:37 GMT"
UNREADABLE = (
    "",
    "yesterday",
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00 +9999999999999999",
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "Mon, 99 Jan 2024 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00",  # of no zone
)


def shown(**headers):
    """The request's headers as the application sees them."""
    seen = []
    ReadableDates(lambda environ, _start: seen.append(environ) or [])(dict(headers), None)
    return seen[0]


def test_a_date_is_read_in_utc_in_every_form_of_it():
    for text in (MOMENT, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 +0100"):
        assert http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_date_is_none_and_the_application_does_not_see_it(text):
    assert http_date(text) is None
    assert shown(HTTP_IF_MODIFIED_SINCE=text, HTTP_IF_UNMODIFIED_SINCE=text, HTTP_HOST="x") == {"HTTP_HOST": "x"}


def test_what_is_far_longer_than_a_date_is_none_and_is_not_remembered():
    before = _read.cache_info().currsize
    for text in (MOMENT + " " * 60_000, "1" * 200, f"({'x' * 1000}) {MOMENT}"):
        assert shown(HTTP_IF_MODIFIED_SINCE=text, HTTP_IF_RANGE=text, HTTP_RANGE="bytes=1-") == {}
    assert _read.cache_info().currsize == before


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_range_under_a_validator_that_cannot_be_read_is_no_range(text):
    assert shown(HTTP_IF_RANGE=text, HTTP_RANGE="bytes=1-") == {}


@pytest.mark.parametrize("text", [MOMENT, '"tag"', 'W/"tag"', '""'])
def test_conditions_that_can_be_read_stay(text):
    headers = {"HTTP_IF_MODIFIED_SINCE": MOMENT, "HTTP_IF_RANGE": text, "HTTP_RANGE": "bytes=1-"}
    assert shown(**headers) == headers


@given(
    st.text() | st.from_regex(r'"?[A-Z][a-z]{2},? \d{1,30} [A-Z][a-z]{2} \d{1,30} \d\d?:\d\d?:\d{1,9} [+-]?\w{0,20}"?')
)
@example('"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"')
def test_whatever_the_application_sees_can_be_read_by_werkzeug(text):
    seen = shown(HTTP_IF_MODIFIED_SINCE=text, HTTP_IF_RANGE=text)
    for read in (parse_date(seen.get("HTTP_IF_MODIFIED_SINCE")), parse_if_range_header(seen.get("HTTP_IF_RANGE")).date):
        assert read is None or read.astimezone(UTC)


def test_tags_are_compared_weakly():
    assert names_tag('"a", W/"b"', '"b"')
    assert names_tag("*", '"b"')
    assert not names_tag('"a"', '"b"')
