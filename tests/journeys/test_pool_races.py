"""Two who write the same row at once, on PostgreSQL: the second one looks again and hears what is always said."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from time import monotonic, sleep

import pytest

from pki_core.model.errors import ConflictError, ConstraintError, NotFoundError
from pki_core.model.pools import EMAID_TAKEN, Namespace, Removal, RootKind
from pki_core.model.registrations import EndEntity
from pki_core.model.states import CertificateState
from pki_core.services.pool_provisioning import Published
from pki_core.store import provisioning_pool
from pki_core.store.contract_making import ContractMakingGateway
from pki_core.store.contract_pool import ContractPoolGateway
from pki_core.store.former_contracts import FormerContractGateway
from tests.builders import new_key, some_key
from tests.invariants import check_contracts, read_snapshot
from tests.journeys.acts import copy_home, rows
from tests.journeys.contract_acts import wanted
from tests.journeys.pool_acts import (
    MO,
    OEM,
    ForeignCa,
    contract_of,
    der,
    emaids,
    foreign_ca,
    kept_ca,
    opened,
    own_contract,
    partner,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.environments"]
DEMO_MO = partner("mo", id="demo-mo")
_numbers = count()
_PATIENCE = 60  # seconds


def outrun(monkeypatch, gateway, name, rival):
    """Let somebody else finish just before the first write of a row, behind everything that was looked up for it."""
    honest, waiting = getattr(gateway, name), [rival]

    def late(*arguments):
        if waiting:
            waiting.pop()()
        return honest(*arguments)

    monkeypatch.setattr(gateway, name, late)


@contextmanager
def meeting(runtime, monkeypatch, gateway, name, rival):
    """Let somebody else begin in the middle of what the block does; it goes on when he is done or waits for it."""
    honest, waiting, begun = getattr(gateway, name), [rival], []

    def interrupted(*arguments, **named):
        if waiting:
            begun.append(others.submit(waiting.pop()))
            _until_done_or_waiting(runtime, begun[0])
        return honest(*arguments, **named)

    with ThreadPoolExecutor(1) as others, monkeypatch.context() as patched:
        patched.setattr(gateway, name, interrupted)
        yield begun


def _until_done_or_waiting(runtime, other):
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = monotonic() + _PATIENCE
    while not other.done() and rows(runtime, waits) == [(0,)]:
        assert monotonic() < end, "he neither comes to an end nor waits"
        sleep(0.01)


@pytest.fixture(scope="module")
def runtime(founded_postgres, tmp_path_factory):
    """An environment on PostgreSQL for all of these tests, each with names of its own."""
    home, databases = founded_postgres
    url = databases.create()
    with opened(copy_home(home, tmp_path_factory.mktemp("races") / "home", url)) as made:
        foreign_ca(made)
        # Whoever stores a chain lets others wait for him, and here he would wait for them: it is there.
        made.pools.provisioning.publish(OEM, vehicle_of(ca_of(made), "WPNFOREGN00000008"))
        yield made
    databases.drop(url)


@pytest.fixture
def names(runtime):
    """Two vehicles of the PCP and two EMAIDs that no other test has."""
    at = next(_numbers)
    pcids = [f"WPNRACE{at:08d}{one}" + "0" for one in (1, 2)]
    for pcid in pcids:
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca_of(runtime), pcid, some_key()))
    return pcids, [f"DEPNCC{at:07d}{one}" for one in (1, 2)]


def ca_of(runtime):
    return kept_ca("foreign", runtime.clock.now())


def test_of_two_who_publish_one_emaid_for_two_vehicles_the_second_hears_that_it_is_taken(runtime, names, monkeypatch):
    (pcid, other_pcid), (emaid, _) = names
    contracts, ca = runtime.pools.contracts, ca_of(runtime)
    outrun(monkeypatch, ContractPoolGateway, "put", lambda: contracts.publish(MO, contract_of(ca, emaid, other_pcid)))
    with pytest.raises(ConflictError, match=EMAID_TAKEN):
        contracts.publish(MO, contract_of(ca, emaid, pcid))


def test_of_two_who_order_one_emaid_for_two_vehicles_the_second_hears_that_it_is_taken(runtime, names, monkeypatch):
    (pcid, other_pcid), (emaid, _) = names
    generate, ca = runtime.contracts.generation.generate, ca_of(runtime)
    rival = contract_of(ca, emaid, other_pcid)
    outrun(monkeypatch, ContractMakingGateway, "put", lambda: runtime.pools.contracts.publish(MO, rival))
    (outcome,) = generate(DEMO_MO, [wanted(runtime, emaid, pcid)], Namespace.ISO_2_2013)
    assert (outcome.code, outcome.message) == ("contract.emaid_taken", EMAID_TAKEN)


def test_the_first_contracts_of_a_vehicle_may_come_at_once_and_one_is_the_default(runtime, names, monkeypatch):
    (pcid, _), (emaid, other_emaid) = names
    contracts, ca = runtime.pools.contracts, ca_of(runtime)
    looked, honest = [], ContractPoolGateway.of_pcid

    def blind(self, pcid):
        """What a look found before the other one's commit."""
        looked.append(pcid)
        return honest(self, pcid) if len(looked) > 1 else []

    contracts.publish(MO, contract_of(ca, other_emaid, pcid))
    monkeypatch.setattr(ContractPoolGateway, "of_pcid", blind)
    assert contracts.publish(MO, contract_of(ca, emaid, pcid))
    assert [one.emaid for one in contracts.of_vehicle(OEM, pcid) if one.is_default] == [other_emaid]


