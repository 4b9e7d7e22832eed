"""Tokens of our own: a machine secret in, a signed token out, believed by EST; its keys, their rotation, bad input."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import jwt
import pytest

from pki_core.runtime import open_runtime
from tests.builders import SetClock
from tests.journeys.acts import rows
from tests.journeys.est_acts import certificates_in
from tests.journeys.token_acts import TokenClient
from webapp import create_app

pytest_plugins = ["tests.journeys.environments"]
ISSUER = "https://localhost"
CPO_SCOPES = ["ccpservice", "pkigateway", "rcpservice"]


@contextmanager
def opened(home, clock=None, more=""):
    with (home / "pncpki.toml").open("a") as file:
        file.write(more)
    with closing(open_runtime(home, clock)) as runtime:
        yield runtime


@pytest.fixture
def client(environment):
    return TokenClient(environment)


def test_before_the_first_token_there_are_no_keys_and_no_token_is_believed(client):
    assert client.get("/.well-known/jwks.json").json == {"keys": []}
    forged = jwt.encode({"iss": ISSUER, "sub": "demo-cpo", "exp": 2**40, "aud": ISSUER}, "x" * 32, "HS256")
    assert client.enroll(forged).status_code == 401


def claims_of(token, client):
    """The claims, verified by another library's reading of our JWKS."""
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(client.get("/.well-known/jwks.json").json).keys}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    audience = jwt.decode(token, options={"verify_signature": False})["aud"]
    return jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=ISSUER)


def error_of(answer):
    assert set(answer.json) == {"error", "error_description"}
    return answer.status_code, answer.json["error"]


def test_a_machine_secret_buys_a_token_with_the_claims_that_clients_of_gateways_read(client):
    answer = client.post()
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 86_400)
    assert answer.json["scope"].split() == CPO_SCOPES
    claims = claims_of(answer.json["access_token"], client)
    assert claims["exp"] - claims["iat"] == 86_400
    assert {name: claims[name] for name in ("sub", "gty", "scope", "permissions")} == {
        "sub": "demo-cpo",
        "gty": "client-credentials",
        "scope": " ".join(CPO_SCOPES),
        "permissions": CPO_SCOPES,
    }
    assert (claims[f"{ISSUER}/role"], claims[f"{ISSUER}/client_name"]) == (["CPO"], "demo-cpo")


def test_prefixes_of_a_partner_stand_in_the_claims(environment):
    mobility = environment.partners.all()
    partner = next(one for one in mobility if one.id == "demo-mo")
    client = TokenClient(environment, "demo-mo")
    claims = claims_of(client.token(), client)
    assert claims[f"{ISSUER}/emaid"] == sorted(partner.provider_prefixes)
    assert claims[f"{ISSUER}/role"] == ["MO_HUBJECT_PKI"]
    vehicles = next(one for one in mobility if one.id == "demo-oem")
    client = TokenClient(environment, "demo-oem")
    assert claims_of(client.token(), client)[f"{ISSUER}/pcid"] == sorted(vehicles.wmis)


def test_est_believes_the_token(client):
    assert len(certificates_in(client.enroll(client.token()))) == 1


def test_a_token_without_the_scope_of_issuing_enrols_nothing(client):
    assert client.enroll(client.token(scope="rcpservice")).status_code == 403
    assert client.enroll(client.token(scope="pkigateway")).status_code == 200


def test_forms_json_and_basic_are_understood(client):
    form = {"client_id": client.partner, "client_secret": client.secret, "grant_type": "client_credentials"}
    http = client.app.test_client()
    assert http.post("/oauth/token", data=form).status_code == 200
    text = base64.b64encode(f"{client.partner}:{client.secret}".encode()).decode()
    header = {"Authorization": f"Basic {text}"}
    assert http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=header).status_code == 200
    # a JSON body under a type that says something else, as some clients send it
    assert http.post("/oauth/token", data=json.dumps(form), content_type="text/plain").status_code == 200
    assert error_of(http.post("/oauth/token", data=form, headers=header)) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_secret": "wrong"}, (401, "access_denied")),
        ({"client_id": "nobody"}, (401, "access_denied")),
        ({"client_secret": None}, (401, "access_denied")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": None}, (400, "invalid_request")),
        ({"scope": "pkigateway cpservice"}, (400, "invalid_scope")),
        ({"audience": "https://somebody.else"}, (400, "invalid_target")),
        ({"client_id": ["demo-cpo"]}, (400, "invalid_request")),
        ({"client_id": "x" * 513}, (400, "invalid_request")),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(client, changes, expected):
    assert error_of(client.post(**changes)) == expected


def test_a_wrong_secret_in_basic_is_an_invalid_client(client):
    text = base64.b64encode(b"demo-cpo:wrong").decode()
    answer = client.app.test_client().post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {text}"}
    )
    assert error_of(answer) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 8000, b'"x"', b"x" * 9000])
