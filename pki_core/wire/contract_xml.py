"""Contract data of ISO 15118-2 as XML (V2G_CI_MsgDef.xsd): the form in which provisioning services hand it over (OPCP).

The signature is over EXI, so it holds in either form. Services in the field leave the session id out, and nothing here
misses it. Of XML only what such a message has is read: elements, attributes, text; no document types, no comments.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from pki_core.model.contracts import (
    SESSION_DIGITS,
    CertificateChain,
    Header2,
    IdentifiedOctets,
    IdentifiedText,
    InstallationResponse2,
    Message2,
    MessageSignature,
    SignedInfo,
    SignedReference,
)
from pki_core.model.errors import MalformedError
from pki_core.wire.pem import base64_to_der

MOST_OCTETS: Final = 65_536
_MSG: Final = "{urn:iso:15118:2:2013:MsgDef}"
_HEADER: Final = "{urn:iso:15118:2:2013:MsgHeader}"
_BODY: Final = "{urn:iso:15118:2:2013:MsgBody}"
_DATA: Final = "{urn:iso:15118:2:2013:MsgDataTypes}"
_SIGNATURE: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_PREFIXES: Final = {"v2g": _MSG, "hd": _HEADER, "b": _BODY, "d": _DATA, "ds": _SIGNATURE}
_NO_SESSION: Final = b"\0"
_LINE_ENDS: Final = re.compile(r"&#(?:13|10|[xX]0?[dDaA]);")  # Java writes base64 with the line ends of Windows so


def encode_xml(message: Message2) -> bytes:
    """Return a CertificateInstallationRes as XML in UTF-8."""
    for prefix, uri in _PREFIXES.items():
        ET.register_namespace(prefix, uri.strip("{}"))
    root = ET.Element(f"{_MSG}V2G_Message")
    header = ET.SubElement(root, f"{_MSG}Header")
    _add(header, f"{_HEADER}SessionID", message.header.session_id.hex().upper())
    if message.header.signature is not None:
        _add_signature(header, message.header.signature)
    body = message.body
    if not isinstance(body, InstallationResponse2):
        raise MalformedError("only answers are handed over as XML")
    answer = ET.SubElement(ET.SubElement(root, f"{_MSG}Body"), f"{_BODY}CertificateInstallationRes")
    _add(answer, f"{_BODY}ResponseCode", body.response_code)
    _add_chain(answer, "SAProvisioningCertificateChain", body.cps_chain)
    _add_chain(answer, "ContractSignatureCertChain", body.contract_chain)
    _add(answer, f"{_BODY}ContractSignatureEncryptedPrivateKey", body.encrypted_private_key)
    _add(answer, f"{_BODY}DHpublickey", body.dh_public_key)
    _add(answer, f"{_BODY}eMAID", body.emaid)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def decode_xml(octets: bytes) -> Message2:
    """Read a CertificateInstallationRes from XML.

    Raises:
        MalformedError: it is another document, or more than ``MOST_OCTETS``.
    """
    if len(octets) > MOST_OCTETS:
        raise MalformedError(f"contract data as XML has at most {MOST_OCTETS} octets")
    try:
        text = _LINE_ENDS.sub("\n", octets.decode("utf-8-sig"))
        if "<!" in text or "&" in text:  # document types, comments, entities: no message has them
            raise MalformedError("the XML holds more than elements")
        # As text: it has been judged as UTF-8, whatever encoding it declares.
        root = ET.fromstring(text)  # noqa: S314  # without document type and entities nothing can grow
    except (ValueError, ET.ParseError) as error:
        raise MalformedError("the contract data is not XML") from error
    if root.tag != f"{_MSG}V2G_Message":
        raise MalformedError("the XML is no V2G_Message of ISO 15118-2")
    header = _one(root, f"{_MSG}Header")
    answer = _one(_one(root, f"{_MSG}Body"), f"{_BODY}CertificateInstallationRes")
    session = header.find(f"{_HEADER}SessionID")
    signature = header.find(f"{_SIGNATURE}Signature")
    return Message2(
        header=Header2(
            session_id=_NO_SESSION if session is None else _session(session),
            signature=None if signature is None else _signature(signature),
        ),
        body=InstallationResponse2(
            response_code=_text(_one(answer, f"{_BODY}ResponseCode")),
            cps_chain=_chain(_one(answer, f"{_BODY}SAProvisioningCertificateChain")),
            contract_chain=_chain(_one(answer, f"{_BODY}ContractSignatureCertChain")),
            encrypted_private_key=_octets(_one(answer, f"{_BODY}ContractSignatureEncryptedPrivateKey")),
            dh_public_key=_octets(_one(answer, f"{_BODY}DHpublickey")),
            emaid=_identified(_one(answer, f"{_BODY}eMAID")),
        ),
    )


def _add(above: ET.Element, name: str, value: str | bytes | IdentifiedOctets | IdentifiedText) -> ET.Element:
    element = ET.SubElement(above, name)
    if isinstance(value, IdentifiedOctets | IdentifiedText):
        if value.id:
            element.set(f"{_DATA}Id", value.id)
        value = value.value
    element.text = value if isinstance(value, str) else binascii.b2a_base64(value, newline=False).decode("ascii")
    return element


def _add_chain(above: ET.Element, name: str, chain: CertificateChain) -> None:
    element = ET.SubElement(above, f"{_BODY}{name}")
    if chain.id:
        element.set(f"{_DATA}Id", chain.id)
    _add(element, f"{_DATA}Certificate", chain.certificate_der)
    if chain.sub_certificates_der:
        subs = ET.SubElement(element, f"{_DATA}SubCertificates")
        for der in chain.sub_certificates_der:
            _add(subs, f"{_DATA}Certificate", der)


def _add_signature(above: ET.Element, signature: MessageSignature) -> None:
    element = ET.SubElement(above, f"{_SIGNATURE}Signature", _named(signature.id))
    info = ET.SubElement(element, f"{_SIGNATURE}SignedInfo", _named(signature.signed_info.id))
    _add_algorithm(info, "CanonicalizationMethod", signature.signed_info.canonicalization_method)
    _add_algorithm(info, "SignatureMethod", signature.signed_info.signature_method)
    for one in signature.signed_info.references:
        said = {"Id": one.id, "Type": one.type, "URI": one.uri or ""}
        reference = ET.SubElement(
            info, f"{_SIGNATURE}Reference", {name: value for name, value in said.items() if value is not None}
        )
        if one.transforms:
            transforms = ET.SubElement(reference, f"{_SIGNATURE}Transforms")
            for transform in one.transforms:
                _add_algorithm(transforms, "Transform", transform)
        _add_algorithm(reference, "DigestMethod", one.digest_method)
        _add(reference, f"{_SIGNATURE}DigestValue", one.digest)
    value = _add(element, f"{_SIGNATURE}SignatureValue", signature.value.value)
    value.attrib |= _named(signature.value.id)


def _named(name: str | None) -> dict[str, str]:
    """Return the attribute Id; a signature is over those within SignedInfo, too."""
    return {} if name is None else {"Id": name}


def _add_algorithm(above: ET.Element, name: str, algorithm: str) -> None:
    ET.SubElement(above, f"{_SIGNATURE}{name}", {"Algorithm": algorithm})


def _one(above: ET.Element, name: str) -> ET.Element:
    found = above.findall(name)
    if len(found) != 1:
        raise MalformedError(f"the contract data needs one {name.rpartition('}')[2]}")
    return found[0]


def _text(element: ET.Element) -> str:
    return (element.text or "").strip()


def _value(element: ET.Element) -> bytes:
    try:
        return base64_to_der("".join((element.text or "").split()))
    except MalformedError as error:
        raise MalformedError(f"{element.tag.rpartition('}')[2]} is not base64") from error


def _id(element: ET.Element) -> str | None:
    return element.get(f"{_DATA}Id") or element.get("Id")


def _octets(element: ET.Element) -> IdentifiedOctets:
    return IdentifiedOctets(id=_id(element), value=_value(element))


def _identified(element: ET.Element) -> IdentifiedText:
    return IdentifiedText(id=_id(element), value=_text(element))


def _chain(element: ET.Element) -> CertificateChain:
    subs: Sequence[ET.Element] = element.findall(f"{_DATA}SubCertificates/{_DATA}Certificate")
    return CertificateChain(
        id=_id(element),
        certificate_der=_value(_one(element, f"{_DATA}Certificate")),
        sub_certificates_der=tuple(_value(one) for one in subs),
    )


def _session(element: ET.Element) -> bytes:
    text = _text(element)
    try:
        if len(text) <= SESSION_DIGITS:
            return bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError("SessionID is not hexadecimal") from error
    raise MalformedError("SessionID has more than eight octets")


def _signature(element: ET.Element) -> MessageSignature:
    info = _one(element, f"{_SIGNATURE}SignedInfo")
    value = _one(element, f"{_SIGNATURE}SignatureValue")
    return MessageSignature(
        id=element.get("Id"),
        signed_info=SignedInfo(
            id=info.get("Id"),
            canonicalization_method=_algorithm(info, "CanonicalizationMethod"),
            signature_method=_algorithm(info, "SignatureMethod"),
            references=tuple(_reference(one) for one in info.findall(f"{_SIGNATURE}Reference")),
        ),
        value=IdentifiedOctets(id=value.get("Id"), value=_value(value)),
    )


def _reference(element: ET.Element) -> SignedReference:
    transforms = element.findall(f"{_SIGNATURE}Transforms/{_SIGNATURE}Transform")
    return SignedReference(
        id=element.get("Id"),
        type=element.get("Type"),
        uri=element.get("URI"),
        transforms=tuple(one.get("Algorithm") or "" for one in transforms),
        digest_method=_algorithm(element, "DigestMethod"),
        digest=_value(_one(element, f"{_SIGNATURE}DigestValue")),
    )


def _algorithm(above: ET.Element, name: str) -> str:
    return _one(above, f"{_SIGNATURE}{name}").get("Algorithm") or ""
