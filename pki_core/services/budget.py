"""The size of an ISO 15118-2 installation answer: OCPP 2.0.1 carries at most 5600 characters of it.

Base64 leaves 4200 octets; 802 of them are message, key and signature (15-character EMAID, 8-octet session id), so
six certificates share 3398: contract leaf, MO Sub-CA 2 and 1, CPS leaf, CPS Sub-CA 2 and 1.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import NamedTuple

from pki_core.issuance.subject import Subject, build_subject
from pki_core.model.errors import CeremonyError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.requests import RequestedSubject
from pki_core.wire.certificate import LARGEST_SIGNATURE, SIGNATURE_ALGORITHM_DER, CertificateTemplate, IssuerNames
from pki_core.wire.public_key import example_spki

MAX_OCTETS = 3398

MAX_CHARACTERS = 5600
_REST_OCTETS = 802  # of the answer: message, key, signature


class _Leaf(NamedTuple):
    """A leaf of an answer."""

    branch: str
    profile: str
    common_name: str  # as long as one may be that is not made yet


_LEAFS = _Leaf("mo", "contract_leaf", "DEPNC0000000019"), _Leaf("cps", "cps_leaf", "CPS 2026.1 QA")
_HEADER = 4  # of the outer SEQUENCE
_LARGEST_SERIAL = (1 << 143) - 1


class SignerSize(NamedTuple):
    """A CPS leaf, as far as answers are measured."""

    issuer_id: int  # of its Sub-CA 2
    octets: int
    label: str = ""  # "" = it is not made yet


def check_ocpp_budget(
    profiles: Mapping[str, Profile],
    issuers: Sequence[IssuerRecord],
    organization: str,
    signers: Sequence[SignerSize] = (),
) -> int:
    """Return the octets of the six certificates of the largest answer there can be, 0 while nobody could make one.

    ``issuers`` are the CAs that may be chosen, ``signers`` the CPS leafs; where there is none, one that the profile
    would make counts. ``organization`` is what contract certificates say: a setting, of 40 characters at most.

    Raises:
        CeremonyError: they would not fit; the sum is in the text, and who signs last.
    """
    contract_leaf, cps_leaf = _LEAFS
    mo, cps = _pairs(issuers, contract_leaf.branch), _pairs(issuers, cps_leaf.branch)
    own = [_parts(pair, contract_leaf, _planned_octets(profiles, contract_leaf, pair, organization)) for pair in mo]
    made = [(_parts(pair, cps_leaf, one.octets), one) for pair in cps for one in signers if one.issuer_id == pair[1].id]
    if not made:
        planned = [SignerSize(pair[1].id, _planned_octets(profiles, cps_leaf, pair, organization)) for pair in cps]
        made = [(_parts(pair, cps_leaf, one.octets), one) for pair, one in zip(cps, planned, strict=True)]
    if not own or not made:
        return 0
    signed, signer = max(made, key=lambda one: _sum(one[0]))
    parts = max(own, key=_sum) | signed
    total = _sum(parts)
    if total > MAX_OCTETS:
        shares = ", ".join(f"{label} {octets}" for label, octets in parts.items())
        named = f" ({signer.label})" if signer.label else ""
        raise CeremonyError(
            f"an OCPP installation answer of {MAX_CHARACTERS} characters, not {characters_of(total)}, "
            f"has room for {MAX_OCTETS} octets of certificates, not {total}: {shares}{named}"
        )
    return total


def newest_parts(
    issuers: Sequence[IssuerRecord], signers: Sequence[SignerSize]
) -> tuple[list[IssuerRecord], list[SignerSize]]:
    """Return of ``check_ocpp_budget``'s parts the newest MO CAs and the newest signer with its CAs, all in one chain.

    ``signers`` come the newest first.
    """
    mo, cps = (_pairs(issuers, leaf.branch) for leaf in _LEAFS)
    newest = [one for one in signers if any(two.id == one.issuer_id for _, two in cps)][:1]
    above = [pair for pair in cps if not newest or pair[1].id == newest[0].issuer_id]
    kept = [max(pairs, key=lambda pair: (pair[1].id, pair[0].id)) for pairs in (mo, above) if pairs]
    return [one for pair in kept for one in pair], newest


def _pairs(issuers: Sequence[IssuerRecord], branch: str) -> list[tuple[IssuerRecord, IssuerRecord]]:
    """Return each Sub-CA 1 of a branch with each Sub-CA 2 below it; with any, where no Sub-CA 2 is below one yet."""
    ones, twos = (
        [
            issuer
            for issuer in issuers
            if (issuer.branch, issuer.level, issuer.edition) == (branch, level, Edition.ISO_2)
            and issuer.certificate_der
        ]
        for level in (Level.SUB1, Level.SUB2)
    )
    every = list(product(ones, twos))
    return [(one, two) for one, two in every if two.parent_id == one.id] or every


def _parts(pair: tuple[IssuerRecord, IssuerRecord], leaf: _Leaf, octets: int) -> dict[str, int]:
    return {**{issuer.label: len(issuer.certificate_der) for issuer in pair}, leaf.profile: octets}


def _planned_octets(
    profiles: Mapping[str, Profile], leaf: _Leaf, pair: tuple[IssuerRecord, IssuerRecord], organization: str
) -> int:
    requested = RequestedSubject(common_name=leaf.common_name, organization=organization, country="DE")
    return leaf_octets(profiles[leaf.profile], pair[1], requested)


def _sum(parts: Mapping[str, int]) -> int:
    return sum(parts.values())


def characters_of(octets: int) -> int:
    """Return how many characters of base64 an answer with so many octets of certificates has."""
    return -(-(octets + _REST_OCTETS) // 3) * 4


def leaf_octets(profile: Profile, issuer: IssuerRecord, requested: RequestedSubject) -> int:
    """Return ``certificate_octets`` of a leaf; CsrRejectedError when its profile makes none with these names."""
    return certificate_octets(profile, issuer, build_subject(profile.subject, requested, requested.common_name))


def certificate_octets(profile: Profile, issuer: IssuerRecord, subject: Subject) -> int:
    """Return the size of a certificate that an issuer would make, with the largest serial and signature it may get."""
    names = IssuerNames(
        label=issuer.label,
        subject_der=issuer.subject_der,
        key_identifier=issuer.key_identifier,
        algorithm=issuer.algorithm,
    )
    # A chain keeps one algorithm where a profile leaves the choice.
    algorithm = issuer.algorithm if issuer.algorithm in profile.key_algorithms else profile.key_algorithms[0]
    validity = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    tbs_der = CertificateTemplate(profile.at_shard(0), names).tbs(
        _LARGEST_SERIAL, subject, example_spki(algorithm), validity
    )
    return len(tbs_der) + len(SIGNATURE_ALGORITHM_DER[issuer.algorithm]) + LARGEST_SIGNATURE[issuer.algorithm] + _HEADER
