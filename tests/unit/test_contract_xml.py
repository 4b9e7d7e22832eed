"""Contract data as XML: what is written is read again, signatures hold in either form, and nothing else is read."""

import os
from pathlib import Path

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.contract_data import answer_2, message_fault, refusal_2, sign_message
from pki_core.wire.contract_envelope import wrap_2
from pki_core.wire.contract_xml import MOST_OCTETS, decode_xml, encode_xml
from tests.builders import new_key
from tests.contract_chains import EMAID, chains

REAL = Path(os.environ.get("PNCPKI_VECTORS", "nowhere")) / "exi" / "opcp_cps_signedData_0.xml"


@pytest.fixture(scope="module")
def signed():
    made = chains()
    envelope = wrap_2(new_key(), made.oem.key.public_key())
    answer = answer_2(made.cps.chain(), made.contract.chain(), envelope, EMAID)
    return sign_message(answer, made.cps.signer(made.algorithm))


def test_what_is_written_is_read_again_and_its_signature_holds(signed):
    read = decode_xml(encode_xml(signed))
    assert read == signed
    assert message_fault(read, chains().cps.der) == ""


def test_a_session_that_is_left_out_is_no_session(signed):
    text = encode_xml(signed).replace(b"<hd:SessionID>00</hd:SessionID>", b"")
    assert b"SessionID" not in text
    assert decode_xml(text) == signed


@pytest.mark.skipif(not REAL.is_file(), reason="PNCPKI_VECTORS names no folder of vectors")
def test_a_real_services_data_is_read_and_its_signature_holds():
    message = decode_xml(REAL.read_bytes())
    assert message.body.emaid.value == "EMP99CQATEST001"
    assert message_fault(message, message.body.cps_chain.certificate_der) == ""
    assert decode_xml(encode_xml(message)) == message


def test_a_value_that_was_changed_in_xml_breaks_the_signature(signed):
    changed = encode_xml(signed).replace(EMAID.encode(), b"DEABC123456789")
    assert "was changed" in message_fault(decode_xml(changed), chains().cps.der)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:0], "not XML"),
        (lambda text: text[:-9], "not XML"),
        (lambda text: b"\xff" + text, "not XML"),
        (lambda text: b'<!DOCTYPE a [<!ENTITY b "c">]>' + text, "more than elements"),
        (lambda text: text.replace(b"<b:eMAID", b"<!-- --><b:eMAID"), "more than elements"),
        (lambda text: text.replace(EMAID.encode(), b"&#68;EABC123456788"), "more than elements"),
        (lambda text: b"<a/>" + text[:0], "no V2G_Message"),
        (lambda text: text.replace(b"b:eMAID", b"b:other"), "needs one eMAID"),
        (lambda text: text.replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>*"), "not base64"),
        (lambda text: text.replace(b">00</hd:S", b">0g</hd:S"), "not hexadecimal"),
        (lambda text: text.replace(b">00</hd:S", b">001122334455667788</hd:S"), "more than eight octets"),
        (lambda text: text + b" " * MOST_OCTETS, "at most"),
    ],
)
def test_what_is_no_contract_data_is_refused(signed, change, words):
    with pytest.raises(MalformedError, match=words):
        decode_xml(change(encode_xml(signed)))


def test_a_refusal_has_no_signature_in_xml_either():
    message = refusal_2(b"\1", "FAILED", "nothing")
    assert decode_xml(encode_xml(message)).header.signature is None
