"""Revocation and hold: one short transaction, whatever the number of revoked certificates (RFC 5280 5.3.1).

OCSP tells it from the commit on; the CRL entry is encoded here, once, and the next list takes it up as it is.
That a key was compromised may be learnt late: such a reason takes the place of another, and the key of a certificate
that has expired is remembered as well, though no list names it any more.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pki_core.model.certificates import CertificateRecord, parse_serial
from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, CrlKind, CrlPolicy
from pki_core.model.errors import ConflictError, InvariantError, MalformedError, NotFoundError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.partners import Partner
from pki_core.model.profiles import Edition
from pki_core.model.revocations import PARTNER_REASONS, Reason, reason_name
from pki_core.model.states import CERTIFICATE_TRANSITIONS, CertificateState
from pki_core.services.ceremony_rules import check_witnesses
from pki_core.store.audit import AuditEntry
from pki_core.store.revocations import InForce, RevocationRow
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate_facts import CertificateFacts, read_facts, spki_in
from pki_core.wire.crl import entry_der
from pki_core.wire.public_key import key_name

MAX_CERTIFICATE_OCTETS = 10_000  # six times what ISO 15118-20 allows a certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What became of a certificate, and when each channel says so. OCSP does within a second."""

    serial: str
    issuer_label: str
    common_name: str
    state: CertificateState
    revoked_at: datetime | None  # None = good again
    reason: Reason
    crl_by: datetime | None  # a complete CRL published by then says it; None = expired, only its key was recorded
    has_ocsp: bool  # certificates of our own TLS have none: this service looks into its store
    crl_needs_person: bool  # that CRL is signed at a person's command: a root's in production


