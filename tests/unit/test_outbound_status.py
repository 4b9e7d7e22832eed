"""Status of other people's certificates: what is believed, what is not, what is kept. A real server on loopback."""

from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki_core.model.errors import MalformedError, OutboundUnavailableError
from pki_core.model.outbound import OutboundPolicy, TurnPolicy
from pki_core.model.pools import ForeignStatus
from pki_core.outbound import status
from pki_core.outbound.client import OutboundClient
from pki_core.outbound.status import MOST_CRL, StatusFetcher
from pki_core.outbound.turns import Turns
from pki_core.services.foreign_status import ForeignStatuses
from pki_core.wire.foreign_status import read_foreign
from tests.builders import SetClock
from tests.listening import listening
from tests.unit.foreign_ca import DAY, NOW, ForeignCa, der

REVOKED, UNKNOWN = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.command == "POST":
            self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        body = self.server.served.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    do_POST = do_GET  # noqa: N815  # as the class wants it

    def log_message(self, *_):
        pass


@contextmanager
def publishing():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.served, server.paths, server.asked = {}, [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    with listening(server):
        yield server


@pytest.fixture
def server():
    with publishing() as running:
        yield running


@pytest.fixture(scope="module")
def ca():
    return ForeignCa()


@pytest.fixture
def clock():
    return SetClock(NOW)


@pytest.fixture
def statuses(clock):
    return statuses_at(clock)


def statuses_at(clock, allowed="127.0.0.0/8", left_alone=0.0, seconds=5.0):
    policy = OutboundPolicy(allowed_networks=(ip_network(allowed),), connect_seconds=2, total_seconds=5)
    turns = Turns(TurnPolicy(at_once=3, of_one_asker=2, seconds=seconds))
    return ForeignStatuses(StatusFetcher(OutboundClient(policy), turns, left_alone), clock, turns)


def look(statuses, ca, leaf):
    return statuses.look(der(leaf), der(ca.certificate))


def test_a_responder_tells_good_and_revoked_with_its_times(ca, server, statuses):
    leaf, other = (ca.leaf(f"{server.url}/ocsp") for _ in range(2))
    server.served["/ocsp"] = ca.response(leaf)
    report = look(statuses, ca, leaf)
    assert (report.standing, report.source) == (ForeignStatus.GOOD, f"{server.url}/ocsp")
    assert (report.this_update, report.good_until) == (NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    asked = ocsp.load_der_ocsp_request(server.asked[0])
    assert asked.serial_number == leaf.serial_number
    server.served["/ocsp"] = ca.response(other, REVOKED)
    report = look(statuses, ca, other)
    assert (report.standing, report.revoked_at, report.reason) == (ForeignStatus.REVOKED, NOW - DAY, "keyCompromise")
    assert statuses.status_of(der(other), der(ca.certificate)) is ForeignStatus.REVOKED


def test_a_responder_of_the_ca_is_believed(ca, server, statuses):
    leaf = ca.leaf(f"{server.url}/ocsp")
    server.served["/ocsp"] = ca.response(leaf, signer=ca.responder())
    assert look(statuses, ca, leaf).standing is ForeignStatus.GOOD


def test_what_the_issuer_did_not_sign_for_now_is_not_believed(ca, server, statuses):
    leaf = ca.leaf(f"{server.url}/ocsp")
    stranger = ForeignCa()  # of the same name
    hour = timedelta(hours=1)
    bad = {
        "by a stranger": stranger.response(leaf),
        "by a stranger's responder": ca.response(leaf, signer=stranger.responder()),
        "by a leaf that is no responder": ca.response(leaf, signer=ca.responder(usage=ExtendedKeyUsageOID.SERVER_AUTH)),
        "by an expired responder": ca.response(leaf, signer=ca.responder(lifetime=(NOW - 3 * DAY, NOW - DAY))),
        "about another": ca.response(leaf, about=ca.leaf()),
        "out of date": ca.response(leaf, times=(NOW - 3 * hour, NOW - hour)),
        "of the future": ca.response(leaf, times=(NOW + hour, NOW + 2 * hour)),
        "old and without an end": ca.response(leaf, times=(NOW - 2 * DAY, None)),
        "an error": ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER),
        "nothing": b"",
        "something else": b"<html>",
        "cut off": ca.response(leaf)[:-10],
    }
    changed = bytearray(ca.response(leaf))
    changed[-1] ^= 1
    bad["changed"] = bytes(changed)
    for name, body in bad.items():
        server.served["/ocsp"] = body if isinstance(body, bytes) else der(body)
        report = look(statuses, ca, leaf)
        assert (report.standing, report.source) == (ForeignStatus.UNKNOWN, ""), name
        assert report.reason.startswith("OCSP: "), name
        with pytest.raises(OutboundUnavailableError):
            statuses.status_of(der(leaf), der(ca.certificate))
    server.served["/ocsp"] = ca.response(leaf)
    assert look(statuses, ca, leaf).standing is ForeignStatus.GOOD


def test_a_crl_tells_where_there_is_no_responder_or_it_does_not_know(ca, server, statuses):
    good, bad, dark = (
        ca.leaf(crl_url=f"{server.url}/crl"),
        ca.leaf(crl_url=f"{server.url}/crl"),
        ca.leaf(f"{server.url}/ocsp", f"{server.url}/crl"),
    )
    server.served["/crl"] = ca.crl([bad, dark])
    assert look(statuses, ca, good).standing is ForeignStatus.GOOD
    report = look(statuses, ca, bad)
    assert (report.standing, report.reason, report.revoked_at) == (ForeignStatus.REVOKED, "superseded", NOW - DAY)
    server.served["/ocsp"] = ca.response(dark, UNKNOWN)
    assert look(statuses, ca, dark).standing is ForeignStatus.REVOKED
    assert server.paths.count("/crl") == 1  # kept


def test_an_unknown_of_the_responder_is_told_as_one(ca, server, statuses):
    leaf = ca.leaf(f"{server.url}/ocsp")
    server.served["/ocsp"] = ca.response(leaf, UNKNOWN)
    assert statuses.status_of(der(leaf), der(ca.certificate)) is ForeignStatus.UNKNOWN


def point(**changes):
    fields = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**fields, **changes}), True


