"""CCP cleanup: a set difference; what one run misses the next one finds."""

import hashlib
from dataclasses import replace

import pytest
from sqlalchemy import update

from pki_core.model.errors import StoreUnavailableError
from pki_core.model.states import CertificateState
from pki_core.store.outbox import OutboxGateway
from pki_core.store.pool_tables import provisioning_certificate
from tests.builders import new_key, spki
from tests.journeys.pool_acts import (
    MO,
    OEM,
    YEAR,
    audited,
    contract_of,
    emaids,
    events,
    everything,
    foreign_ca,
    forget_events,
    issue,
    killed_at_second_removal,
    own_contract,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]
PCIDS = [f"WPNCLEAN0000000{at:02d}" for at in range(5)]
EMAIDS = [f"DEPNCC{at:08d}" for at in range(5)]


def set_keys(runtime, key_sha256, *pcids):
    """Give vehicles another key behind the back of everything that removes contracts with it."""
    pcp = provisioning_certificate
    with runtime.store.transaction() as work:
        work._connection.execute(update(pcp).where(pcp.c.pcid.in_(pcids)).values(key_sha256=key_sha256))


@pytest.fixture
def orphans(runtime):
    """Five vehicles with a contract each; the first three then have other keys, and nobody removed their contracts."""
    issue(runtime, "oem_provisioning_leaf", *PCIDS)
    ca = foreign_ca(runtime)
    serials = []
    for at, (pcid, emaid) in enumerate(zip(PCIDS, EMAIDS, strict=True)):
        upload, serial = own_contract(runtime, emaid, pcid) if at < 2 else (contract_of(ca, emaid, pcid), "")
        runtime.pools.contracts.publish(MO, upload)
        serials.append(serial)
    set_keys(runtime, bytes(32), *PCIDS[:3])
    forget_events(runtime)
    return serials


def test_contracts_for_a_key_that_was_replaced_go_and_ours_are_revoked(runtime, orphans):
    report = runtime.pools.ccp_cleanup.run()
    assert (report.contracts, report.revoked, report.provisioning) == (3, 2, 0)
    assert emaids(runtime) == EMAIDS[3:]
    assert {runtime.certificates.show(serial).state for serial in orphans[:2]} == {CertificateState.REVOKED}
    assert ("oem.contract.deleted", "WPN", PCIDS[0], EMAIDS[0]) in events(runtime)
    assert ("mo.contract.deleted.sent.to.oem", "DEPNC", PCIDS[2], EMAIDS[2]) in events(runtime)
    assert audited(runtime)[-1] == ("pool.ccp_removed", f"{EMAIDS[2]} {PCIDS[2]}: orphaned")


def test_cleaning_again_finds_nothing_more(runtime, orphans):  # noqa: ARG001  # makes them
    runtime.pools.ccp_cleanup.run()
    before = everything(runtime)
    assert runtime.pools.ccp_cleanup.run().contracts == 0
    assert everything(runtime) == before


def test_a_dry_run_counts_and_changes_nothing(runtime, orphans):  # noqa: ARG001  # makes them
    before = everything(runtime)
    report = runtime.pools.ccp_cleanup.run(dry_run=True)
    assert (report.contracts, report.dry_run) == (3, True)
    assert everything(runtime) == before
    assert replace(report, dry_run=False) == runtime.pools.ccp_cleanup.run()


def test_a_vehicle_that_comes_back_while_the_cleanup_runs_keeps_its_contract(runtime, orphans, monkeypatch):
    """It was found without its key; when the cleanup comes to remove its contract, the key is there again."""
    with runtime.store.reading() as work:
        key_sha256 = work.contract_pool.get(EMAIDS[0]).key_sha256
    honest = type(runtime.store).transaction

    def later(store, **options):
        monkeypatch.undo()
        set_keys(runtime, key_sha256, PCIDS[0])
        return honest(store, **options)

    monkeypatch.setattr(type(runtime.store), "transaction", later)
    assert runtime.pools.ccp_cleanup.run().contracts == 2
    assert emaids(runtime) == [EMAIDS[0], *EMAIDS[3:]]
    assert runtime.certificates.show(orphans[0]).state is CertificateState.GOOD


@pytest.mark.parametrize("window", [1, 2, 5, 100])
def test_every_window_finds_all_of_them(runtime, orphans, window):  # noqa: ARG001  # makes them
    assert runtime.pools.ccp_cleanup.run(window=window).contracts == 3


def test_contracts_of_a_vehicle_that_has_ended_go_before_any_sweep_saw_it(runtime):
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, PCIDS[0], years=1))
    runtime.pools.contracts.publish(MO, contract_of(ca, EMAIDS[0], PCIDS[0], years=2))
    assert runtime.pools.ccp_cleanup.run().contracts == 0
    runtime.clock.moment += YEAR
    assert runtime.pools.ccp_cleanup.run().contracts == 1


@pytest.mark.parametrize("fatal_window", [1, 2, 3])
def test_a_cleanup_that_dies_between_windows_loses_nothing(runtime, orphans, monkeypatch, fatal_window):
    honest, pages = OutboxGateway.append, []

    def dying(gateway, at, told):
        pages.append(told)
        if len(pages) == fatal_window:
            raise StoreUnavailableError("killed")
        honest(gateway, at, told)

    monkeypatch.setattr(OutboxGateway, "append", dying)
    with pytest.raises(StoreUnavailableError):
        runtime.pools.ccp_cleanup.run(window=1)
    monkeypatch.undo()
    states = [runtime.certificates.show(serial).state for serial in orphans[:2]]
    assert [state is CertificateState.REVOKED for state in states] == [at < fatal_window - 1 for at in range(2)]
    assert len(emaids(runtime)) == 5 - (fatal_window - 1)
    assert runtime.pools.ccp_cleanup.run(window=1).contracts == 3 - (fatal_window - 1)
    assert len(events(runtime)) == len(set(events(runtime))) == 6


def test_a_cleanup_killed_with_a_signal_is_finished_by_the_next(runtime, orphans):
    """The second orphan is revoked and removed in one transaction, which the kill undoes as a whole."""
    killed_at_second_removal(runtime.home, "ccp_cleanup.run(window=1)")
    assert [runtime.certificates.show(serial).state for serial in orphans[:2]] == [
        CertificateState.REVOKED,
        CertificateState.GOOD,
    ]
    assert emaids(runtime) == EMAIDS[1:]
    report = runtime.pools.ccp_cleanup.run(window=1)
    assert (report.contracts, report.revoked) == (2, 1)
    assert runtime.certificates.show(orphans[1]).state is CertificateState.REVOKED
    assert len(events(runtime)) == len(set(events(runtime))) == 6


def test_a_vehicle_that_comes_back_with_its_old_key_keeps_its_contract(runtime):
    key = new_key()
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, PCIDS[0], key=key))
    runtime.pools.contracts.publish(MO, contract_of(ca, EMAIDS[0], PCIDS[0]))
    set_keys(runtime, bytes(32), PCIDS[0])
    assert runtime.pools.contracts.of_vehicle(OEM, PCIDS[0]) == []
    set_keys(runtime, hashlib.sha256(spki(key)).digest(), PCIDS[0])
    assert runtime.pools.ccp_cleanup.run().contracts == 0
    assert len(runtime.pools.contracts.of_vehicle(OEM, PCIDS[0])) == 1
