"""Other stacks agree: the Java codec and the vehicle side of the package iso15118, and an earlier codec of our own.

PNCPKI_ISO15118_PYTHON names a Python that has the package, in an environment of its own; the Java codec wants Java.
"""

import base64
import importlib.util
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message, encode_message, signed_parts
from pki_core.wire.contract_envelope import wrap_2
from pki_core.wire.exi_signature import signed_info_exi
from tests.interop.exi_json import Messages, fragments_json, message_json, signed_info_json

PYTHON = os.environ.get("PNCPKI_ISO15118_PYTHON", "")
PROTOTYPES = Path(os.environ.get("PNCPKI_VECTORS", "")) / ".." / "prototypes"
MESSAGES_2 = "urn:iso:15118:2:2013:MsgDef"
MESSAGES_20 = "urn:iso:std:iso:15118:-20:CommonMessages"
SIGNATURES = "http://www.w3.org/2000/09/xmldsig#"
needs_package = pytest.mark.skipif(not PYTHON, reason="PNCPKI_ISO15118_PYTHON names no Python with iso15118")
needs_java = pytest.mark.skipif(not PYTHON or not shutil.which("java"), reason="needs iso15118 and Java")
needs_prototype = pytest.mark.skipif(
    "PNCPKI_VECTORS" not in os.environ or not (PROTOTYPES / "exi2.py").is_file(), reason="no earlier codec here"
)


@contextmanager
def package():
    """A function that asks the package one question."""
    command = [PYTHON, str(Path(__file__).with_name("iso15118_child.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:

        def ask(**question):
            child.stdin.write(json.dumps(question) + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        try:
            yield ask
        finally:
            child.stdin.close()
            child.wait(timeout=30)


@pytest.fixture(scope="module")
def java():
    with package() as ask:
        yield ask


@pytest.fixture(scope="module")
def prototype():
    spec = importlib.util.spec_from_file_location("exi_prototype", PROTOTYPES / "exi2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def agrees_with_java(java, message):
    document, exi = message_json(message), encode_message(message)
    assert java(encode=document, namespace=MESSAGES_2)["exi"] == exi.hex()
    assert java(decode=exi.hex(), namespace=MESSAGES_2)["document"] == document
    assert decode_message(Edition.ISO_2, exi) == message


def fragments_agree_with_java(java, message):
    parts = signed_parts(message).values()
    for (name, element), part in zip(fragments_json(message.body).items(), parts, strict=True):
        assert java(encode={name: element}, namespace=MESSAGES_2)["exi"] == part.hex()
    if message.header.signature:
        signed_info = message.header.signature.signed_info
        document = {"SignedInfo": signed_info_json(signed_info)}
        assert java(encode=document, namespace=SIGNATURES)["exi"] == signed_info_exi(signed_info).hex()


def agrees_with_prototype(prototype, message):
    document, exi = message_json(message), encode_message(message)
    assert prototype.encode(document) == exi
    assert prototype.decode(exi) == document


@needs_java
@pytest.mark.slow
def test_generated_messages_are_the_java_codecs_bit_by_bit(java):
    for message in Messages("short").many(8):
        agrees_with_java(java, message)
        fragments_agree_with_java(java, message)


@needs_prototype
@pytest.mark.slow
def test_generated_messages_are_the_earlier_codecs_bit_by_bit(prototype):
    for message in Messages("earlier").many(50):
        agrees_with_prototype(prototype, message)


@needs_java
@needs_prototype
@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_generated_messages_are_the_same_in_three_codecs(java, prototype, part):
    for message in Messages(f"part {part}").many(1000):
        # What Java would read in its own octets is for the short test above: it takes a tenth of a second a message.
        assert java(encode=message_json(message), namespace=MESSAGES_2)["exi"] == encode_message(message).hex()
        agrees_with_prototype(prototype, message)


@needs_java
@pytest.mark.slow
def test_an_answer_of_edition_20_is_the_java_codecs_bit_by_bit(java):
    vectors = Path(__file__).parents[1] / "vectors" / "contract_data_20.json"
    golden = json.loads(vectors.read_text(encoding="utf-8"))
    exi = encode_message(decode_message(Edition.ISO_20, base64.b64decode(golden["res_exi_b64"])))
    assert java(encode=golden["res"], namespace=MESSAGES_20)["exi"] == exi.hex()


@needs_package
@pytest.mark.slow
def test_the_published_vehicle_opens_our_envelope():
    vehicle = ec.generate_private_key(ec.SECP256R1())
    pem = vehicle.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    scalars = [
        1,
        1 << 200,
        *(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value for _ in range(5)),
    ]
    with package() as ask:
        for scalar in scalars:
            envelope = wrap_2(ec.derive_private_key(scalar, ec.SECP256R1()), vehicle.public_key())
            encrypted, point = envelope.encrypted_private_key.hex(), envelope.dh_public_key.hex()
            answer = ask(decrypt=encrypted, vehicle_key=pem, dh_public_key=point)
            assert answer["key"] == f"{scalar:064x}"