def test_a_crl_that_does_not_cover_the_certificate_is_not_believed(ca, server, clock):
    leaf = ca.leaf(crl_url=f"{server.url}/crl")
    stranger = ForeignCa()
    elsewhere = [x509.UniformResourceIdentifier("http://127.0.0.1/other")]
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    bad = {
        "of a stranger": ca.crl(key=stranger.key),
        "of another name": ca.crl(name=ForeignCa("Other").name),
        "out of date": ca.crl(times=(NOW - 3 * DAY, NOW - DAY)),
        "of the future": ca.crl(times=(NOW + DAY, NOW + 2 * DAY)),
        "for CAs": ca.crl(extensions=[point(only_contains_ca_certs=True)]),
        "indirect": ca.crl(extensions=[point(indirect_crl=True)]),
        "for some reasons": ca.crl(extensions=[point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))]),
        "another shard": ca.crl(extensions=[point(full_name=elsewhere)]),
        "a delta": ca.crl(extensions=[(x509.DeltaCRLIndicator(1), True)]),
        "not understood": ca.crl(extensions=[(odd, True)]),
        "none": b"octets",
    }
    for name, body in bad.items():
        server.served["/crl"] = body
        assert look(statuses_at(clock), ca, leaf).standing is ForeignStatus.UNKNOWN, name
    mine = [x509.UniformResourceIdentifier(f"{server.url}/crl")]
    server.served["/crl"] = ca.crl(extensions=[point(full_name=mine, only_contains_user_certs=True)])
    assert look(statuses_at(clock), ca, leaf).standing is ForeignStatus.GOOD
    server.served["/crl"] = bytes(MOST_CRL + 1)
    assert "longer than" in look(statuses_at(clock), ca, leaf).reason


def test_what_was_told_is_kept_an_hour_at_most_and_no_longer_than_it_is_good(ca, server, statuses, clock):
    leaf = ca.leaf(f"{server.url}/ocsp")
    server.served["/ocsp"] = ca.response(leaf, times=(NOW, NOW + timedelta(minutes=30)))
    for _ in range(3):
        look(statuses, ca, leaf)
    assert len(server.paths) == 1
    clock.advance(minutes=31)
    server.served["/ocsp"] = ca.response(leaf, REVOKED, times=(clock.now(), clock.now() + DAY))
    assert look(statuses, ca, leaf).standing is ForeignStatus.REVOKED
    clock.advance(minutes=61)
    look(statuses, ca, leaf)
    assert len(server.paths) == 3


