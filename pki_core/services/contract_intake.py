"""Signed contract data of other provisioning services on its way into the CCP (OPCP, CCP: addSignedContractData).

It is kept as EXI, whatever form it came in, and only when a provisioning service signed it whose chain leads to a V2G
root of the RCP, or to ours.
"""

from typing import NamedTuple

from pki_core.model.contracts import (
    SESSION_DIGITS,
    CertificateChain,
    ContractMessage,
    InstallationResponse2,
    InstallationResponse20,
    Message2,
)
from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import Emaid
from pki_core.model.partners import Partner
from pki_core.model.pools import ContractUpload, Namespace, RootKind
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_form import check_answer, check_sizes, named
from pki_core.services.pool_chains import ChainChecks, read_chain
from pki_core.services.pool_contracts import ContractPool
from pki_core.wire.contract_data import decode_message, encode_message, for_session_2, message_fault
from pki_core.wire.contract_xml import decode_xml
from pki_core.wire.pool_certificate import domain_components_of

_XML = b"<"
_OK = "OK"  # and OK_...: ISO 15118-2 8.5.2 and ISO 15118-20 have several words for it
MOST_SUBS = 2  # CAs between a leaf and its root
_CPS = "CPS"  # Annex F: the DC of whoever may sign contract data
_DH_KINDS = {65: KeyAlgorithm.SECP256R1, 133: KeyAlgorithm.SECP521R1, 56: KeyAlgorithm.ED448}


class _Parts(NamedTuple):
    """What of an answer the pool wants to know."""

    cps_chain: CertificateChain
    contract_chain: CertificateChain
    dh_public_key: bytes
    response_code: str
    emaid: str | None  # None = the edition has none in its answers


class SignedData(NamedTuple):
    """What a partner hands over for a vehicle."""

    octets: bytes  # EXI, or XML of ISO 15118-2
    namespace: Namespace
    meta: str = ""


class ContractIntake:
    """Takes signed contract data in."""

    def __init__(self, checks: ChainChecks, pool: ContractPool) -> None:
        self._checks = checks
        self._pool = pool

    def add(self, partner: Partner, pcid: str, emaid: str, given: SignedData) -> bool:
        """Put signed contract data into the CCP, or in the place of what is there; returns whether it is new.

        Raises:
            MalformedError: it is no contract data, not of this EMAID, or not signed as it should be.
            NotAuthorizedError: the EMAID is another operator's.
            ConflictError: a certificate has ended, is revoked or leads to no root of the RCP; the vehicle has no
                certificate in the PCP; the EMAID is used with another PCID.
            UnavailableError: a CA does not tell its status.
        """
        namespace = given.namespace
        message = _read(given.octets, namespace)
        parts = _parts(message)
        named = Emaid.parse(emaid)
        if parts.emaid is not None and Emaid.parse(parts.emaid) != named:
            raise MalformedError("the eMAID in the signed contract data is another one than the call's")
        if parts.response_code != _OK and not parts.response_code.startswith(f"{_OK}_"):
            raise MalformedError("the signed contract data is a negative answer")
        subs = parts.contract_chain.sub_certificates_der
        if not 0 < len(subs) <= MOST_SUBS:
            raise MalformedError("Invalid certificate format on contractSignatureCertChainSubCertificates list")
        _check_form(message, parts, is_20=namespace.is_edition_20)
        root = self._check_signer(message, parts.cps_chain)
        algorithm = _DH_KINDS.get(len(parts.dh_public_key))
        if algorithm is None or namespace.is_edition_20 == (algorithm is KeyAlgorithm.SECP256R1):
            raise MalformedError("the length of the DH public key is not this edition's")
        upload = ContractUpload(
            emaid=named.as_issued,
            pcid=pcid,
            algorithm=algorithm,
            leaf_der=parts.contract_chain.certificate_der,
            sub2_der=subs[0] if len(subs) == MOST_SUBS else b"",
            sub1_der=subs[-1],
            signed_data=encode_message(message),
            namespace=namespace,
            meta=given.meta,
            cps_fingerprint=root,
        )
        return self._pool.publish(partner, upload)

    def _check_signer(self, message: ContractMessage, chain: CertificateChain) -> str:
        """Return the fingerprint of the V2G root above the signer."""
        subs = [("cpsSubCertificates", der) for der in chain.sub_certificates_der]
        leaf, *above = read_chain(chain.certificate_der, subs, "cpsCertificate")
        if leaf.is_ca or not above or domain_components_of(leaf.der) != (_CPS,):
            raise MalformedError("contract data is signed by the leaf of a provisioning service")
        if fault := message_fault(message, chain.certificate_der):
            raise MalformedError(f"the signature of the provisioning service does not hold: {fault}")
        return self._checks.check(leaf, above, (RootKind.V2G,)).root_sha256


def _check_form(message: ContractMessage, parts: _Parts, *, is_20: bool) -> None:
    """Refuse certificates and answers longer than vehicles and stations take."""
    cps, own = parts.cps_chain, parts.contract_chain
    if not 0 < len(cps.sub_certificates_der) <= MOST_SUBS:
        raise MalformedError("contract data is signed by the leaf of a provisioning service")
    octets = named(own.certificate_der, own.sub_certificates_der)
    octets |= named(cps.certificate_der, cps.sub_certificates_der, is_cps=True)
    check_sizes(octets, is_20=is_20)
    if isinstance(message, Message2):
        check_answer(octets, -(-len(encode_message(for_session_2(message, bytes(SESSION_DIGITS // 2)))) // 3) * 4)


def _read(signed_data: bytes, namespace: Namespace) -> ContractMessage:
    if signed_data.lstrip()[:1] == _XML or signed_data.startswith(b"\xef\xbb\xbf"):
        if namespace.is_edition_20:
            raise MalformedError("contract data of ISO 15118-20 is handed over as EXI")
        return decode_xml(signed_data)
    return decode_message(Edition.ISO_20 if namespace.is_edition_20 else Edition.ISO_2, signed_data)


def _parts(message: ContractMessage) -> _Parts:
    if isinstance(message, Message2) and isinstance(message.body, InstallationResponse2):
        body = message.body
        key = body.dh_public_key.value
        return _Parts(body.cps_chain, body.contract_chain, key, body.response_code, body.emaid.value)
    if isinstance(message, InstallationResponse20):
        data = message.installation_data
        return _Parts(message.cps_chain, data.contract_chain, data.dh_public_key, message.response_code, None)
    raise MalformedError("this is no answer with contract data")
