"""Credentials: secrets, client certificates, tokens; made, used, withdrawn (RFC 7030 3.2.3, 3.3.2)."""

import base64
import hashlib
import json
from contextlib import closing
from datetime import timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.clock import SystemClock
from pki_core.model.errors import ConflictError, CsrRejectedError, NotFoundError
from pki_core.runtime import open_runtime
from pki_core.services.credentials import CLIENT_PROFILE
from tests.builders import SetClock, make_csr, new_key
from tests.journeys.acts import holders_of, rows
from tests.journeys.est_acts import (
    EstClient,
    certificates_in,
    device,
    escaped_pem,
    est_client,
    fingerprint,
    station_csr,
)

pytest_plugins = ["tests.journeys.est_environments"]


@pytest.fixture
def client(home):
    with est_client(home) as client:
        yield client


def client_certificate(client, partner="demo-cpo", key=None):
    profile = client.runtime.profiles[CLIENT_PROFILE]
    csr_der = make_csr("whatever it calls itself", key or new_key())
    return client.runtime.credentials.issue_certificate(partner, csr_der, profile).certificate_der


# --- secrets


def test_a_secret_is_stored_as_its_hash_and_shown_nowhere_else(client, home):
    secret = client.basic[1]
    stored = rows(client.runtime, "SELECT kind, sha256 FROM credential")
    assert stored == [("secret", hashlib.sha256(secret.encode()).hexdigest())]
    client.runtime.close()
    assert holders_of(secret, home) == []


def test_secrets_have_256_bits_and_differ(client):
    made = {client.runtime.credentials.make_secret("demo-cpo") for _ in range(20)}
    assert len(made) == 20
    assert {len(base64.urlsafe_b64decode(one + "=")) for one in made} == {32}


def test_a_partner_may_have_two_secrets_while_one_replaces_the_other(any_client):
    second = EstClient(
        any_client.runtime, any_client.app, basic=("demo-cpo", any_client.runtime.credentials.make_secret("demo-cpo"))
    )
    assert [one.enroll(station_csr()).status_code for one in (any_client, second)] == [200, 200]
    first = any_client.runtime.credentials.of_partner("demo-cpo")[0]
    any_client.runtime.credentials.withdraw("demo-cpo", first.id)
    assert [one.enroll(station_csr()).status_code for one in (any_client, second)] == [401, 200]
    with pytest.raises(ConflictError):
        any_client.runtime.credentials.withdraw("demo-cpo", first.id)
    audited = rows(any_client.runtime, "SELECT detail FROM audit WHERE action = 'credential.withdrawn'")
    assert audited == [(f"demo-cpo {first.id}",)]


def test_credentials_of_others_are_not_withdrawn_nor_made_for_nobody(client):
    (one,) = client.runtime.credentials.of_partner("demo-cpo")
    with pytest.raises(NotFoundError):
        client.runtime.credentials.withdraw("demo-mo", one.id)
    with pytest.raises(NotFoundError):
        client.runtime.credentials.make_secret("nobody")
    with pytest.raises(NotFoundError):
        client.runtime.credentials.of_partner("nobody")


# --- client certificates