def test_bodies_that_are_no_request_are_refused(client, body):
    answer = client.app.test_client().post("/oauth/token", data=body, content_type="application/json")
    assert answer.status_code in {400, 413}
    assert answer.json["error"] == "invalid_request"


def test_a_withdrawn_secret_buys_nothing(client):
    (credential,) = [one for one in client.runtime.credentials.of_partner("demo-cpo") if one.ended_at is None]
    client.runtime.credentials.withdraw("demo-cpo", credential.id)
    assert error_of(client.post()) == (401, "access_denied")


def test_a_token_ends_with_the_secret_that_bought_it(client):
    token = client.token()
    (credential,) = [one for one in client.runtime.credentials.of_partner("demo-cpo") if one.ended_at is None]
    client.secret = client.runtime.credentials.make_secret("demo-cpo")
    other = client.token()
    assert client.enroll(token).status_code == 200
    client.runtime.credentials.withdraw("demo-cpo", credential.id)
    assert [client.enroll(one).status_code for one in (token, other)] == [401, 200]


def test_guessing_is_slowed_down_and_who_knows_the_secret_gets_in_all_the_same(client):
    answers = [client.post(client_secret=f"guess {number}").status_code for number in range(12)]
    assert answers == [401] * 10 + [429] * 2
    assert client.post(client_secret="guess").headers["Retry-After"] == "60"
    assert client.post().status_code == 200
    assert error_of(client.post(client_id="demo-mo")) == (401, "access_denied")  # another client has its own count


def test_no_secret_and_no_token_is_in_the_audit_log_or_anywhere_on_the_disk(client):
    token = client.token()
    ((actor, detail),) = rows(client.runtime, "SELECT actor, detail FROM audit WHERE action = 'token.granted'")
    claims = claims_of(token, client)
    assert (actor, detail.split()[0]) == ("demo-cpo", claims["jti"])
    signature = token.rpartition(".")[2]
    for file in client.runtime.home.rglob("*"):
        if file.is_file():
            assert client.secret.encode() not in file.read_bytes()
            assert signature.encode() not in file.read_bytes()


def test_an_audience_of_the_settings_namespaces_the_claims(home):
    gateway = "https://eu.plugncharge-qa.example.com"
    with opened(home, more=f'\n[oauth]\naudiences = ["{gateway}", "https://other.example.com"]\n') as runtime:
        client = TokenClient(runtime)
        assert claims_of(client.token(), client)[f"{gateway}/role"] == ["CPO"]
        token = client.token(audience="https://other.example.com")
        assert claims_of(token, client)["https://other.example.com/role"] == ["CPO"]
        assert client.enroll(token).status_code == 200
        assert error_of(client.post(audience=ISSUER)) == (400, "invalid_target")


def forged(client, header=None, **changes):
    """A token with our words, signed by somebody else."""
    token = client.token()
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changes}
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "tokens-1", **(header or {})})


def test_tokens_that_are_not_ours_are_not_believed(client):
    token = client.token()
    head, claims, signature = token.split(".")
    other = base64.urlsafe_b64encode(
        json.dumps({**jwt.decode(token, options={"verify_signature": False}), "sub": "demo-mo"}).encode()
    ).rstrip(b"=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    bad = [
        forged(client),
        forged(client, {"kid": "tokens-2"}),
        forged(client, iss="https://somebody.else"),
        f"{head}.{other.decode()}.{signature}",
        f"{none}.{claims}.",
        jwt.encode(
            jwt.decode(token, options={"verify_signature": False}), "secret" * 10, "HS256", headers={"kid": "tokens-1"}
        ),
        "a.b.c",
        "x" * 9000,
    ]
    assert [client.enroll(one).status_code for one in bad] == [401] * len(bad)
    assert client.enroll(token).status_code == 200


