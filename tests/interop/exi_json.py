"""Messages of ISO 15118-2 as the JSON other codecs take and give, and many of them from one seed."""

import base64
import random

from pki_core.model.contracts import (
    CertificateChain,
    Header2,
    IdentifiedOctets,
    IdentifiedText,
    InstallationRequest2,
    InstallationResponse2,
    Message2,
    MessageSignature,
    Notification,
    RootCertificateId,
    SignedInfo,
    SignedReference,
)
from pki_core.wire.exi_iso2 import _FAULT_CODES, _RESPONSE_CODES

CANONICAL_EXI = "http://www.w3.org/TR/canonical-exi/"
# What names hold in the field, what XML and JSON escape, and letters of one, two and three octets.
_LETTERS = "ABCabc019 ,=.-_:/<>&'\"\\()#@äßéΩ中€"


def message_json(message):
    """A document as JSON; what is absent is left out."""
    header = {"SessionID": message.header.session_id.hex().upper()}
    if notification := message.header.notification:
        header["Notification"] = present(FaultCode=notification.fault_code, FaultMsg=notification.fault_message)
    if message.header.signature:
        header["Signature"] = _signature(message.header.signature)
    is_request = isinstance(message.body, InstallationRequest2)
    name = "CertificateInstallationReq" if is_request else "CertificateInstallationRes"
    return {"V2G_Message": {"Header": header, "Body": {name: (_request if is_request else _response)(message.body)}}}


def fragments_json(body):
    """The elements that are signed, each as a JSON document of its own, by name."""
    if isinstance(body, InstallationRequest2):
        return {"CertificateInstallationReq": _request(body)}
    response = _response(body)
    names = ("ContractSignatureEncryptedPrivateKey", "ContractSignatureCertChain", "eMAID", "DHpublickey")
    return {name: response[name] for name in names}


def signed_info_json(signed_info):
    return present(
        Id=signed_info.id,
        CanonicalizationMethod={"Algorithm": signed_info.canonicalization_method},
        SignatureMethod={"Algorithm": signed_info.signature_method},
        Reference=[_reference(reference) for reference in signed_info.references],
    )


def present(**fields):
    return {name: value for name, value in fields.items() if value is not None}


def _request(body):
    roots = [{"X509IssuerName": root.issuer_name, "X509SerialNumber": root.serial} for root in body.roots]
    return {
        "Id": body.id,
        "OEMProvisioningCert": _base64(body.oem_certificate_der),
        "ListOfRootCertificateIDs": {"RootCertificateID": roots},
    }


def _response(body):
    return {
        "ResponseCode": body.response_code,
        "SAProvisioningCertificateChain": _chain(body.cps_chain),
        "ContractSignatureCertChain": _chain(body.contract_chain),
        "ContractSignatureEncryptedPrivateKey": _identified(body.encrypted_private_key),
        "DHpublickey": _identified(body.dh_public_key),
        "eMAID": {"Id": body.emaid.id, "value": body.emaid.value},
    }


def _chain(chain):
    subs = [_base64(der) for der in chain.sub_certificates_der]
    return present(
        Id=chain.id, Certificate=_base64(chain.certificate_der), SubCertificates={"Certificate": subs} if subs else None
    )


def _identified(octets):
    return present(Id=octets.id, value=_base64(octets.value))


def _signature(signature):
    return present(
        Id=signature.id, SignedInfo=signed_info_json(signature.signed_info), SignatureValue=_identified(signature.value)
    )


def _reference(reference):
    transforms = [{"Algorithm": name} for name in reference.transforms]
    return present(
        Id=reference.id,
        Type=reference.type,
        URI=reference.uri,
        Transforms={"Transform": transforms} if transforms else None,
        DigestMethod={"Algorithm": reference.digest_method},
        DigestValue=_base64(reference.digest),
    )


def _base64(octets):
    return base64.b64encode(octets).decode("ascii")


class Messages:
    """Messages of ISO 15118-2 from a seed: every optional part there or not, every length from little to most."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._number = 0

    def many(self, count):
        return [self._message() for _ in range(count)]

    def _message(self):
        body = self._request() if self._coin() else self._response()
        header = Header2(
            session_id=self._octets(1, 8),
            notification=self._notification() if self._coin(0.2) else None,
            signature=self._signature() if self._coin(0.8) else None,
        )
        return Message2(header=header, body=body)

    def _request(self):
        # Not 20: the Java codec lets one more follow there, although the schema has no more (EXI 8.5.4.1.5).
        roots = tuple(
            RootCertificateId(issuer_name=self._text(80), serial=self._random.getrandbits(self._random.randint(0, 160)))
            for _ in range(self._random.choice([1, 1, 2, 5, 19]))
        )
        return InstallationRequest2(id=self._id(), oem_certificate_der=self._octets(1, 800), roots=roots)

    def _response(self):
        return InstallationResponse2(
            response_code=self._random.choice(_RESPONSE_CODES),
            cps_chain=self._chain(self._id() if self._coin(0.2) else None),
            contract_chain=self._chain(self._id()),
            encrypted_private_key=IdentifiedOctets(id=self._id(), value=self._octets(1, 48)),
            dh_public_key=IdentifiedOctets(id=self._id(), value=self._octets(1, 65)),
            emaid=IdentifiedText(id=self._id(), value=self._emaid()),
        )

    def _chain(self, name):
        subs = tuple(self._octets(1, 800) for _ in range(self._random.randint(0, 4)))
        return CertificateChain(id=name, certificate_der=self._octets(1, 800), sub_certificates_der=subs)

    def _notification(self):
        text = self._text(64) if self._coin() else None
        return Notification(fault_code=self._random.choice(_FAULT_CODES), fault_message=text)

    def _signature(self):
        references = tuple(
            SignedReference(
                uri=f"#{self._id()}",
                transforms=(CANONICAL_EXI,),
                digest_method="http://www.w3.org/2001/04/xmlenc#sha256",
                digest=self._octets(32, 32),
            )
            for _ in range(self._random.randint(1, 4))
        )
        signed_info = SignedInfo(
            canonicalization_method=CANONICAL_EXI,
            signature_method="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            references=references,
        )
        return MessageSignature(signed_info=signed_info, value=IdentifiedOctets(value=self._octets(64, 64)))

    def _coin(self, chance=0.5):
        return self._random.random() < chance

    def _octets(self, least, most):
        return self._random.randbytes(self._random.choice([least, most, self._random.randint(least, most)]))

    def _id(self):
        self._number += 1  # Ids differ within a message
        return f"ID{self._number}" + "x" * self._random.choice([0, 0, 8])

    def _emaid(self):
        return "DEABC" + "".join(self._random.choices("0123456789ABCXYZ", k=self._random.randint(9, 10)))

    def _text(self, most):
        # No space at either end: an XML reader of some codecs strips it.
        return "CN" + "".join(self._random.choices(_LETTERS, k=self._random.randint(0, most))) + "."