def test_a_client_certificate_carries_the_partners_name_and_lets_him_enrol(any_client):
    certificate_der = client_certificate(any_client)
    certificate = x509.load_der_x509_certificate(certificate_der)
    assert [one.value for one in certificate.subject] == ["demo-cpo"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    holder = any_client.with_certificate(certificate_der)
    assert len(certificates_in(holder.enroll(station_csr()))) == 1
    stored = rows(any_client.runtime, "SELECT kind, sha256 FROM credential WHERE kind = 'certificate'")
    assert stored == [("certificate", fingerprint(certificate_der))]


def test_a_withdrawn_client_certificate_counts_for_nothing_at_once(client):
    holder = client.with_certificate(client_certificate(client))
    assert holder.enroll(station_csr()).status_code == 200
    number = client.runtime.credentials.of_partner("demo-cpo")[-1].id
    client.runtime.credentials.withdraw("demo-cpo", number)
    answer = holder.enroll(station_csr())
    assert (answer.status_code, b"withdrawn" in answer.data) == (403, True)


def test_an_expired_client_certificate_counts_for_nothing(home):
    clock = SetClock(SystemClock().now())
    with est_client(home, clock=clock) as client:
        certificate_der = client_certificate(client)
        holder = client.with_certificate(certificate_der)
        clock.moment = x509.load_der_x509_certificate(certificate_der).not_valid_after_utc - timedelta(seconds=1)
        assert holder.enroll(station_csr()).status_code == 200
        clock.advance(seconds=1)
        answer = holder.enroll(station_csr())
    assert (answer.status_code, b"not valid now" in answer.data) == (403, True)


def test_a_request_that_proves_no_key_gets_no_client_certificate(client):
    csr_der = make_csr("demo-cpo", new_key())
    with pytest.raises(CsrRejectedError):
        client.runtime.credentials.issue_certificate(
            "demo-cpo", csr_der[:-1] + b"\x00", client.runtime.profiles[CLIENT_PROFILE]
        )
    assert len(client.runtime.credentials.of_partner("demo-cpo")) == 1


def test_nginx_hands_a_certificate_over_as_escaped_pem(client):
    certificate_der = client_certificate(client)
    from tests.journeys.est_acts import PROXY_SECRET

    holder = client.anonymous()
    holder.headers = {"X-Pncpki-Proxy-Secret": PROXY_SECRET, "X-Ssl-Client-Cert": escaped_pem(certificate_der)}
    assert holder.enroll(station_csr()).status_code == 200


@pytest.mark.parametrize("secret", [None, "", "wrong", "a secret that only the proxy know"])
def test_headers_of_a_proxy_without_its_secret_are_ignored(client, secret):
    certificate_der = client_certificate(client)
    spoofer = client.anonymous()
    spoofer.headers = {
        "Client-Cert": f":{base64.b64encode(certificate_der).decode()}:",
        "X-Ssl-Client-Cert": escaped_pem(certificate_der),
        "X-Ssl-Client-Verify": "SUCCESS",
        **({} if secret is None else {"X-Pncpki-Proxy-Secret": secret}),
    }
    assert spoofer.enroll(station_csr()).status_code == 401


def test_the_proxys_secret_from_another_address_is_ignored(client):
    holder = client.with_certificate(client_certificate(client))
    for address in ("192.0.2.7", "", "not an address"):
        answer = holder.post(
            "/.well-known/est/simpleenroll", base64.b64encode(station_csr()), environ_overrides={"REMOTE_ADDR": address}
        )
        assert answer.status_code == 401


@pytest.mark.parametrize("field", ["x", ":!!!:", ":" + "A" * 20_000 + ":", ":AAA"])
def test_an_unreadable_certificate_of_a_trusted_proxy_is_400(client, field):
    from tests.journeys.est_acts import PROXY_SECRET

    holder = client.anonymous()
    holder.headers = {"X-Pncpki-Proxy-Secret": PROXY_SECRET, "Client-Cert": field}
    assert holder.enroll(station_csr()).status_code == 400


def test_garbage_in_place_of_a_certificate_is_403(client):
    assert client.with_certificate(b"\x30\x03\x02\x01\x01").enroll(station_csr()).status_code == 403


# --- certificates of other people's CAs


def test_a_manufacturers_device_enrols_for_the_partner_the_settings_name(home):
    root, leaf_der = device()
    _, expired_der = device(days=(-1, -0.5))
    _, stranger_der = device()
    (home / "manufacturer.pem").write_bytes(root.public_bytes(Encoding.PEM))
    more = '\n[est]\nthird_parties = [{ file = "manufacturer.pem", partner = "demo-cpo" }]\n'
    with est_client(home, more=more) as client:
        statuses = [
            client.with_certificate(der).enroll(station_csr()).status_code
            for der in (leaf_der, expired_der, stranger_der)
        ]
        renewal = client.with_certificate(leaf_der).enroll(station_csr(), operation="simplereenroll")
    assert statuses == [200, 401, 401]
    assert renewal.status_code == 403


def test_without_third_parties_a_devices_certificate_counts_for_nothing(client):
    _, leaf_der = device()
    assert client.with_certificate(leaf_der).enroll(station_csr()).status_code == 401


# --- tokens

ISSUER, AUDIENCE = "https://id.example/", "pncpki"


@pytest.fixture
def provider(home):
    """An identity provider: its key, its JWKS in the home, and a client of an environment that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    (home / "jwks.json").write_text(json.dumps({"keys": [{**jwk, "kid": "one", "use": "sig", "alg": "ES256"}]}))
    more = (
        f'\n[est.bearer]\njwks = "jwks.json"\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nscope = "pkigateway"\n'
        'partner_claim = "azp"\npartners = [["client-7", "demo-cpo"]]\n'
    )
    with est_client(home, more=more) as client:
        yield key, client


def token(key, algorithm="ES256", kid="one", **changes):
    now = int(SystemClock().now().timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "azp": "client-7", "scope": "openid pkigateway"}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid})


def with_token(client, text):
    bearer = client.anonymous()
    bearer.headers = {"Authorization": f"Bearer {text}"}
    return bearer.enroll(station_csr())


def test_a_token_of_the_provider_lets_the_partner_it_names_enrol(provider):
    key, client = provider
    assert with_token(client, token(key)).status_code == 200
    assert with_token(client, token(key, azp="demo-cpo")).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "never"},
        {"nbf": 4_000_000_000},
        {"scope": "openid"},
        {"scope": None},
        {"azp": None},
        {"azp": "nobody"},
        {"azp": ["client-7"]},
        {"kid": "two"},
    ],
    ids=str,
)
def test_a_token_that_is_not_good_is_401(provider, changes):
    key, client = provider
    answer = with_token(client, token(key, **changes))
    assert (answer.status_code, answer.data) == (401, b"")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # PyJWT: the forger's key is short
def test_a_token_signed_otherwise_is_401(provider):
    _, client = provider
    claims = jwt.decode(token(provider[0]), options={"verify_signature": False})
    forged = [
        token(ec.generate_private_key(ec.SECP256R1())),
        token(rsa.generate_private_key(65537, 2048), "RS256"),
        jwt.encode(claims, None, "none", headers={"kid": "one"}),
        jwt.encode(claims, "a" * 64, "HS256", headers={"kid": "one"}),
    ]
    assert {with_token(client, one).status_code for one in forged} == {401}


def test_a_provider_whose_keys_are_away_is_503_and_comes_back(provider, home):
    key, client = provider
    (home / "jwks.json").rename(home / "gone.json")
    assert with_token(client, token(key)).status_code == 503
    (home / "gone.json").rename(home / "jwks.json")
    assert with_token(client, token(key)).status_code == 200


def test_without_a_provider_no_token_counts(client):
    assert with_token(client, token(new_key())).status_code == 401


# --- the command line


def test_the_command_line_makes_shows_and_withdraws(home, tmp_path):
    run = CliRunner()

    def call(*arguments):
        result = run.invoke(app, ["partner", *arguments, "--home", str(home), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    made = call("secret", "demo-cpo")
    csr = tmp_path / "client.csr"
    csr.write_bytes(make_csr("x", new_key()))
    issued = call("certificate", "demo-cpo", "--csr", str(csr))
    assert issued["pem"].startswith("-----BEGIN CERTIFICATE-----")
    code = call("code", "demo-cpo")["code"]
    listed = call("credentials", "demo-cpo")["credentials"]
    assert [one["kind"] for one in listed] == ["secret", "certificate", "code"]
    assert made["user"] == "demo-cpo"
    assert not any(secret in json.dumps(listed) for secret in (made["secret"], code))
    call("withdraw", "demo-cpo", str(listed[0]["id"]))
    assert call("credentials", "demo-cpo")["credentials"][0]["ended_at"]
    with closing(open_runtime(home)) as runtime:
        from webapp import create_app

        client = EstClient(runtime, create_app(runtime), basic=("demo-cpo", made["secret"]))
        assert client.enroll(station_csr()).status_code == 401
