"""A vehicle that asks for a contract and installs it, for ISO 15118-2 and -20, with a provisioning key in software.

It believes nothing: chains end in roots it knows, signatures are a provisioning service's, and the key it is sent has
to be the contract certificate's.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed448, x448
from cryptography.x509.oid import NameOID

from pki_core.model.contracts import (
    AadForm,
    CertificateChain,
    Header2,
    Header20,
    InstallationRequest2,
    InstallationRequest20,
    KeyEnvelope,
    Message2,
)
from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message, encode_message, message_fault, sign_message
from pki_core.wire.contract_envelope import associated_data, unwrap_2, unwrap_20
from tests.builders import MemorySigner, spki
from tests.edwards448 import public_octets

SESSION = bytes.fromhex("69fc09895168c8b2")


class InstallationRefusedError(Exception):
    """The vehicle does not install what it was sent; the text says why."""


class Vehicle:
    """One vehicle. ``agreement_key`` is the X448 key beside an Ed448 or P-521 one, where there is one."""

    def __init__(self, oem, algorithm, roots, *, agreement_key=None, aad_form=AadForm.PCID_SKI_HEX):
        self.chain = oem.chain()
        self.roots = list(roots)
        self.agreement_key = agreement_key or oem.key
        self.aad_form = aad_form
        self.pcid = common_name(oem.certificate)
        self._signer = MemorySigner(algorithm)
        self._signer.key = oem.key
        self.installed = {}  # EMAID -> private key and chain

    def request_2(self, session_id=SESSION):
        """A signed CertificateInstallationReq of ISO 15118-2."""
        body = InstallationRequest2(
            id="ID1", oem_certificate_der=self.chain.certificate_der, roots=tuple(root.root_id for root in self.roots)
        )
        return encode_message(sign_message(Message2(header=Header2(session_id=session_id), body=body), self._signer))

    def request_20(self, session_id=SESSION, timestamp=1_770_000_000, emaids=(), most=3):
        """A signed CertificateInstallationReq of ISO 15118-20."""
        request = InstallationRequest20(
            header=Header20(session_id=session_id, timestamp=timestamp),
            oem_chain=CertificateChain(
                id="id1",
                certificate_der=self.chain.certificate_der,
                sub_certificates_der=self.chain.sub_certificates_der,
            ),
            roots=tuple(root.root_id for root in self.roots),
            most_contract_chains=most,
            prioritized_emaids=tuple(emaids),
        )
        return encode_message(sign_message(request, self._signer))

    def install_2(self, exi, now, session_id=SESSION):
        """Check an answer of ISO 15118-2, keep its contract, and return its EMAID."""
        message = decode_message(Edition.ISO_2, exi)
        self._check_answer(message, message.body, session_id, now)
        body = message.body
        envelope = KeyEnvelope(
            dh_public_key=body.dh_public_key.value, encrypted_private_key=body.encrypted_private_key.value
        )
        key = opened(unwrap_2, envelope, self.agreement_key)
        emaid = self._keep(body.contract_chain, key, now)
        refuse_unless(emaid == body.emaid.value, "the certificate is for another EMAID")
        return emaid

    def install_20(self, exi, now, session_id=SESSION):
        """Check an answer of ISO 15118-20, keep its contract, and return its EMAID."""
        message = decode_message(Edition.ISO_20, exi)
        self._check_answer(message, message, session_id, now)
        data = message.installation_data
        encrypted = data.secp521_encrypted_private_key or data.x448_encrypted_private_key
        envelope = KeyEnvelope(dh_public_key=data.dh_public_key, encrypted_private_key=encrypted)
        contract = x509.load_der_x509_certificate(data.contract_chain.certificate_der)
        key_identifier = contract.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        bound_to = associated_data(self.aad_form, self.pcid, key_identifier)
        key = opened(unwrap_20, envelope, self.agreement_key, bound_to)
        return self._keep(data.contract_chain, key, now)

    def _check_answer(self, message, content, session_id, now):
        refuse_unless(message.header.session_id == session_id, "the answer is for another session")
        refuse_unless(content.response_code == "OK", f"the answer is {content.response_code}")
        leaf = self._check_chain(content.cps_chain, now)
        branches = [part.value for part in leaf.subject.get_attributes_for_oid(NameOID.DOMAIN_COMPONENT)]
        refuse_unless(branches == ["CPS"], "the signer is no provisioning service")
        fault = message_fault(message, content.cps_chain.certificate_der)
        refuse_unless(not fault, fault)

    def _check_chain(self, chain, now):
        """Every certificate is valid now and signed by the next, the last by a root this vehicle knows."""
        path = [x509.load_der_x509_certificate(der) for der in (chain.certificate_der, *chain.sub_certificates_der)]
        roots = [root for root in self.roots if root.certificate.subject == path[-1].issuer]
        refuse_unless(len(roots) == 1, "the chain ends in no root of mine")
        for subject, issuer in zip(path, [*path[1:], roots[0].certificate], strict=True):
            refuse_unless(
                subject.not_valid_before_utc <= now <= subject.not_valid_after_utc, "a certificate is not valid"
            )
            constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
            refuse_unless(constraints.ca, "a certificate is signed by one that is no CA")
            try:
                subject.verify_directly_issued_by(issuer)
            except (InvalidSignature, ValueError) as error:
                raise InstallationRefusedError("a certificate is not signed by the next one") from error
        return path[0]

    def _keep(self, chain, key, now):
        leaf = self._check_chain(chain, now)
        refuse_unless(belongs_to(key, leaf), "the key is not the contract certificate's")
        emaid = common_name(leaf)
        self.installed[emaid] = (key, chain)
        return emaid


def belongs_to(key, leaf):
    """An X448 key is the scalar of an Ed448 certificate's key; any other one is the key itself."""
    own = leaf.public_key()
    if isinstance(key, x448.X448PrivateKey) and isinstance(own, ed448.Ed448PublicKey):
        return public_octets(int.from_bytes(key.private_bytes_raw(), "little")) == own.public_bytes_raw()
    return spki(leaf) == spki(key)


def opened(unwrap, *arguments):
    try:
        return unwrap(*arguments)
    except MalformedError as error:
        raise InstallationRefusedError(str(error)) from error


def refuse_unless(condition, reason):
    if not condition:
        raise InstallationRefusedError(reason)


def common_name(certificate):
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return attribute.value
