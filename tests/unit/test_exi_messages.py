"""EXI of certificate-installation messages: the recorded vectors bit by bit, and what the schemas do not allow."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pki_core.model.contracts import CertificateChain, Header2, InstallationRequest2, Message2, RootCertificateId
from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Edition
from pki_core.wire import exi_iso2, exi_iso20
from pki_core.wire.contract_data import (
    NO_CONTRACT_20,
    decode_message,
    encode_message,
    message_fault,
    refusal_2,
    refusal_20,
    signed_parts,
)
from pki_core.wire.exi_signature import signed_info_exi
from tests.builders import NOW

VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN_2 = json.loads((VECTORS / "contract_data_2.json").read_text(encoding="utf-8"))
GOLDEN_20 = json.loads((VECTORS / "contract_data_20.json").read_text(encoding="utf-8"))
REQUEST_2 = base64.b64decode(GOLDEN_2["req_exi_b64"])
RESPONSE_2 = base64.b64decode(GOLDEN_2["res_exi_b64"])
RESPONSE_20 = base64.b64decode(GOLDEN_20["res_exi_b64"])
DOCUMENTS = [(Edition.ISO_2, REQUEST_2), (Edition.ISO_2, RESPONSE_2), (Edition.ISO_20, RESPONSE_20)]
every_document = pytest.mark.parametrize(("edition", "exi"), DOCUMENTS, ids=["request-2", "response-2", "response-20"])


def request_2(**changes):
    fields = {"id": "ID1", "oem_certificate_der": b"0", "roots": (RootCertificateId(issuer_name="CN=R", serial=1),)}
    return Message2(header=Header2(session_id=b"\1"), body=InstallationRequest2(**{**fields, **changes}))


@every_document
def test_a_recorded_message_is_read_and_written_again_bit_by_bit(edition, exi):
    assert encode_message(decode_message(edition, exi)) == exi


def test_values_of_the_recorded_request_are_read():
    message = decode_message(Edition.ISO_2, REQUEST_2)
    assert message.header.session_id.hex() == "0102030405060708"
    assert message.body.oem_certificate_der == base64.b64decode(GOLDEN_2["keys"]["oem"]["cert"])
    (root,) = message.body.roots
    assert root == RootCertificateId(
        issuer_name="CN=V2G Root CA G2,DC=V2G,O=Golden Test,C=DE", serial=340113252204914120072677213387550820
    )


def test_values_of_the_recorded_answers_are_read():
    body = decode_message(Edition.ISO_2, RESPONSE_2).body
    assert (body.response_code, body.emaid.value) == ("OK", GOLDEN_2["emaid"])
    assert body.dh_public_key.value.hex() == GOLDEN_2["dh_public"]
    assert body.encrypted_private_key.value.hex() == GOLDEN_2["enc_private_key"]
    chain = [base64.b64decode(GOLDEN_2["keys"][name]["cert"]) for name in ("contract", "mo2", "mo1")]
    assert [body.contract_chain.certificate_der, *body.contract_chain.sub_certificates_der] == chain
    message = decode_message(Edition.ISO_20, RESPONSE_20)
    data = message.installation_data
    assert (message.response_code, message.evse_processing, data.ecdh_curve) == ("OK", "Finished", "SECP521")
    assert data.secp521_encrypted_private_key.hex() == GOLDEN_20["secp521r1"]["enc_private_key"]
    assert (data.x448_encrypted_private_key, data.tpm_encrypted_private_key) == (None, None)


def test_the_fragments_to_be_signed_are_the_recorded_ones():
    parts = signed_parts(decode_message(Edition.ISO_2, RESPONSE_2))
    recorded = GOLDEN_2["fragments"]
    assert {name: part.hex() for name, part in parts.items()} == {
        "ID2": recorded["ContractSignatureEncryptedPrivateKey"],
        "ID1": recorded["ContractSignatureCertChain"],
        "ID4": recorded["eMAID"],
        "ID3": recorded["DHpublickey"],
    }
    (request,) = signed_parts(decode_message(Edition.ISO_2, REQUEST_2)).values()
    assert request.hex() == GOLDEN_2["req_fragment"]
    (data,) = signed_parts(decode_message(Edition.ISO_20, RESPONSE_20)).values()
    assert data.hex() == GOLDEN_20["SignedInstallationData_fragment"]


def test_what_is_signed_is_the_recorded_signed_info():
    for golden, edition, exi in ((GOLDEN_2, Edition.ISO_2, RESPONSE_2), (GOLDEN_20, Edition.ISO_20, RESPONSE_20)):
        message = decode_message(edition, exi)
        assert signed_info_exi(message.header.signature.signed_info).hex() == golden["signedinfo_exi"]
        assert message.header.signature.value.value.hex() == golden["signature_raw"]


def test_the_recorded_signatures_verify_with_their_certificates_and_no_other():
    for golden, edition, exi, signer in (
        (GOLDEN_2, Edition.ISO_2, REQUEST_2, "oem"),
        (GOLDEN_2, Edition.ISO_2, RESPONSE_2, "cps"),
        (GOLDEN_20, Edition.ISO_20, RESPONSE_20, "cps"),
    ):
        message = decode_message(edition, exi)
        assert message_fault(message, base64.b64decode(golden["keys"][signer]["cert"])) == ""
        assert "does not verify" in message_fault(message, base64.b64decode(golden["keys"]["mo2"]["cert"]))


@every_document
def test_a_message_cut_off_anywhere_is_malformed(edition, exi):
    for length in (*range(64), *range(64, len(exi), 37), len(exi) - 1):
        with pytest.raises(MalformedError):
            decode_message(edition, exi[:length])


@every_document
def test_octets_behind_a_message_are_malformed(edition, exi):
    for rest in (b"\0", b"\1", exi):
        with pytest.raises(MalformedError):
            decode_message(edition, exi + rest)


@every_document
def test_a_message_of_the_other_edition_is_malformed(edition, exi):
    other = Edition.ISO_2 if edition is Edition.ISO_20 else Edition.ISO_20
    with pytest.raises(MalformedError):
        decode_message(other, exi)


@pytest.mark.parametrize("start", ["24455849", "80ff", "a098", "8100", "c098", "00"])
def test_another_exi_header_is_malformed(start):
    with pytest.raises(MalformedError):
        decode_message(Edition.ISO_2, bytes.fromhex(start) + REQUEST_2)


def test_a_message_larger_than_the_limit_is_not_read():
    with pytest.raises(MalformedError, match="16385 octets; 16384 are allowed"):
        decode_message(Edition.ISO_2, REQUEST_2.ljust(16 * 1024 + 1, b"\0"))


def test_a_message_about_something_else_is_refused():
    # The body's code stands behind a header that holds one octet of session and nothing else.
    exi = bytearray(encode_message(request_2()))
    exi_bits = int.from_bytes(exi)
    width = 8 * len(exi)
    place = 8 + 7 + 1 + 1 + 1 + 8 + 8 + 1 + 2 + 1
    mask = 0b111111 << (width - place - 6)
    assert (exi_bits & mask) >> (width - place - 6) == 5
    other = (exi_bits & ~mask | 7 << (width - place - 6)).to_bytes(len(exi))
    with pytest.raises(MalformedError, match="not about certificate installation"):
        decode_message(Edition.ISO_2, other)


@pytest.mark.parametrize(
    "message",
    [
        request_2(roots=()),
        request_2(roots=21 * (RootCertificateId(issuer_name="CN=R", serial=1),)),
        request_2(roots=(RootCertificateId(issuer_name="x" * 1025, serial=1),)),
        request_2(roots=(RootCertificateId(issuer_name="CN=R", serial=1 << 160),)),
        request_2(id=None),
        request_2(id="x" * 65),
        request_2(oem_certificate_der=bytes(1601)),
    ],
    ids=["no roots", "many roots", "long name", "long serial", "no id", "long id", "large certificate"],
)
def test_what_the_schema_or_the_limits_do_not_allow_is_not_written(message):
    with pytest.raises(MalformedError):
        encode_message(message)


def test_the_largest_request_there_can_be_is_read_back():
    roots = 20 * (RootCertificateId(issuer_name="CN=" + "x" * 600, serial=-(1 << 159)),)
    message = request_2(roots=roots, oem_certificate_der=bytes(1600))
    assert decode_message(Edition.ISO_2, encode_message(message)) == message


def test_more_certificates_than_a_chain_may_have_are_not_written():
    answer = decode_message(Edition.ISO_2, RESPONSE_2)
    for count, allowed in ((4, True), (5, False)):
        chain = CertificateChain(id="ID1", certificate_der=b"0", sub_certificates_der=count * (b"1",))
        changed = replace(answer, body=replace(answer.body, contract_chain=chain))
        if allowed:
            assert decode_message(Edition.ISO_2, encode_message(changed)) == changed
        else:
            with pytest.raises(MalformedError, match="holds 5 Certificate; 4 are allowed"):
                encode_message(changed)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_installation_data_holds_exactly_one_encrypted_key(count):
    message = decode_message(Edition.ISO_20, RESPONSE_20)
    fields = ("secp521_encrypted_private_key", "x448_encrypted_private_key", "tpm_encrypted_private_key")
    keys = {field: b"key" if place < count else None for place, field in enumerate(fields)}
    with pytest.raises(MalformedError, match="SignedInstallationData needs"):
        encode_message(replace(message, installation_data=replace(message.installation_data, **keys)))


@pytest.mark.parametrize("field", ["secp521", "x448", "tpm"])
def test_each_kind_of_encrypted_key_is_read_back(field):
    message = decode_message(Edition.ISO_20, RESPONSE_20)
    none = dict.fromkeys(("secp521_encrypted_private_key", "x448_encrypted_private_key", "tpm_encrypted_private_key"))
    data = replace(message.installation_data, **{**none, f"{field}_encrypted_private_key": b"\x5a" * 206})
    changed = replace(message, installation_data=data)
    assert decode_message(Edition.ISO_20, encode_message(changed)) == changed


def test_key_info_in_a_signature_is_refused():
    """ISO 15118-2 [V2G2-771]: KeyInfo and Object are in the schema, and not to be used."""
    message = decode_message(Edition.ISO_2, REQUEST_2)
    bare = replace(message, header=replace(message.header, signature=None))
    header_bits = 8 + 7 + 1 + 1 + 1 + 8 + 8 * 8 + 1
    signed, unsigned = (int.from_bytes(exi) for exi in (REQUEST_2, encode_message(bare)))
    assert signed >> (8 * len(REQUEST_2) - header_bits) == unsigned >> (8 * len(encode_message(bare)) - header_bits)
    # The signature ends with code 2 of 2 bits behind its value; 0 is KeyInfo, 1 Object, 3 the way out of the schema.
    value = message.header.signature.value.value
    text = f"{signed:0{8 * len(REQUEST_2)}b}"
    behind = text.index(f"{int.from_bytes(value):0{8 * len(value)}b}") + 8 * len(value) + 1
    assert text[behind : behind + 2] == "10"
    for code, reason in (("00", "holds KeyInfo, which"), ("01", "holds Object, which"), ("11", "not in the schema")):
        changed = text[:behind] + code + text[behind + 2 :]
        with pytest.raises(MalformedError, match=reason):
            decode_message(Edition.ISO_2, int(changed, 2).to_bytes(len(REQUEST_2)))


def test_refusals_are_read_back():
    for edition, message in (
        (Edition.ISO_2, refusal_2(b"", "FAILED_SignatureError", "x" * 256)),
        (Edition.ISO_20, refusal_20(bytes(8), NOW, NO_CONTRACT_20)),
    ):
        assert decode_message(edition, encode_message(message)) == message
    with pytest.raises(MalformedError, match="FaultMsg"):
        encode_message(refusal_2(b"", "FAILED", "x" * 257))
    with pytest.raises(MalformedError, match="ResponseCode cannot be 'ALRIGHT'"):
        encode_message(refusal_2(b"", "ALRIGHT", "x"))


def test_nothing_shares_a_grammar_with_itself():
    """Tables that referred to themselves would make nesting unbounded; these are trees of a known depth."""

    def depth(element, above=()):
        assert element not in above
        parts = getattr(element, "_parts", ())
        below = [getattr(part.type, "_inner", part.type) for part in parts if hasattr(part, "type")]
        return 1 + max([depth(one, (*above, element)) for one in below if hasattr(one, "_parts")], default=0)

    assert depth(exi_iso2._HEADER) == 6
    assert depth(exi_iso20._RESPONSE) == 7
