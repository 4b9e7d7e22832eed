"""Answers to vehicles (ISO 15118-2 8.4.3.11; OPCP, CCP): installation requests in EXI in, contract data in EXI out.

Nothing here signs: what a vehicle gets was signed when it was stored.
A vehicle is believed when the PCP holds the key of its certificate, that is in force, and the request verifies with it.
Its contracts are those that may be shown, that are in force, and that were signed below a V2G root it knows.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contracts import (
    SESSION_DIGITS,
    InstallationRequest2,
    InstallationRequest20,
    InstallationResponse20,
    Message2,
)
from pki_core.model.errors import InvariantError, MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.identifiers import Emaid, Pcid, provider_of
from pki_core.model.partners import Partner
from pki_core.model.pools import (
    CONTRACT_OR_VEHICLE_NOT_FOUND,
    Event,
    EventType,
    Namespace,
    ProvisioningKey,
    ProvisioningRow,
)
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.services.cps_roots import CpsRoots
from pki_core.services.cps_signers import may_be_shown
from pki_core.services.pool_contracts import own_vehicle
from pki_core.services.shown_contracts import ShownContracts
from pki_core.store.contract_making import HeldContract
from pki_core.store.unit_of_work import Store
from pki_core.wire.contract_data import (
    BAD_SIGNATURE,
    NO_CERTIFICATE_2,
    NO_CONTRACT_20,
    chains_of,
    decode_message,
    encode_message,
    for_session_2,
    for_session_20,
    message_fault,
    refusal_2,
    refusal_20,
)
from pki_core.wire.contract_key import identity_of

INVALID_EXI = "EXI format is invalid!"
INVALID_SESSION = (
    "Invalid SessionID format, make sure the length is maximum 8 characters and it is represented in HEX binary"
)
NO_SESSION = b"\0"
_IN_FORCE = frozenset({None, CertificateState.GOOD})  # None: of another CA, which is asked
_READERS = frozenset({"cpo", "oem"})
_MOST_CHAINS = 8  # contracts in one answer, whatever a vehicle asks for
_FAULT = "No contract for this vehicle"


class ToldContract(NamedTuple):
    """What is said of a contract beside its data."""

    emaid: str
    emaid_as_issued: str
    pcid: str
    namespace: Namespace
    cps_fingerprint: str
    meta: str


class Installation(NamedTuple):
    """One contract as a vehicle installs it; a negative answer names no contract."""

    exi: bytes
    contract: ToldContract | None


class Installed(NamedTuple):
    """What a request is answered with; ``is_found`` False: ``items`` holds one negative answer."""

    items: tuple[Installation, ...]
    is_found: bool
    namespace: Namespace


_Answer = Message2 | InstallationResponse20


class _Ready(NamedTuple):
    """A contract whose data may go out."""

    told: ToldContract
    message: _Answer


class _Held(NamedTuple):
    """What a vehicle has."""

    certificates: list[ProvisioningRow]  # in force, as far as we can tell ourselves
    contracts: list[HeldContract]
    fallen: frozenset[bytes]  # certificates of signers nobody believes any more


class _Asked(NamedTuple):
    """What a request says, whatever its edition."""

    edition: Edition
    session_id: bytes
    leaf_der: bytes
    serials: frozenset[int]  # of V2G roots in the vehicle
    most: int
    emaids: tuple[str, ...]
    message: Message2 | InstallationRequest20


class Installations:
    """Answers requests and pulls of contract data."""

    def __init__(self, store: Store, clock: Clock, roots: CpsRoots, shown: ShownContracts) -> None:
        self._store = store
        self._clock = clock
        self._roots = roots
        self._shown = shown

    def answer(self, partner: Partner, exi: bytes, namespace: Namespace) -> Installed:
        """Answer a vehicle's CertificateInstallationReq; an OEM hands in those of his own vehicles.

        Raises:
            NotAuthorizedError: this partner hands no requests of vehicles in.
            MalformedError: it is none.
            UnavailableError: a foreign CA has not told the status of its contract, or its own, for a day.
        """
        if not _READERS & partner.roles:
            raise NotAuthorizedError("installation requests are handed in by charge point operators and OEMs")
        asked = _read(exi, Edition.ISO_20 if namespace.is_edition_20 else Edition.ISO_2)
        found = self._contracts(partner, asked)
        if isinstance(found, str):
            return self._refused(asked, namespace, found)
        items = self._items(found, asked.session_id)
        self._note_delivery([item.contract for item in items if item.contract is not None])
        return Installed(items, is_found=True, namespace=namespace)

    def provide(self, partner: Partner, emaid: str, pcid: str, session_id: bytes) -> Installation:
        """Return a contract for an OEM's own vehicle, as its back end hands it over: what a request would get, too.

        Raises:
            NotFoundError: there is none of that vehicle's, or none whose signer could be trusted now.
            NotAuthorizedError: the vehicle is another OEM's.
            UnavailableError: a foreign CA has not told its status, or the vehicle's, for a day.
        """
        vehicle, wanted = own_vehicle(partner, pcid), Emaid.parse(emaid).canonical
        held = self._held([ProvisioningKey(vehicle, algorithm) for algorithm in KeyAlgorithm])
        named = [one for one in held.contracts if one.emaid == wanted]
        ready = [self._ready(one, held.fallen) for one in self._shown.among(self._in_force(named), held.certificates)]
        if not ready or ready[0] is None:
            raise NotFoundError(CONTRACT_OR_VEHICLE_NOT_FOUND)
        message, told = ready[0].message, ready[0].told
        item = Installation(self._for_session(message, session_id, 0), told)
        self._note_delivery([told])
        return item

    def _held(self, keys: Sequence[ProvisioningKey]) -> _Held:
        """Return what one vehicle's certificates and contracts are worth now, by one look."""
        with self._store.reading() as work:
            pcid = keys[0].pcid
            known = [one for one in work.provisioning_pool.standing_with_cas(pcid) if one[0].key in keys]
            contracts = work.contract_making.held_by(pcid) if known else []
            fallen = work.cps_signers.fallen() if contracts else frozenset()
        now = self._clock.now()
        good = [row for row, state in known if now < row.valid_to and state in _IN_FORCE]
        return _Held(good, contracts, fallen)

    def _in_force(self, contracts: Sequence[HeldContract]) -> list[HeldContract]:
        now = self._clock.now()
        return [one for one in contracts if one.valid_from <= now < one.valid_to and one.state in _IN_FORCE]

    def _ready(self, one: HeldContract, fallen: frozenset[bytes]) -> _Ready | None:
        """Return a contract whose signer a vehicle would believe now."""
        told = ToldContract(one.emaid, one.emaid_as_issued, one.pcid, one.namespace, one.cps_fingerprint, one.meta)
        message = _decoded(told, one.signed_data)
        return _Ready(told, message) if may_be_shown(chains_of(message)[0], fallen, self._clock.now()) else None

    def _contracts(self, partner: Partner, asked: _Asked) -> list[_Ready] | str:
        """Return what a known vehicle gets, or the response code of the refusal."""
        missing = _no_contract(asked.edition)
        try:
            common_name, algorithm, spki_der = identity_of(asked.leaf_der)
            pcid = Pcid.parse(common_name, edition20=True)
        except MalformedError:
            return missing
        if "cpo" not in partner.roles and pcid.wmi not in partner.wmis:
            return missing  # every vehicle comes to a station; to its maker come his own
        held = self._held([ProvisioningKey(pcid.canonical, algorithm)])
        if hashlib.sha256(spki_der).digest() not in {row.key_sha256 for row in held.certificates}:
            return missing
        if message_fault(asked.message, asked.leaf_der):
            return BAD_SIGNATURE
        return self._chosen(asked, held)

    def _chosen(self, asked: _Asked, held: _Held) -> list[_Ready] | str:
        """Return those in force, as many as are wanted: those the vehicle names first, and then the others."""
        contracts = _of_default(held.contracts) if asked.edition is Edition.ISO_2 else held.contracts
        found = [
            one
            for one in self._in_force(contracts)
            if one.namespace.is_edition_20 == (asked.edition is Edition.ISO_20)
            and self._roots.is_known(one.cps_fingerprint, asked.serials)
        ]
        ready: list[_Ready] = []
        wanted = _in_order(found, asked.emaids) if asked.most else []  # a vehicle has room for none: 0 is said, too
        for one in self._shown.among(wanted, held.certificates):
            usable = self._ready(one, held.fallen)
            if usable is not None:
                ready.append(usable)
            if len(ready) == asked.most:
                break
        return ready or _no_contract(asked.edition)

    def _items(self, found: Sequence[_Ready], session_id: bytes) -> tuple[Installation, ...]:
        return tuple(
            Installation(self._for_session(one.message, session_id, remaining), one.told)
            for remaining, one in zip(reversed(range(len(found))), found, strict=True)
        )

    def _for_session(self, message: _Answer, session_id: bytes, remaining: int) -> bytes:
        if isinstance(message, Message2):
            return encode_message(for_session_2(message, session_id))
        return encode_message(for_session_20(message, session_id, self._clock.now(), remaining))

    def _refused(self, asked: _Asked, namespace: Namespace, code: str) -> Installed:
        if asked.edition is Edition.ISO_2:
            message = encode_message(refusal_2(asked.session_id, code, _FAULT))
        else:
            message = encode_message(refusal_20(asked.session_id, self._clock.now(), code))
        return Installed((Installation(message, None),), is_found=False, namespace=namespace)

    def _note_delivery(self, rows: Sequence[ToldContract]) -> None:
        """Tell operators that contracts went out; a power cut may lose it, for a vehicle is waiting."""
        events = [
            Event(EventType.CONTRACT_DELIVERED, provider_of(row.emaid), row.pcid, row.emaid, namespace=row.namespace)
            for row in rows
        ]
        with self._store.transaction(forgettable=True) as work:
            work.outbox.append(self._clock.now(), events)


