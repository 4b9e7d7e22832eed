"""XML signatures in EXI (XML-Signature 4; ISO 15118-2 7.9.2.4.2, ISO 15118-20 7.9.2.4): made by a signer, and verified.

A reference holds the hash of one element's EXI fragment; the signature is over SignedInfo, encoded with the schema of
XML-Signature alone. The key's algorithm says which hash and which identifiers belong to it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pki_core.model.contracts import IdentifiedOctets, MessageSignature, SignedInfo, SignedReference
from pki_core.model.errors import CsrRejectedError, SignatureInvalidError
from pki_core.model.signer import KeyAlgorithm, Signer
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.exi_bits import BitWriter
from pki_core.wire.exi_grammar import Attribute, Child, Closed, Content, Element, Kept, element_of
from pki_core.wire.exi_values import Octets, Text, Type
from pki_core.wire.public_key import load_public_key

EXI_HEADER = 0x80  # EXI 5: no cookie, no options, final version 1
CANONICAL_EXI = "http://www.w3.org/TR/canonical-exi/"  # [V2G2-766], [V2G20-766]

ID = Text(64)
_URI = Text(256)
_MOST_REFERENCES = 8  # four are the most a message of ours has
_ID_ATTRIBUTE = Attribute("Id", "id", ID, required=False)


def _algorithm(code: int, productions: int) -> Kept:
    closed = Closed(code, productions)
    return Kept(Element(None, attributes=(Attribute("Algorithm", "value", _URI),), content=closed))


_TRANSFORMS = Kept(Element(None, Child("Transform", "value", _algorithm(2, 4), 1, 0, 1)))  # [V2G2-767]: one
_REFERENCE = Element(
    SignedReference,
    Child("Transforms", "transforms", _TRANSFORMS, 0),
    Child("DigestMethod", "digest_method", _algorithm(1, 3)),
    Child("DigestValue", "digest", element_of(Octets(64))),
    attributes=(
        _ID_ATTRIBUTE,
        Attribute("Type", "type", _URI, required=False),
        Attribute("URI", "uri", _URI, required=False),
    ),
)
_SIGNED_INFO = Element(
    SignedInfo,
    Child("CanonicalizationMethod", "canonicalization_method", _algorithm(1, 3)),
    Child("SignatureMethod", "signature_method", _algorithm(2, 4)),
    Child("Reference", "references", _REFERENCE, 1, 0, _MOST_REFERENCES),
    attributes=(_ID_ATTRIBUTE,),
)
_VALUE = Element(IdentifiedOctets, attributes=(_ID_ATTRIBUTE,), content=Content("value", Octets(132)))  # P-521: 2 x 66
SIGNATURE = Element(
    MessageSignature,
    Child("SignedInfo", "signed_info", _SIGNED_INFO),
    Child("SignatureValue", "value", _VALUE),
    Child("KeyInfo", "", None, 0),  # [V2G2-771], [V2G20-771]: neither this nor the next
    Child("Object", "", None, 0, 0),
    attributes=(_ID_ATTRIBUTE,),
)


@dataclass(frozen=True, slots=True)
class Suite:
    """How messages are signed with keys of one algorithm."""

    signature_method: str
    digest_method: str
    digest: Callable[[bytes], bytes]
    digest_octets: int
    value_octets: int
    is_pair: bool = True  # r and s side by side, not as DER has them

    def info(self, digests: Mapping[str, bytes]) -> SignedInfo:
        """Return what refers to parts by their Ids, in the order given."""
        return SignedInfo(
            canonicalization_method=CANONICAL_EXI,
            signature_method=self.signature_method,
            references=tuple(
                SignedReference(
                    uri=f"#{name}", transforms=(CANONICAL_EXI,), digest_method=self.digest_method, digest=digest
                )
                for name, digest in digests.items()
            ),
        )

    def signature(self, digests: Mapping[str, bytes], value: bytes) -> MessageSignature:
        """Return a signature as messages hold it."""
        return MessageSignature(signed_info=self.info(digests), value=IdentifiedOctets(value=value))


_SUITES = {
    # by V2G2-769 and V2G2-770
    KeyAlgorithm.SECP256R1: Suite(
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        "http://www.w3.org/2001/04/xmlenc#sha256",
        lambda octets: hashlib.sha256(octets).digest(),
        32,
        64,
    ),
    # by V2G20-2473 and V2G20-2475
    KeyAlgorithm.SECP521R1: Suite(
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
        "http://www.w3.org/2001/04/xmlenc#sha512",
        lambda octets: hashlib.sha512(octets).digest(),
        64,
        132,
    ),
    # by V2G20-2474 and V2G20-2476; the length of the hash is RFC 8702 3.1's, ISO 15118-20 names none.
    KeyAlgorithm.ED448: Suite(
        "urn:iso:std:iso:15118:-20:Security:xmldsig#Ed448",
        "urn:iso:std:iso:15118:-20:Security:xmlenc#SHAKE256",
        lambda octets: hashlib.shake_256(octets).digest(64),
        64,
        114,
        is_pair=False,
    ),
}


def fragment(code: int, end: int, width: int, element: Type, named: tuple[str, object]) -> bytes:
    """Return an element as an EXI fragment (EXI 8.5.2); the codes are the schema's, ``named`` is name and value."""
    writer = BitWriter()
    writer.bits(EXI_HEADER, 8)
    writer.bits(code, width)
    element.write(writer, named[1], named[0])
    writer.bits(end, width)
    return writer.finish()