def test_of_two_who_publish_a_new_vehicle_both_are_served(runtime, monkeypatch):
    pool, new = runtime.pools.provisioning, vehicle_of(ca_of(runtime), "WPNFOREGN00000009")
    outrun(monkeypatch, provisioning_pool, "insert", lambda: pool.publish(OEM, new))
    assert pool.publish(OEM, new) is Published.RENEWED


def mine_of(runtime, emaid, pcid):
    """A contract of the demo operator's whose certificate we made; returns the order that makes it anew."""
    order = wanted(runtime, emaid, pcid)
    (outcome,) = runtime.contracts.generation.generate(DEMO_MO, [order], Namespace.ISO_2_2013)
    assert outcome.certificate_id
    return order


def sweep_as_ended(runtime, emaid):
    """What a sweep does with a page in which a contract has ended."""
    with runtime.store.transaction() as work:
        ended = work.contract_pool.lock([emaid], ended=runtime.clock.now() + timedelta(days=3660))
        runtime.pools.removal.contracts(work, ended, Removal.EXPIRED, "test")


RIVALS = {
    "its operator deletes it": lambda runtime, emaid: runtime.pools.contracts.delete(DEMO_MO, emaid),
    "a sweep removes it": sweep_as_ended,
}
MOMENTS = {
    "before it is locked": (ContractPoolGateway, "lock"),
    "before its certificate is remembered": (FormerContractGateway, "remember"),
    "before it is written": (ContractMakingGateway, "put"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("rival", RIVALS)
def test_a_contract_that_is_removed_while_it_is_made_anew_leaves_no_certificate_behind(
    runtime, names, monkeypatch, rival, moment
):
    (pcid, _), (emaid, _) = names
    order = mine_of(runtime, emaid, pcid)
    with meeting(runtime, monkeypatch, *MOMENTS[moment], lambda: RIVALS[rival](runtime, emaid)) as other:
        (outcome,) = runtime.contracts.generation.generate(DEMO_MO, [order], Namespace.ISO_2_2013)
    other[0].result()
    check_contracts(read_snapshot(runtime.settings.database_url))
    is_there = emaid in emaids(runtime)
    assert is_there is (runtime.certificates.show(f"{outcome.serial:x}").state is CertificateState.GOOD)


def test_a_contract_published_while_it_is_removed_is_there_afterwards(runtime, names, monkeypatch):
    (pcid, _), (emaid, _) = names
    contracts, upload = runtime.pools.contracts, contract_of(ca_of(runtime), emaid, pcid)
    contracts.publish(MO, upload)
    with meeting(runtime, monkeypatch, ContractPoolGateway, "remove", lambda: contracts.publish(MO, upload)) as other:
        contracts.delete(MO, emaid)
    assert other[0].result() is True
    assert emaid in emaids(runtime)


CHANGES = {
    "it is deleted": lambda runtime, pcid: runtime.pools.provisioning.delete(OEM, pcid),
    "its key is replaced": lambda runtime, pcid: runtime.pools.provisioning.publish(
        OEM, vehicle_of(ca_of(runtime), pcid, new_key())
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_operator_who_deletes_a_contract_of_a_vehicle_that_changes_waits_for_it(runtime, names, monkeypatch, change):
    """Both lock the contract, and then its certificate: one waits, and neither is killed by the database."""
    (pcid, _), (emaid, _) = names
    upload, serial = own_contract(runtime, emaid, pcid)
    contracts = runtime.pools.contracts
    contracts.publish(MO, upload)
    with meeting(runtime, monkeypatch, ContractPoolGateway, "remove", lambda: contracts.delete(MO, emaid)) as other:
        CHANGES[change](runtime, pcid)
    with pytest.raises(NotFoundError):
        other[0].result()
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert emaid not in emaids(runtime)


def test_a_row_that_no_second_look_mends_is_refused(runtime):
    looks = []

    def act(work):
        looks.append(work)
        work.marks.advance("one", runtime.clock.now())
        raise ConstraintError("again and again")

    with pytest.raises(ConstraintError):
        runtime.store.with_second_look(act)
    assert len(looks) == 2


def at_once(count, act):
    """Do one thing in several threads at the same moment; what each returned."""
    ready = threading.Barrier(count)

    def one(at):
        ready.wait(10)
        return act(at)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_who_add_one_root_all_but_one_hear_that_it_is_there(runtime):
    root = der(ForeignCa("raced", runtime.clock.now()).root)

    def add(_):
        try:
            runtime.pools.roots.add(root, RootKind.OEM, by="alice", evidence="read over the telephone")
        except ConflictError as error:
            return str(error)

    refused = "this root is in the pool as oem already"
    assert sorted(at_once(6, add), key=str) == [None] + [refused] * 5


def test_of_many_who_register_one_station_all_are_served_and_one_is_the_first(runtime):
    cpo = next(one for one in runtime.partners.all() if one.id == "demo-cpo")
    for at in range(5):
        name = f"{min(cpo.operator_prefixes)}ERACE{at}"
        told = at_once(
            6,
            lambda one, name=name: runtime.pools.registrations.put(
                cpo, [EndEntity(common_name=name, device_name=str(one))]
            ),
        )
        assert sorted(told) == [0] * 5 + [1]
    assert len([one for one in runtime.pools.registrations.page(cpo) if "ERACE" in one.common_name]) == 5
