"""OCSP requests byte by byte, valid by default, and responses read back by a library that is not ours."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import algos, core, keys, ocsp, x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki_core.model.signer import KeyAlgorithm
from tests.builders import SIGNATURE_HASH

HASHES = ("sha1", "sha256", "sha384", "sha512")
NONCE = "1.3.6.1.5.5.7.48.1.2"
ACCEPTABLE = "1.3.6.1.5.5.7.48.1.4"
SERVICE_LOCATOR = "1.3.6.1.5.5.7.48.1.7"
PREFERRED = "1.3.6.1.5.5.7.48.1.8"


def tlv(tag, *contents):
    """One element with the shortest length."""
    content = b"".join(contents)
    size = len(content)
    length = bytes([size]) if size < 128 else size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (length if size < 128 else bytes([0x80 | len(length)]) + length) + content


def integer(value):
    return core.Integer(value).dump()


def oid(dotted):
    return core.ObjectIdentifier(dotted).dump()


def extension(dotted, value, *, critical=False):
    return tlv(0x30, oid(dotted), tlv(0x01, b"\xff") if critical else b"", tlv(0x04, value))


def nonce(value, **switches):
    return extension(NONCE, tlv(0x04, value), **switches)


def hash_algorithm(name, parameters=b"\x05\x00"):
    return tlv(0x30, oid(algos.DigestAlgorithmId.unmap(name)), parameters)


def certificate_id(issuer, serial, name="sha1", **changes):
    """A CertID; ``issuer`` has subject_der and spki_der."""
    bits = keys.PublicKeyInfo.load(issuer.spki_der)["public_key"].contents[1:]
    fields = {
        "algorithm": hash_algorithm(name),
        "name_hash": hashlib.new(name, issuer.subject_der).digest(),
        "key_hash": hashlib.new(name, bits).digest(),
        "serial": serial if isinstance(serial, bytes) else integer(serial),
    }
    fields.update(changes)
    return tlv(
        0x30, fields["algorithm"], tlv(0x04, fields["name_hash"]), tlv(0x04, fields["key_hash"]), fields["serial"]
    )


def single(id_der, *extensions):
    return tlv(0x30, id_der, tlv(0xA0, tlv(0x30, *extensions)) if extensions else b"")


def request(*id_ders, extensions=(), before=b"", after=b"", requests=None):
    """A request for CertIDs; ``before`` and ``after`` stand around the TBSRequest's list and the TBSRequest."""
    requests = tlv(0x30, *(requests or [single(one) for one in id_ders]))
    tail = tlv(0xA2, tlv(0x30, *extensions)) if extensions else b""
    return tlv(0x30, tlv(0x30, before, requests, tail), after)


@dataclass
class Single:
    """One SingleResponse as asn1crypto reads it."""

    id_der: bytes
    status: str
    revoked_at: datetime | None
    reason: str | None
    has_reason: bool
    this_update: datetime
    next_update: datetime
    archive_cutoff: datetime | None
    critical: bool


class Response:
    """A response as asn1crypto reads it, strictly."""

    def __init__(self, der):
        self.der = der
        parsed = ocsp.OCSPResponse.load(der, strict=True)
        self.status = parsed["response_status"].native
        if self.status != "successful":
            assert len(der) == 5
            return
        self.basic = ocsp.BasicOCSPResponse.load(bytes(parsed["response_bytes"]["response"]), strict=True)
        self.data = self.basic["tbs_response_data"]
        self.produced_at = self.data["produced_at"].native
        self.certificates = [one.dump() for one in self.basic["certs"] or ()]
        self.singles = [_single(one) for one in self.data["responses"]]

    @property
    def nonce(self):
        for one in self.data["response_extensions"] or ():
            if one["extn_id"].dotted == NONCE:
                return core.OctetString.load(one["extn_value"].contents).native
        return None

    @property
    def statuses(self):
        return [one.status for one in self.singles]

    def is_signed_by(self, certificate_der):
        """Whether the signature verifies with a certificate's key, by its natural algorithm."""
        spki = x509.Certificate.load(certificate_der)["tbs_certificate"]["subject_public_key_info"]
        key = load_der_public_key(spki.dump())
        signed = self.data.dump()
        signature = self.basic["signature"].native
        if spki["algorithm"]["algorithm"].native == "ed448":
            key.verify(signature, signed)
        else:
            from cryptography.hazmat.primitives.asymmetric import ec

            key.verify(signature, signed, ec.ECDSA(SIGNATURE_HASH[KeyAlgorithm(key.curve.name)]))
        return True


def _single(one):
    status = one["cert_status"]
    revoked = status.name == "revoked"
    extensions = {ext["extn_id"].dotted: ext for ext in one["single_extensions"] or ()}
    cutoff = extensions.get("1.3.6.1.5.5.7.48.1.6")
    return Single(
        id_der=one["cert_id"].dump(),
        status=status.name,
        revoked_at=status.chosen["revocation_time"].native if revoked else None,
        reason=status.chosen["revocation_reason"].native if revoked else None,
        has_reason=revoked and bool(status.chosen["revocation_reason"].contents),
        this_update=one["this_update"].native,
        next_update=one["next_update"].native,
        archive_cutoff=core.GeneralizedTime.load(cutoff["extn_value"].contents).native if cutoff else None,
        critical=any(ext["critical"].native for ext in extensions.values()),
    )


def seconds(moment):
    return int(moment.astimezone(UTC).timestamp())
