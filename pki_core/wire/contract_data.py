"""Contract data as typed messages: certificate installation of ISO 15118-2 and -20, read, written, signed, verified.

What a vehicle sends and receives is EXI; callers see the messages of ``model/contracts.py`` and never a bit of it. The
header is outside every signature, so an answer signed long ago gets the session of its request without a key.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki_core.model.contracts import (
    CertificateChain,
    ContractMessage,
    Header2,
    Header20,
    IdentifiedOctets,
    IdentifiedText,
    InstallationData20,
    InstallationRequest2,
    InstallationRequest20,
    InstallationResponse2,
    InstallationResponse20,
    KeyEnvelope,
    Message2,
    MessageSignature,
    Notification,
)
from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Edition
from pki_core.model.signer import Signer
from pki_core.wire import exi_iso2, exi_iso20
from pki_core.wire.exi_signature import sign_each, signature_fault
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY

NO_CERTIFICATE_2 = "FAILED_NoCertificateAvailable"
NO_CONTRACT_20 = "WARNING_NoContractMatchingPCIDFound"
BAD_SIGNATURE = "FAILED_SignatureError"  # in both editions
_OK, _FINISHED = "OK", "Finished"
_CHAIN_ID, _KEY_ID, _DH_ID, _EMAID_ID = "ID1", "ID2", "ID3", "ID4"  # as the field's messages have them
_NO_SESSION = b"\0"  # of an answer that has met no request yet
_NOTHING, _NO_TEXT = b"\0", "0"  # the schemas want a value also where there is none
_X448, _SECP521 = "X448", "SECP521"
_X448_POINT_OCTETS = 56

_Message = TypeVar("_Message", Message2, InstallationRequest20, InstallationResponse20)


def decode_message(edition: Edition, exi: bytes) -> ContractMessage:
    """Read a message of an edition; MalformedError when it is none about certificate installation."""
    return exi_iso20.decode_document(exi) if edition is Edition.ISO_20 else exi_iso2.decode_document(exi)


def encode_message(message: ContractMessage) -> bytes:
    """Write a message; MalformedError when a value is longer, or there more often, than it may be."""
    return exi_iso2.encode_document(message) if isinstance(message, Message2) else exi_iso20.encode_document(message)


def signed_parts(message: ContractMessage) -> dict[str, bytes]:
    """Return the EXI fragments a message's signature has to be over, by their Ids.

    Raises:
        MalformedError: a part to be signed has no Id.
    """
    if isinstance(message, InstallationRequest20):
        if not message.oem_chain.id:
            raise MalformedError("the OEM provisioning certificate chain has no Id")
        return {message.oem_chain.id: exi_iso20.request_fragment(message)}
    if isinstance(message, InstallationResponse20):
        return {message.installation_data.id: exi_iso20.data_fragment(message.installation_data)}
    if isinstance(message.body, InstallationRequest2):
        return {message.body.id: exi_iso2.request_fragment(message.body)}
    return exi_iso2.response_fragments(message.body)


def sign_message(message: _Message, signer: Signer) -> _Message:
    """Return a message with the signature that belongs to it, verified: a CPS's for an answer, a vehicle's otherwise.

    Raises:
        SignatureInvalidError: the token's signature does not verify.
        HsmUnavailableError: the token is away.
    """
    return cast("_Message", sign_messages([message], signer)[0])


def sign_messages(messages: Sequence[ContractMessage], signer: Signer) -> list[ContractMessage]:
    """Return messages with their signatures, made by one call of the signer; see ``sign_message``."""
    signatures = sign_each([signed_parts(message) for message in messages], signer)
    return [_with_signature(message, one) for message, one in zip(messages, signatures, strict=True)]


def _with_signature(message: ContractMessage, signature: MessageSignature) -> ContractMessage:
    if isinstance(message, Message2):
        return replace(message, header=replace(message.header, signature=signature))
    return replace(message, header=replace(message.header, signature=signature))


def message_fault(message: ContractMessage, certificate_der: bytes) -> str:
    """Say what keeps a message from being signed, whole and unchanged, with a certificate's key; "" when nothing.

    Whether that certificate is one to believe is for the caller to know.
    """
    try:
        parts = signed_parts(message)
        spki_der = public_key_of(certificate_der)
    except MalformedError as error:
        return str(error)
    return signature_fault(message.header.signature, parts, spki_der)


def public_key_of(certificate_der: bytes) -> bytes:
    """Return the DER SubjectPublicKeyInfo of a certificate, anybody's; MalformedError when it cannot be read."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a DER certificate with a key that is known") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def answer_2(
    cps_chain: CertificateChain, contract_chain: CertificateChain, envelope: KeyEnvelope, emaid: str
) -> Message2:
    """Return an answer of ISO 15118-2, not signed yet and for no session yet."""
    body = InstallationResponse2(
        response_code=_OK,
        cps_chain=_named(cps_chain, None),
        contract_chain=_named(contract_chain, _CHAIN_ID),
        encrypted_private_key=IdentifiedOctets(id=_KEY_ID, value=envelope.encrypted_private_key),
        dh_public_key=IdentifiedOctets(id=_DH_ID, value=envelope.dh_public_key),
        emaid=IdentifiedText(id=_EMAID_ID, value=emaid),
    )
    return Message2(header=Header2(session_id=_NO_SESSION), body=body)


