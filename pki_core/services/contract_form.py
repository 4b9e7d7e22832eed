"""What contract data has to look like before our key signs it, or the CCP takes it in (ISO 15118-2 Annex F, 8.4.3.11).

A vehicle that cannot read what it is sent has no contract, and nobody learns why: so it is said here, to the operator.
"""

from collections.abc import Mapping
from typing import Final

from pki_core.model.cps import CpsSigner
from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.budget import MAX_CHARACTERS, MAX_OCTETS, characters_of
from pki_core.wire.contract_key import check_agreement_key
from pki_core.wire.pool_certificate import PoolCertificate, leaf_fault
from pki_core.wire.public_key import refuse_weak_key

LARGEST_2: Final = 800  # [V2G2-010], octets of a certificate
LARGEST_20: Final = 1600  # certificateType of ISO 15118-20
_CHAIN = "contractCertificate", "contractSubCa2Certificate", "contractSubCa1Certificate"
_CPS_CHAIN = "cpsCertificate", "cpsSubCa2Certificate", "cpsSubCa1Certificate"


def named(leaf_der: bytes, subs_der: tuple[bytes, ...], *, is_cps: bool = False) -> dict[str, int]:
    """Return the octets of a chain's certificates by the names partners know them by."""
    leaf, sub2, sub1 = _CPS_CHAIN if is_cps else _CHAIN
    names = (leaf, sub1) if len(subs_der) == 1 else (leaf, sub2, sub1)
    return {name: len(der) for name, der in zip(names, (leaf_der, *subs_der), strict=True)}


def check_sizes(octets: Mapping[str, int], *, is_20: bool) -> None:
    """Hold certificates to the length an edition allows each of them.

    Raises:
        MalformedError: says which one is too long.
    """
    largest = LARGEST_20 if is_20 else LARGEST_2
    for name, length in octets.items():
        if length > largest:
            raise MalformedError(f"{name} has {length} octets; this edition of ISO 15118 allows {largest}")


def check_answer(octets: Mapping[str, int], characters: int = 0) -> None:
    """Hold an answer of ISO 15118-2 to what OCPP 2.0.1 carries; those of -20 fit none of its messages.

    ``characters`` of base64 are counted where the answer exists already; else the largest it may get counts.

    Raises:
        MalformedError: says the sum and each certificate's share.
    """
    total = sum(octets.values())
    length = characters or characters_of(total)
    if length > MAX_CHARACTERS:
        shares = ", ".join(f"{name} {count}" for name, count in octets.items())
        raise MalformedError(
            f"an installation answer has at most {MAX_CHARACTERS} characters, not {length}: its certificates have "
            f"{total} octets ({shares}), and about {MAX_OCTETS} fit"
        )


def check_answer_by(signer: CpsSigner, contract_octets: Mapping[str, int]) -> None:
    """Hold the answer that a signer of ours would make to the same length, before it is signed.

    Raises:
        MalformedError: as ``check_answer``.
    """
    if signer.algorithm is KeyAlgorithm.SECP256R1:
        cps = named(signer.chain.certificate_der, signer.chain.sub_certificates_der, is_cps=True)
        check_answer({**contract_octets, **cps})


def check_own_data(leaf: PoolCertificate, kind: KeyAlgorithm, dh_public_key: bytes) -> None:
    """Hold an operator's own contract certificate and wrapped key to the edition of the vehicle.

    Raises:
        MalformedError: the key is another edition's or guessable, the certificate says it is for something else or has
            critical extensions that vehicles do not know, or the DH public key is no point of its curve.
    """
    if leaf.algorithm is not kind:
        raise MalformedError(f"the key of contractCertificate is {leaf.algorithm}; with this dHpublickey it is {kind}")
    try:
        refuse_weak_key(kind, leaf.spki_der)
    except CsrRejectedError as error:
        raise MalformedError(f"contractCertificate: {error}") from error
    if fault := leaf_fault(leaf.der):
        raise MalformedError(f"contractCertificate {fault}")
    check_agreement_key(kind, dh_public_key)
