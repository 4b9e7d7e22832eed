"""Contract data of operators with a PKI of their own (OPCP, CPS: contractData/signed): checked, signed, perhaps stored.

Their private keys come wrapped already; what we add is the signature of the provisioning service.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import OwnContract, SignedContract
from pki_core.model.contracts import CertificateChain, ContractMessage
from pki_core.model.cps import CpsSigner
from pki_core.model.errors import ConflictError, MalformedError, NotAuthorizedError
from pki_core.model.identifiers import Emaid, Pcid
from pki_core.model.partners import Partner
from pki_core.model.pools import CONTRACT_ENDED, ContractUpload, ProvisioningKey
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_form import check_answer_by, check_own_data, check_sizes, named
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.pool_chains import ChainChecks, CheckedChain, read_chain
from pki_core.services.pool_contracts import ROOTS, ContractPool
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.contract_data import answer_2, answer_20
from pki_core.wire.contract_envelope import ENVELOPE_2_OCTETS, ENVELOPE_P521_OCTETS, ENVELOPE_X448_OCTETS

MOST_AT_ONCE = 1000
# Octets of the DH public key and of the encrypted private key -> the keys of the vehicle ([V2G2-822], [V2G20-2499]).
_KINDS = {
    (65, ENVELOPE_2_OCTETS): KeyAlgorithm.SECP256R1,
    (133, ENVELOPE_P521_OCTETS): KeyAlgorithm.SECP521R1,
    (56, ENVELOPE_X448_OCTETS): KeyAlgorithm.ED448,
}


class _Checked(NamedTuple):
    """What is known of a contract before it is signed."""

    emaid: Emaid
    kind: KeyAlgorithm
    key: ProvisioningKey | None  # of the vehicle, where the contract goes into the CCP
    chain: CheckedChain


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
        """Sign contract data, all or none; those with a PCID go into the CCP, all in one transaction.

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
        self._pool.refuse([(one.emaid, one.key) for one in checked if one.key is not None])
        wanted = [(it.kind, one.root_sha256) for one, it in zip(contracts, checked, strict=True)]
        signers = {one: self._signing.choose(*one) for one in dict.fromkeys(wanted)}
        for one, choice in zip(contracts, wanted, strict=True):
            check_answer_by(signers[choice], named(one.leaf_der, _subs(one)))
        signed: dict[int, bytes] = {}
        for choice, signer in signers.items():
            places = [place for place, one in enumerate(wanted) if one == choice]
            messages = [_answer(contracts[place], checked[place], signer) for place in places]
            signed.update(zip(places, self._signing.signed(messages, signer), strict=True))
        finished = [
            SignedContract(
                emaid=checked[place].emaid.as_issued,
                pcid=one.pcid,
                namespace=one.namespace,
                exi=signed[place],
                root_sha256=signers[wanted[place]].root_sha256,
                root_der=signers[wanted[place]].root_der,
                signer_id=signers[wanted[place]].record.id,
            )
            for place, one in enumerate(contracts)
        ]
        self._record(partner, list(zip(contracts, checked, finished, strict=True)))
        return finished

    def _check(self, partner: Partner, one: OwnContract) -> _Checked:
        kind, key = _kind_of(one), None
        if one.pcid:
            key = ProvisioningKey(Pcid.parse(one.pcid, edition20=one.namespace.is_edition_20).canonical, kind)
        sub2 = [("contractSubCa2Certificate", one.sub2_der)] if one.sub2_der else []
        subs = [*sub2, ("contractSubCa1Certificate", one.sub1_der)]
        leaf, *above = read_chain(one.leaf_der, subs, "contractCertificate")
        if leaf.is_ca:
            raise MalformedError("Invalid certificate format on contractCertificate")
        check_sizes(named(one.leaf_der, _subs(one)), is_20=one.namespace.is_edition_20)
        check_own_data(leaf, kind, one.envelope.dh_public_key)
        emaid = Emaid.parse(leaf.common_name)
        if "mo" not in partner.roles or emaid.provider_prefix not in partner.provider_prefixes:
            raise NotAuthorizedError(f"contracts of {emaid.provider_prefix} are not this partner's")
        if leaf.not_after <= self._clock.now():
            raise ConflictError(CONTRACT_ENDED)
        return _Checked(emaid, kind, key, self._checks.check(leaf, above, ROOTS))

    def _record(self, partner: Partner, all_of: Sequence[tuple[OwnContract, _Checked, SignedContract]]) -> None:
        """Note what was signed, and put it into the CCP where that was asked for: all in one transaction.

        What cannot be stored after all (a vehicle left in this moment) was signed all the same, and that is noted.
        """
        now = self._clock.now()

        def store(work: UnitOfWork) -> None:
            self._pool.lock(work, [(it.emaid, it.key) for _, it, _ in all_of if it.key is not None])
            for one, it, signed in all_of:
                if it.key is not None:
                    self._pool.put(work, partner, _upload(one, it, signed), it.chain)
            work.audit.append(STREAM, now, [_entry(partner, *each) for each in all_of])

        try:
            self._store.with_second_look(store)
        except ConflictError:
            with self._store.transaction() as work:
                work.audit.append(STREAM, now, [_entry(partner, *each, note=" not stored") for each in all_of])
            raise


def _entry(partner: Partner, one: OwnContract, it: _Checked, _signed: SignedContract, *, note: str = "") -> AuditEntry:
    digest = hashlib.sha256(one.leaf_der).digest()
    return AuditEntry(partner.id, "contract.signed", certificate_sha256=digest, detail=f"{it.emaid.canonical}{note}")


def _upload(one: OwnContract, it: _Checked, signed: SignedContract) -> ContractUpload:
    return ContractUpload(
        emaid=it.emaid.as_issued,
        pcid=one.pcid,
        algorithm=it.kind,
        leaf_der=one.leaf_der,
        sub2_der=one.sub2_der,
        sub1_der=one.sub1_der,
        signed_data=signed.exi,
        namespace=one.namespace,
        cps_fingerprint=signed.root_sha256,
        signer_id=signed.signer_id,
        meta=one.meta,
    )


def _kind_of(one: OwnContract) -> KeyAlgorithm:
    octets = len(one.envelope.dh_public_key), len(one.envelope.encrypted_private_key)
    kind = _KINDS.get(octets)
    if kind is None or one.namespace.is_edition_20 == (kind is KeyAlgorithm.SECP256R1):
        raise MalformedError("the lengths of dHpublickey and of the encrypted private key are not this edition's")
    return kind


def _subs(one: OwnContract) -> tuple[bytes, ...]:
    return (one.sub2_der, one.sub1_der) if one.sub2_der else (one.sub1_der,)


def _answer(one: OwnContract, it: _Checked, signer: CpsSigner) -> ContractMessage:
    chain = CertificateChain(certificate_der=one.leaf_der, sub_certificates_der=_subs(one))
    if it.kind is KeyAlgorithm.SECP256R1:
        return answer_2(signer.chain, chain, one.envelope, it.emaid.as_issued)
    return answer_20(signer.chain, chain, one.envelope)