def _named(chain: CertificateChain, name: str | None) -> CertificateChain:
    if chain.id == name:
        return chain
    return CertificateChain(
        id=name, certificate_der=chain.certificate_der, sub_certificates_der=chain.sub_certificates_der
    )


def answer_20(
    cps_chain: CertificateChain, contract_chain: CertificateChain, envelope: KeyEnvelope
) -> InstallationResponse20:
    """Return an answer of ISO 15118-20, not signed yet and for no session yet."""
    is_x448 = len(envelope.dh_public_key) == _X448_POINT_OCTETS
    data = InstallationData20(
        id=_CHAIN_ID,
        contract_chain=replace(contract_chain, id=None),
        ecdh_curve=_X448 if is_x448 else _SECP521,
        dh_public_key=envelope.dh_public_key,
        secp521_encrypted_private_key=None if is_x448 else envelope.encrypted_private_key,
        x448_encrypted_private_key=envelope.encrypted_private_key if is_x448 else None,
    )
    return InstallationResponse20(
        header=Header20(session_id=_NO_SESSION, timestamp=0),
        response_code=_OK,
        evse_processing=_FINISHED,
        cps_chain=replace(cps_chain, id=None),
        installation_data=data,
        remaining_contract_chains=0,
    )


def unsigned_by(message: ContractMessage, cps_chain: CertificateChain) -> ContractMessage:
    """Return an answer for another provisioning service to sign: all but its chain and the signature stays.

    Raises:
        MalformedError: it is no answer.
    """
    if isinstance(message, Message2) and isinstance(message.body, InstallationResponse2):
        body = replace(message.body, cps_chain=_named(cps_chain, message.body.cps_chain.id))
        return Message2(header=Header2(session_id=_NO_SESSION), body=body)
    if isinstance(message, InstallationResponse20):
        header = Header20(session_id=_NO_SESSION, timestamp=0)
        return replace(message, header=header, cps_chain=replace(cps_chain, id=None))
    raise MalformedError("this is no answer with contract data")


def chains_of(message: ContractMessage) -> tuple[CertificateChain, CertificateChain]:
    """Return the provisioning service's chain and the contract's; MalformedError when it is no answer."""
    if isinstance(message, Message2) and isinstance(message.body, InstallationResponse2):
        return message.body.cps_chain, message.body.contract_chain
    if isinstance(message, InstallationResponse20):
        return message.cps_chain, message.installation_data.contract_chain
    raise MalformedError("this is no answer with contract data")


@lru_cache(maxsize=64)  # thousands of answers share a chain
def end_of(chain: CertificateChain) -> datetime:
    """Return when the first certificate of a chain ends; MalformedError when one cannot be read."""
    ders = (chain.certificate_der, *chain.sub_certificates_der)
    try:
        return min(x509.load_der_x509_certificate(der).not_valid_after_utc for der in ders)
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a DER certificate") from error


def for_session_2(answer: Message2, session_id: bytes) -> Message2:
    """Return an answer for the session of its request: what stands in the header is not signed."""
    return replace(answer, header=replace(answer.header, session_id=session_id))


def for_session_20(
    answer: InstallationResponse20, session_id: bytes, now: datetime, remaining: int = 0
) -> InstallationResponse20:
    """Return an answer for the session of its request; ``remaining`` more contracts may be asked for."""
    header = replace(answer.header, session_id=session_id, timestamp=int(now.timestamp()))
    return replace(answer, header=header, remaining_contract_chains=remaining)


def refusal_2(session_id: bytes, response_code: str, fault: str) -> Message2:
    """Return a negative answer of ISO 15118-2, filled up as the field's are; ``fault`` is one short sentence."""
    nothing = IdentifiedOctets(id=_NO_TEXT, value=_NOTHING)
    body = InstallationResponse2(
        response_code=response_code,
        cps_chain=CertificateChain(certificate_der=_NOTHING),
        contract_chain=CertificateChain(certificate_der=_NOTHING),
        encrypted_private_key=nothing,
        dh_public_key=nothing,
        emaid=IdentifiedText(id=_NO_TEXT, value=_NO_TEXT),
    )
    notification = Notification(fault_code="UnknownError", fault_message=fault)
    return Message2(header=Header2(session_id=session_id, notification=notification), body=body)


def refusal_20(session_id: bytes, now: datetime, response_code: str) -> InstallationResponse20:
    """Return a negative answer of ISO 15118-20: its schema wants every element, so they are there and hold nothing."""
    nothing = CertificateChain(certificate_der=_NOTHING, sub_certificates_der=(_NOTHING,))
    empty = answer_20(nothing, nothing, KeyEnvelope(dh_public_key=_NOTHING, encrypted_private_key=_NOTHING))
    return for_session_20(replace(empty, response_code=response_code), session_id, now)
