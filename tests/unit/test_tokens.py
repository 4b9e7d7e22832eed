"""The keys tokens are signed with: fetched seldom, kept while the provider is away (RFC 7517)."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki_core.model.errors import NotAuthenticatedError, OutboundUnavailableError, SettingsError, UnavailableError
from pki_core.model.est import BearerTokens
from pki_core.model.outbound import OutboundAnswer
from tests.builders import SetClock
from tests.journeys.serving_acts import wait_for
from webapp.tokens import TokenReader

URL = "https://id.example/jwks"


class Provider:
    """An identity provider at the other end of our calls."""

    def __init__(self):
        self.keys = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.asked = 0
        self.is_away = False
        self.may_answer = threading.Event()  # cleared: it hangs
        self.may_answer.set()
        self.answer = None

    def call(self, request):
        assert (request.method, request.url) == ("GET", URL)
        self.asked += 1
        self.may_answer.wait(10)
        if self.is_away:
            raise OutboundUnavailableError("away")
        if self.answer is not None:
            return self.answer
        keys = [
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in self.keys.items()
        ]
        return OutboundAnswer(status=200, body=json.dumps({"keys": keys}).encode())


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def reader(provider, clock, tmp_path):
    settings = BearerTokens(jwks=URL, partners=(("client", "demo-cpo"),))
    return TokenReader(settings, tmp_path, clock, call=provider.call)


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
    assert wait_for(lambda: provider.asked == 2)


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


def is_asking():
    return any(thread.name == "provider-keys" for thread in threading.enumerate())


def test_old_keys_go_on_for_an_hour_while_the_provider_is_away(reader, provider, clock):
    reader.partner_of(token(provider, clock))
    provider.is_away = True
    clock.advance(seconds=3000)
    assert reader.partner_of(token(provider, clock)) == "demo-cpo"
    assert wait_for(lambda: not is_asking())  # it was asked beside that
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
def test_an_answer_that_holds_no_keys_is_a_provider_that_is_away(reader, provider, clock, answer):
    provider.answer = OutboundAnswer(status=200, body=answer)
    with pytest.raises(UnavailableError):
        reader.partner_of(token(provider, clock))


def test_a_redirect_is_not_followed(reader, provider, clock):
    provider.answer = OutboundAnswer(status=302, body=b'{"keys": []}')
    with pytest.raises(UnavailableError):
        reader.partner_of(token(provider, clock))
    assert provider.asked == 1


def test_a_provider_that_hangs_holds_up_nobody(reader, provider, clock, monkeypatch):
    monkeypatch.setattr("webapp.provider_keys._WAIT_SECONDS", 0.5)
    good = token(provider, clock)
    reader.partner_of(good)
    forged = token(provider, clock, "forged", key=provider.keys["one"])
    clock.advance(seconds=31)
    provider.may_answer.clear()
    with ThreadPoolExecutor(20) as pool:
        begun = time.monotonic()
        refused = [pool.submit(reader.partner_of, forged) for _ in range(80)]
        assert [type(one.exception()) for one in refused] == [NotAuthenticatedError] * 80
        clock.advance(seconds=300)  # known keys are to be looked at again, too
        assert reader.partner_of(good) == "demo-cpo"
        assert time.monotonic() - begun < 1.5  # one waited, one after the other would be forty seconds
    assert provider.asked == 2
    provider.may_answer.set()


def test_keys_are_never_fetched_in_the_clear(tmp_path, clock):
    with pytest.raises(SettingsError):
        TokenReader(BearerTokens(jwks="http://id.example/jwks"), tmp_path, clock)


def test_a_token_of_unheard_length_is_not_looked_at(reader, provider, clock):
    with pytest.raises(NotAuthenticatedError):
        reader.partner_of(token(provider, clock, padding="x" * 9000))
    assert provider.asked == 0