def test_a_token_ends_when_it_says(home):
    clock = SetClock()
    with opened(home, clock) as runtime:
        client = TokenClient(runtime)
        token = client.token()
        clock.advance(seconds=86_400 + 20)
        assert client.enroll(token).status_code == 200  # clocks differ by some seconds
        clock.advance(seconds=20)
        assert client.enroll(token).status_code == 401


def test_keys_take_turns_and_what_the_old_one_signed_stays_good(home):
    clock = SetClock()
    with opened(home, clock) as runtime:
        client = TokenClient(runtime)
        before = client.token()
        assert runtime.access.token_keys.rotate().made == ""
        clock.advance(days=90, minutes=-59)
        last = client.token()
        assert runtime.access.token_keys.rotate().made == "tokens-2"
        assert runtime.access.token_keys.rotate().made == ""  # once is enough
        published = [key["kid"] for key in client.get("/.well-known/jwks.json").json["keys"]]
        assert published == ["tokens-1", "tokens-2"]
        assert jwt.get_unverified_header(client.token())["kid"] == "tokens-1"  # published before it signs
        clock.advance(hours=1)
        after = client.token()
        assert jwt.get_unverified_header(after)["kid"] == "tokens-2"
        assert [client.enroll(one).status_code for one in (before, last, after)] == [401, 200, 200]
        clock.advance(hours=25)
        assert [key["kid"] for key in client.get("/.well-known/jwks.json").json["keys"]] == ["tokens-2"]


def test_a_withdrawn_key_takes_its_tokens_with_it(home):
    clock = SetClock()
    with opened(home, clock) as runtime, opened(home, clock) as neighbour:
        client, other = TokenClient(runtime), TokenClient(neighbour)
        token = client.token()
        assert other.enroll(token).status_code == 200
        assert runtime.access.token_keys.withdraw().withdrawn == ("tokens-1",)
        assert client.enroll(token).status_code == 401
        clock.advance(seconds=31)
        assert other.enroll(token).status_code == 401  # another process looks again within half a minute
        assert other.enroll(client.token()).status_code == 200


def test_two_processes_that_start_together_share_one_key(any_home):
    with closing(open_runtime(any_home)) as one, closing(open_runtime(any_home)) as other:
        clients = [TokenClient(one), TokenClient(other)]
        with ThreadPoolExecutor(2) as pool:
            tokens = list(pool.map(lambda client: client.token(), clients))
        assert {jwt.get_unverified_header(token)["kid"] for token in tokens} == {"tokens-1"}
        assert clients[0].enroll(tokens[1]).status_code == 200


def test_a_token_costs_one_signature(client, monkeypatch):
    client.token()
    signed = []
    signer = client.runtime.access.token_keys.signing()
    sign = type(signer).sign
    monkeypatch.setattr(type(signer), "sign", lambda self, messages: signed.extend(messages) or sign(self, messages))
    monkeypatch.setattr(client.runtime.key_store, "bind", None)
    client.token()
    assert len(signed) == 1


def test_a_partner_without_any_service_gets_no_token(home):
    with opened(home, more="\n[oauth.scopes]\ncpo = []\n") as runtime:
        assert error_of(TokenClient(runtime).post()) == (400, "unauthorized_client")


def test_the_service_describes_itself(client):
    described = client.get("/.well-known/oauth-authorization-server").json
    assert described["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert described["grant_types_supported"] == ["client_credentials"]


def test_tokens_exist_behind_tls_only(environment):
    from webapp.listeners import PublicOnly

    app = PublicOnly(create_app(environment))
    from werkzeug.test import Client

    assert Client(app).post("/oauth/token", json={}).status_code == 404
    assert Client(app).get("/v1/batches").status_code == 404


def test_a_partner_that_is_gone_is_nobody(client):
    token = client.token()
    with client.runtime.store.transaction() as work:
        from sqlalchemy import text

        connection = work.audit._connection
        for table in ("credential", "partner_scope"):
            connection.execute(text(f"DELETE FROM {table} WHERE partner_id = 'demo-cpo'"))  # noqa: S608  # fixed words
        connection.execute(text("DELETE FROM partner WHERE id = 'demo-cpo'"))
    assert client.enroll(token).status_code == 401
