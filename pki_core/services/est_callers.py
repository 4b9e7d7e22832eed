"""Callers: from what a request shows to the partner who makes it (RFC 7030 3.2.3, 3.3.2, 3.7).

Everything is looked up anew for each request, so that a withdrawn credential and a revoked certificate count at once,
on a resumed TLS session as well. Certificates of our own CAs (RFC 7030 3.1, explicit trust anchors) are known by being
in the store, bit for bit; those of others (implicit ones) only as the settings name their CAs, and for one partner.
"""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple, TypeGuard

from pki_core.model.certificates import CertificateRecord
from pki_core.model.clock import Clock
from pki_core.model.credentials import Caller, Credential, CredentialKind, Presented
from pki_core.model.errors import (
    MalformedError,
    NotAuthenticatedError,
    NotAuthorizedError,
    NotFoundError,
    OutboundUnavailableError,
)
from pki_core.model.est import RevocationCheck
from pki_core.model.partners import Partner
from pki_core.model.pools import ForeignStatus
from pki_core.services.credentials import sha256_text
from pki_core.services.foreign_status import ForeignStatuses
from pki_core.services.known_certificates import KnownCertificate, KnownCertificates
from pki_core.store.credentials import Standing
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.shown_certificate import key_shown
from pki_core.wire.trust_anchors import TrustAnchors, path_to_anchor

_MAX_SECRET = 512


class Guarantor(NamedTuple):
    """Somebody else's CAs, and the partner whose devices they vouch for."""

    anchors: TrustAnchors
    partner_id: str
    revocation: RevocationCheck


class _Held(NamedTuple):
    """What a certificate says: whose it is, and what it is."""

    partner_id: str
    record: CertificateRecord | None = None
    is_own_leaf: bool = False
    partner: Partner | None = None  # when it is known already
    path: tuple[bytes, ...] = ()  # of a certificate of somebody else's CAs, up to the anchor
    revocation: RevocationCheck = RevocationCheck.REQUIRED


class Callers:
    """Tells who calls."""

    def __init__(
        self, store: Store, clock: Clock, guarantors: Sequence[Guarantor], statuses: Callable[[], ForeignStatuses]
    ) -> None:
        self._store = store
        self._clock = clock
        self._guarantors = guarantors
        self._statuses = statuses
        self._known = KnownCertificates()

    def identify(self, presented: Presented) -> Caller | None:
        """Return who calls, None when nothing was shown that could tell.

        Raises:
            NotAuthenticatedError: a wrong or withdrawn secret, or a token for nobody.
            NotAuthorizedError: a certificate that is not in force, credentials of two partners, or of a suspended one.
            UnavailableError: the status of somebody else's certificate cannot be asked now.
        """
        now = self._clock.now()
        with self._store.looking() as work:
            claimed = set[str]()
            if presented.token_partner is not None:
                claimed.add(presented.token_partner)
            if presented.secret is not None:
                claimed.add(_by_secret(work, presented.user, presented.secret, now))
            held = self._holder(work, presented.certificate_der, now) if presented.certificate_der else None
            if held is not None:
                claimed.add(held.partner_id)
            if not claimed:
                return None
            if len(claimed) > 1:
                raise NotAuthorizedError("the credentials shown are those of different partners")
            partner = _active((held and held.partner) or _partner(work, claimed.pop()))
        if held is not None and held.path:
            with self._statuses().asked_by(held.partner_id):
                self._refuse_revoked(held)
        is_proven = presented.secret is not None or presented.token_partner is not None
        if held is None or held.record is None:
            return Caller(partner=partner, speaks_for_partner=is_proven)
        return Caller(
            partner=partner,
            certificate_der=held.record.certificate_der,
            profile_name=held.record.profile_name,
            serial=held.record.serial,
            is_own_leaf=held.is_own_leaf,
            speaks_for_partner=is_proven or not held.is_own_leaf,
        )

    def by_code(self, code: str) -> Caller:
        """Return whose one-time enrolment code this is.

        Raises:
            NotAuthenticatedError: nobody's, or it was used.
            NotAuthorizedError: that of a suspended partner.
        """
        with self._store.looking() as work:
            credential = work.credentials.find(sha256_text(code.encode()[:_MAX_SECRET]))
            if not _is_in_force(credential, CredentialKind.CODE, self._clock.now()):
                raise NotAuthenticatedError("the enrolment code is not known, or was used before")
            return Caller(partner=_active(_partner(work, credential.partner_id)), code_id=credential.id)

    def _holder(self, work: UnitOfWork, certificate_der: bytes, now: datetime) -> _Held | None:
        try:
            known = self._known.find(work, certificate_der)
        except MalformedError as error:
            raise NotAuthorizedError("the client certificate cannot be read") from error
        if known is None:
            for one in self._guarantors:
                if path := path_to_anchor(certificate_der, one.anchors, now):
                    standing = work.credentials.standing(None, one.partner_id, (), key_shown(certificate_der))
                    _refuse_compromised(standing)
                    return _Held(one.partner_id, partner=standing.partner, path=path, revocation=one.revocation)
            return None
        standing = work.credentials.standing(
            sha256_text(certificate_der), known.record.partner_id, known.serials, known.key
        )
        _refuse_ended(work, known, standing, now)
        _refuse_compromised(standing)
        if standing.credential is not None:
            if not _is_in_force(standing.credential, CredentialKind.CERTIFICATE, now):
                raise NotAuthorizedError("the client certificate was withdrawn as a credential")
            return _Held(standing.credential.partner_id, known.record, partner=standing.partner)
        if known.record.partner_id is None:
            return None
        return _Held(known.record.partner_id, known.record, is_own_leaf=True, partner=standing.partner)

    def _refuse_revoked(self, held: _Held) -> None:
        """Ask other people's CAs about a certificate and every CA between it and the anchor (RFC 5280 6.1.3)."""
        for issuer_der, certificate_der in pairwise(reversed(held.path)):  # a revoked CA tells nothing of its leafs
            report = self._statuses().look(certificate_der, issuer_der)
            if report.standing is ForeignStatus.GOOD:
                continue
            if report.standing is ForeignStatus.UNKNOWN and not report.source:
                if not report.is_told_nowhere:
                    raise OutboundUnavailableError("the status of the client certificate cannot be asked now")
                if held.revocation is RevocationCheck.WHEN_NAMED:
                    continue
            raise NotAuthorizedError(f"the client certificate, or a CA above it, is {report.standing} to its CA")


