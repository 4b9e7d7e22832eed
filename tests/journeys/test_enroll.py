"""Enrolment, in at ``enroll.issue`` and out at the certificate: the laws of signing, for one request and for many."""

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.errors import (
    HsmUnavailableError,
    InvariantError,
    LeaseLostError,
    LintError,
    NotFoundError,
    SignatureInvalidError,
)
from pki_core.model.identifiers import CheckDigitPolicy
from pki_core.model.requests import Issued, IssueRequest, OwnKeyProof, Refused, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.services.enroll import Enrollment
from pki_core.services.names import NamePolicy
from pki_core.wire.csr import parse_csr
from tests.builders import EMAID, SetClock, make_csr, name, new_key, profile, request, sign, spki
from tests.journeys.acts import artefact, order_for, rows
from tests.store.rows import tbs_of

pytest_plugins = ["tests.journeys.environments"]

OTHER_EMAID = "DEPNCC00000002B"
FOREIGN_EMAID = "DEXYZC00000001"
BAD_SIGNATURE = make_csr()[:-1] + bytes((make_csr()[-1] ^ 1,))


@pytest.fixture
def partner(any_environment):
    with any_environment.store.reading() as work:
        return work.partners.get("demo-mo")


@pytest.fixture
def order(any_environment, partner):
    return order_for(any_environment, any_environment.profiles["contract_leaf"], partner)


class Hooks:
    """Notes what it is told, and in which state the serials are then."""

    def __init__(self):
        self.reservations, self.outcomes = [], []

    def reserved(self, _work, reservation):
        self.reservations.append(reservation)

    def renewed(self, _work, _times):
        """Nothing is held beside the reservation."""

    def signed(self, outcomes, keep):
        """Nothing to do in between."""

    def recorded(self, _work, outcomes):
        self.outcomes.append(list(outcomes))


def issue(runtime, order, *requests, hooks=None, enrollment=None, issuer="mo-sub2"):
    return (enrollment or runtime.enrollment).issue(runtime.issuers.get(issuer), order, requests, hooks)


def serial_states(runtime):
    """How many serials of leafs are in which state."""
    found = rows(
        runtime,
        "SELECT status, count(*) FROM certificate_status s JOIN issuer i ON i.id = s.issuer_id "
        "WHERE i.label = 'mo-sub2' AND s.certificate_id NOT IN (SELECT certificate_id FROM responder) GROUP BY status",
    )
    return {CertificateState(status).name: count for status, count in found}


def nothing_is_left(runtime):
    return rows(runtime, "SELECT count(*) FROM reservation") == rows(runtime, "SELECT count(*) FROM intent") == [(0,)]


def leafs(runtime):
    return rows(runtime, "SELECT count(*) FROM certificate WHERE partner_id = 'demo-mo'")[0][0]


# --- what comes out


def test_one_request_becomes_one_certificate(any_environment, order):
    key = new_key()
    (issued,) = issue(any_environment, order, request(key=key))
    assert isinstance(issued, Issued)
    certificate = x509.load_der_x509_certificate(issued.certificate_der)
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(artefact(any_environment, "mo-sub2")))
    assert (certificate.serial_number, certificate.public_key()) == (issued.serial, key.public_key())
    assert certificate.subject.rfc4514_string() == f"CN={EMAID},DC=MO,O=Test Mobility,C=DE"
    assert (issued.reference, issued.common_name, issued.warnings) == ("row-1", EMAID, ())
    found = any_environment.certificates.show(f"{issued.serial:036x}")
    assert (found.state, found.partner_id, found.certificate_der) == (
        CertificateState.GOOD,
        "demo-mo",
        issued.certificate_der,
    )
    assert (found.profile_name, found.profile_hash) == ("contract_leaf", order.profile_hash)
    assert nothing_is_left(any_environment)


def test_outcomes_come_in_the_order_of_the_requests_and_a_bad_one_stops_no_other(any_environment, order):
    requests = [
        request(reference="good-1"),
        request(FOREIGN_EMAID, reference="foreign"),
        request(OTHER_EMAID, new_key(), reference="good-2"),
        request("DE*PNC*E1", reference="no-emaid"),
        request(reference="unexpected", expected=OTHER_EMAID),
        request(key=new_key(KeyAlgorithm.SECP521R1), reference="curve"),
        request(subject=name(("C", "D1"), ("CN", EMAID)), reference="country"),
        request(subject=name(("C", "DE"), ("O", "ß" * 64), ("CN", EMAID)), reference="good-3"),
    ]
    outcomes = issue(any_environment, order, *requests)
    assert [one.reference for one in outcomes] == [one.reference for one in requests]
    assert [getattr(one, "code", "issued") for one in outcomes] == [
        "issued",
        "identifier.outside_prefixes",
        "issued",
        "identifier.invalid",
        "identifier.unexpected",
        "key.type_not_allowed",
        "subject.country_invalid",
        "issued",
    ]
    assert serial_states(any_environment) == {"GOOD": 3}  # a refused request draws no serial
    for one in outcomes:
        assert isinstance(one, Issued) or (isinstance(one, Refused) and one.message.endswith("."))


