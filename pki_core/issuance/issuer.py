"""An issuer: prepare, then sign. Only ``prepare`` makes what ``sign`` takes, and each works once.

Prepare builds the to-be-signed bytes and lints them; sign hands exactly those bytes to the key, joins the
certificates, and proves each: the signature verifies and the signed bytes are the linted ones.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from weakref import WeakSet

from pki_core.issuance.lint import Finding, TbsLint
from pki_core.issuance.pace import Pace
from pki_core.issuance.public_lint import refuse_findings
from pki_core.issuance.subject import Subject
from pki_core.model.errors import (
    InvariantError,
    KeyRejectedError,
    LintError,
    SignatureInvalidError,
    TbsMismatchError,
)
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Level, Profile
from pki_core.model.revocations import shard_of
from pki_core.model.signer import KeyAlgorithm, Signer
from pki_core.wire.certificate import (
    CertificateTemplate,
    IssuerNames,
    assemble,
    carries,
    signature_is_valid,
)
from pki_core.wire.public_key import load_public_key

RANDOM_OCTETS = 17  # 136 bits from the system's generator behind one prefix octet
SAMPLE_EVERY = 10_000
PLACEHOLDER_SIGNATURE = {
    KeyAlgorithm.SECP256R1: bytes.fromhex("3006020101020101"),  # ECDSA-Sig-Value r = s = 1
    KeyAlgorithm.SECP521R1: bytes.fromhex("3006020101020101"),
    KeyAlgorithm.ED448: bytes(114),
}
_MAX_PREFIX = 0x7F  # positive, and never a leading zero octet


class Draft(NamedTuple):
    """What shall be certified: checked by policy, not yet encoded."""

    reference: str
    subject: Subject
    spki_der: bytes
    not_after: datetime | None = None
    alternative_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Prepared:
    """Linted to-be-signed bytes with their serial, good for one signature.

    An issuer signs the very objects it made: a copy, or one made elsewhere, is worth nothing.
    """

    reference: str
    serial: int
    common_name: str
    spki_der: bytes
    not_before: datetime
    not_after: datetime
    tbs_der: bytes


class Issuer:
    """A CA certificate with its key."""

    def __init__(self, record: IssuerRecord, signer: Signer, serial_prefix: int) -> None:
        if record.spki_der != signer.spki_der:
            raise KeyRejectedError(f"the key {signer.label!r} is not the one issuer {record.label!r} was made with")
        if not 0 < serial_prefix <= _MAX_PREFIX:
            raise InvariantError("the serial prefix must be 1 to 127")
        self.record = record
        self._signer = signer
        self._prefix = bytes((serial_prefix,))
        self._algorithm, self._public_key = load_public_key(record.spki_der)
        self._names = IssuerNames(
            label=record.label,
            subject_der=record.subject_der,
            key_identifier=record.key_identifier,
            algorithm=record.algorithm,
        )
        self._kinds: dict[str, tuple[tuple[CertificateTemplate, TbsLint], ...]] = {}
        self._made: dict[str, int] = {}
        self._unsigned: WeakSet[Prepared] = WeakSet()
        self._pace = Pace()

    def prepare(
        self, profile: Profile, profile_hash: str, drafts: Sequence[Draft], now: datetime
    ) -> list[Prepared | Finding]:
        """Draw serials, build and lint the to-be-signed bytes.

        Returns, in the order of the drafts, what may be signed, or the finding that the request caused.

        Raises:
            LintError: our own profile caused a finding.
            InvariantError: the issuer has expired or does not issue by this profile.
        """
        shards = self._kind(profile, profile_hash)
        serials = self._draw(len(drafts))
        prepared: list[Prepared | Finding] = []
        windows: dict[datetime | None, tuple[datetime, datetime] | Finding] = {}
        for draft, serial in zip(drafts, serials, strict=True):
            if draft.not_after not in windows:
                windows[draft.not_after] = self.validity(profile, draft.not_after, now)
            validity = windows[draft.not_after]
            if isinstance(validity, Finding):
                prepared.append(validity)
                continue
            template, lint = shards[shard_of(serial, len(shards))]
            tbs_der = template.tbs(serial, draft.subject, draft.spki_der, validity, draft.alternative_names)
            finding = lint.check(tbs_der, serial, draft.subject, draft.spki_der, draft.alternative_names)
            if finding is None:
                one = Prepared(
                    reference=draft.reference,
                    serial=serial,
                    common_name=draft.subject[-1][1],
                    spki_der=draft.spki_der,
                    not_before=validity[0],
                    not_after=validity[1],
                    tbs_der=tbs_der,
                )
                self._unsigned.add(one)
                prepared.append(one)
            elif finding.of_request:
                prepared.append(finding)
            else:
                raise LintError(f"profile {profile.id}: {finding.code}: {finding.message}")
        self._sample(profile, profile_hash, prepared)
        return prepared

    def sign(self, prepared: Sequence[Prepared], before_piece: Callable[[], None] | None = None) -> list[bytes]:
        """Sign and prove; returns certificates in DER.

        The key is asked piece by piece, and ``before_piece`` is called ahead of each: its errors end the call.

        Raises:
            HsmUnavailableError: the token is away.
            SignatureInvalidError, TbsMismatchError: nothing of this call may be used.
        """
        for one in prepared:
            try:
                self._unsigned.remove(one)
            except KeyError:
                message = "a prepared certificate is signed once, by the issuer that prepared it"
                raise InvariantError(message) from None
        signatures = self._pace.run([one.tbs_der for one in prepared], self._signer.sign, before_piece)
        if len(signatures) != len(prepared):
            raise SignatureInvalidError(f"key {self._signer.label!r} returned {len(signatures)} signatures")
        algorithm = self.record.algorithm
        certificates = [
            assemble(one.tbs_der, algorithm, signature) for one, signature in zip(prepared, signatures, strict=True)
        ]
        for one, signature, certificate_der in zip(prepared, signatures, certificates, strict=True):
            if not carries(certificate_der, one.tbs_der):
                raise TbsMismatchError("the signed bytes are not the ones that were linted and stored")
            if not signature_is_valid(self._public_key, algorithm, one.tbs_der, signature):
                raise SignatureInvalidError(f"key {self._signer.label!r} returned a signature that does not verify")
        return certificates

    def _kind(self, profile: Profile, profile_hash: str) -> tuple[tuple[CertificateTemplate, TbsLint], ...]:
        """Return template and lint for each shard of the issuer's CRL; without shards there is one pair."""
        if profile_hash in self._kinds:
            return self._kinds[profile_hash]
        # RFC 6960 4.2.2.2: a responder is delegated by the very CA it answers for, whatever that CA's level.
        level = self.record.level if profile.is_of_responders else profile.issuer_level or Level.ROOT
        if profile.edition is not self.record.edition or level is not self.record.level:
            raise InvariantError(f"issuer {self.record.label!r} does not issue by profile {profile.id}")
        shards = [profile.at_shard(shard) for shard in range(profile.extensions.crl_shards or 1)]
        kinds = tuple(
            (CertificateTemplate(one, self._names), TbsLint(one, self._names, self._window())) for one in shards
        )
        self._kinds[profile_hash] = kinds
        return kinds

    def _sample(self, profile: Profile, profile_hash: str, prepared: Sequence[Prepared | Finding]) -> None:
        """Give the first certificate of a profile, and then one in ten thousand, to the public linter.

        Before signing, with a placeholder for the signature: a finding stops the run while nothing is issued yet.
        """
        ready = [one for one in prepared if isinstance(one, Prepared)]
        made = self._made.get(profile_hash, 0)
        if ready and (made == 0 or made // SAMPLE_EVERY != (made + len(ready)) // SAMPLE_EVERY):
            algorithm = self.record.algorithm
            refuse_findings([assemble(ready[0].tbs_der, algorithm, PLACEHOLDER_SIGNATURE[algorithm])], profile)
        self._made[profile_hash] = made + len(ready)

    def _window(self) -> tuple[datetime, datetime]:
        if self.record.not_before is None or self.record.not_after is None:
            raise InvariantError(f"issuer {self.record.label!r} has no validity")
        return self.record.not_before, self.record.not_after

    def validity(self, profile: Profile, asked: datetime | None, now: datetime) -> tuple[datetime, datetime] | Finding:
        """Return notBefore and notAfter of a certificate made now: neither profile nor issuer is outlived.

        A Finding where the end that was asked for is past; InvariantError when the issuer has expired.
        """
        first, last = self._window()
        not_before = max(now - timedelta(minutes=profile.backdate_minutes), first)
        longest = min(not_before + timedelta(days=profile.validity_days), last)
        not_after = min(asked or longest, longest)
        if last <= now:
            raise InvariantError(f"issuer {self.record.label!r} has expired")
        if not_after <= now:
            message = "The requested end of validity lies in the past."
            return Finding(code="validity.past", message=message, of_request=True)
        return not_before, not_after

    def _draw(self, count: int) -> list[int]:
        octets = secrets.token_bytes(RANDOM_OCTETS * count)
        from_bytes, prefix = int.from_bytes, self._prefix
        return [
            from_bytes(prefix + octets[start : start + RANDOM_OCTETS], "big")
            for start in range(0, len(octets), RANDOM_OCTETS)
        ]
