"""Certificate installation in EXI as ISO 15118-2 has it (V2G_CI_MsgDef.xsd): documents, and fragments to be signed."""

from typing import cast

from pki_core.model.contracts import (
    CertificateChain,
    Header2,
    IdentifiedOctets,
    IdentifiedText,
    InstallationRequest2,
    InstallationResponse2,
    Message2,
    Notification,
    RootCertificateId,
)
from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitReader, BitWriter
from pki_core.wire.exi_grammar import Attribute, Child, Content, Element, Kept, element_of
from pki_core.wire.exi_signature import EXI_HEADER, ID, SIGNATURE, fragment
from pki_core.wire.exi_values import Enumeration, Integer, Octets, Text

MOST_OCTETS = 16 * 1024  # a message with the largest certificates has half of it
LARGEST_CERTIFICATE = 1600  # ISO 15118-20; -2 allows its own profiles 800, and the field's are not all ours
_RESPONSE_CODES = (
    "OK",
    "OK_NewSessionEstablished",
    "OK_OldSessionJoined",
    "OK_CertificateExpiresSoon",
    "FAILED",
    "FAILED_SequenceError",
    "FAILED_ServiceIDInvalid",
    "FAILED_UnknownSession",
    "FAILED_ServiceSelectionInvalid",
    "FAILED_PaymentSelectionInvalid",
    "FAILED_CertificateExpired",
    "FAILED_SignatureError",
    "FAILED_NoCertificateAvailable",
    "FAILED_CertChainError",
    "FAILED_ChallengeInvalid",
    "FAILED_ContractCanceled",
    "FAILED_WrongChargeParameter",
    "FAILED_PowerDeliveryNotApplied",
    "FAILED_TariffSelectionInvalid",
    "FAILED_ChargingProfileInvalid",
    "FAILED_MeteringSignatureNotValid",
    "FAILED_NoChargeServiceSelected",
    "FAILED_WrongEnergyTransferMode",
    "FAILED_ContactorError",
    "FAILED_CertificateNotAllowedAtThisEVSE",
    "FAILED_CertificateRevoked",
)
_FAULT_CODES = ("ParsingError", "NoTLSRootCertificatAvailable", "UnknownError")  # the schema's own spelling

CERTIFICATE = element_of(Octets(LARGEST_CERTIFICATE))
SESSION_ID = element_of(Octets(8))
_ID_ATTRIBUTE = Attribute("Id", "id", ID)
_ROOT = Element(
    RootCertificateId,
    Child("X509IssuerName", "issuer_name", element_of(Text(1024))),
    Child("X509SerialNumber", "serial", element_of(Integer(160))),  # RFC 5280 4.1.2.2: 20 octets
)
ROOTS = Element(None, Child("RootCertificateID", "value", _ROOT, 1, 20))
_SUB_CERTIFICATES = Kept(Element(None, Child("Certificate", "value", CERTIFICATE, 1, 4)))
_CHAIN = Element(
    CertificateChain,
    Child("Certificate", "certificate_der", CERTIFICATE),
    Child("SubCertificates", "sub_certificates_der", _SUB_CERTIFICATES, 0),
    attributes=(Attribute("Id", "id", ID, required=False),),
)
_OCTETS = Element(IdentifiedOctets, attributes=(_ID_ATTRIBUTE,), content=Content("value", Octets(256)))
_EMAID = Element(IdentifiedText, attributes=(_ID_ATTRIBUTE,), content=Content("value", Text(64)))
_NOTIFICATION = Element(
    Notification,
    Child("FaultCode", "fault_code", element_of(Enumeration(_FAULT_CODES))),
    Child("FaultMsg", "fault_message", element_of(Text(256)), 0),
)
_HEADER = Element(
    Header2,
    Child("SessionID", "session_id", SESSION_ID),
    Child("Notification", "notification", _NOTIFICATION, 0),
    Child("Signature", "signature", SIGNATURE, 0),
)
_REQUEST = Element(
    InstallationRequest2,
    Child("OEMProvisioningCert", "oem_certificate_der", CERTIFICATE),
    Child("ListOfRootCertificateIDs", "roots", ROOTS),
    attributes=(_ID_ATTRIBUTE,),
)
_RESPONSE = Element(
    InstallationResponse2,
    Child("ResponseCode", "response_code", element_of(Enumeration(_RESPONSE_CODES))),
    Child("SAProvisioningCertificateChain", "cps_chain", Kept(_CHAIN)),
    Child("ContractSignatureCertChain", "contract_chain", _CHAIN),
    Child("ContractSignatureEncryptedPrivateKey", "encrypted_private_key", _OCTETS),
    Child("DHpublickey", "dh_public_key", _OCTETS),
    Child("eMAID", "emaid", _EMAID),
)

