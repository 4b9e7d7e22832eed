"""Messages that vehicles, Hubject, RISE V2G and Josev made, bit by bit. Not ours to ship: PNCPKI_VECTORS has them."""

import base64
import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pki_core.model.contracts import (
    CertificateChain,
    Header2,
    IdentifiedOctets,
    IdentifiedText,
    InstallationResponse2,
    Message2,
    MessageSignature,
    SignedInfo,
    SignedReference,
)
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message, encode_message, message_fault, refusal_2, signed_parts
from pki_core.wire.exi_signature import signed_info_exi
from pki_core.wire.pem import pem_to_der

FOLDER = Path(os.environ.get("PNCPKI_VECTORS", ""))
pytestmark = pytest.mark.skipif("PNCPKI_VECTORS" not in os.environ, reason="PNCPKI_VECTORS names no folder of vectors")


def octets_of(file):
    content = (FOLDER / "exi" / file).read_bytes()
    return bytes.fromhex(content.decode()) if file.endswith(".hex") else content


@pytest.mark.parametrize(
    ("edition", "file", "octets"),
    [
        (Edition.ISO_2, "opcp_req.exi", 953),
        (Edition.ISO_2, "opcp_res.exi", 4416),
        (Edition.ISO_2, "opcp_res_err.exi", 58),
        (Edition.ISO_20, "josev20_JosevCertificateInstallationReqHex.hex", 1809),
    ],
)
def test_a_real_message_is_read_and_written_again_bit_by_bit(edition, file, octets):
    exi = octets_of(file)
    assert len(exi) == octets
    assert encode_message(decode_message(edition, exi)) == exi


def test_a_real_vehicles_signature_verifies_with_its_certificate():
    message = decode_message(Edition.ISO_2, octets_of("opcp_req.exi"))
    assert message_fault(message, message.body.oem_certificate_der) == ""
    changed = replace(message, body=replace(message.body, roots=()))
    assert "needs ListOfRootCertificateIDs" in message_fault(changed, message.body.oem_certificate_der)
    (root,) = message.body.roots
    changed = replace(message, body=replace(message.body, roots=(replace(root, serial=1),)))
    assert "was changed" in message_fault(changed, message.body.oem_certificate_der)


def test_hubjects_signature_verifies_with_the_cps_certificate_in_the_message():
    message = decode_message(Edition.ISO_2, octets_of("opcp_res.exi"))
    body = message.body
    assert message_fault(message, body.cps_chain.certificate_der) == ""
    assert body.emaid.value == "EMP99CQAPAB004"
    assert (len(body.encrypted_private_key.value), len(body.dh_public_key.value)) == (48, 65)
    assert "was changed" in message_fault(
        replace(message, body=replace(body, emaid=replace(body.emaid, value="EMP99CQAPAB005"))),
        body.cps_chain.certificate_der,
    )
    assert "does not verify" in message_fault(message, body.contract_chain.certificate_der)


def test_our_refusal_is_hubjects_bit_by_bit():
    ours = refusal_2(bytes.fromhex("2a3dc6d75411f647"), "FAILED_NoCertificateAvailable", "CPO certInstall status")
    assert encode_message(ours) == octets_of("opcp_res_err.exi")


def test_josevs_signature_over_its_chain_verifies():
    message = decode_message(Edition.ISO_20, octets_of("josev20_JosevCertificateInstallationReqHex.hex"))
    (part,) = signed_parts(message).values()
    assert part == octets_of("josev20_JosevOemChainFragmentHex.hex")
    # Its test PKI uses P-256 also in ISO 15118-20, so the signature is ecdsa-sha256: what belongs to the key.
    assert message_fault(message, message.oem_chain.certificate_der) == ""


