"""Guards between a signed CRL and its publication (RFC 5280 5). One that trips leaves the list before in its place.

Each is a function that raises its own ``CrlGuardError`` with the code ``crl.guard.g1`` to ``crl.guard.g9``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import cast

from pki_core.issuance.crl_lint import plan_findings
from pki_core.model.certificates import serial_text
from pki_core.model.crls import CrlPolicy, CrlRecord
from pki_core.model.errors import CrlGuardError
from pki_core.model.states import CertificateState
from pki_core.services.crl_build import CrlFile
from pki_core.wire.crl import CrlPlan
from pki_core.wire.crl_read import DecodedCrl, Read
from pki_core.wire.crl_scan import EntryScan, is_continued, missing_serials
from pki_core.wire.public_key import PublicKey

GUARDS = tuple(f"g{number}" for number in range(1, 10))

_CLASSES = {
    guard: cast(
        "type[CrlGuardError]", type(f"CrlGuard{guard.upper()}Error", (CrlGuardError,), {"code": f"crl.guard.{guard}"})
    )
    for guard in GUARDS
}
_PAGE = 5000
_SHOWN = 5

StatesOf = Callable[[list[str]], Mapping[str, tuple[CertificateState, datetime]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A signed CRL that wants to be published, read back from its octets."""

    file: CrlFile
    plan: CrlPlan
    decoded: DecodedCrl
    scan: EntryScan
    snapshot: datetime
    seen: int  # as in its row

    @property
    def entries(self) -> tuple[Read, int]:
        """Reader and length of the entries."""
        return entries_of(self.file.read, self.decoded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The complete CRL that is served now."""

    record: CrlRecord
    entries: tuple[Read, int]


def entries_of(read: Read, decoded: DecodedCrl) -> tuple[Read, int]:
    """Return reader and length of the entries of a CRL."""
    first, octets = decoded.entries or (0, 0)
    return (lambda at, count: read(first + at, min(count, octets - at))), octets


def guard_error(guard: str, message: str) -> CrlGuardError:
    """Return the error of a guard."""
    return _CLASSES[guard](f"CRL guard {guard.upper()}: {message}")


def g1_signature(candidate: Candidate, key: PublicKey) -> None:
    """The signature verifies with the key in the issuer's certificate."""
    decoded, algorithm = candidate.decoded, candidate.plan.algorithm
    if not candidate.file.is_signed_by(key, algorithm, decoded.tbs, decoded.signature):
        raise guard_error("g1", "the signature does not verify with the issuer's certificate")


def g2_as_planned(candidate: Candidate) -> None:
    """Issuer, key identifier, distribution point, numbers and times are those that were planned."""
    if findings := plan_findings(candidate.decoded, candidate.plan):
        raise guard_error("g2", f"it does not say what was planned: {', '.join(findings)}")


def g3_number(candidate: Candidate, signed: int, published: int) -> None:
    """The number is higher than that of every list that was signed or is served (RFC 5280 5.2.3)."""
    number = candidate.decoded.number or 0
    if number <= max(signed, published):
        raise guard_error("g3", f"number {number} does not rise above {max(signed, published)}")


def g4_time(candidate: Candidate, before: CrlRecord | None, now: datetime) -> None:
    """The list is not of the future, and not older than the one it replaces: the clock may have gone back.

    ``before`` is None where two people say that it was the list before that a wrong clock made.
    """
    this_update = candidate.decoded.this_update[1]
    if this_update > now:
        raise guard_error("g4", f"thisUpdate {this_update:%Y-%m-%d %H:%M:%S} is later than now")
    if before is not None and this_update < before.this_update:
        raise guard_error(
            "g4",
            f"the clock went back behind the CRL of {before.this_update:%Y-%m-%d %H:%M:%S}; if it is that one whose "
            "clock was wrong: pncpki crl publish --issuer LABEL --approve g4",
        )


def g5_continuity(candidate: Candidate, before: Published, states_of: StatesOf) -> None:
    """No unexpired serial of the list before is missing, but those released from hold on record."""
    # A list of a clock that ran ahead was not issued after what ends until then.
    listed_at = min(before.record.this_update, candidate.decoded.this_update[1])
    if is_continued(before.entries, candidate.entries):
        return
    lost: list[str] = []
    for serials in _pages(missing_serials(*before.entries, candidate.scan)):
        states = states_of(serials)
        lost += [serial for serial in serials if not _may_be_missing(states.get(serial), listed_at)]
    if lost:
        raise guard_error("g5", f"{len(lost)} revoked certificates are missing, {', '.join(lost[:_SHOWN])} among them")


def g6_snapshot(candidate: Candidate, before: CrlRecord | None) -> None:
    """The data is not older than that of the list before."""
    if before is not None and candidate.snapshot < before.snapshot:
        raise guard_error("g6", f"its data is of {candidate.snapshot:%Y-%m-%d %H:%M:%S}, older than before")


def g7_still_ours(*, is_held: bool, is_moved: bool) -> None:
    """The claim on the scope still stands, and what is served is what the list was compared with."""
    if not is_held:
        raise guard_error("g7", "the lease of the scope was lost to another runner")
    if not is_moved:
        raise guard_error("g7", "another CRL was published in the meantime")


def g8_stored(stored_sha256: str, candidate: Candidate) -> None:
    """What was stored, read back, is octet for octet what was checked."""
    if stored_sha256 != candidate.file.sha256():
        raise guard_error("g8", "what was stored is not what was signed")


def g9_growth(candidate: Candidate, before: CrlRecord | None, policy: CrlPolicy) -> None:
    """The number of entries does not jump; a mass revocation is an act that two people approve."""
    if before is None:
        return
    jump = abs(candidate.scan.count - before.entries)
    allowed = max(policy.growth_entries, before.entries * policy.growth_percent // 100)
    if jump > allowed:
        raise guard_error(
            "g9",
            f"{candidate.scan.count} entries after {before.entries}: more than {allowed} at once need an approval "
            "(pncpki crl publish --issuer LABEL --approve g9)",
        )


def _may_be_missing(status: tuple[CertificateState, datetime] | None, listed_at: datetime) -> bool:
    """Tell whether an entry may be dropped: released, or shown by a list that was issued after the end (3.3)."""
    return status is not None and (status[0] is CertificateState.GOOD or status[1] < listed_at)


def _pages(serials: Iterator[bytes]) -> Iterator[list[str]]:
    while page := list(islice(serials, _PAGE)):
        yield [serial_text(int.from_bytes(serial, "big")) for serial in page]
