"""Real certificates of Hubject's V2G PKI all parse. They are not ours to ship: PNCPKI_VECTORS names the folder."""

import json
import os
import re
from hashlib import sha256
from pathlib import Path

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.certificate import signature_of, signed_bytes_of
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.pem import certificate_pem, pem_to_der

FOLDER = Path(os.environ.get("PNCPKI_VECTORS", "")) / "hubject_certificates"
pytestmark = pytest.mark.skipif("PNCPKI_VECTORS" not in os.environ, reason="PNCPKI_VECTORS names no folder of vectors")


def entries():
    if "PNCPKI_VECTORS" not in os.environ:
        return [{"file": "none"}]
    return json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


every_certificate = pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["file"])


def der_of(entry):
    return pem_to_der((FOLDER / entry["file"]).read_text(encoding="ascii"), ("CERTIFICATE",))


def parts_of(name):
    """The parts of a name in one line, in order, without a backslash before what needs none."""
    return [re.sub(r"\\(.)", r"\1", part.strip()) for part in re.split(r"(?<!\\),", name)]


def test_the_folder_holds_what_its_index_says():
    names = {entry["file"] for entry in entries()}
    assert names == {path.name for path in FOLDER.glob("*.pem")}
    assert len(names) > 50


@every_certificate
def test_a_real_certificate_parses_and_its_subject_is_the_recorded_one(entry):
    certificate_der = der_of(entry)
    assert (len(certificate_der), sha256(certificate_der).hexdigest()) == (entry["der_len"], entry["sha256"])
    assert parts_of(subject_text(certificate_der)) == parts_of(entry["subject"])


@every_certificate
def test_a_real_certificate_is_taken_apart_and_written_again(entry):
    certificate_der = der_of(entry)
    signed, signature = signed_bytes_of(certificate_der), signature_of(certificate_der)
    assert certificate_der.endswith(signature)
    assert certificate_der[4 : 4 + len(signed)] == signed
    assert pem_to_der(certificate_pem(certificate_der), ("CERTIFICATE",)) == certificate_der


@every_certificate
def test_a_real_certificate_that_was_cut_off_is_malformed(entry):
    with pytest.raises(MalformedError):
        subject_text(der_of(entry)[:-1])
