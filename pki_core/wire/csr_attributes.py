"""CSR attributes (RFC 7030 4.5, RFC 9908): what a request for a profile should look like, told to the client.

Two forms side by side: the list that RFC 7030 clients read, and the template of RFC 9908 3.4 for those that know it.
No extension is asked for: the profile alone decides what a certificate carries.
"""

from cryptography import x509
from cryptography.hazmat import asn1

from pki_core.model.profiles import Profile
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import SIGNATURE_ALGORITHM_DER, name_der
from pki_core.wire.cms import tlv

_SEQUENCE, _SET, _SPKI, _ATTRIBUTES = 0x30, 0x31, 0xA0, 0xA1  # the last two: RFC 9908 3.4, IMPLICIT [0] and [1]
_VERSION_1 = b"\x02\x01\x00"
_ATTRIBUTE_OIDS = {"C": "2.5.4.6", "O": "2.5.4.10", "OU": "2.5.4.11", "L": "2.5.4.7", "ST": "2.5.4.8", "CN": "2.5.4.3"}


@asn1.sequence
class _Oid:
    id: x509.ObjectIdentifier


def _oid(dotted: str) -> bytes:
    return asn1.encode_der(_Oid(id=x509.ObjectIdentifier(dotted)))[2:]


_CHALLENGE_PASSWORD = _oid("1.2.840.113549.1.9.7")
_EC_PUBLIC_KEY = _oid("1.2.840.10045.2.1")
_ED448 = _oid("1.3.101.113")
_TEMPLATE = _oid("1.2.840.113549.1.9.16.2.61")  # id-aa-certificationRequestInfoTemplate
_CURVES = {KeyAlgorithm.SECP256R1: _oid("1.2.840.10045.3.1.7"), KeyAlgorithm.SECP521R1: _oid("1.3.132.0.35")}


def csr_attributes(profile: Profile, algorithm: KeyAlgorithm, *, linking_required: bool) -> bytes:
    """Return CsrAttrs as DER: key, signature algorithm, names, and the challengePassword where linking is required."""
    listed = [_CHALLENGE_PASSWORD] if linking_required else []  # RFC 7030 4.5.2: policy "required" must be announced
    curve = _CURVES.get(algorithm)
    # RFC 9908 3.2: the key type is exactly one attribute.
    key = _ED448 if curve is None else tlv(_SEQUENCE, _EC_PUBLIC_KEY + tlv(_SET, curve))
    listed.append(key)
    if curve is not None:
        listed.append(SIGNATURE_ALGORITHM_DER[algorithm][2:])
    listed.append(tlv(_SEQUENCE, _TEMPLATE + tlv(_SET, _template(profile, curve, linking_required=linking_required))))
    return tlv(_SEQUENCE, b"".join(listed))


def _template(profile: Profile, curve: bytes | None, *, linking_required: bool) -> bytes:
    rule = profile.subject
    empty = [name for name in ("C", "ST", "L", "O", "OU") if name in rule.require]
    rdns = [_empty_rdn(name) for name in empty]
    if rule.domain_component:
        named = name_der((("DC", rule.domain_component),))
        rdns.append(named[2:])  # one RDN, without the header of the Name
    rdns.append(_empty_rdn("CN"))
    spki = tlv(_SPKI, tlv(_SEQUENCE, _ED448 if curve is None else _EC_PUBLIC_KEY + curve))
    attributes = tlv(_SEQUENCE, _CHALLENGE_PASSWORD + _EMPTY_SET) if linking_required else b""
    return tlv(_SEQUENCE, _VERSION_1 + tlv(_SEQUENCE, b"".join(rdns)) + spki + tlv(_ATTRIBUTES, attributes))


_EMPTY_SET = tlv(_SET, b"")


def _empty_rdn(name: str) -> bytes:
    """Return an RDN without its value: the client fills it in."""
    return tlv(_SET, tlv(_SEQUENCE, _oid(_ATTRIBUTE_OIDS[name])))