def _of_default(held: Sequence[HeldContract]) -> list[HeldContract]:
    """Return what a vehicle of ISO 15118-2 may get: its default contract, of which there is one at most.

    One of the other edition is no answer to it, and says nothing about those of its own: then they come, by EMAID.
    Where no contract is the default, none is put in its place.
    """
    default = [one for one in held if one.is_default]
    if any(one.namespace.is_edition_20 for one in default):
        return [one for one in held if not one.namespace.is_edition_20]
    return default


def _decoded(row: ToldContract, signed_data: bytes) -> _Answer:
    edition = Edition.ISO_20 if row.namespace.is_edition_20 else Edition.ISO_2
    try:
        message = decode_message(edition, signed_data)
    except MalformedError as error:
        raise InvariantError(f"the signed data of contract {row.emaid} cannot be read") from error
    if isinstance(message, Message2 | InstallationResponse20):
        return message
    raise InvariantError(f"the signed data of contract {row.emaid} is no answer")


def _read(exi: bytes, edition: Edition) -> _Asked:
    try:
        message = decode_message(edition, exi)
    except MalformedError as error:
        raise MalformedError(INVALID_EXI) from error
    if isinstance(message, Message2) and isinstance(message.body, InstallationRequest2):
        body = message.body
        return _Asked(
            edition,
            message.header.session_id,
            body.oem_certificate_der,
            frozenset(one.serial for one in body.roots),
            1,
            (),
            message,
        )
    if isinstance(message, InstallationRequest20):
        most = min(message.most_contract_chains, _MOST_CHAINS)
        return _Asked(
            edition,
            message.header.session_id,
            message.oem_chain.certificate_der,
            frozenset(one.serial for one in message.roots),
            most,
            message.prioritized_emaids,
            message,
        )
    raise MalformedError(INVALID_EXI)


def _in_order(found: Sequence[HeldContract], emaids: Sequence[str]) -> list[HeldContract]:
    """Put the contracts a vehicle names first, in its order; the default and the others follow."""
    wanted: dict[str, int] = {}
    for place, text in enumerate(emaids):
        try:
            wanted.setdefault(Emaid.parse(text).canonical, place)
        except MalformedError:
            continue  # a name of something else than one of our contracts
    return sorted(found, key=lambda one: wanted.get(one.emaid, len(wanted)))


def _no_contract(edition: Edition) -> str:
    return NO_CERTIFICATE_2 if edition is Edition.ISO_2 else NO_CONTRACT_20


def session_id_of(text: str) -> bytes:
    """Return a session id from hexadecimal text; "" = none yet.

    Raises:
        MalformedError: not hexadecimal, or of more than eight octets.
    """
    if not text:
        return NO_SESSION
    if len(text) > SESSION_DIGITS or not text.isascii() or not text.isalnum():
        raise MalformedError(INVALID_SESSION)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError(INVALID_SESSION) from error
