"""Contract data from request to installed key: what a vehicle installs, and everything it refuses."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import x448
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey

from pki_core.model.contracts import AadForm, IdentifiedOctets, Message2
from pki_core.model.errors import MalformedError, SignatureInvalidError
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.contract_data import (
    NO_CERTIFICATE_2,
    NO_CONTRACT_20,
    answer_2,
    answer_20,
    decode_message,
    encode_message,
    for_session_2,
    for_session_20,
    message_fault,
    public_key_of,
    refusal_2,
    refusal_20,
    sign_message,
    signed_parts,
)
from pki_core.wire.contract_envelope import associated_data, wrap_2, wrap_20
from pki_core.wire.exi_signature import signature_values, signed_info_exi
from tests.builders import NOW, MemorySigner, new_key, spki
from tests.contract_chains import EMAID, PCID, chains, issue, make_chains
from tests.vehicle import SESSION, InstallationRefusedError, Vehicle

P256, P521, ED448 = KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448


def vehicle_of(parties, **changes):
    return Vehicle(parties.oem, parties.algorithm, [parties.v2g_root], **changes)


def signed_2(parties, *, vehicle_key=None, signer=None, contract=None, emaid=EMAID):
    """What the CCP holds for a vehicle: made before it asks."""
    contract = contract or parties.contract
    envelope = wrap_2(contract.key, (vehicle_key or parties.oem.key).public_key())
    answer = answer_2(parties.cps.chain(), contract.chain(), envelope, emaid)
    return sign_message(answer, signer or parties.cps.signer(P256))


def signed_20(parties, *, pcid=PCID, form=AadForm.PCID_SKI_HEX):
    bound_to = associated_data(form, pcid, parties.contract.key_identifier)
    envelope = wrap_20(parties.contract.key, parties.oem.key.public_key(), bound_to)
    answer = answer_20(parties.cps.chain(), parties.contract.chain(), envelope)
    return sign_message(answer, parties.cps.signer(parties.algorithm))


def delivered_2(answer, session_id=SESSION):
    return encode_message(for_session_2(answer, session_id))


def delivered_20(answer, session_id=SESSION):
    return encode_message(for_session_20(answer, session_id, NOW))


def test_a_vehicle_of_edition_2_installs_the_contract_it_asked_for():
    parties = chains(P256)
    vehicle = vehicle_of(parties)
    request = decode_message(Edition.ISO_2, vehicle.request_2())
    assert message_fault(request, request.body.oem_certificate_der) == ""
    assert request.body.oem_certificate_der == parties.oem.der
    assert request.body.roots == (parties.v2g_root.root_id,)
    answer = for_session_2(signed_2(parties), request.header.session_id)
    assert vehicle.install_2(encode_message(answer), NOW) == EMAID
    key, chain = vehicle.installed[EMAID]
    assert spki(key) == spki(parties.contract.key)
    assert chain.certificate_der == parties.contract.der


def test_a_vehicle_of_edition_20_installs_the_contract_it_asked_for():
    parties = chains(P521)
    vehicle = vehicle_of(parties)
    request = decode_message(Edition.ISO_20, vehicle.request_20(emaids=(EMAID,)))
    assert message_fault(request, request.oem_chain.certificate_der) == ""
    assert request.prioritized_emaids == (EMAID,)
    answer = for_session_20(signed_20(parties), request.header.session_id, NOW, remaining=2)
    assert vehicle.install_20(encode_message(answer), NOW) == EMAID
    assert spki(vehicle.installed[EMAID][0]) == spki(parties.contract.key)
    assert decode_message(Edition.ISO_20, encode_message(answer)).remaining_contract_chains == 2


def test_ed448_signs_and_x448_carries_the_key():
    parties = chains(ED448)
    agreement, contract_key = x448.X448PrivateKey.generate(), x448.X448PrivateKey.generate()
    bound_to = associated_data(AadForm.PCID_SKI_HEX, PCID, parties.contract.key_identifier)
    envelope = wrap_20(contract_key, agreement.public_key(), bound_to)
    answer = sign_message(answer_20(parties.cps.chain(), parties.contract.chain(), envelope), parties.cps.signer(ED448))
    vehicle = vehicle_of(parties, agreement_key=agreement)
    assert message_fault(decode_message(Edition.ISO_20, vehicle.request_20()), parties.oem.der) == ""
    assert answer.installation_data.ecdh_curve == "X448"
    assert (len(answer.header.signature.value.value), len(envelope.encrypted_private_key)) == (114, 84)
    # No certificate can carry an X448 key, so the last check of all finds another one.
    with pytest.raises(InstallationRefusedError, match="not the contract certificate's"):
        vehicle.install_20(delivered_20(answer), NOW)


def test_the_same_signed_answer_serves_any_session():
    parties = chains(P256)
    answer = signed_2(parties)
    for session_id in (b"", b"\1", bytes(8)):
        assert vehicle_of(parties).install_2(delivered_2(answer, session_id), NOW, session_id) == EMAID
    with pytest.raises(InstallationRefusedError, match="another session"):
        vehicle_of(parties).install_2(delivered_2(answer, b"other"), NOW)
    with pytest.raises(MalformedError, match="SessionID has 9 octets; 8 are allowed"):
        delivered_2(answer, bytes(9))


def test_an_answer_for_another_vehicle_is_of_no_use():
    parties = chains(P256)
    with pytest.raises(InstallationRefusedError, match=r"not the contract certificate's|no scalar"):
        vehicle_of(parties).install_2(delivered_2(signed_2(parties, vehicle_key=new_key())), NOW)


def test_an_answer_for_another_pcid_is_of_no_use():
    parties = chains(P521)
    with pytest.raises(InstallationRefusedError, match="for another vehicle or contract"):
        vehicle_of(parties).install_20(delivered_20(signed_20(parties, pcid="WVWTEST20260000999")), NOW)


@pytest.mark.parametrize("form", AadForm)
def test_a_vehicle_that_reads_the_standard_otherwise_is_served_in_its_way(form):
    parties = chains(P521)
    exi = delivered_20(signed_20(parties, form=form))
    assert vehicle_of(parties, aad_form=form).install_20(exi, NOW) == EMAID
    others = [other for other in AadForm if other is not form]
    for other in others:
        with pytest.raises(InstallationRefusedError, match="for another vehicle or contract"):
            vehicle_of(parties, aad_form=other).install_20(exi, NOW)


def with_body(message, **changes):
    return replace(message, body=replace(message.body, **changes))


def test_every_signed_part_of_an_answer_of_edition_2_is_guarded():
    parties, other = chains(P256), make_chains(P256)
    answer = signed_2(parties)
    body = answer.body
    changes = {
        "encrypted_private_key": replace(body.encrypted_private_key, value=bytes(48)),
        "dh_public_key": replace(body.dh_public_key, value=bytes(65)),
        "emaid": replace(body.emaid, value="DEABCC999999999"),
        "contract_chain": replace(body.contract_chain, certificate_der=other.contract.der),
    }
    for field, value in changes.items():
        with pytest.raises(InstallationRefusedError, match="was changed after it was signed"):
            vehicle_of(parties).install_2(delivered_2(with_body(answer, **{field: value})), NOW)


def test_the_signed_data_of_edition_20_is_guarded():
    parties = chains(P521)
    answer = signed_20(parties)
    data = replace(answer.installation_data, dh_public_key=bytes(133))
    with pytest.raises(InstallationRefusedError, match="was changed after it was signed"):
        vehicle_of(parties).install_20(delivered_20(replace(answer, installation_data=data)), NOW)


def test_a_signature_over_less_than_all_parts_is_not_believed():
    parties = chains(P256)
    answer = signed_2(parties)
    signed_info = answer.header.signature.signed_info
    fewer = replace(signed_info, references=signed_info.references[:3])
    again = [signed_info.references[0], *signed_info.references[:3]]
    for wrong in (fewer, replace(signed_info, references=tuple(again))):
        signature = replace(answer.header.signature, signed_info=wrong)
        message = replace(answer, header=replace(answer.header, signature=signature))
        assert "over the parts of the message" in message_fault(message, parties.cps.der)


def test_a_signature_that_refers_to_a_part_twice_is_not_believed():
    """It verifies, and says of the second what nobody reads."""
    parties = chains(P256)
    answer = signed_2(parties)
    references = answer.header.signature.signed_info.references
    for again in references:
        message = with_signed_info(answer, references=(*references, again))
        (value,) = signature_values([signed_info_exi(message.header.signature.signed_info)], parties.cps.signer(P256))
        signature = replace(message.header.signature, value=IdentifiedOctets(value=value))
        message = replace(message, header=replace(message.header, signature=signature))
        assert "over the parts of the message" in message_fault(message, parties.cps.der)


def test_an_unsigned_message_is_not_believed():
    parties = chains(P256)
    answer = signed_2(parties)
    naked = replace(answer, header=replace(answer.header, signature=None))
    assert message_fault(naked, parties.cps.der) == "the message is not signed"


def with_signed_info(answer, **changes):
    signature = answer.header.signature
    signature = replace(signature, signed_info=replace(signature.signed_info, **changes))
    return replace(answer, header=replace(answer.header, signature=signature))


def test_weaker_algorithms_than_the_keys_own_are_refused():
    parties = chains(P256)
    answer = signed_2(parties)
    sha1 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"
    assert "the way that belongs" in message_fault(with_signed_info(answer, signature_method=sha1), parties.cps.der)
    references = answer.header.signature.signed_info.references
    for change in ({"digest_method": "http://www.w3.org/2000/09/xmldsig#sha1"}, {"transforms": ()}):
        weak = with_signed_info(answer, references=tuple(replace(one, **change) for one in references))
        assert "not hashed in the way" in message_fault(weak, parties.cps.der)


def test_a_signature_by_another_key_or_cut_short_does_not_verify():
    parties, other = chains(P256), make_chains(P256)
    answer = signed_2(parties)
    assert "does not verify" in message_fault(answer, other.cps.der)
    signature = answer.header.signature
    for octets in (b"", bytes(64), signature.value.value[:-1], signature.value.value + b"\0"):
        changed = replace(signature, value=replace(signature.value, value=octets))
        message = replace(answer, header=replace(answer.header, signature=changed))
        assert message_fault(message, parties.cps.der) in {
            "the signature value is not r and s side by side",
            "the signature does not verify with the public key",
        }


def test_a_certificate_with_a_foreign_key_verifies_nothing():
    parties = chains(P256)
    answer = signed_2(parties)
    assert message_fault(answer, b"no certificate").startswith("not a DER certificate")
    with pytest.raises(MalformedError):
        public_key_of(parties.cps.der[:-1])


def test_a_signature_that_the_token_got_wrong_does_not_leave():
    parties = chains(P256)
    signer = parties.cps.signer(P256)
    signer.sign = lambda messages: [MemorySigner(P256).sign(messages)[0]]
    with pytest.raises(SignatureInvalidError):
        signed_2(parties, signer=signer)


def test_only_a_provisioning_service_may_sign():
    parties = chains(P256)
    sub = parties.contract.above
    impostor = issue("Not a CPS", new_key(), sub, "MO", is_ca=False)
    envelope = wrap_2(parties.contract.key, parties.oem.key.public_key())
    answer = answer_2(impostor.chain(), parties.contract.chain(), envelope, EMAID)
    answer = sign_message(answer, impostor.signer(P256))
    with pytest.raises(InstallationRefusedError, match="no provisioning service"):
        vehicle_of(parties).install_2(delivered_2(answer), NOW)


def test_a_vehicle_that_knows_another_root_does_not_install():
    parties, other = chains(P256), make_chains(P256)
    foreign = Vehicle(parties.oem, P256, [other.v2g_root])
    with pytest.raises(InstallationRefusedError, match="not signed by the next one"):
        foreign.install_2(delivered_2(signed_2(parties)), NOW)


def test_references_stand_in_the_order_of_the_field():
    references = signed_2(chains(P256)).header.signature.signed_info.references
    assert [reference.uri for reference in references] == ["#ID2", "#ID1", "#ID4", "#ID3"]


def test_a_part_to_be_signed_without_an_id_is_malformed():
    parties = chains(P256)
    answer = signed_2(parties)
    for value in (replace(answer.body.contract_chain, id=None), replace(answer.body.contract_chain, id="ID2")):
        with pytest.raises(MalformedError, match="an Id of its own"):
            signed_parts(with_body(answer, contract_chain=value))
        assert "an Id of its own" in message_fault(with_body(answer, contract_chain=value), parties.cps.der)


@pytest.mark.parametrize("name", [None, ""])
def test_a_provisioning_chain_without_an_id_cannot_be_signed(name):
    request = decode_message(Edition.ISO_20, vehicle_of(chains(P521)).request_20())
    unnamed = replace(request, oem_chain=replace(request.oem_chain, id=name))
    with pytest.raises(MalformedError, match="chain has no Id"):
        signed_parts(unnamed)


def test_a_refusal_of_edition_2_reads_as_the_vehicle_expects_it():
    exi = encode_message(refusal_2(SESSION, NO_CERTIFICATE_2, "no contract for this vehicle"))
    message = decode_message(Edition.ISO_2, exi)
    assert isinstance(message, Message2)
    assert message.header.notification.fault_message == "no contract for this vehicle"
    with pytest.raises(InstallationRefusedError, match="the answer is FAILED_NoCertificateAvailable"):
        vehicle_of(chains(P256)).install_2(exi, NOW)


def test_a_refusal_of_edition_20_reads_as_the_vehicle_expects_it():
    exi = encode_message(refusal_20(SESSION, NOW, NO_CONTRACT_20))
    assert decode_message(Edition.ISO_20, exi).header.timestamp == int(NOW.timestamp())
    with pytest.raises(InstallationRefusedError, match="the answer is WARNING_NoContractMatchingPCIDFound"):
        vehicle_of(chains(P521)).install_20(exi, NOW)


def test_an_answer_of_edition_2_fits_into_an_ocpp_message():
    characters = 4 * -(-len(delivered_2(signed_2(chains(P256)))) // 3)
    assert characters <= 5600


def test_ed448_keys_make_signatures_of_114_octets():
    signer = MemorySigner(ED448)
    assert isinstance(signer.key, Ed448PrivateKey)
    request = decode_message(Edition.ISO_20, vehicle_of(chains(ED448)).request_20())
    assert len(request.header.signature.value.value) == 114
    assert len(request.header.signature.signed_info.references[0].digest) == 64
