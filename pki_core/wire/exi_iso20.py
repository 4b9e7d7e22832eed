"""Certificate installation in EXI as ISO 15118-20 has it (V2G_CI_CommonMessages.xsd): documents, and fragments."""

from typing import cast

from pki_core.model.contracts import (
    CertificateChain,
    Header20,
    InstallationData20,
    InstallationRequest20,
    InstallationResponse20,
)
from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitWriter
from pki_core.wire.exi_grammar import Attribute, Child, Choice, Element, Kept, element_of
from pki_core.wire.exi_iso2 import CERTIFICATE, ROOTS, SESSION_ID, open_document
from pki_core.wire.exi_signature import EXI_HEADER, ID, SIGNATURE, fragment
from pki_core.wire.exi_values import Enumeration, Octets, SmallNumber, Text, Unsigned

_RESPONSE_CODES = (
    "OK",
    "OK_CertificateExpiresSoon",
    "OK_NewSessionEstablished",
    "OK_OldSessionJoined",
    "OK_PowerToleranceConfirmed",
    "WARNING_AuthorizationSelectionInvalid",
    "WARNING_CertificateExpired",
    "WARNING_CertificateNotYetValid",
    "WARNING_CertificateRevoked",
    "WARNING_CertificateValidationError",
    "WARNING_ChallengeInvalid",
    "WARNING_EIMAuthorizationFailure",
    "WARNING_eMSPUnknown",
    "WARNING_EVPowerProfileViolation",
    "WARNING_GeneralPnCAuthorizationError",
    "WARNING_NoCertificateAvailable",
    "WARNING_NoContractMatchingPCIDFound",
    "WARNING_PowerToleranceNotConfirmed",
    "WARNING_ScheduleRenegotiationFailed",
    "WARNING_StandbyNotAllowed",
    "WARNING_WPT",
    "FAILED",
    "FAILED_AssociationError",
    "FAILED_ContactorError",
    "FAILED_EVPowerProfileInvalid",
    "FAILED_EVPowerProfileViolation",
    "FAILED_MeteringSignatureNotValid",
    "FAILED_NoEnergyTransferServiceSelected",
    "FAILED_NoServiceRenegotiationSupported",
    "FAILED_PauseNotAllowed",
    "FAILED_PowerDeliveryNotApplied",
    "FAILED_PowerToleranceNotConfirmed",
    "FAILED_ScheduleRenegotiation",
    "FAILED_ScheduleSelectionInvalid",
    "FAILED_SequenceError",
    "FAILED_ServiceIDInvalid",
    "FAILED_ServiceSelectionInvalid",
    "FAILED_SignatureError",
    "FAILED_UnknownSession",
    "FAILED_WrongChargeParameter",
)
_PROCESSING = ("Finished", "Ongoing", "Ongoing_WaitingForCustomerInteraction")
_CURVES = ("SECP521", "X448")