def test_extensions_asked_for_never_reach_the_certificate(any_environment, order):
    asked = [
        (x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.KeyUsage(*[True] * 9), True),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]), False),
    ]
    key = new_key()
    greedy, plain = issue(any_environment, order, request(key=key, extensions=asked), request(key=key))
    certificate = x509.load_der_x509_certificate(greedy.certificate_der)
    assert b"bank.example" not in greedy.certificate_der
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(certificate.extensions) == list(x509.load_der_x509_certificate(plain.certificate_der).extensions)


def test_a_key_pair_of_our_own_needs_no_csr(any_environment, order):
    key = new_key()
    subject = RequestedSubject(common_name=EMAID, organization="Test Mobility")
    own = IssueRequest(reference="own", subject=subject, spki_der=spki(key), proof=OwnKeyProof())
    (issued,) = issue(any_environment, order, own)
    assert x509.load_der_x509_certificate(issued.certificate_der).public_key() == key.public_key()


def test_a_certificate_is_found_by_any_spelling_of_its_serial(any_environment, order):
    (issued,) = issue(any_environment, order, request())
    digits = f"{issued.serial:036x}"
    for spelling in (digits.upper(), f"0x{issued.serial:x}", ":".join(digits[at : at + 2] for at in range(0, 36, 2))):
        assert any_environment.certificates.show(spelling).certificate_der == issued.certificate_der
    with pytest.raises(NotFoundError, match="no certificate with serial 0123"):
        any_environment.certificates.show("01:23")


def test_a_chain_goes_from_the_issuer_to_below_the_root(untouched):
    assert [record.label for record in untouched.certificates.chain("mo-sub2")] == ["mo-sub2", "mo-sub1"]
    assert untouched.certificates.chain("v2g-root") == []
    with pytest.raises(NotFoundError):
        untouched.certificates.chain("mo-sub9")


def test_an_end_that_was_asked_for_is_kept(any_environment, order):
    end = any_environment.clock.now() + timedelta(days=30)
    subject = RequestedSubject(common_name=EMAID)
    own = IssueRequest(reference="own", subject=subject, spki_der=spki(new_key()), proof=OwnKeyProof(), not_after=end)
    (issued,) = issue(any_environment, order, own)
    assert issued.not_after == end
    assert x509.load_der_x509_certificate(issued.certificate_der).not_valid_after_utc == end


def test_a_wrong_check_digit_is_a_warning_in_dev_and_a_refusal_where_the_policy_says_so(any_environment, order):
    wrong = request(EMAID[:-1] + "9")
    (issued,) = issue(any_environment, order, wrong)
    assert "check digit" in issued.warnings[0]
    policy = NamePolicy(check_digit=CheckDigitPolicy.REJECT)
    strict = Enrollment(
        any_environment.store, any_environment.clock, policy, lease_seconds=60, removal=any_environment.pools.removal
    )
    (refused,) = issue(any_environment, order, wrong, enrollment=strict)
    assert refused.code == "identifier.invalid"


def test_one_audit_row_stands_for_each_certificate(any_environment, order):
    outcomes = issue(any_environment, order, request(), request(FOREIGN_EMAID), request(OTHER_EMAID))
    found = rows(
        any_environment,
        "SELECT stream, actor, action, serial, profile_id, certificate_sha256 "
        "FROM audit WHERE actor = 'test' ORDER BY id",
    )
    assert [(*row[:5], bytes(row[5])) for row in found] == [
        (
            "issuance",
            "test",
            "certificate.issued",
            f"{one.serial:036x}",
            order.profile_id,
            hashlib.sha256(one.certificate_der).digest(),
        )
        for one in outcomes
        if isinstance(one, Issued)
    ]
    assert len(found) == 2


def test_the_bytes_in_the_store_are_those_that_are_signed(any_environment, order):
    stored = []

    class Look(Hooks):
        def reserved(self, work, reservation):
            stored.append(tbs_of(work, reservation))

    outcomes = issue(any_environment, order, request(), request(OTHER_EMAID), hooks=Look())
    tbs = [x509.load_der_x509_certificate(one.certificate_der).tbs_certificate_bytes for one in outcomes]
    assert stored == [b"".join(tbs)]


