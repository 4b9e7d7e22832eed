"""Builders: requests, issuers, profiles and DER, valid by default; a test changes one thing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from pki_core.issuance.issuer import Draft, Issuer
from pki_core.issuance.load import EnvironmentValues, load_profiles
from pki_core.model.issuers import IssuerRecord
from pki_core.model.partners import Partner
from pki_core.model.profiles import Edition, Level
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.csr import parse_csr

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EMAID = "DEPNCC00000001A"  # with its check digit
VALUES = EnvironmentValues(
    ocsp_url="http://ocsp.test/v2g",
    ca_issuers_url="http://ca.test/{issuer}.cer",
    crl_url="http://crl.test/{issuer}.crl",
    policy_oid="1.3.6.1.4.1.59999.7.1",
    cps_uri="http://ca.test/cps",
)
PARTNER = Partner(
    id="test-mo",
    roles=frozenset({"mo"}),
    provider_prefixes=frozenset({"DEPNC"}),
    operator_prefixes=frozenset({"DEPNC"}),
    wmis=frozenset({"WPN"}),
)
SIGNATURE_HASH = {KeyAlgorithm.SECP256R1: hashes.SHA256(), KeyAlgorithm.SECP521R1: hashes.SHA512()}
_CURVES = {KeyAlgorithm.SECP256R1: ec.SECP256R1(), KeyAlgorithm.SECP521R1: ec.SECP521R1()}


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, moment=NOW):
        self.moment = moment

    def now(self):
        return self.moment

    def advance(self, **duration):
        self.moment += timedelta(**duration)


class MemorySigner:
    """A private key in memory."""

    def __init__(self, algorithm=KeyAlgorithm.SECP256R1, label="test-key"):
        self.label, self.algorithm = label, algorithm
        self.key = new_key(algorithm)
        self.signed = []

    @property
    def spki_der(self):
        return spki(self.key)

    def sign(self, messages):
        self.signed += messages
        return [sign(self.key, message) for message in messages]


def new_key(algorithm=KeyAlgorithm.SECP256R1):
    if algorithm is KeyAlgorithm.ED448:
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[algorithm])


def some_key(algorithm=KeyAlgorithm.SECP256R1):
    """One key an algorithm, where it does not matter which."""
    return _kept_key(algorithm)


@cache
def _kept_key(algorithm):
    return new_key(algorithm)


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key, message, digest=None):
    if isinstance(key, ed448.Ed448PrivateKey):
        return key.sign(message)
    natural = hashes.SHA256() if key.curve.name == "secp256r1" else hashes.SHA512()
    return key.sign(message, ec.ECDSA(digest or natural))


# --- profiles and issuers


@cache
def profiles(*switches):
    return load_profiles(replace(VALUES, switches=frozenset(switches)))


def profile(name="contract_leaf", *switches, subject=None, extensions=None, **changes):
    """A shipped profile with some of its fields changed."""
    resolved = profiles(*switches)[name]
    if subject:
        changes["subject"] = replace(resolved.subject, **subject)
    if extensions:
        changes["extensions"] = replace(resolved.extensions, **extensions)
    return replace(resolved, **changes)


def issuer_record(signer, level=Level.SUB2, edition=Edition.ISO_2, **changes):
    label = f"mo-{level}"
    fields = {
        "id": 7,
        "label": label,
        "branch": "mo",
        "edition": edition,
        "level": level,
        "algorithm": signer.algorithm,
        "parent_id": 6,
        "key_label": signer.label,
        "subject_der": issuer_name(label).public_bytes(),
        "spki_der": signer.spki_der,
        "key_identifier": bytes.fromhex("4123456789abcdef"),
        "certificate_der": b"0",
        "not_before": NOW - timedelta(days=30),
        "not_after": NOW + timedelta(days=9 * 365),
    }
    return IssuerRecord(**{**fields, **changes})


def issuer_name(label):
    return name(("C", "DE"), ("O", "pncpki test"), ("CN", f"CA {label}"))


def issuer_for(wanted, algorithm=None, signer=None, **changes):
    """An issuer, its key in memory, that issues by a profile."""
    signer = signer or MemorySigner(algorithm or wanted.key_algorithms[0])
    level = wanted.issuer_level or Level.ROOT
    return Issuer(issuer_record(signer, level, wanted.edition, **changes), signer, serial_prefix=1)


def draft(common_name=EMAID, key=None, subject=None, **changes):
    subject = subject or (("C", "DE"), ("O", "Test Mobility"), ("DC", "MO"), ("CN", common_name))
    return Draft(reference="row-1", subject=subject, spki_der=spki(key or some_key()), **changes)


def prepare(issuer, wanted, *drafts, now=NOW):
    return issuer.prepare(wanted, wanted.hash, drafts or [draft()], now)


# --- names and requests

_NAME_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "CN": NameOID.COMMON_NAME,
}
_PRINTABLE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")  # X.680 41.4
_KINDS = {string.value: string for string in x509.name._ASN1Type}


def name(*parts):
    """A Name as our certificates encode it: PrintableString where it is enough, else UTF8String; DC is IA5String."""
    return x509.Name([attribute(short, text) for short, text in parts])


def attribute(short, text, kind=None):
    if kind is None:
        kind = 0x16 if short == "DC" else 0x13 if _PRINTABLE.issuperset(text.encode()) else 0x0C
    return x509.NameAttribute(_NAME_OIDS[short], text, _type=_KINDS[kind], _validate=False)


def make_csr(common_name=EMAID, key=None, subject=None, digest=None, extensions=()):
    """A contract request in DER; ``subject`` replaces the whole name."""
    key = key or some_key()
    subject = subject or name(("C", "DE"), ("O", "Test Mobility"), ("CN", common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if not isinstance(key, ed448.Ed448PrivateKey):
        digest = digest or (hashes.SHA256() if key.key_size < 384 else hashes.SHA512())
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def request(common_name=EMAID, key=None, reference="row-1", expected="", **csr):
    """A parsed contract request."""
    return parse_csr(reference, make_csr(common_name, key, **csr), expected)


ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
INTEGER, BIT_STRING, OCTET_STRING, OID, UTF8, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x30, 0x31


def raw_csr(key=None, **parts):
    """A request put together by hand and signed as it stands: version, subject, spki, attributes, algorithm, tail."""
    key = key or some_key()
    info = sequence(
        parts.get("version", tlv(INTEGER, b"\0")),
        parts.get("subject", name(("C", "DE"), ("CN", EMAID)).public_bytes()),
        parts.get("spki", spki(key)),
        parts.get("attributes", tlv(0xA0, b"")),
    )
    signature = tlv(BIT_STRING, b"\0" + sign(key, info))
    return sequence(info, parts.get("algorithm", ECDSA_SHA256), parts.get("signature", signature))


# --- DER, by hand


def tlv(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*elements):
    return tlv(SEQUENCE, b"".join(elements))


def content_of(der):
    """What is inside a TLV."""
    start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[start:]


def elements_of(der):
    """The elements of a constructed TLV."""
    rest, elements = content_of(der), []
    while rest:
        size = rest[1] if rest[1] < 0x80 else int.from_bytes(rest[2 : 2 + (rest[1] & 0x7F)], "big")
        end = size + (2 if rest[1] < 0x80 else 2 + (rest[1] & 0x7F))
        elements.append(rest[:end])
        rest = rest[end:]
    return elements
