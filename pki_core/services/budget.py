"""The size of an ISO 15118-2 installation answer: OCPP 2.0.1 carries at most 5600 characters of it.

Base64 leaves 4200 octets; 802 of them are message, key and signature (15-character EMAID, 8-octet session id), so
six certificates share 3398: contract leaf, MO Sub-CA 2 and 1, CPS leaf, CPS Sub-CA 2 and 1.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

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

_LEAFS = {"mo": ("contract_leaf", "DEPNC0000000019"), "cps": ("cps_leaf", "CPS 2026.1 QA")}
_HEADER = 4  # of the outer SEQUENCE
_LARGEST_SERIAL = (1 << 143) - 1


def check_ocpp_budget(
    profiles: Mapping[str, Profile], issuers: Sequence[IssuerRecord], organization: str, signer_octets: int = 0
) -> int:
    """Return the octets of the six certificates, 0 while the hierarchy is not complete; the newest CAs count.

    ``organization`` is what contract certificates say: a setting, of 40 characters at most.
    ``signer_octets`` is the size of the CPS leaf of ISO 15118-2 that signs; 0 = what the profile would make.

    Raises:
        CeremonyError: they would not fit; the sum is in the text.
    """
    parts: dict[str, int] = {}
    for branch, (leaf_profile, name) in _LEAFS.items():
        for level in (Level.SUB1, Level.SUB2):
            made = [
                issuer
                for issuer in issuers
                if (issuer.branch, issuer.level, issuer.edition) == (branch, level, Edition.ISO_2)
                and issuer.certificate_der
            ]
            if not made:
                return 0
            parts[made[-1].label] = len(made[-1].certificate_der)
            if level is Level.SUB2:
                profile = profiles[leaf_profile]
                requested = RequestedSubject(common_name=name, organization=organization, country="DE")
                subject = build_subject(profile.subject, requested, name)
                parts[leaf_profile] = certificate_octets(profile, made[-1], subject)
    parts["cps_leaf"] = signer_octets or parts["cps_leaf"]
    total = sum(parts.values())
    if total > MAX_OCTETS:
        shares = ", ".join(f"{label} {octets}" for label, octets in parts.items())
        raise CeremonyError(
            f"an OCPP installation answer of {MAX_CHARACTERS} characters, not {characters_of(total)}, "
            f"has room for {MAX_OCTETS} octets of certificates, not {total}: {shares}"
        )
    return total


def characters_of(octets: int) -> int:
    """Return how many characters of base64 an answer with so many octets of certificates has."""
    return -(-(octets + _REST_OCTETS) // 3) * 4


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
