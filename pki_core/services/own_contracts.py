"""Contract data of operators with a PKI of their own (OPCP, CPS: contractData/signed): checked, signed, perhaps stored.

Their private keys come wrapped already; what we add is the signature of the provisioning service.
"""

import hashlib
from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import OwnContract, SignedContract
from pki_core.model.contracts import CertificateChain, ContractMessage
from pki_core.model.cps import CpsSigner
from pki_core.model.errors import ConflictError, MalformedError, NotAuthorizedError
from pki_core.model.identifiers import Emaid, Pcid
from pki_core.model.partners import Partner
from pki_core.model.pools import CONTRACT_ENDED, ContractUpload
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.pool_chains import ChainChecks, read_chain
from pki_core.services.pool_contracts import ROOTS, ContractPool
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store
from pki_core.wire.contract_data import answer_2, answer_20
from pki_core.wire.contract_envelope import ENVELOPE_2_OCTETS, ENVELOPE_P521_OCTETS, ENVELOPE_X448_OCTETS

MOST_AT_ONCE = 1000
# Octets of the DH public key and of the encrypted private key -> the keys of the vehicle ([V2G2-822], [V2G20-2499]).
_KINDS = {
    (65, ENVELOPE_2_OCTETS): KeyAlgorithm.SECP256R1,
    (133, ENVELOPE_P521_OCTETS): KeyAlgorithm.SECP521R1,
    (56, ENVELOPE_X448_OCTETS): KeyAlgorithm.ED448,
}


class OwnContracts:
    """Signs for operators with their own PKI."""

    def __init__(
        self, store: Store, clock: Clock, checks: ChainChecks, signing: ContractSigning, pool: ContractPool
    ) -> None:
        self._store = store
        self._clock = clock
        self._checks = checks
        self._signing = signing
        self._pool = pool

    def sign(self, partner: Partner, contracts: Sequence[OwnContract]) -> list[SignedContract]:
        """Sign contract data, all or none; those with a PCID go into the CCP one by one, in order.

        Raises:
            NotAuthorizedError: an EMAID is another operator's.
            MalformedError: a part cannot be read, or does not fit the others.
            ConflictError: a certificate has ended, is revoked or leads to no root of the RCP; the vehicle has no
                certificate in the PCP; the EMAID is used with another PCID; nobody signs below that root.
            UnavailableError: a CA does not tell its status, or the token is away; nothing was signed.
        """
        if not 0 < len(contracts) <= MOST_AT_ONCE:
            raise MalformedError(f"1 to {MOST_AT_ONCE} contracts are signed at once")
        checked = [self._check(partner, one) for one in contracts]
        wanted = [(kind, one.root_sha256) for one, (_, kind) in zip(contracts, checked, strict=True)]
        signers = {one: self._signing.choose(*one) for one in dict.fromkeys(wanted)}
        signed: dict[int, bytes] = {}
        for choice, signer in signers.items():
            places = [place for place, one in enumerate(wanted) if one == choice]
            messages = [_answer(contracts[place], *checked[place], signer) for place in places]
            signed.update(zip(places, self._signing.signed(messages, signer), strict=True))
        finished = []
        for place, (one, (emaid, kind)) in enumerate(zip(contracts, checked, strict=True)):
            signer = signers[wanted[place]]
            self._finish(partner, one, (emaid, kind), (signed[place], signer.root_sha256))
            finished.append(
                SignedContract(
                    emaid=emaid.as_issued,
                    pcid=one.pcid,
                    namespace=one.namespace,
                    exi=signed[place],
                    root_sha256=signer.root_sha256,
                    root_der=signer.root_der,
                )
            )
        return finished

    def _check(self, partner: Partner, one: OwnContract) -> tuple[Emaid, KeyAlgorithm]:
        kind = _kind_of(one)
        if one.pcid:
            Pcid.parse(one.pcid, edition20=one.namespace.is_edition_20)
        sub2 = [("contractSubCa2Certificate", one.sub2_der)] if one.sub2_der else []
        subs = [*sub2, ("contractSubCa1Certificate", one.sub1_der)]
        leaf, *above = read_chain(one.leaf_der, subs, "contractCertificate")
        if leaf.is_ca:
            raise MalformedError("Invalid certificate format on contractCertificate")
        emaid = Emaid.parse(leaf.common_name)
        if "mo" not in partner.roles or emaid.provider_prefix not in partner.provider_prefixes:
            raise NotAuthorizedError(f"contracts of {emaid.provider_prefix} are not this partner's")
        if leaf.not_after <= self._clock.now():
            raise ConflictError(CONTRACT_ENDED)
        self._checks.check(leaf, above, ROOTS)
        return emaid, kind

    def _finish(
        self, partner: Partner, one: OwnContract, what: tuple[Emaid, KeyAlgorithm], signed: tuple[bytes, str]
    ) -> None:
        """Note what was signed, and put it into the CCP where that was asked for."""
        emaid, kind = what
        if one.pcid:
            upload = ContractUpload(
                emaid=emaid.as_issued,
                pcid=one.pcid,
                algorithm=kind,
                leaf_der=one.leaf_der,
                sub2_der=one.sub2_der,
                sub1_der=one.sub1_der,
                signed_data=signed[0],
                namespace=one.namespace,
                cps_fingerprint=signed[1],
            )
            self._pool.publish(partner, upload)
        digest = hashlib.sha256(one.leaf_der).digest()
        entry = AuditEntry(partner.id, "contract.signed", certificate_sha256=digest, detail=emaid.canonical)
        with self._store.transaction() as work:
            work.audit.append(STREAM, self._clock.now(), [entry])


def _kind_of(one: OwnContract) -> KeyAlgorithm:
    octets = len(one.envelope.dh_public_key), len(one.envelope.encrypted_private_key)
    kind = _KINDS.get(octets)
    if kind is None or one.namespace.is_edition_20 == (kind is KeyAlgorithm.SECP256R1):
        raise MalformedError("the lengths of dHpublickey and of the encrypted private key are not this edition's")
    return kind


def _answer(one: OwnContract, emaid: Emaid, kind: KeyAlgorithm, signer: CpsSigner) -> ContractMessage:
    subs = (one.sub2_der, one.sub1_der) if one.sub2_der else (one.sub1_der,)
    chain = CertificateChain(certificate_der=one.leaf_der, sub_certificates_der=subs)
    if kind is KeyAlgorithm.SECP256R1:
        return answer_2(signer.chain, chain, one.envelope, emaid.as_issued)
    return answer_20(signer.chain, chain, one.envelope)
