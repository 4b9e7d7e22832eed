"""What ceremonies write down before and while they act, so that one interrupted anywhere goes on by the same file."""

from pki_core.issuance.issuer import Issuer
from pki_core.model.ceremonies import BegunCeremony, CeremonyPlan
from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued
from pki_core.model.signer import Signer
from pki_core.model.states import CertificateState
from pki_core.services.ceremony_keys import Say
from pki_core.services.ceremony_rules import subject_of
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import key_identifier_of, name_der
from pki_core.wire.contract_data import public_key_of


class CeremonyRecords:
    """Rows of ceremonies, and of what they made."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def served(self, plan: CeremonyPlan) -> bytes:
        """Return the certificate that this very plan has put into service, b"" when it has not."""
        with self._store.reading() as work:
            begun, pending = work.ceremonies.find(plan.label), work.issuers.find(plan.label)
            if begun is None or begun.file_sha256 != plan.sha256 or begun.certificate_id is None:
                return b""
            if not _is_in_service(work, plan.label, pending):
                return b""
            record = work.certificates.of_id(begun.certificate_id)
        return record.certificate_der if record else b""

    def begun(self, plan: CeremonyPlan) -> tuple[BegunCeremony | None, IssuerRecord | None]:
        """Return what an interrupted run of this file has left; ConflictError when the label is another's."""
        with self._store.reading() as work:
            begun, pending = work.ceremonies.find(plan.label), work.issuers.find(plan.label)
            is_taken = _is_in_service(work, plan.label, pending)
        if is_taken:
            raise ConflictError(f"there is an issuer, responder or signer {plan.label!r} already")
        if begun is not None and begun.file_sha256 != plan.sha256:
            raise ConflictError(f"an interrupted ceremony has begun {plan.label!r} by another file: use that file")
        return begun, pending

    def begin(self, plan: CeremonyPlan) -> BegunCeremony:
        """Write down what is about to happen: whoever finds this key later knows that this file made it."""
        now = self._clock.now()
        with self._store.transaction() as work:
            detail = f"{plan.act} {plan.label} file {plan.sha256}"
            work.audit.append("ceremonies", now, [AuditEntry(actor="operator", action="ceremony.begun", detail=detail)])
            return work.ceremonies.begin(plan, now)

    def made(self, plan: CeremonyPlan, certificate_id: int, signer: Signer, note: Say) -> Issued:
        """Return the certificate an interrupted run has made: there is never a second one.

        Raises:
            ConflictError: it was revoked before it served.
        """
        with self._store.reading() as work:
            record = work.certificates.of_id(certificate_id)
        if record is None or public_key_of(record.certificate_der) != signer.spki_der:
            raise InvariantError(f"the certificate that was recorded for {plan.label} does not hold its key")
        if record.state is not CertificateState.GOOD:
            raise ConflictError(f"the certificate of {plan.label!r} was revoked before it served: use another label")
        note(f"profile {record.profile_name} sha256 {record.profile_hash}")
        note("the certificate is that of an interrupted run, which had not put it into service")
        return Issued(
            reference=plan.label,
            certificate_id=certificate_id,
            serial=int(record.serial, 16),
            common_name=record.common_name,
            certificate_der=record.certificate_der,
            not_before=record.not_before,
            not_after=record.not_after,
        )


def pending_issuer(plan: CeremonyPlan, profile: Profile, parent: Issuer | None, signer: Signer) -> dict[str, object]:
    """Return the columns of a CA that has a key and no certificate yet."""
    return {
        "label": plan.label,
        "branch": profile.branch,
        "edition": profile.edition.value,
        "level": profile.level.value,
        "algorithm": plan.algorithm.value,
        "parent_id": parent.record.id if parent else None,
        "key_label": plan.key_label,
        "subject_der": name_der(subject_of(plan, profile)),
        "spki_der": signer.spki_der,
        "key_identifier": key_identifier_of(signer.spki_der, profile.extensions.key_identifier_octets),
    }


def _is_in_service(work: UnitOfWork, label: str, issuer: IssuerRecord | None) -> bool:
    """Tell whether a label belongs to a CA with its certificate, a responder or a signer."""
    others = {*work.responders.labels(), *work.cps_signers.labels()}
    return label in others or bool(issuer and issuer.certificate_der)
