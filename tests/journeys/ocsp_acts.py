"""What OCSP tests do with an environment: issue, revoke, ask, and stand a responder in front of it."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from sqlalchemy import text

from pki_core.model.certificates import serial_text
from pki_core.model.requests import IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.runtime.wiring import SystemClock, open_runtime
from pki_core.services.ocsp import OcspResponder
from pki_core.services.uploads import issuer_for
from tests.builders import SetClock, some_key, spki
from tests.journeys.acts import LEAF_NAMES, order_for
from tests.ocsp_forms import Response, certificate_id, nonce, request, seconds


class Asked:
    """An environment with a clock of its own, and a responder that looks at the feed before each answer."""

    def __init__(self, runtime, look_seconds=0.0, **policy):
        self.runtime = runtime
        self.clock = runtime.clock
        self.policy = replace(runtime.ocsp_policy, **policy)
        self.ocsp = OcspResponder(runtime.store, runtime.clock, runtime.ocsp_signer, self.policy, look_seconds)

    # --- making

    def issue(self, profile_name="contract_leaf", common_name=None, **lifetime):
        """Issue a leaf as the operator would; returns its CA and its serial number."""
        profile = self.runtime.profiles[profile_name]
        record = issuer_for(profile, self.runtime.certificates.issuers())
        name = common_name or LEAF_NAMES[profile_name.partition("_20")[0]]
        ask = IssueRequest(
            reference="x",
            subject=RequestedSubject(common_name=name, organization="Test Mobility Ltd", country="DE"),
            spki_der=spki(some_key(record.algorithm)),
            proof=OwnKeyProof(),
            not_after=self.clock.now() + timedelta(**lifetime) if lifetime else None,
        )
        issuer = self.runtime.issuers.get(record.label)
        (outcome,) = self.runtime.enrollment.issue(issuer, order_for(self.runtime, profile), [ask])
        return record, outcome.serial

    def ca(self, label):
        with self.runtime.store.reading() as work:
            return work.issuers.get(label)

    def serial_of_ca(self, label):
        return x509.load_der_x509_certificate(self.ca(label).certificate_der).serial_number

    def responders(self, label):
        """The responders of a CA, the latest first."""
        ca_id = self.ca(label).id
        with self.runtime.store.reading() as work:
            return [one for one in work.responders.all() if one.issuer_id == ca_id]

    def set_status(self, record, serial, state, reason=None, *, drop=True):
        """Write what a revocation writes, and its line in the feed."""
        now = seconds(self.clock.now())
        values = {"i": record.id, "s": serial_text(serial), "st": int(state), "r": reason, "now": now}
        revoked = state is not CertificateState.GOOD
        with self.runtime.store.transaction() as work:
            execute = work.audit._connection.execute
            execute(
                text(
                    "UPDATE certificate_status SET status=:st, reason=:r, revoked_at=:at "
                    "WHERE issuer_id=:i AND serial=:s"
                ),
                {**values, "at": now if revoked else None},
            )
            execute(
                text(
                    "UPDATE revocation SET released_at=:now, changed_at=:now "
                    "WHERE issuer_id=:i AND serial=:s AND released_at IS NULL"
                ),
                values,
            )
            if revoked:
                execute(
                    text(
                        "INSERT INTO revocation (issuer_id, serial, status, revoked_at, reason, not_after, entry_der, "
                        "changed_at) VALUES (:i, :s, :st, :now, :r, :now, :e, :now)"
                    ),
                    {**values, "e": b"0"},
                )
            if drop:
                work.ocsp.drop(record.id, serial_text(serial))

    def revoke(self, serial, reason=0):
        """Revoke, or hold with reason 6, as the operator would."""
        self.runtime.revocations.revoke(serial_text(serial), Reason(reason), actor="test", witnesses=("one", "other"))

    def reserve(self, record, serial):
        """Draw a serial as an enrolment that has not signed yet."""
        now = self.clock.now()
        with self.runtime.store.transaction() as work:
            profile = self.runtime.profiles["contract_leaf"]
            profile_id = work.issuers.pin_profile(profile, now)
            number = work.reservations.open(record.id, profile_id, "x", (now, now + timedelta(hours=1)))
            work.reservations.reserve(number, record.id, [(serial_text(serial), b"0", now + timedelta(days=1))])

    # --- asking

    def ask(self, *ids, extensions=()):
        """Ask by CertIDs; returns the response read back."""
        return Response(self.ocsp.answer(request(*ids, extensions=extensions)).der)

    def ask_with_nonce(self, *ids, value=bytes(range(32))):
        return self.ask(*ids, extensions=[nonce(value)])

    def status(self, record, serial, name="sha1"):
        """What is said of one certificate, or the error."""
        response = self.ask(certificate_id(record, serial, name))
        return response.statuses[0] if response.status == "successful" else response.status


@contextmanager
def asked_at(home, **changes):
    """Open a home with a clock that stands at the present moment."""
    runtime = open_runtime(home, SetClock(SystemClock().now()))
    front = Asked(runtime, **changes)
    try:
        yield front
    finally:
        front.ocsp.close()
        runtime.close()
