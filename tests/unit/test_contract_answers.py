"""Answers of ISO 15118-2 signed many at once: bit by bit what the codec writes of each alone."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from pki_core.hsm.soft_key import FileSigner
from pki_core.model.contracts import CertificateChain, IdentifiedText, KeyEnvelope, Notification
from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Edition
from pki_core.wire import contract_answers
from pki_core.wire.contract_answers import PAYS, signed_documents
from pki_core.wire.contract_data import (
    answer_2,
    answer_20,
    decode_message,
    encode_message,
    signed_parts,
    unsigned_by,
)
from pki_core.wire.exi_signature import signature_fault
from pki_core.wire.public_key import spki_of

GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "contract_data_2.json").read_text(encoding="utf-8"))
SIGNER = FileSigner("cps", ec.generate_private_key(ec.SECP256R1()))
CPS = CertificateChain(certificate_der=b"cps", sub_certificates_der=(b"sub 2", b"sub 1"))
SUBS = (b"mo sub 2", b"mo sub 1")


def answer(leaf=b"leaf", key=b"k" * 48, dh=b"d" * 65, emaid="DEABCC123456788", **changes):
    chain = CertificateChain(certificate_der=leaf, sub_certificates_der=SUBS)
    message = answer_2(CPS, chain, KeyEnvelope(dh_public_key=dh, encrypted_private_key=key), emaid)
    return replace(message, body=replace(message.body, **changes))


def written_alone(exi):
    """What the codec writes of a signed message that it has read."""
    return encode_message(decode_message(Edition.ISO_2, exi))


def unsigned(exi):
    message = decode_message(Edition.ISO_2, exi)
    return replace(message, header=replace(message.header, signature=None))


def is_signed(exi, signer=SIGNER, edition=Edition.ISO_2):
    message = decode_message(edition, exi)
    return not signature_fault(message.header.signature, signed_parts(message), signer.spki_der)


@pytest.fixture(autouse=True)
def _no_frames_yet(monkeypatch):
    monkeypatch.setattr(contract_answers, "_frames", contract_answers._Frames())


@pytest.fixture
def frames(monkeypatch):
    """The frames that are made."""
    made = []

    class Frame(contract_answers._Frame):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(contract_answers, "_Frame", Frame)
    return made


@pytest.fixture(params=[1, PAYS], ids=["few", "many"])
def signed(request):
    """A call that signs messages, each once or often enough for frames to pay; returns each once."""

    def call(messages, signer=SIGNER):
        return signed_documents(messages * request.param, signer)[-len(messages) :]

    return call


def test_every_answer_is_the_one_that_was_asked_for_signed_and_written_as_the_codec_would(signed):
    answers = [
        answer(),
        answer(leaf=bytes(700), key=b"\xff" * 48, dh=b"\x00" * 65, emaid="NLXYZCABCDEFGH0"),
        answer(leaf=b"\xff" * 699, emaid="nl-xyz-c"),
        answer(leaf=b"leaf", emaid="DEABCC000000009"),
        answer(response_code="OK_CertificateExpiresSoon"),
    ]
    documents = signed(answers)
    assert [unsigned(one) for one in documents] == answers
    assert [written_alone(one) for one in documents] == documents
    assert all(map(is_signed, documents))


def test_the_recorded_answer_made_anew_differs_in_its_signature_only(signed):
    recorded = decode_message(Edition.ISO_2, base64.b64decode(GOLDEN["res_exi_b64"]))
    header = replace(recorded.header, signature=None)
    (document,) = signed([replace(recorded, header=header)])
    made = decode_message(Edition.ISO_2, document)
    assert made.body == recorded.body
    assert made.header.session_id == recorded.header.session_id
    assert made.header.signature.signed_info == recorded.header.signature.signed_info
    assert is_signed(document)


def test_answers_of_other_signers_chains_and_ids_are_not_mixed_up(signed):
    other = CertificateChain(certificate_der=b"cps", sub_certificates_der=(b"sub 2", b"sub 9"))
    answers = [answer(), answer(emaid="DEABCC123456799")]
    answers += [unsigned_by(one, other) for one in answers]
    answers.append(answer(emaid="x"))
    answers[-1] = replace(answers[-1], body=replace(answers[-1].body, emaid=IdentifiedText(id="other", value="x")))
    documents = signed(answers)
    assert [unsigned(one) for one in documents] == answers
    assert all(map(is_signed, documents))


@pytest.mark.parametrize(
    "special",
    [
        answer(emaid="DE\u00c4BC"),
        answer(emaid="DE\tBC"),
        answer(emaid=""),
        answer(leaf=b""),
        replace(answer(), header=replace(answer().header, notification=Notification(fault_code="ParsingError"))),
    ],
    ids=["umlaut", "tab", "no-emaid", "no-certificate", "notification"],
)
def test_what_has_no_room_in_a_form_is_signed_and_written_by_itself(signed, special):
    documents = signed([answer(), special])
    assert [unsigned(one) for one in documents] == [answer(), special]
    assert all(map(is_signed, documents))


def test_keys_of_the_other_edition_sign_its_answers():
    signer = FileSigner("cps", ec.generate_private_key(ec.SECP521R1()))
    envelope = KeyEnvelope(dh_public_key=b"d" * 133, encrypted_private_key=b"k" * 94)
    message = answer_20(CPS, CertificateChain(certificate_der=b"leaf", sub_certificates_der=SUBS), envelope)
    (document,) = signed_documents([message], signer)
    assert is_signed(document, signer, Edition.ISO_20)


@pytest.mark.parametrize("curve", [ec.SECP521R1(), None], ids=["P-521", "Ed448"])
def test_a_form_knows_the_hash_and_the_length_of_its_signers_signatures(signed, curve):
    key = ec.generate_private_key(curve) if curve else ed448.Ed448PrivateKey.generate()
    signer = FileSigner("cps", key)
    assert signer.spki_der == spki_of(key.public_key())
    (document,) = signed([answer()], signer)
    assert unsigned(document) == answer()
    assert is_signed(document, signer)


@pytest.mark.parametrize("changes", [{"leaf": bytes(1601)}, {"emaid": "E" * 65}, {"key": bytes(257)}])
def test_values_longer_than_the_schema_has_them_are_refused(signed, changes):
    with pytest.raises(MalformedError):
        signed([answer(**changes)])


def test_nothing_is_asked_of_the_key_for_no_messages():
    assert signed_documents([], SIGNER) == []


def test_from_where_a_frame_pays_the_same_octets_are_written_as_before(frames):
    signer = FileSigner("cps", ed448.Ed448PrivateKey.generate())  # signs the same in the same way
    answers = [answer(leaf=bytes([number]) * 600, emaid=f"DEABCC{number:09}") for number in range(PAYS)]
    alone = signed_documents(answers[1:], signer)
    assert frames == []
    together = signed_documents(answers, signer)
    assert len(frames) == 1
    assert together[1:] == alone


def test_frames_are_made_only_where_each_new_one_pays(frames):
    kinds = [answer(leaf=bytes(length)) for length in (600, 601, 602)]
    signed_documents(kinds[:2] * PAYS, SIGNER)
    assert len(frames) == 2
    signed_documents([*kinds[:2], *kinds], SIGNER)
    assert len(frames) == 2
    signed_documents(kinds[:1] * PAYS + kinds[2:], SIGNER)
    assert len(frames) == 3


def test_one_answer_is_written_by_a_frame_that_is_there(frames, monkeypatch):
    signed_documents([answer()] * PAYS, SIGNER)
    monkeypatch.setattr(contract_answers, "encode_message", None)
    (document,) = signed_documents([answer(emaid="DEABCC123456799")], SIGNER)
    assert unsigned(document) == answer(emaid="DEABCC123456799")
    assert len(frames) == 1


def test_the_frames_used_last_are_kept(frames):
    for length in [0, *range(contract_answers._MOST_FRAMES), 0, contract_answers._MOST_FRAMES, 0]:
        signed_documents([answer(leaf=bytes(1 + length))] * PAYS, SIGNER)
    assert len(frames) == contract_answers._MOST_FRAMES + 1
    signed_documents([answer(leaf=bytes(2))] * PAYS, SIGNER)
    assert len(frames) == contract_answers._MOST_FRAMES + 2


def test_a_character_that_no_document_may_hold_is_written_by_no_form():
    with pytest.raises(MalformedError):
        signed_documents([answer()] * PAYS + [answer(emaid="DEABCC\x01" + "23456788")], SIGNER)