@pytest.mark.parametrize("name", ["opcp_req", "opcp_res", "opcp_res_err"])
def test_values_of_real_messages_are_the_recorded_ones(name):
    message = decode_message(Edition.ISO_2, octets_of(f"{name}.exi"))
    recorded = json.loads((FOLDER / "exi" / f"{name}.decoded.json").read_text(encoding="utf-8"))["V2G_Message"]
    assert message.header.session_id.hex().upper() == recorded["Header"]["SessionID"]
    (body,) = recorded["Body"].values()
    if name == "opcp_req":
        assert base64.b64encode(message.body.oem_certificate_der).decode() == body["OEMProvisioningCert"]
        (root,) = body["ListOfRootCertificateIDs"]["RootCertificateID"]
        assert (message.body.roots[0].issuer_name, message.body.roots[0].serial) == tuple(root.values())
    else:
        assert message.body.response_code == body["ResponseCode"]
        assert message.body.emaid.value == body["eMAID"]["value"]


def rise_response():
    """RISE V2G's answer, put together from the parts its test data name."""
    recorded = json.loads((FOLDER / "exi" / "vectors_exi_fragments_rise.json").read_text(encoding="utf-8"))["fragments"]
    parts = {name: part["value"] for name, part in recorded.items()}
    xml = (FOLDER / "rise_v2g" / "CertificateInstallationRes-MsgBody-namespace.xml").read_text(encoding="utf-8")
    value = re.search(r"SignatureValue>([^<]+)<", xml).group(1)
    chain = parts["ContractSignatureCertChain"]
    body = InstallationResponse2(
        response_code="OK",
        cps_chain=CertificateChain(certificate_der=b"0"),
        contract_chain=CertificateChain(
            id=chain["Id"],
            certificate_der=base64.b64decode(chain["Certificate"]),
            sub_certificates_der=tuple(map(base64.b64decode, chain["SubCertificates"]["Certificate"])),
        ),
        encrypted_private_key=identified(parts["ContractSignatureEncryptedPrivateKey"]),
        dh_public_key=identified(parts["DHpublickey"]),
        emaid=IdentifiedText(id=parts["eMAID"]["Id"], value=parts["eMAID"]["value"]),
    )
    signed_info = parts["SignedInfo"]
    signature = MessageSignature(
        signed_info=SignedInfo(
            canonicalization_method=signed_info["CanonicalizationMethod"]["Algorithm"],
            signature_method=signed_info["SignatureMethod"]["Algorithm"],
            references=tuple(
                SignedReference(
                    uri=one["URI"],
                    transforms=tuple(transform["Algorithm"] for transform in one["Transforms"]["Transform"]),
                    digest_method=one["DigestMethod"]["Algorithm"],
                    digest=base64.b64decode(one["DigestValue"]),
                )
                for one in signed_info["Reference"]
            ),
        ),
        value=IdentifiedOctets(value=base64.b64decode(value)),
    )
    return Message2(header=Header2(session_id=b"\0", signature=signature), body=body), recorded


def identified(part):
    return IdentifiedOctets(id=part["Id"], value=base64.b64decode(part["value"]))


def test_fragments_of_rise_v2g_are_ours():
    message, recorded = rise_response()
    order = ["ContractSignatureEncryptedPrivateKey", "ContractSignatureCertChain", "eMAID", "DHpublickey"]
    for name, part in zip(order, signed_parts(message).values(), strict=True):
        assert part.hex().upper() == recorded[name]["exi"]
        assert hashlib.sha256(part).hexdigest().upper() == recorded[name]["sha256"]
    signed = signed_info_exi(message.header.signature.signed_info)
    assert signed.hex().upper() == recorded["SignedInfo"]["exi"]


def test_the_signature_of_rise_v2g_verifies_with_the_key_it_was_made_with():
    message, _ = rise_response()
    signer_pem = (FOLDER / "rise_v2g" / "cpsLeafCert.pem").read_text(encoding="ascii")
    assert message_fault(message, pem_to_der(signer_pem, ("CERTIFICATE",))) == ""
