"""Pace: pieces of about a second, however fast the token and however many sessions it has."""

import math

import pytest

from pki_core.issuance import pace
from pki_core.issuance.pace import FIRST, MOST, Pace


class Token:
    """A token that needs so long for a signature, and makes some at once; notes what it is asked for."""

    def __init__(self, monkeypatch, seconds, sessions=1):
        self.seconds, self.sessions, self.time, self.asked = seconds, sessions, 0.0, []
        monkeypatch.setattr(pace, "monotonic", lambda: self.time)

    def sign(self, items):
        self.asked.append(len(items))
        self.time += math.ceil(len(items) / self.sessions) * self.seconds
        return [-item for item in items]


@pytest.mark.parametrize("count", [0, 1, FIRST, 2000])
def test_everything_is_signed_once_and_in_order_with_a_call_ahead_of_each_piece(monkeypatch, count):
    token, calls = Token(monkeypatch, 0.065), []
    assert Pace().run(range(count), token.sign, lambda: calls.append(len(token.asked))) == [
        -item for item in range(count)
    ]
    assert calls == list(range(len(token.asked)))


def test_a_fast_token_is_asked_for_as_much_as_there_may_be(monkeypatch):
    token = Token(monkeypatch, 0.0001)
    Pace().run(range(2000), token.sign, None)
    assert token.asked == [FIRST, MOST, MOST, MOST, 2000 - FIRST - 3 * MOST]


@pytest.mark.parametrize("seconds", [0.065, 0.3, 3])
def test_pieces_of_a_slow_token_take_no_more_than_a_quarter_of_the_shortest_lease(monkeypatch, seconds):
    token = Token(monkeypatch, seconds)
    Pace().run(range(300), token.sign, None)
    assert max(token.asked[1:]) * seconds <= max(2.4, seconds)


def test_a_token_with_many_sessions_is_kept_busy(monkeypatch):
    token, kept = Token(monkeypatch, 0.9, sessions=16), Pace()
    kept._count = 1
    kept.run(range(500), token.sign, None)
    assert max(token.asked) >= 16


def test_the_speed_of_a_token_is_remembered_and_learnt_again(monkeypatch):
    token, kept = Token(monkeypatch, 1.0), Pace()
    kept.run(range(60), token.sign, None)
    token.asked.clear()
    token.seconds = 0.001
    kept.run(range(600), token.sign, None)
    assert token.asked[0] <= 2
    assert token.asked[1] == MOST
