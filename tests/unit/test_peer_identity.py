"""Who is at the other end: direct TLS, trusted proxies, and headers of anybody (RFC 9440, RFC 9266)."""

import base64

import pytest

from pki_core.model.errors import MalformedError, SettingsError
from pki_core.model.est import TrustedProxy
from webapp.identity import PeerReader

SECRET = "sixteen or more characters"
DER = bytes(range(200))
FIELD = f":{base64.b64encode(DER).decode()}:"
UNIQUE = base64.b64encode(b"unique bytes").decode()


def reader(tmp_path, **changes):
    (tmp_path / "proxy").write_text(SECRET + "\n")
    fields = {"networks": ("10.0.0.0/8", "::1/128"), "secret_file": "proxy", **changes}
    return PeerReader(TrustedProxy(**fields), tmp_path)


def environ(**changes):
    return {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_PNCPKI_PROXY_SECRET": SECRET, "HTTP_CLIENT_CERT": FIELD, **changes}


@pytest.mark.parametrize("address", ["10.1.2.3", "::1"])
def test_a_proxy_is_known_by_address_and_secret(tmp_path, address):
    peer = reader(tmp_path).peer_identity(environ(REMOTE_ADDR=address))
    assert (peer.certificate_der, peer.source) == (DER, "proxy")


@pytest.mark.parametrize(
    "changes",
    [
        {"REMOTE_ADDR": "192.0.2.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "10.1.2.3.4"},
        {"HTTP_X_PNCPKI_PROXY_SECRET": "wrong"},
        {"HTTP_X_PNCPKI_PROXY_SECRET": ""},
        {"HTTP_X_PNCPKI_PROXY_SECRET": "\u20ac"},
    ],
)
def test_everybody_else_shows_nothing_by_headers(tmp_path, changes):
    peer = reader(tmp_path).peer_identity(environ(**changes))
    assert (peer.certificate_der, peer.tls_unique, peer.source) == (None, None, "none")


def test_without_a_secret_nobody_is_a_proxy(tmp_path):
    assert reader(tmp_path, secret_file="").peer_identity(environ()).certificate_der is None
    empty = environ(HTTP_X_PNCPKI_PROXY_SECRET="")
    assert reader(tmp_path, secret_file="").peer_identity(empty).certificate_der is None


def test_a_unix_socket_is_a_proxy_where_the_settings_say_so(tmp_path):
    local = environ(REMOTE_ADDR="")
    assert reader(tmp_path).peer_identity(local).certificate_der is None
    assert reader(tmp_path, unix_socket=True).peer_identity(local).certificate_der == DER


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3", ""])
def test_tls_unique_counts_on_tls_1_2_only(tmp_path, protocol):
    peer = reader(tmp_path).peer_identity(environ(HTTP_X_SSL_UNIQUE_ID=UNIQUE, HTTP_X_SSL_PROTOCOL=protocol))
    assert peer.tls_unique == (b"unique bytes" if protocol == "TLSv1.2" else None)


@pytest.mark.parametrize("field", ["", "::", " "])
def test_no_certificate_is_said_in_several_ways(tmp_path, field):
    assert reader(tmp_path).peer_identity(environ(HTTP_CLIENT_CERT=field)).certificate_der is None


@pytest.mark.parametrize("field", ["AAAA", ":AAA:", ":A A:", ":AAAA", ":" + "A" * 20_000 + ":"])
def test_an_unreadable_field_of_a_proxy_is_malformed(tmp_path, field):
    with pytest.raises(MalformedError):
        reader(tmp_path).peer_identity(environ(HTTP_CLIENT_CERT=field))


def test_a_socket_that_is_not_tls_shows_nothing(tmp_path):
    peer = reader(tmp_path).peer_identity({"gunicorn.socket": object(), "REMOTE_ADDR": "10.1.2.3"})
    assert peer.source == "none"


@pytest.mark.parametrize("wrong", [{"networks": ("10.0.0.1/8",)}, {"networks": ("x",)}, {"secret_file": "missing"}])
def test_settings_that_cannot_be_followed_stop_the_start(tmp_path, wrong):
    with pytest.raises(SettingsError):
        reader(tmp_path, **wrong)


def test_a_short_secret_stops_the_start(tmp_path):
    (tmp_path / "short").write_text("short")
    with pytest.raises(SettingsError):
        reader(tmp_path, secret_file="short")
