"""Answers of ISO 15118-2, many at once: what thousands of them share is written once, signed and sent as it would be.

One provisioning service answers for one MO CA: of an answer only the contract's certificate, the envelope of its key
and its EMAID are its own, and the hashes and the signature that follow from them. All other messages are signed and
written one by one, and so are those too few to pay for learning what they share.
"""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final, NamedTuple

from pki_core.model.contracts import (
    CertificateChain,
    ContractMessage,
    Header2,
    IdentifiedOctets,
    IdentifiedText,
    InstallationResponse2,
    Message2,
)
from pki_core.model.signer import KeyAlgorithm, Signer
from pki_core.wire.contract_data import encode_message, sign_messages
from pki_core.wire.exi_forms import Form
from pki_core.wire.exi_iso2 import encode_document, response_fragments
from pki_core.wire.exi_signature import Suite, signature_values, signed_info_exi, suite_of

PAYS: Final = 16  # messages for each new frame: one costs 1 ms of CPU and saves 0.1 ms a message
_MOST_FRAMES = 64  # signers, and lengths of certificates, come and go


class _Shared(NamedTuple):
    """What answers of one frame have in common."""

    session_id: bytes
    response_code: str
    cps_chain: CertificateChain
    sub_certificates_der: tuple[bytes, ...]
    key_id: str | None
    chain_id: str | None
    emaid_id: str | None
    dh_id: str | None


class _Own(NamedTuple):
    """What is an answer's own, in octets; the signed parts in the order a signature refers to them."""

    encrypted_key: bytes
    leaf_der: bytes
    emaid: bytes
    dh_public_key: bytes


def signed_documents(messages: Sequence[ContractMessage], signer: Signer) -> list[bytes]:
    """Return messages signed and written, by one call of the signer.

    Raises:
        MalformedError: a value is longer than it may be.
        SignatureInvalidError: one of the token's signatures does not verify; none may be used.
        HsmUnavailableError: the token is away.
    """
    parted = [_parted(message) for message in messages]
    keys = [_Key(one[0], tuple(map(len, one[1])), signer.algorithm) for one in parted if one]
    frames = _frames.of(keys) if len(keys) == len(messages) else []
    if not frames:
        return [encode_message(message) for message in sign_messages(messages, signer)]
    framed = [(frame, one[1]) for frame, one in zip(frames, parted, strict=True) if one]
    digests = [frame.digests(own) for frame, own in framed]
    infos = [frame.info.filled(*hashed) for (frame, _), hashed in zip(framed, digests, strict=True)]
    values = signature_values(infos, signer)
    return [
        frame.document.filled(*hashed, value, *own)
        for (frame, own), hashed, value in zip(framed, digests, values, strict=True)
    ]


class _Key(NamedTuple):
    """What answers of one frame are known by."""

    shared: _Shared
    lengths: tuple[int, ...]  # of what is their own
    algorithm: KeyAlgorithm


class _Frame:
    """The streams of answers that share all but some octets."""

    def __init__(self, shared: _Shared, lengths: tuple[int, ...], suite: Suite) -> None:
        blank = _Own(*(b"0" * length for length in lengths))
        names = list(response_fragments(_body(shared, blank)))

        def fragment(place: int) -> Form:
            def write(values: tuple[bytes, ...]) -> bytes:
                own = _Own(*(*blank[:place], *values, *blank[place + 1 :]))
                return response_fragments(_body(shared, own))[names[place]]

            return Form(write, [lengths[place]])

        def document(values: tuple[bytes, ...]) -> bytes:
            hashed, value, own = values[: len(names)], values[len(names)], _Own(*values[len(names) + 1 :])
            signature = suite.signature(dict(zip(names, hashed, strict=True)), value)
            return encode_document(
                Message2(header=Header2(session_id=shared.session_id, signature=signature), body=_body(shared, own))
            )

        hashes = [suite.digest_octets] * len(names)
        self._digest = suite.digest
        self._fragments = [fragment(place) for place in range(len(names))]
        self.info = Form(lambda values: signed_info_exi(suite.info(dict(zip(names, values, strict=True)))), hashes)
        self.document = Form(document, [*hashes, suite.value_octets, *lengths])

    def digests(self, own: _Own) -> list[bytes]:
        """Return the hashes of an answer's signed parts."""
        digest = self._digest
        return [digest(form.filled(value)) for form, value in zip(self._fragments, own, strict=True)]


class _Frames:
    """The frames used last. Two threads that miss one at once make it twice."""

    def __init__(self) -> None:
        self._frames: OrderedDict[_Key, _Frame] = OrderedDict()
        self._lock = Lock()

    def of(self, keys: Sequence[_Key]) -> list[_Frame]:
        """Return the frame of each message; [] where to make the new ones costs more than they save."""
        wanted = set(keys)
        with self._lock:
            found = {key: self._frames[key] for key in wanted if key in self._frames}
        new = wanted - found.keys()
        if PAYS * len(new) > len(keys):
            return []
        found |= {key: _Frame(key.shared, key.lengths, suite_of(key.algorithm)) for key in new}
        with self._lock:
            for key, frame in found.items():
                self._frames[key] = frame
                self._frames.move_to_end(key)
            while len(self._frames) > _MOST_FRAMES:
                self._frames.popitem(last=False)
        return [found[key] for key in keys]


_frames = _Frames()


def _parted(message: ContractMessage) -> tuple[_Shared, _Own] | None:
    """Return what an answer shares with others and what is its own; None for what is written by itself."""
    if not isinstance(message, Message2) or not isinstance(message.body, InstallationResponse2):
        return None
    header, body = message.header, message.body
    emaid = body.emaid.value
    if header.notification is not None or not (emaid.isascii() and emaid.isprintable()):
        return None
    chain, key, dh = body.contract_chain, body.encrypted_private_key, body.dh_public_key
    own = _Own(key.value, chain.certificate_der, emaid.encode("ascii"), dh.value)
    if not all(own):
        return None
    ids = (key.id, chain.id, body.emaid.id, dh.id)
    return _Shared(header.session_id, body.response_code, body.cps_chain, chain.sub_certificates_der, *ids), own


def _body(shared: _Shared, own: _Own) -> InstallationResponse2:
    chain = CertificateChain(
        id=shared.chain_id, certificate_der=own.leaf_der, sub_certificates_der=shared.sub_certificates_der
    )
    return InstallationResponse2(
        response_code=shared.response_code,
        cps_chain=shared.cps_chain,
        contract_chain=chain,
        encrypted_private_key=IdentifiedOctets(id=shared.key_id, value=own.encrypted_key),
        dh_public_key=IdentifiedOctets(id=shared.dh_id, value=own.dh_public_key),
        emaid=IdentifiedText(id=shared.emaid_id, value=own.emaid.decode("ascii")),
    )