# Places in the lists of global elements by name: of 76 that can start a document, of 36 a body can hold.
_V2G_MESSAGE, _V2G_MESSAGE_BITS = 76, 7
_BODY_BITS = 6
_BODIES = {5: ("CertificateInstallationReq", _REQUEST), 6: ("CertificateInstallationRes", _RESPONSE)}
_BODY_CODES: dict[type, int] = {InstallationRequest2: 5, InstallationResponse2: 6}
# And of 243 names of elements in the schemas, any of which can start a fragment.
_FRAGMENT_BITS, _FRAGMENT_END = 8, 244
# eMAID is declared twice, with two types, so its fragment follows the grammar for any element (EXI 8.5.3): event codes
# of the attribute Id, of characters, and of the end.
_EMAID_CODE, _ANY_ID, _ANY_TEXT, _ANY_BITS, _ANY_END = 236, 4, 256, 9, 244


def decode_document(exi: bytes) -> Message2:
    """Read a CertificateInstallationReq or -Res.

    Raises:
        MalformedError: anything else, or larger than ``MOST_OCTETS``.
    """
    reader = open_document(exi)
    if reader.bits(_V2G_MESSAGE_BITS) != _V2G_MESSAGE:
        raise MalformedError("the EXI stream is no V2G_Message of ISO 15118-2")
    _expect_next(reader)
    header = _HEADER.read(reader, "Header")
    _expect_next(reader)
    name, element = _BODIES.get(reader.bits(_BODY_BITS), ("", None))
    if element is None:
        raise MalformedError("the V2G_Message is not about certificate installation")
    body = element.read(reader, name)
    _expect_next(reader)  # the end of the body
    _expect_next(reader)  # and of the message
    reader.finish()
    return Message2(header=cast("Header2", header), body=cast("InstallationRequest2 | InstallationResponse2", body))


def encode_document(message: Message2) -> bytes:
    """Write a message; MalformedError when the schema or our limits do not allow a value."""
    writer = BitWriter()
    writer.bits(EXI_HEADER, 8)
    writer.bits(_V2G_MESSAGE, _V2G_MESSAGE_BITS)
    writer.bits(0, 1)
    _HEADER.write(writer, message.header, "Header")
    writer.bits(0, 1)
    code = _BODY_CODES[type(message.body)]
    writer.bits(code, _BODY_BITS)
    name, element = _BODIES[code]
    element.write(writer, message.body, name)
    writer.bits(0, 2)
    return writer.finish()


def open_document(exi: bytes) -> BitReader:
    """Return a reader behind the EXI header; MalformedError when it is another one, or the stream too large."""
    if len(exi) > MOST_OCTETS:
        raise MalformedError(f"the EXI stream has {len(exi)} octets; {MOST_OCTETS} are allowed")
    reader = BitReader(exi)
    if reader.bits(8) != EXI_HEADER:
        raise MalformedError("the EXI stream does not start as ISO 15118 has it")
    return reader


def request_fragment(request: InstallationRequest2) -> bytes:
    """Return what the vehicle's signature is over."""
    return fragment(15, _FRAGMENT_END, _FRAGMENT_BITS, _REQUEST, ("CertificateInstallationReq", request))


def response_fragments(response: InstallationResponse2) -> dict[str, bytes]:
    """Return the four parts that the CPS signs by their Ids, in the order the field's messages refer to them.

    Raises:
        MalformedError: a part has no Id, or two parts have the same.
    """
    parts = (
        (response.encrypted_private_key, (34, "ContractSignatureEncryptedPrivateKey", _OCTETS)),
        (response.contract_chain, (33, "ContractSignatureCertChain", _CHAIN)),
        (response.emaid, None),
        (response.dh_public_key, (45, "DHpublickey", _OCTETS)),
    )
    found: dict[str, bytes] = {}
    for value, kind in parts:
        if not value.id or value.id in found:
            raise MalformedError("each signed part of a CertificateInstallationRes has an Id of its own")
        found[value.id] = (
            fragment(kind[0], _FRAGMENT_END, _FRAGMENT_BITS, kind[2], (kind[1], value))
            if kind
            else _emaid_fragment(response.emaid)
        )
    return found


def _emaid_fragment(emaid: IdentifiedText) -> bytes:
    writer = BitWriter()
    writer.bits(EXI_HEADER, 8)
    writer.bits(_EMAID_CODE, _FRAGMENT_BITS)
    writer.bits(_ANY_ID, _ANY_BITS)
    writer.text(emaid.id or "")
    writer.bits(_ANY_TEXT, _ANY_BITS)
    writer.text(emaid.value)
    writer.bits(_ANY_END, _FRAGMENT_BITS)
    writer.bits(_FRAGMENT_END, _FRAGMENT_BITS)
    return writer.finish()


def _expect_next(reader: BitReader) -> None:
    if reader.bits(1):
        raise MalformedError("the V2G_Message holds something that is not in the schema of ISO 15118")