def signed_info_exi(signed_info: SignedInfo) -> bytes:
    """Return what is signed: SignedInfo as a fragment of the schema of XML-Signature (46 elements, 6 bits)."""
    return fragment(32, 46, 6, _SIGNED_INFO, ("SignedInfo", signed_info))


def suite_of(algorithm: KeyAlgorithm) -> Suite:
    """Return how messages are signed with a key's algorithm."""
    return _SUITES[algorithm]


def sign_each(parts: Sequence[Mapping[str, bytes]], signer: Signer) -> list[MessageSignature]:
    """Return a signature over each message's fragments by their Ids, referred to in the order given.

    The signer is called once for all of them; errors as of ``signature_values``.
    """
    suite = suite_of(signer.algorithm)
    digests = [{name: suite.digest(exi) for name, exi in fragments.items()} for fragments in parts]
    values = signature_values([signed_info_exi(suite.info(one)) for one in digests], signer)
    return [suite.signature(one, value) for one, value in zip(digests, values, strict=True)]


def signature_values(infos: Sequence[bytes], signer: Signer) -> list[bytes]:
    """Return signatures over SignedInfo, each as written, by one call of the signer; verified before they leave.

    Raises:
        SignatureInvalidError: one of the token's signatures does not verify; none may be used.
        HsmUnavailableError: the token is away.
    """
    suite, key = suite_of(signer.algorithm), load_public_key(signer.spki_der)[1]
    values = []
    for info, value in zip(infos, signer.sign(infos), strict=True):
        if not signature_is_valid(key, signer.algorithm, info, value):
            raise SignatureInvalidError(f"key {signer.label} made a signature that does not verify")
        values.append(_side_by_side(value, suite.value_octets) if suite.is_pair else value)
    return values


def _side_by_side(value: bytes, octets: int) -> bytes:
    r, s = decode_dss_signature(value)
    return r.to_bytes(octets // 2) + s.to_bytes(octets // 2)


def signature_fault(signature: MessageSignature | None, fragments: Mapping[str, bytes], spki_der: bytes) -> str:
    """Say what keeps a signature from being one over exactly these fragments by this public key; "" when nothing.

    Every fragment has to be referred to once, and nothing else: what is not signed must not be believed.
    """
    if signature is None:
        return "the message is not signed"
    try:
        algorithm, key = load_public_key(spki_der)
    except CsrRejectedError as error:
        return f"the signing key cannot be used: {error}"
    suite, signed_info = _SUITES[algorithm], signature.signed_info
    if fault := _reference_fault(signed_info, fragments, suite):
        return fault
    value = signature.value.value
    if suite.is_pair:
        r, s = value[: suite.value_octets // 2], value[suite.value_octets // 2 :]
        if len(r) != len(s):
            return "the signature value is not r and s side by side"
        value = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    if not signature_is_valid(key, algorithm, signed_info_exi(signed_info), value):
        return "the signature does not verify with the public key"
    return ""


def _reference_fault(signed_info: SignedInfo, fragments: Mapping[str, bytes], suite: Suite) -> str:
    if (signed_info.canonicalization_method, signed_info.signature_method) != (CANONICAL_EXI, suite.signature_method):
        return "the signature is not made in the way that belongs to the key"
    if sorted(reference.uri or "" for reference in signed_info.references) != sorted(f"#{name}" for name in fragments):
        return "the signature is not over the parts of the message that have to be signed"
    for reference in signed_info.references:
        if (reference.transforms, reference.digest_method) != ((CANONICAL_EXI,), suite.digest_method):
            return f"the reference to {reference.uri} is not hashed in the way that belongs to the key"
        if reference.digest != suite.digest(fragments[(reference.uri or "")[1:]]):
            return f"what {reference.uri} refers to was changed after it was signed"
    return ""