def test_hooks_are_told_once_with_every_outcome(any_environment, order):
    hooks = Hooks()
    outcomes = issue(any_environment, order, request(), request(FOREIGN_EMAID), hooks=hooks)
    assert hooks.outcomes == [outcomes]
    assert len(hooks.reservations) == 1
    assert outcomes[0].certificate_id // 4096 == hooks.reservations[0]


def test_hooks_are_told_even_when_everything_was_refused(any_environment, order):
    hooks = Hooks()
    outcomes = issue(any_environment, order, request(FOREIGN_EMAID), hooks=hooks)
    assert hooks.outcomes == [outcomes]
    assert hooks.reservations == []
    assert serial_states(any_environment) == {}


def test_nothing_asked_is_nothing_issued(any_environment, order):
    assert issue(any_environment, order) == []


# --- what goes wrong, and what it leaves behind


def failing_with(error):
    def sign_badly(*_):
        raise error

    return sign_badly


FAULTS = {
    "a token that is away": (failing_with(HsmUnavailableError("the token is away")), HsmUnavailableError),
    "a signature of another key": (
        lambda _, messages: [sign(new_key(), message) for message in messages],
        SignatureInvalidError,
    ),
    "a signature of other bytes": (
        lambda signer, messages: [sign(signer._key, message + b"\0") for message in messages],
        SignatureInvalidError,
    ),
}


@pytest.mark.parametrize(("fault", "error"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_key_issues_nothing_and_burns_the_serials(any_environment, order, monkeypatch, fault, error):
    issuer = any_environment.issuers.get("mo-sub2")
    hooks = Hooks()
    with monkeypatch.context() as patched:
        patched.setattr(type(issuer._signer), "sign", fault)
        with pytest.raises(error):
            issue(any_environment, order, request(), request(OTHER_EMAID), hooks=hooks)
    assert (leafs(any_environment), serial_states(any_environment)) == (0, {"VOID": 2})
    assert hooks.outcomes == []
    assert nothing_is_left(any_environment)
    assert len(issue(any_environment, order, request())) == 1  # and the next call is as good as the first


def test_a_hook_that_fails_undoes_the_certificates(any_environment, order):
    class Refusing(Hooks):
        def recorded(self, work, _outcomes):
            work.partners.get("nobody")

    with pytest.raises(Exception, match="nobody"):
        issue(any_environment, order, request(), hooks=Refusing())
    assert (leafs(any_environment), serial_states(any_environment)) == (0, {"VOID": 1})
    assert rows(any_environment, "SELECT count(*) FROM audit WHERE actor = 'test'") == [(0,)]


def test_a_lease_that_ran_out_while_signing_records_nothing(any_environment, order, monkeypatch):
    clock = SetClock(any_environment.clock.now())
    policy, removal = any_environment.settings.name_policy, any_environment.pools.removal
    enrollment = Enrollment(any_environment.store, clock, policy, lease_seconds=60, removal=removal)
    issuer = any_environment.issuers.get("mo-sub2")
    plain = type(issuer._signer).sign

    def slow(signer, messages):
        clock.advance(seconds=61)
        return plain(signer, messages)

    monkeypatch.setattr(type(issuer._signer), "sign", slow)
    with pytest.raises(LeaseLostError):
        issue(any_environment, order, request(), enrollment=enrollment)
    assert (leafs(any_environment), serial_states(any_environment)) == (0, {"VOID": 1})


def test_a_profile_of_ours_that_breaks_a_rule_stops_the_run_before_anything_is_stored(any_environment, partner):
    broken = profile(expected_lint_codes=())
    with pytest.raises(LintError, match="contract_leaf"):
        issue(any_environment, order_for(any_environment, broken, partner), request())
    assert serial_states(any_environment) == {}
    assert nothing_is_left(any_environment)


@pytest.mark.parametrize("issuer", ["mo-sub1", "v2g-root", "mo-sub2-20"])
def test_another_level_or_edition_issues_nothing(any_environment, order, issuer):
    with pytest.raises(InvariantError, match="does not issue by profile contract_leaf"):
        issue(any_environment, order, request(), issuer=issuer)
    assert nothing_is_left(any_environment)


def test_the_same_request_twice_gets_two_serials(any_environment, order):
    one = request()
    first, second = issue(any_environment, order, one)[0], issue(any_environment, order, one)[0]
    assert first.serial != second.serial
    assert leafs(any_environment) == 2


def test_a_forged_proof_is_refused(any_environment, order):
    (refused,) = issue(any_environment, order, parse_csr("row-1", BAD_SIGNATURE))
    assert (refused.code, refused.common_name) == ("csr.bad_signature", EMAID)
