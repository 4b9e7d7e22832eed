"""Sample data: contract CSRs as a mobility operator would upload them, with rows wrong in a dozen different ways."""

import base64
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pki_core.model.emaid_check_digit import emaid_check_digit

PREFIX = "DEPNC"
_ORGANIZATION = "Demo Mobility"
_EVERY_OTHER_FORM = 3  # PEM, one-line base64 and hex take turns

Row = tuple[str, str, str]  # row_id, csr, identifier
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def sample_emaid(number: int) -> str:
    """Return the EMAID of a sample row: 15 characters with its check digit."""
    canonical = f"{PREFIX}C{number:08d}"
    return canonical + emaid_check_digit(canonical)


def sample_csr(common_name: str, key: Key | None = None, organization: str = _ORGANIZATION) -> bytes:
    """Return a contract CSR in DER, signed with its own (new) key."""
    parts = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, organization)]
    if common_name:
        parts.append((NameOID.COMMON_NAME, common_name))
    name = x509.Name([x509.NameAttribute(oid, text, _validate=False) for oid, text in parts])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def write_sample(path: Path, rows: int, bad: int = 12, first: int = 1) -> None:
    """Write a CSV batch; wrong rows are spread evenly, each wrong in another way, over and over."""
    kinds = list(_BAD_ROWS.values())
    step = rows // bad if bad else rows + 1
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("row_id", "csr", "identifier"))
        before: Row = ("", "", "")
        for number in range(rows):
            row = _good_row(first + number)
            if bad and number % step == step - 1 and number // step < bad:
                row = kinds[number // step % len(kinds)](row, before)
            writer.writerow(row)
            before = row


def sample_rows(rows: int, first: int = 1) -> Iterator[Row]:
    """Yield good rows."""
    return (_good_row(number) for number in range(first, first + rows))


def _good_row(number: int) -> Row:
    emaid = sample_emaid(number)
    der = sample_csr(emaid)
    forms = (base64.b64encode(der).decode(), _pem(der), der.hex())
    return f"contract-{number:06d}", forms[number % _EVERY_OTHER_FORM], emaid


def _pem(der: bytes) -> str:
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def _with_csr(make: Callable[[str], bytes]) -> Callable[[Row, Row], Row]:
    """A row whose request is made from the row's own EMAID, in one wrong way."""
    return lambda row, _before: (row[0], base64.b64encode(make(row[2])).decode(), "")


def _bad_signature(row: Row, _before: Row) -> Row:
    der = bytearray(sample_csr(row[2]))
    der[-1] ^= 0x01
    return row[0], base64.b64encode(der).decode(), row[2]


def _off_curve(row: Row, _before: Row) -> Row:
    key = ec.generate_private_key(ec.SECP256R1())
    der = sample_csr(row[2], key)
    x = key.public_key().public_numbers().x.to_bytes(32, "big")
    start = der.index(x) + 32
    return row[0], base64.b64encode(der[:start] + bytes(32) + der[start + 32 :]).decode(), row[2]


_BAD_ROWS: dict[str, Callable[[Row, Row], Row]] = {
    "not decodable": lambda row, _: (row[0], "this is not a request", row[2]),
    "not a request": lambda row, _: (row[0], base64.b64encode(b"0\x82\x01\x00garbage").decode(), row[2]),
    "empty": lambda row, _: (row[0], "", row[2]),
    "bad signature": _bad_signature,
    "RSA key": _with_csr(lambda emaid: sample_csr(emaid, rsa.generate_private_key(65537, 2048))),
    "wrong curve": _with_csr(lambda emaid: sample_csr(emaid, ec.generate_private_key(ec.SECP384R1()))),
    "weak key": _with_csr(lambda emaid: sample_csr(emaid, ec.derive_private_key(7, ec.SECP256R1()))),
    "point off the curve": _off_curve,
    "not an EMAID": _with_csr(lambda _: sample_csr("DE*PNC*E12345")),
    "another operator's EMAID": _with_csr(lambda emaid: sample_csr("DEXYZ" + emaid[5:14])),
    "no common name": _with_csr(lambda _: sample_csr("")),
    "same request again": lambda row, before: (row[0], before[1], before[2]),
    "other identifier expected": lambda row, _: (row[0], row[1], sample_emaid(99999999)),
    "organization too long": _with_csr(lambda emaid: sample_csr(emaid, organization="x" * 65)),
}