class Revocations:
    """Revokes, holds and releases certificates."""

    def __init__(self, store: Store, clock: Clock, policy: CrlPolicy) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    def revoke(
        self,
        serial: str,
        reason: Reason,
        *,
        actor: str,
        revoked_at: datetime | None = None,
        witnesses: Sequence[str] = (),
    ) -> Revoked:
        """Revoke a certificate by serial in any common spelling; ``CERTIFICATE_HOLD`` only holds it.

        A reason that tells of the key corrects one that does not, whose time stays.

        Args:
            serial: of one of our certificates.
            reason: as CRL and OCSP will say it.
            actor: who decided, for the audit.
            revoked_at: since when it must not be trusted; now when None, never later, never before it was valid.
            witnesses: two different people, for a CA outside dev.

        Raises:
            NotFoundError: there is no such certificate.
            ConflictError: it is revoked already, or has expired, and nothing new is said of its key; or it is a root.
            MalformedError: the reason or the time cannot be.
            CeremonyError: a CA needs two witnesses.
        """
        if reason is Reason.REMOVE_FROM_CRL:
            raise MalformedError("removeFromCRL is no reason to revoke; a hold is ended by releasing it")
        with self._store.transaction() as work:
            record, issuer = _find(work, parse_serial(serial))
            return self._revoke(work, (record, issuer), (reason, revoked_at), (actor, tuple(witnesses)))

    def revoke_leafs_within(
        self, work: UnitOfWork, certificate_ids: Sequence[int], reason: Reason, *, actor: str
    ) -> int:
        """Revoke leafs now, as a set, in a transaction of the caller's: what he does with them and this go together.

        Those that are revoked already, or over, stay as they are, whatever the reason; a hold becomes a revocation.
        Returns how many were revoked.

        Raises:
            InvariantError: one of them is a CA, or the store changed another number of rows than it holds locked; the
                transaction must not commit.
        """
        now = self._clock.now()
        found = work.revocations.lock_in_force(certificate_ids, now)
        if not found:
            return 0
        rows = [_row_of(one, reason, now) for one in found]
        moved = work.revocations.move_all(found, (now, reason), now)
        if moved != len(found):
            raise InvariantError(f"{moved} of {len(found)} certificates could be revoked")
        work.revocations.add_all(rows)
        if reason.tells_of_key:
            work.compromised_keys.add([key_name(spki_in(one.certificate_der)) for one in found])
        for issuer_id in sorted({one.issuer_id for one in found}):
            work.ocsp.drop_leafs(issuer_id, [one.serial for one in found if one.issuer_id == issuer_id])
        detail = f"{reason_name(reason)} since {now.isoformat()}"
        entries = [AuditEntry(actor, "certificate.revoked", one.issuer_id, one.serial, detail=detail) for one in found]
        work.audit.append("revocation", now, entries)
        return len(found)

    def revoke_certificate(self, partner: Partner, certificate_der: bytes, reason: Reason) -> Revoked:
        """Revoke a partner's own certificate (OPNC revokeCertificate).

        Raises:
            NotFoundError: it is not one of the partner's; whether somebody else's exists is not told.
            ConflictError: it is revoked already, or has expired, and nothing new is said of its key.
            MalformedError: not a certificate, or a reason this call does not know.
        """
        if reason not in PARTNER_REASONS.values():
            raise MalformedError(f"the reason is not one of {', '.join(PARTNER_REASONS)}")
        if len(certificate_der) > MAX_CERTIFICATE_OCTETS:
            raise MalformedError("that is longer than a certificate")
        serial = read_facts(certificate_der).serial
        with self._store.transaction() as work:
            own = [
                record
                for record in work.certificates.find(serial)
                if record.partner_id == partner.id and hmac.compare_digest(record.certificate_der, certificate_der)
            ]
            if not own:
                raise NotFoundError("this is not a certificate that was issued to you here")
            issuer = work.issuers.get(own[0].issuer_label)
            return self._revoke(work, (own[0], issuer), (reason, None), (partner.id, ()))

    def release(self, serial: str, *, actor: str) -> Revoked:
        """End a hold: the certificate is good again.

        Raises:
            NotFoundError, ConflictError: there is no such certificate, or it is not on hold.
        """
        now = self._clock.now()
        with self._store.transaction() as work:
            record, issuer = _find(work, parse_serial(serial))
            moved = work.revocations.move(
                (issuer.id, record.serial), CertificateState.HOLD, CertificateState.GOOD, None
            )
            if not moved or not work.revocations.end_hold(issuer.id, record.serial, now):
                raise ConflictError(f"certificate {record.serial} is {record.state.name.lower()}, not on hold")
            work.ocsp.drop(issuer.id, record.serial)
            entry = AuditEntry(actor, "certificate.released", issuer.id, record.serial)
            work.audit.append("revocation", now, [entry])
            return self._answer(work, record, issuer, (CertificateState.GOOD, None, Reason.UNSPECIFIED))

    def _revoke(
        self,
        work: UnitOfWork,
        found: tuple[CertificateRecord, IssuerRecord],
        why: tuple[Reason, datetime | None],
        who: tuple[str, tuple[str, ...]],
    ) -> Revoked:
        record, issuer = found
        reason, asked_at = why
        now = self._clock.now()
        facts = read_facts(record.certificate_der)
        self._check(record, facts, who[1], asked_at or now, now)
        if record.not_after <= now:
            return self._report_expired(work, found, reason, who)
        after = CertificateState.HOLD if reason is Reason.CERTIFICATE_HOLD else CertificateState.REVOKED
        revoked_at, corrected = self._change(work, record, issuer, (after, asked_at or now, reason), now)
        work.revocations.add(
            RevocationRow(
                issuer_id=issuer.id,
                serial=record.serial,
                status=after,
                revoked_at=revoked_at,
                reason=reason,
                not_after=record.not_after,
                shard=_shard_in(facts, issuer.label),
                entry_der=entry_der(record.serial, revoked_at, reason),
                changed_at=now,
            )
        )
        if reason.tells_of_key:
            work.compromised_keys.add([key_name(spki_in(record.certificate_der))])
        work.ocsp.drop(issuer.id, record.serial)
        detail = f"{reason_name(reason)} since {revoked_at.isoformat()}"
        action = "certificate.held" if after is CertificateState.HOLD else "certificate.revoked"
        if corrected is not None:
            detail += f" instead of {reason_name(corrected)}"
            action = "certificate.reason_corrected"
        detail += _witnessed(who[1])
        work.audit.append("revocation", now, [AuditEntry(who[0], action, issuer.id, record.serial, detail=detail)])
        return self._answer(work, record, issuer, (after, revoked_at, reason))

    def _report_expired(
        self,
        work: UnitOfWork,
        found: tuple[CertificateRecord, IssuerRecord],
        reason: Reason,
        who: tuple[str, tuple[str, ...]],
    ) -> Revoked:
        """Remember the key of a certificate that is over; its own status is of no use to anybody any more."""
        record, issuer = found
        over = f"certificate {record.serial} expired on {record.not_after:%Y-%m-%d}"
        if not reason.tells_of_key:
            raise ConflictError(over)
        key = key_name(spki_in(record.certificate_der))
        if work.compromised_keys.among([key]):
            raise ConflictError(f"{over}, and its key is known as compromised already")
        work.compromised_keys.add([key])
        detail = f"{reason_name(reason)}, expired {record.not_after.isoformat()}{_witnessed(who[1])}"
        entry = AuditEntry(who[0], "certificate.key_reported", issuer.id, record.serial, detail=detail)
        work.audit.append("revocation", self._clock.now(), [entry])
        return Revoked(
            serial=record.serial,
            issuer_label=issuer.label,
            common_name=record.common_name,
            state=record.state,
            revoked_at=record.revoked_at,
            reason=reason,
            crl_by=None,
            has_ocsp=False,
            crl_needs_person=False,
        )

    def _check(
        self,
        record: CertificateRecord,
        facts: CertificateFacts,
        witnesses: tuple[str, ...],
        revoked_at: datetime,
        now: datetime,
    ) -> None:
        if facts.is_root:
            raise ConflictError("a root cannot be revoked by itself: take it out of the trust stores")
        if facts.is_ca:
            check_witnesses(self._policy.environment, witnesses)
        if not record.not_before <= revoked_at <= now:
            raise MalformedError("the time of revocation lies in the future, or before the certificate was valid")

    def _change(
        self,
        work: UnitOfWork,
        record: CertificateRecord,
        issuer: IssuerRecord,
        said: tuple[CertificateState, datetime, Reason],
        now: datetime,
    ) -> tuple[datetime, Reason | None]:
        """Move the state, good or held to the new one; of two at once, one finds it moved already.

        A revocation is only corrected. Returns since when it stands, and the reason that was corrected.
        """
        key, after = (issuer.id, record.serial), said[0]
        for before in (CertificateState.GOOD, CertificateState.HOLD):
            if after in CERTIFICATE_TRANSITIONS[before] and work.revocations.move(key, before, after, said[1:]):
                if before is CertificateState.HOLD:
                    work.revocations.end_hold(*key, now)
                return said[1], None
        if said[2].tells_of_key and (corrected := work.revocations.correct(*key, said[2], now)) is not None:
            return corrected
        current = _find(work, record.serial)[0]
        word = "held" if current.state is CertificateState.HOLD else "revoked"
        when = f" since {current.revoked_at:%Y-%m-%d %H:%M:%S} UTC" if current.revoked_at else ""
        raise ConflictError(f"certificate {record.serial} is {word} already{when}")

    def _answer(
        self,
        work: UnitOfWork,
        record: CertificateRecord,
        issuer: IssuerRecord,
        said: tuple[CertificateState, datetime | None, Reason],
    ) -> Revoked:
        latest = work.crls.published(issuer.id, FULL, CrlKind.COMPLETE)
        by = self._policy.next_listing(issuer.level, latest, self._clock.now())
        return Revoked(
            serial=record.serial,
            issuer_label=issuer.label,
            common_name=record.common_name,
            state=said[0],
            revoked_at=said[1],
            reason=said[2],
            crl_by=by,
            has_ocsp=issuer.edition is not Edition.INTERNET,
            crl_needs_person=self._policy.needs_person(issuer.level),
        )


