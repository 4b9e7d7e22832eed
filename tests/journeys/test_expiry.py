"""Expiry, status checks and a clock set forward: what has ended or is revoked leaves the pools, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pki_core.model.errors import ConflictError, StoreUnavailableError
from pki_core.model.pools import RootKind
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.store.outbox import OutboxGateway
from pki_core.store.provisioning_pool import ProvisioningPoolGateway
from tests.builders import new_key
from tests.journeys.acts import artefact, rows
from tests.journeys.crl_acts import revoke
from tests.journeys.pool_acts import (
    EMAID,
    MO,
    OEM,
    OTHER_EMAID,
    OTHER_PCID,
    PCID,
    YEAR,
    ForeignCa,
    audited,
    contract_of,
    der,
    emaids,
    events,
    everything,
    foreign_ca,
    forget_events,
    issue,
    killed_at_second_removal,
    opened,
    own_contract,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]


def filled(runtime):
    """Two vehicles of which one ends first, each with a contract of its own that ends later."""
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, OTHER_PCID, key=new_key(), years=3))
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    runtime.pools.contracts.publish(MO, contract_of(ca, OTHER_EMAID, OTHER_PCID, years=2))
    forget_events(runtime)
    return ca, serial


# --- the expiry sweep


def test_a_vehicle_that_ends_leaves_with_its_contracts_and_ours_are_revoked(runtime):
    _, serial = filled(runtime)
    runtime.clock.moment += YEAR
    assert runtime.certificates.show(serial).not_after > runtime.clock.now()
    report = runtime.pools.expiry.sweep()
    assert (report.provisioning, report.contracts, report.revoked, report.roots) == (1, 1, 1, 0)
    assert (pcids(runtime), emaids(runtime)) == ([OTHER_PCID], [OTHER_EMAID])
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert set(events(runtime)) == {
        ("mo.prov.cert.deleted", "DEPNC", PCID, ""),
        ("oem.contract.deleted", "WPN", PCID, EMAID),
        ("mo.contract.deleted.sent.to.oem", "DEPNC", PCID, EMAID),
    }
    assert audited(runtime)[-2:] == [
        ("pool.ccp_removed", f"{EMAID} {PCID}: expired"),
        ("pool.pcp_removed", f"{PCID} secp256r1: expired"),
    ]


def test_a_contract_that_ends_leaves_alone(runtime):
    filled(runtime)
    runtime.clock.moment += 2 * YEAR + timedelta(hours=1)
    runtime.pools.expiry.sweep()
    assert (pcids(runtime), emaids(runtime)) == ([OTHER_PCID], [])
    assert ("oem.contract.deleted", "WPN", OTHER_PCID, OTHER_EMAID) in events(runtime)
    assert not [event for event in events(runtime) if event[0] == "mo.prov.cert.deleted" and event[2] == OTHER_PCID]


def test_nothing_leaves_a_second_early(runtime):
    filled(runtime)
    runtime.clock.moment += YEAR - timedelta(seconds=1)
    assert runtime.pools.expiry.sweep().provisioning == 0
    runtime.clock.advance(seconds=1)
    assert runtime.pools.expiry.sweep().provisioning == 1


def test_a_sweep_again_finds_nothing_more(runtime):
    filled(runtime)
    runtime.clock.moment += YEAR
    runtime.pools.expiry.sweep()
    before = everything(runtime)
    report = runtime.pools.expiry.sweep()
    assert (report.provisioning, report.contracts, report.revoked) == (0, 0, 0)
    assert everything(runtime) == before


def test_a_dry_sweep_reports_and_changes_nothing(runtime):
    filled(runtime)
    runtime.clock.moment += 50 * YEAR
    before = everything(runtime)
    report = runtime.pools.expiry.sweep(dry_run=True)
    assert (report.dry_run, report.provisioning, report.contracts, report.roots) == (True, 2, 2, 2)
    assert everything(runtime) == before


def test_a_vehicle_ends_with_the_first_certificate_of_its_chain(light):
    ca = foreign_ca(light)
    light.pools.provisioning.publish(OEM, vehicle_of(ca, years=30))
    light.clock.moment += 10 * YEAR
    assert light.pools.expiry.sweep().provisioning == 1


def test_a_vehicle_renewed_while_the_sweep_looks_stays(runtime, monkeypatch):
    ca, serial = filled(runtime)
    runtime.clock.moment += YEAR
    honest = ProvisioningPoolGateway.expired

    def renewed_behind_its_back(gateway, now, limit):
        keys = honest(gateway, now, limit)
        if keys:
            runtime.pools.provisioning.publish(OEM, vehicle_of(ca, years=3))
        return keys

    monkeypatch.setattr(ProvisioningPoolGateway, "expired", renewed_behind_its_back)
    assert runtime.pools.expiry.sweep().provisioning == 0
    assert (pcids(runtime), emaids(runtime)) == ([PCID, OTHER_PCID], [EMAID, OTHER_EMAID])
    assert runtime.certificates.show(serial).state is CertificateState.GOOD


@pytest.mark.parametrize("fatal_page", [1, 2, 3])
def test_a_sweep_that_dies_between_pages_loses_nothing(runtime, monkeypatch, fatal_page):
    """The page that dies leaves nothing behind; the next run does the rest, and nothing is told twice."""
    ca = foreign_ca(runtime)
    for at in range(6):
        pcid = f"WPNPAGED0000000{at:02d}"
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, pcid, key=new_key(), years=1))
        runtime.pools.contracts.publish(MO, contract_of(ca, f"DEPNCC{at:08d}", pcid, years=1))
    forget_events(runtime)
    runtime.clock.moment += YEAR
    honest, pages = OutboxGateway.append, []

    def dying(gateway, at, told):
        pages.append(told)
        if len(pages) == 2 * fatal_page:  # two lists of events a page
            raise StoreUnavailableError("killed")
        honest(gateway, at, told)

    monkeypatch.setattr(OutboxGateway, "append", dying)
    with pytest.raises(StoreUnavailableError):
        runtime.pools.expiry.sweep(page=2)
    monkeypatch.undo()
    done = 2 * (fatal_page - 1)
    assert len(pcids(runtime)) == len(emaids(runtime)) == 6 - done
    assert len(events(runtime)) == 3 * done
    report = runtime.pools.expiry.sweep(page=2)
    assert (report.provisioning, report.contracts) == (6 - done, 6 - done)
    assert len(events(runtime)) == len(set(events(runtime))) == 18


def test_a_sweep_killed_with_a_signal_is_finished_by_the_next(any_home):
    with opened(any_home) as runtime:
        ca = foreign_ca(runtime)
        serials = []
        for at, pcid in enumerate((PCID, OTHER_PCID)):
            runtime.pools.provisioning.publish(OEM, vehicle_of(ca, pcid, key=new_key(), years=1))
            upload, serial = own_contract(runtime, f"DEPNCC{at:08d}", pcid)
            runtime.pools.contracts.publish(MO, upload)
            serials.append(serial)
        then = runtime.clock.now() + YEAR
        killed_at_second_removal(any_home, "expiry.sweep(page=1)", then)
        states = [runtime.certificates.show(serial).state for serial in serials]
        assert sorted(states) == [CertificateState.GOOD, CertificateState.REVOKED]
        assert len(emaids(runtime)) == len(pcids(runtime)) == 1  # the data of the one still good
        runtime.clock.moment = then
        assert runtime.pools.expiry.sweep(page=1).provisioning == 1
        assert {runtime.certificates.show(serial).state for serial in serials} == {CertificateState.REVOKED}
        assert (pcids(runtime), emaids(runtime)) == ([], [])


# --- the clock set forward


def test_a_clock_set_forward_empties_the_pools_and_roots_warn_two_years_ahead(runtime):
    filled(runtime)
    issue(runtime, "oem_provisioning_leaf", "WPNABCDEFGHJKLMN1")
    end = runtime.pools.roots.all()[0].valid_to
    runtime.clock.moment = end - timedelta(days=730)
    assert runtime.pools.expiry.sweep().warnings == []
    assert (pcids(runtime), emaids(runtime)) == ([], [])
    runtime.clock.advance(seconds=1)
    report = runtime.pools.expiry.sweep()
    assert len(report.warnings) == 2
    assert f"ends on {end:%Y-%m-%d}: it needs a successor" in report.warnings[0]
    assert report.roots == 0
    runtime.clock.moment = end
    report = runtime.pools.expiry.sweep()
    assert (report.roots, report.warnings, runtime.pools.roots.all()) == (2, [], [])
    with runtime.store.reading() as work:
        told = [str(one.event.type) for one in work.outbox.waiting(0, 1000) if one.event.root_id]
    assert told.count("root.cert.expired") == 2


def test_a_root_that_waits_and_ends_goes_without_a_word(light):
    light.pools.roots._needs_two = True
    light.pools.roots.add(der(ForeignCa("r", light.clock.now()).root), RootKind.OEM, by="alice", evidence="telephone")
    light.clock.moment += 41 * YEAR
    report = light.pools.expiry.sweep()
    assert (report.roots, report.warnings) == (1, [])
    with light.store.reading() as work:
        assert work.outbox.waiting(0, 10) == []


@pytest.mark.parametrize("page", [1, 2000])
def test_a_dry_sweep_counts_what_the_sweep_that_follows_takes_along(runtime, page):
    (ca, _), now = filled(runtime), runtime.clock.now()
    soon = vehicle_of(ca, "WPNSOONER00000001", key=new_key(), end=now + timedelta(days=30))
    runtime.pools.provisioning.publish(OEM, soon)
    upload, _ = own_contract(runtime, "DEPNCC00000009", "WPNSOONER00000001")
    runtime.pools.contracts.publish(MO, upload)  # it outlives its vehicle
    runtime.clock.moment += timedelta(days=31)
    dry = runtime.pools.expiry.sweep(dry_run=True, page=page)
    assert (dry.provisioning, dry.contracts, dry.revoked) == (1, 1, 1)
    assert replace(dry, dry_run=False) == runtime.pools.expiry.sweep()


# --- the status check


def test_a_dry_check_counts_what_the_check_that_follows_takes_along(runtime):
    filled(runtime)
    (ours,) = issue(runtime, "oem_provisioning_leaf", "WPNOWNONE00000001")
    upload, serial = own_contract(runtime, "DEPNCC00000009", "WPNOWNONE00000001")
    runtime.pools.contracts.publish(MO, upload)
    later, _ = own_contract(runtime, "DEPNCC00000008", "WPNOWNONE00000001")
    runtime.pools.contracts.publish(MO, later)
    revoke(runtime, f"{ours.serial:x}")
    revoke(runtime, serial)  # goes with its vehicle, or by itself: once
    source = runtime.pools.status_source
    source.revoked.add(runtime.pools.provisioning.get(MO, OTHER_PCID).row.leaf_der)
    source.silent.add(runtime.pools.contracts.get(MO, OTHER_EMAID).leaf_der)  # of that vehicle
    runtime.clock.advance(hours=25)
    dry = runtime.pools.check.run(dry_run=True)
    report = runtime.pools.check.run()
    assert (report.provisioning, report.contracts, report.revoked, report.postponed) == (2, 3, 1, 0)
    assert replace(dry, dry_run=False) == report


def test_a_revoked_vehicle_of_ours_leaves_with_its_contracts(runtime):
    first, second = issue(runtime, "oem_provisioning_leaf", PCID, OTHER_PCID)
    ca = foreign_ca(runtime)
    for emaid, pcid in ((EMAID, PCID), (OTHER_EMAID, OTHER_PCID)):
        runtime.pools.contracts.publish(MO, contract_of(ca, emaid, pcid))
    forget_events(runtime)
    revoke(runtime, f"{first.serial:x}")
    before = everything(runtime)
    assert runtime.pools.check.run(dry_run=True).provisioning == 1
    assert everything(runtime) == before
    report = runtime.pools.check.run(window=1)
    assert (report.provisioning, report.contracts) == (1, 1)
    assert (pcids(runtime), emaids(runtime)) == ([OTHER_PCID], [OTHER_EMAID])
    assert ("mo.prov.cert.deleted", "DEPNC", PCID, "") in events(runtime)
    assert runtime.pools.check.run().provisioning == 0
    assert runtime.certificates.show(f"{second.serial:x}").state is CertificateState.GOOD


def test_a_revoked_contract_of_ours_leaves(runtime):
    filled(runtime)
    _, serial = filled_serial(runtime)
    revoke(runtime, serial)
    report = runtime.pools.check.run()
    assert (report.provisioning, report.contracts, report.revoked) == (0, 1, 0)
    assert emaids(runtime) == [OTHER_EMAID]


def filled_serial(runtime):
    ((serial,),) = rows(runtime, f"SELECT serial FROM certificate WHERE common_name = '{EMAID}'")  # noqa: S608
    return EMAID, serial


def test_a_certificate_on_hold_stays(light):
    filled(light)
    _, serial = filled_serial(light)
    revoke(light, serial, Reason.CERTIFICATE_HOLD)
    assert light.pools.check.run().contracts == 0
    assert EMAID in emaids(light)


def test_a_vehicle_issued_again_after_its_revocation_stays(runtime):
    key = new_key()
    (first,) = issue(runtime, "oem_provisioning_leaf", PCID, keys=[key])
    revoke(runtime, f"{first.serial:x}", Reason.SUPERSEDED)
    issue(runtime, "oem_provisioning_leaf", PCID, keys=[key])
    assert runtime.pools.check.run().provisioning == 0
    assert pcids(runtime) == [PCID]


def test_foreign_rows_are_asked_for_once_a_day_and_leave_when_revoked(runtime):
    filled(runtime)
    source = runtime.pools.status_source
    source.asked.clear()
    runtime.pools.check.run()
    assert source.asked == []
    runtime.clock.advance(hours=25)
    vehicle = runtime.pools.provisioning.get(MO, OTHER_PCID).row.leaf_der  # asks by itself
    runtime.pools.check.run()
    assert source.asked.count(vehicle) == 1
    source.asked.clear()
    runtime.pools.check.run()
    assert source.asked == []
    runtime.clock.advance(hours=25)
    source.revoked.add(vehicle)
    before = everything(runtime)
    assert runtime.pools.check.run(dry_run=True).provisioning == 1
    assert everything(runtime) == before
    report = runtime.pools.check.run()
    assert (report.provisioning, report.contracts) == (1, 1)
    assert (pcids(runtime), emaids(runtime)) == ([PCID], [EMAID])


def test_a_foreign_contract_that_is_revoked_leaves_alone(runtime):
    filled(runtime)
    runtime.pools.status_source.revoked.add(runtime.pools.contracts.get(MO, OTHER_EMAID).leaf_der)
    runtime.clock.advance(hours=25)
    report = runtime.pools.check.run()
    assert (report.provisioning, report.contracts) == (0, 1)
    assert emaids(runtime) == [EMAID]


def test_a_ca_that_does_not_answer_postpones_its_rows_and_no_others(light):
    ca = foreign_ca(light)
    other = foreign_ca(light, "other", RootKind.OEM)
    for at in range(3):
        light.pools.provisioning.publish(OEM, vehicle_of(ca, f"WPNSILENT0000000{at}", key=new_key()))
    gone = vehicle_of(other, PCID, key=new_key())
    light.pools.provisioning.publish(OEM, gone)
    source = light.pools.status_source
    source.silent.update(row[0] for row in rows(light, "SELECT leaf_der FROM provisioning_certificate"))
    source.silent.discard(gone.leaf_der)
    source.revoked.add(gone.leaf_der)
    light.clock.advance(hours=25)
    source.asked.clear()
    report = light.pools.check.run()
    assert (report.provisioning, report.postponed, report.unfinished) == (1, 3, True)
    assert len([one for one in source.asked if one in source.silent]) == 1  # asked once, then left in peace
    source.silent.clear()
    assert light.pools.check.run().unfinished is False
    assert len(pcids(light)) == 3


@pytest.mark.parametrize("which", ["sub1", "sub2"])
def test_a_revoked_foreign_ca_takes_everything_below_it(runtime, which):
    ca, serial = filled(runtime)
    runtime.pools.status_source.revoked.add(der(getattr(ca, which)))
    runtime.clock.advance(hours=25)
    dry = runtime.pools.check.run(dry_run=True)
    report = runtime.pools.check.run(window=1)
    assert (report.provisioning, report.contracts, report.revoked) == (2, 2, 1)
    assert replace(dry, dry_run=False) == report
    assert (pcids(runtime), emaids(runtime)) == ([], [])
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED


def test_a_revoked_ca_of_ours_takes_everything_below_it(light):
    issue(light, "oem_provisioning_leaf", PCID)
    light.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(light), OTHER_PCID))
    from cryptography import x509

    serial = x509.load_der_x509_certificate(artefact(light, "oem-sub2")).serial_number
    revoke(light, f"{serial:x}", Reason.CA_COMPROMISE)
    assert light.pools.check.run().provisioning == 1
    assert pcids(light) == [OTHER_PCID]
    with pytest.raises(ConflictError):
        light.pools.contracts.publish(MO, contract_of(foreign_ca(light, "late", RootKind.MO), EMAID, PCID))
