"""Hypothesis strategies for contract messages: any value the schemas and our limits allow."""

from hypothesis import strategies as st

from pki_core.model.contracts import (
    CertificateChain,
    Header2,
    Header20,
    IdentifiedOctets,
    IdentifiedText,
    InstallationData20,
    InstallationRequest2,
    InstallationRequest20,
    InstallationResponse2,
    InstallationResponse20,
    Message2,
    MessageSignature,
    Notification,
    RootCertificateId,
    SignedInfo,
    SignedReference,
)
from pki_core.wire.exi_iso2 import _FAULT_CODES, _RESPONSE_CODES
from pki_core.wire.exi_iso20 import _PROCESSING
from pki_core.wire.exi_iso20 import _RESPONSE_CODES as _RESPONSE_CODES_20

# XML 1.0 2.2, without what XML itself changes in attributes: tabs and line ends become spaces.
characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
tokens = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters=":/#.-"), min_size=1, max_size=64
)


def texts(most):
    return st.text(characters, max_size=min(most, 40))


def optional(strategy):
    return st.none() | strategy


def octets(most):
    return st.binary(max_size=min(most, 60)) | st.integers(0, most).map(bytes)


def tuples(strategy, least, most):
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


certificates = octets(1600)
references = st.builds(
    SignedReference,
    id=optional(tokens),
    type=optional(tokens),
    uri=optional(tokens),
    transforms=tuples(tokens, 0, 1),
    digest_method=tokens,
    digest=octets(64),
)
signed_infos = st.builds(
    SignedInfo,
    id=optional(tokens),
    canonicalization_method=tokens,
    signature_method=tokens,
    references=tuples(references, 1, 4),
)
identified = st.builds(IdentifiedOctets, id=tokens, value=octets(256))
signatures = st.builds(
    MessageSignature,
    id=optional(tokens),
    signed_info=signed_infos,
    value=st.builds(IdentifiedOctets, id=optional(tokens), value=octets(132)),
)
roots = tuples(
    st.builds(RootCertificateId, issuer_name=texts(1024), serial=st.integers(-(1 << 160), (1 << 160) - 1)), 1, 3
)


def chains(ids, least=0, most=4):
    return st.builds(
        CertificateChain, id=ids, certificate_der=certificates, sub_certificates_der=tuples(certificates, least, most)
    )


headers_2 = st.builds(
    Header2,
    session_id=octets(8),
    notification=optional(
        st.builds(Notification, fault_code=st.sampled_from(_FAULT_CODES), fault_message=optional(texts(256)))
    ),
    signature=optional(signatures),
)
requests_2 = st.builds(InstallationRequest2, id=tokens, oem_certificate_der=certificates, roots=roots)
responses_2 = st.builds(
    InstallationResponse2,
    response_code=st.sampled_from(_RESPONSE_CODES),
    cps_chain=chains(optional(tokens)),
    contract_chain=chains(optional(tokens)),
    encrypted_private_key=identified,
    dh_public_key=identified,
    emaid=st.builds(IdentifiedText, id=tokens, value=texts(64)),
)
messages_2 = st.builds(Message2, header=headers_2, body=requests_2 | responses_2)

headers_20 = st.builds(
    Header20, session_id=octets(8), timestamp=st.integers(0, (1 << 64) - 1), signature=optional(signatures)
)
requests_20 = st.builds(
    InstallationRequest20,
    header=headers_20,
    oem_chain=chains(tokens, most=3),
    roots=roots,
    most_contract_chains=st.integers(0, 255),
    prioritized_emaids=tuples(texts(255), 0, 8),
)
_KEY_FIELDS = ("secp521_encrypted_private_key", "x448_encrypted_private_key", "tpm_encrypted_private_key")


@st.composite
def data_20(draw):
    return InstallationData20(
        id=draw(tokens),
        contract_chain=draw(chains(st.none(), 1, 3)),
        ecdh_curve=draw(st.sampled_from(["SECP521", "X448"])),
        dh_public_key=draw(octets(256)),
        **{draw(st.sampled_from(_KEY_FIELDS)): draw(octets(256))},
    )


responses_20 = st.builds(
    InstallationResponse20,
    header=headers_20,
    response_code=st.sampled_from(_RESPONSE_CODES_20),
    evse_processing=st.sampled_from(_PROCESSING),
    cps_chain=chains(st.none(), most=3),
    installation_data=data_20(),
    remaining_contract_chains=st.integers(0, 255),
)
messages_20 = requests_20 | responses_20