_ID_ATTRIBUTE = Attribute("Id", "id", ID)
_SUB_CERTIFICATES = Kept(Element(None, Child("Certificate", "value", CERTIFICATE, 1, 3)))
_LEAF = Child("Certificate", "certificate_der", CERTIFICATE)
_SUBS = Child("SubCertificates", "sub_certificates_der", _SUB_CERTIFICATES, 0)
_CHAIN = Element(CertificateChain, _LEAF, _SUBS)
_SIGNED_CHAIN = Element(CertificateChain, _LEAF, _SUBS, attributes=(_ID_ATTRIBUTE,))
_CONTRACT_CHAIN = Element(CertificateChain, _LEAF, Child("SubCertificates", "sub_certificates_der", _SUB_CERTIFICATES))
_KEY = element_of(Octets(256))
_DATA = Element(
    InstallationData20,
    Child("ContractCertificateChain", "contract_chain", _CONTRACT_CHAIN),
    Child("ECDHCurve", "ecdh_curve", element_of(Enumeration(_CURVES))),
    Child("DHPublicKey", "dh_public_key", _KEY),
    Choice(
        (
            Child("SECP521_EncryptedPrivateKey", "secp521_encrypted_private_key", _KEY),
            Child("X448_EncryptedPrivateKey", "x448_encrypted_private_key", _KEY),
            Child("TPM_EncryptedPrivateKey", "tpm_encrypted_private_key", _KEY),
        )
    ),
    attributes=(_ID_ATTRIBUTE,),
)
_HEADER = Element(
    Header20,
    Child("SessionID", "session_id", SESSION_ID),
    Child("TimeStamp", "timestamp", element_of(Unsigned(64))),
    Child("Signature", "signature", SIGNATURE, 0),
)
_EMAIDS = Element(None, Child("EMAID", "value", element_of(Text(255)), 1, 8))
_REQUEST = Element(
    InstallationRequest20,
    Child("Header", "header", _HEADER),
    Child("OEMProvisioningCertificateChain", "oem_chain", _SIGNED_CHAIN),
    Child("ListOfRootCertificateIDs", "roots", ROOTS),
    Child("MaximumContractCertificateChains", "most_contract_chains", element_of(SmallNumber(8))),
    Child("PrioritizedEMAIDs", "prioritized_emaids", _EMAIDS, 0),
)
_RESPONSE = Element(
    InstallationResponse20,
    Child("Header", "header", _HEADER),
    Child("ResponseCode", "response_code", element_of(Enumeration(_RESPONSE_CODES))),
    Child("EVSEProcessing", "evse_processing", element_of(Enumeration(_PROCESSING))),
    Child("CPSCertificateChain", "cps_chain", Kept(_CHAIN)),
    Child("SignedInstallationData", "installation_data", _DATA),
    Child("RemainingContractCertificateChains", "remaining_contract_chains", element_of(SmallNumber(8))),
)

# Places in the lists of elements by name: of those that can start a document, and of 281 that can start a fragment.
_DOCUMENT_BITS = 6
_DOCUMENTS = {7: ("CertificateInstallationReq", _REQUEST), 8: ("CertificateInstallationRes", _RESPONSE)}
_DOCUMENT_CODES: dict[type, int] = {InstallationRequest20: 7, InstallationResponse20: 8}
_FRAGMENT_BITS, _FRAGMENT_END = 9, 282


def decode_document(exi: bytes) -> InstallationRequest20 | InstallationResponse20:
    """Read a CertificateInstallationReq or -Res.

    Raises:
        MalformedError: anything else, or too large.
    """
    reader = open_document(exi)
    name, element = _DOCUMENTS.get(reader.bits(_DOCUMENT_BITS), ("", None))
    if element is None:
        raise MalformedError("the EXI stream is not about certificate installation in ISO 15118-20")
    message = element.read(reader, name)
    reader.finish()
    return cast("InstallationRequest20 | InstallationResponse20", message)


def encode_document(message: InstallationRequest20 | InstallationResponse20) -> bytes:
    """Write a message; MalformedError when the schema or our limits do not allow a value."""
    code = _DOCUMENT_CODES[type(message)]
    name, element = _DOCUMENTS[code]
    writer = BitWriter()
    writer.bits(EXI_HEADER, 8)
    writer.bits(code, _DOCUMENT_BITS)
    element.write(writer, message, name)
    return writer.finish()


def request_fragment(request: InstallationRequest20) -> bytes:
    """Return what the vehicle's signature is over: its chain."""
    named = ("OEMProvisioningCertificateChain", request.oem_chain)
    return fragment(128, _FRAGMENT_END, _FRAGMENT_BITS, _SIGNED_CHAIN, named)


def data_fragment(data: InstallationData20) -> bytes:
    """Return what the CPS signs."""
    return fragment(231, _FRAGMENT_END, _FRAGMENT_BITS, _DATA, ("SignedInstallationData", data))