def _witnessed(witnesses: tuple[str, ...]) -> str:
    return f" witnesses {', '.join(witnesses)}" if witnesses else ""


def _find(work: UnitOfWork, serial: str) -> tuple[CertificateRecord, IssuerRecord]:
    found = work.certificates.find(serial)
    if not found:
        raise NotFoundError(f"there is no certificate with serial {serial}")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} CAs used the serial {serial}")  # of 136 random bits: not in this life
    return found[0], work.issuers.get(found[0].issuer_label)


def _row_of(leaf: InForce, reason: Reason, now: datetime) -> RevocationRow:
    if not leaf.certificate_der:
        raise InvariantError(f"certificate {leaf.serial} is in force and its DER is gone")
    facts = read_facts(leaf.certificate_der)
    if facts.is_ca:
        raise InvariantError(f"certificate {leaf.serial} is a CA's: revoking it takes two people")
    return RevocationRow(
        issuer_id=leaf.issuer_id,
        serial=leaf.serial,
        status=CertificateState.REVOKED,
        revoked_at=now,
        reason=reason,
        not_after=leaf.not_after,
        shard=_shard_in(facts, leaf.issuer_label),
        entry_der=entry_der(leaf.serial, now, reason),
        changed_at=now,
    )


def _shard_in(facts: CertificateFacts, issuer_label: str) -> int | None:
    """Return the shard that the certificate's own CRL distribution point names."""
    shard = re.compile(rf"/{re.escape(issuer_label)}-([0-9]{{2}})\.crl")
    for url in facts.crl_urls:
        if match := shard.search(url):
            return int(match[1])
    return None