def _refuse_ended(work: UnitOfWork, known: KnownCertificate, standing: Standing, now: datetime) -> None:
    """Check validity and revocation of one of our certificates and of every CA above it (RFC 5280 6.1.3)."""
    if not known.record.not_before <= now < known.record.not_after:
        raise NotAuthorizedError("the client certificate is not valid now")
    if any(one.not_after is None or now >= one.not_after for one in known.path):
        raise NotAuthorizedError("a CA above the client certificate has expired")
    if not standing.are_good:
        own, *_ = known.serials
        which = "a CA above the client certificate" if work.certificates.are_good([own]) else "the client certificate"
        raise NotAuthorizedError(f"{which} is revoked")


def _refuse_compromised(standing: Standing) -> None:
    """Check that nobody reported the key: who holds it may be anybody, whatever certificate of it he shows."""
    if standing.is_compromised:
        raise NotAuthorizedError("the key of the client certificate was reported as compromised")


def _by_secret(work: UnitOfWork, user: str, secret: str, now: datetime) -> str:
    if not user.isprintable() or not secret.isprintable():  # no name or secret of ours, nor what a database takes
        raise NotAuthenticatedError("the user name or the secret is wrong")
    digest = sha256_text(secret.encode()[:_MAX_SECRET])
    matching = [
        one
        for one in work.credentials.of_partner(user)
        if hmac.compare_digest(one.sha256, digest) and _is_in_force(one, CredentialKind.SECRET, now)
    ]
    if not matching:
        raise NotAuthenticatedError("the user name or the secret is wrong")
    return user


def _is_in_force(credential: Credential | None, kind: CredentialKind, now: datetime) -> TypeGuard[Credential]:
    if credential is None or credential.kind is not kind or credential.ended_at is not None:
        return False
    return credential.not_after is None or now < credential.not_after


def _partner(work: UnitOfWork, partner_id: str) -> Partner:
    try:
        return work.partners.get(partner_id)
    except NotFoundError as error:
        raise NotAuthenticatedError("the credentials are those of no partner") from error


def _active(partner: Partner) -> Partner:
    if partner.is_suspended:
        raise NotAuthorizedError("this partner is suspended")
    return partner