def test_the_same_serial_of_another_ca_is_another_certificate(ca, server, statuses):
    other = ForeignCa("Other")
    leaf = ca.leaf(f"{server.url}/ocsp")
    url = x509.UniformResourceIdentifier(f"{server.url}/other")
    access = x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, url)
    twin = other.make(
        leaf.subject, other.key, [(x509.AuthorityInformationAccess([access]), False)], serial=leaf.serial_number
    )
    server.served |= {"/ocsp": ca.response(leaf), "/other": other.response(twin, REVOKED)}
    assert look(statuses, ca, leaf).standing is ForeignStatus.GOOD
    assert look(statuses, other, twin).standing is ForeignStatus.REVOKED


def test_a_server_that_failed_is_left_alone_for_a_while(ca, server, clock):
    statuses = statuses_at(clock, left_alone=60.0)
    for _ in range(5):
        assert look(statuses, ca, ca.leaf(f"{server.url}/gone")).standing is ForeignStatus.UNKNOWN
    assert server.paths == ["/gone"]


def test_of_servers_that_failed_the_one_that_failed_last_is_remembered_longest(ca, server, clock, monkeypatch):
    moment = [0.0]
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    monkeypatch.setattr(status, "_MOST_REMEMBERED", 2)
    statuses = statuses_at(clock, left_alone=60.0)

    def fail(path):
        look(statuses, ca, ca.leaf(f"{server.url}/{path}"))

    fail("first")
    fail("second")
    moment[0] = 61.0  # long enough: both may be tried again
    fail("first")
    fail("third")  # there is no room: the second is forgotten
    server.paths.clear()
    fail("first")
    fail("third")
    assert server.paths == []
    fail("second")
    assert server.paths == ["/second"]


def test_a_stranger_s_certificate_locks_nobody_out_of_a_responder(ca, server, clock):
    """Whoever uploads chooses the URLs: TLS at a plain port, a path that is not there."""
    statuses, stranger, place = statuses_at(clock, left_alone=60.0), ForeignCa("Stranger"), f"{server.url}/ocsp"
    with statuses.asked_by("other-oem"):
        for url in (place.replace("http://", "https://"), place):
            assert look(statuses, stranger, stranger.leaf(url)).standing is ForeignStatus.UNKNOWN
    assert server.paths == ["/ocsp"]
    leaf = ca.leaf(place)
    server.served["/ocsp"] = ca.response(leaf)
    with statuses.asked_by("oem"):
        assert look(statuses, ca, leaf).standing is ForeignStatus.GOOD


def test_a_certificate_cannot_send_us_inside(ca, server, clock):
    leaf = ca.leaf(f"{server.url}/ocsp", f"{server.url}/crl")
    report = look(statuses_at(clock, allowed="10.0.0.0/8"), ca, leaf)
    assert (report.standing, report.source, server.paths) == (ForeignStatus.UNKNOWN, "", [])


def test_addresses_that_are_none_of_the_web_are_not_tried(ca, statuses):
    report = look(statuses, ca, ca.leaf("ldap://directory/", "ftp://files/crl"))
    assert report.reason == "the certificate names neither a responder nor a CRL"


def test_what_is_no_pair_of_certificates_is_malformed(ca, statuses):
    leaf = ca.leaf()
    for pair in (
        (b"", der(ca.certificate)),
        (der(leaf), b"octets"),
        (der(leaf), der(ForeignCa("Other").certificate)),
        (b"x" * 70_000, der(ca.certificate)),
        (der(leaf)[:-4], der(ca.certificate)),
    ):
        with pytest.raises(MalformedError):
            statuses.look(*pair)


def test_the_fields_certificates_that_strict_readers_refuse_are_read(ca):
    """They encode ``cA FALSE``: 30 03 01 01 00."""
    key = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), bytes.fromhex("3003010100"))
    from cryptography.hazmat.primitives.asymmetric import ec

    leaf = ca.make(ca.name, ec.generate_private_key(ec.SECP256R1()), [(key, True)])
    with pytest.raises(ValueError, match="EncodedDefault"):
        _ = x509.load_der_x509_certificate(der(leaf)).extensions
    assert read_foreign(der(leaf), der(ca.certificate)).is_ca is False
