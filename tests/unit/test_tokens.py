"""The keys tokens are signed with: fetched seldom, kept while the provider is away (RFC 7517)."""

import io
import json
import urllib.error

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki_core.model.errors import NotAuthenticatedError, SettingsError, UnavailableError
from pki_core.model.est import BearerTokens
from tests.builders import SetClock
from webapp.tokens import TokenReader

URL = "https://id.example/jwks"


class Provider:
    """An identity provider at the other end of urlopen."""

    def __init__(self):
        self.keys = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.asked = 0
        self.is_away = False

    def urlopen(self, url, timeout):
        assert (url, timeout <= 5) == (URL, True)
        self.asked += 1
        if self.is_away:
            raise urllib.error.URLError("away")
        keys = [
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in self.keys.items()
        ]
        return io.BytesIO(json.dumps({"keys": keys}).encode())


@pytest.fixture
def provider(monkeypatch):
    provider = Provider()
    monkeypatch.setattr("urllib.request.urlopen", provider.urlopen)
    return provider


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def reader(provider, clock, tmp_path):  # noqa: ARG001  # the provider is behind urlopen
    return TokenReader(BearerTokens(jwks=URL, partners=(("client", "demo-cpo"),)), tmp_path, clock)


def token(provider, clock, kid="one", key=None, **claims):
    moment = int(clock.now().timestamp())
    claims = {"sub": "client", "exp": moment + 10_000, **claims}
    return jwt.encode(claims, key or provider.keys[kid], "ES256", headers={"kid": kid})


def test_keys_are_fetched_once_and_again_after_five_minutes(reader, provider, clock):
    for _ in range(3):
        assert reader.partner_of(token(provider, clock)) == "demo-cpo"
    assert provider.asked == 1
    clock.advance(seconds=301)
    reader.partner_of(token(provider, clock))
    assert provider.asked == 2


def test_a_new_key_of_the_provider_is_found_and_a_forged_key_id_is_no_flood(reader, provider, clock):
    reader.partner_of(token(provider, clock))
    clock.advance(seconds=31)
    provider.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    assert reader.partner_of(token(provider, clock, "two")) == "demo-cpo"
    asked = provider.asked
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError):
            reader.partner_of(token(provider, clock, "three", key=provider.keys["one"]))
    assert provider.asked == asked


def test_old_keys_go_on_for_an_hour_while_the_provider_is_away(reader, provider, clock):
    reader.partner_of(token(provider, clock))
    provider.is_away = True
    clock.advance(seconds=3000)
    assert reader.partner_of(token(provider, clock)) == "demo-cpo"
    clock.advance(seconds=700)
    with pytest.raises(UnavailableError):
        reader.partner_of(token(provider, clock))
    provider.is_away = False
    clock.advance(seconds=5)
    assert reader.partner_of(token(provider, clock)) == "demo-cpo"


def test_a_provider_that_is_away_is_not_asked_by_every_request(reader, provider, clock):
    provider.is_away = True
    for _ in range(10):
        with pytest.raises(UnavailableError):
            reader.partner_of(token(provider, clock))
    assert provider.asked == 1


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"keys": [{}]}', b'{"keys": [1]}', b'{"keys": 1}', b"\xff"])
def test_an_answer_that_holds_no_keys_is_a_provider_that_is_away(reader, provider, clock, monkeypatch, answer):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(answer))
    with pytest.raises((UnavailableError, NotAuthenticatedError)):
        reader.partner_of(token(provider, clock))


def test_keys_are_never_fetched_in_the_clear(tmp_path, clock):
    with pytest.raises(SettingsError):
        TokenReader(BearerTokens(jwks="http://id.example/jwks"), tmp_path, clock)


def test_a_token_of_unheard_length_is_not_looked_at(reader, provider, clock):
    with pytest.raises(NotAuthenticatedError):
        reader.partner_of(token(provider, clock, padding="x" * 9000))
    assert provider.asked == 0
