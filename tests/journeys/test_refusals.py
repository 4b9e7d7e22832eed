"""Who is refused is in the log: who he said he is, from where and why; a few lines a minute, and no row anywhere."""

import logging

import pytest

from tests.journeys.rest_acts import CCP, PCP, RCP, basic

pytest_plugins = ["tests.journeys.rest_environments"]


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.WARNING, "pncpki.web")
    return lambda: [one.getMessage() for one in caplog.records if one.getMessage().startswith("refused ")]


def test_a_wrong_secret_and_a_forbidden_call_are_told_with_the_partner(steady, lines):
    steady.call("nobody", "GET", RCP, headers=basic("oem", "guessed-secret"))
    steady.call("mo", "PUT", PCP, json={})
    wrong, forbidden = lines()
    assert wrong.startswith("refused GET pools.")
    assert "oem from 127.0.0.1: caller.not_authenticated" in wrong
    assert "guessed-secret" not in wrong
    assert "mo from 127.0.0.1: partner.not_authorized: this is for the roles oem" in forbidden


def test_a_client_of_the_token_endpoint_is_told_by_its_id(api, lines):
    body = {"grant_type": "client_credentials", "client_id": "mo", "client_secret": "guessed-secret"}
    assert api.call("nobody", "POST", "/oauth/token", json=body).status_code == 401
    (line,) = lines()
    assert "mo from 127.0.0.1: caller.not_authenticated" in line


def test_who_guesses_fills_neither_the_log_nor_the_store(api, lines):
    with api.runtime.store.reading() as work:
        before = work.audit.count_after(0)
    for _ in range(20):
        api.call("nobody", "GET", CCP, headers=basic("oem", "x"))
        api.call("nobody", "GET", RCP, headers=basic("oem", "x"))
    assert len(lines()) == 5
    assert lines()[-1].endswith("more of these are not written for a minute")
    for at in range(120):
        api.call("nobody", "GET", RCP, headers=basic(f"guess-{at}", "x"))
    assert len(lines()) == 100
    with api.runtime.store.reading() as work:
        assert work.audit.count_after(0) == before


def test_a_name_with_line_breaks_makes_no_line_of_its_own(steady, lines):
    steady.call("nobody", "GET", RCP, headers=basic("oem\nrefused nobody", "x"))
    assert all("\n" not in line for line in lines())
    assert any("oem?refused" in line for line in lines())


def test_who_has_shown_nothing_yet_is_not_told(steady, lines):
    assert steady.call("nobody", "GET", RCP).status_code == 401
    assert lines() == []
