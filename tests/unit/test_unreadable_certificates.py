"""Certificates of others with an octet changed anywhere: each reader reads them or refuses them in one way."""

import base64
import json
from functools import partial
from pathlib import Path

import pytest

from pki_core.model.contracts import CertificateChain
from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.wire.certificate_facts import read_facts
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.contract_data import end_of, public_key_of
from pki_core.wire.contract_key import identity_of, vehicle_key_of
from pki_core.wire.contract_xml import decode_xml
from pki_core.wire.csr_body import same_names
from pki_core.wire.foreign_status import read_foreign
from pki_core.wire.pool_certificate import alternative_public_key, domain_components_of, leaf_fault, read_certificate
from pki_core.wire.root_facts import read_root_facts
from pki_core.wire.shown_certificate import serial_of
from pki_core.wire.trust_anchors import TrustAnchors, path_to_anchor
from tests.builders import make_csr, new_key
from tests.unit.foreign_ca import NOW, ForeignCa, der

GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "contract_data_2.json").read_text(encoding="utf-8"))
REAL = base64.b64decode(GOLDEN["keys"]["oem"]["cert"])
ABOVE = base64.b64decode(GOLDEN["keys"]["oem2"]["cert"])
ANCHORS = TrustAnchors(roots=(ForeignCa().certificate,), below=())
READERS = {
    "facts": read_facts,
    "subject": subject_text,
    "public-key": public_key_of,
    "end": lambda octets: end_of(CertificateChain(certificate_der=octets)),
    "identity": identity_of,
    "vehicle-key": vehicle_key_of,
    "foreign": lambda octets: read_foreign(octets, ABOVE),
    "foreign-issuer": partial(read_foreign, REAL),
    "alternative-key": alternative_public_key,
    "components": domain_components_of,
    "leaf": leaf_fault,
    "pool": read_certificate,
    "root": read_root_facts,
    "serial": serial_of,
    "anchor": lambda octets: path_to_anchor(octets, ANCHORS, NOW),
    "same-subject": partial(same_names, make_csr("x", new_key())),
}
VALUES = (0, 3, 0x1F, 0x80, 0xFF)


def changed():
    """The certificate with one octet changed, tags and lengths above all."""
    for place in range(len(REAL)):
        for value in (*VALUES, REAL[place] ^ 1):
            octets = bytearray(REAL)
            octets[place] = value
            yield bytes(octets)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # odd serials
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_certificate_with_an_octet_changed_is_read_or_refused_in_one_way(reader):
    for octets in changed():
        try:
            reader(octets)
        except (MalformedError, CsrRejectedError):
            continue


def test_an_empty_key_usage_is_refused():
    at = REAL.index(bytes.fromhex("0603551d0f0101ff0404")) + 10
    with pytest.raises(MalformedError):
        leaf_fault(bytes([*REAL[: at + 1], 0, *REAL[at + 2 :]]))


@pytest.mark.parametrize("octets", [der(ForeignCa().certificate)[:-1], b"", b"\x30\x00"])
@pytest.mark.parametrize("reader", [read_certificate, vehicle_key_of, read_facts, read_root_facts])
def test_pieces_of_certificates_are_refused(reader, octets):
    with pytest.raises(MalformedError):
        reader(octets)


@pytest.mark.parametrize("encoding", ["UTF-9", "hex", "undefined", "utf-7"])
def test_xml_is_utf_8_whatever_encoding_it_declares(encoding):
    with pytest.raises(MalformedError, match="no V2G_Message"):
        decode_xml(f"<?xml version='1.0' encoding='{encoding}'?><a/>".encode())
