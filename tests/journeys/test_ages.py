"""The alarm of ages: silent while everything runs, and one sentence for each thing that stopped."""

import pytest

from pki_core.model.errors import OverdueError
from pki_core.model.pools import Event, EventType, RootKind
from pki_core.model.revocations import Reason
from pki_core.services.ages import Age, raise_late
from pki_core.services.runners import running
from tests.builders import make_csr, new_key
from tests.journeys.acts import in_base64, rows, upload_of, write_rows
from tests.journeys.contract_acts import P256
from tests.journeys.crl_acts import crl_of, leaf, number_of
from tests.journeys.pool_acts import (
    EMAID,
    MO,
    OEM,
    OTHER_PCID,
    PCID,
    YEAR,
    ForeignCa,
    contract_of,
    der,
    emaids,
    foreign_ca,
    opened,
    own_contract,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(home):
    with opened(home) as runtime:
        keep_young(runtime)
        yield runtime


def keep_young(runtime):
    """Everything that runs by schedule, once."""
    runtime.pools.check.run()
    runtime.pools.expiry.sweep()
    runtime.pools.ccp_cleanup.run()
    runtime.contracts.resigning.run()
    runtime.contracts.renewals.run()
    runtime.pools.reminders.run()
    runtime.responders.rotate()
    runtime.ocsp_refresh.run()
    runtime.crls.publish_due()
    runtime.access.webhook_deliveries.run(100)
    runtime.audit_log.seal()


def late(runtime):
    return [one.name for one in runtime.ages.look() if one.is_late]


def test_where_everything_runs_nothing_is_late_and_where_nothing_runs_everything_is(any_home):
    with opened(any_home) as runtime:
        keep_young(runtime)
        assert late(runtime) == []
        raise_late(runtime.ages.look())
        runtime.clock.advance(hours=1)
        assert late(runtime) == []
        leaf(runtime)
        runtime.clock.advance(days=6)
        found = set(late(runtime))
        assert found >= {"last clean_ccp", "oldest audit row without a seal", "oldest OCSP answer signed ahead"}
        assert "CRL mo-sub2.crl" in found


def test_sweeps_that_never_ran_are_late_and_a_dry_run_is_none(home):
    with opened(home) as runtime:
        runtime.pools.expiry.sweep(dry_run=True)
        runtime.pools.ccp_cleanup.run(dry_run=True)
        runtime.pools.check.run(dry_run=True)
        assert late(runtime)[:3] == ["last check_pools", "last clean_ccp", "last sweep_expired"]
        with pytest.raises(OverdueError, match="last clean_ccp: never"):
            raise_late(runtime.ages.look())


def test_a_signer_of_contract_data_is_late_in_the_last_tenth_of_its_life_and_when_it_is_gone(runtime):
    record = runtime.contracts.signers.choose(P256).record
    life = record.not_after - record.not_before
    name, gone = "CPS signer with a secp256r1 key", "no CPS signer with a secp256r1 key is in force"
    runtime.clock.moment = record.not_before + life * 0.89
    assert name not in late(runtime)
    runtime.clock.moment = record.not_before + life * 0.91
    assert name in late(runtime)
    runtime.revocations.revoke(record.serial, Reason.KEY_COMPROMISE, actor="test")
    assert gone in late(runtime)


def test_each_sweep_has_an_age_of_its_own(runtime):
    runtime.clock.advance(hours=1, seconds=1)
    assert late(runtime) == ["last check_pools"]
    runtime.clock.advance(hours=2)
    assert set(late(runtime)) >= {"last check_pools", "last clean_ccp", "last sweep_expired"}
    runtime.pools.expiry.sweep()
    assert "last sweep_expired" not in late(runtime)


def test_an_event_that_nobody_tells_is_late_after_a_quarter_of_an_hour(runtime):
    with runtime.store.transaction() as work:
        work.outbox.append(runtime.clock.now(), [Event(EventType.OEM_CONTRACT_CREATED, "WPN", "P", "E")])
    runtime.clock.advance(minutes=15)
    assert late(runtime) == []
    runtime.clock.advance(seconds=1)
    assert late(runtime) == ["oldest event in the outbox"]
    runtime.access.webhook_deliveries.run(1)
    assert late(runtime) == []


def test_a_batch_that_nobody_signs_is_late_after_an_hour_unless_its_partner_is_suspended(runtime, tmp_path):
    row = [EMAID, in_base64(make_csr(EMAID, new_key())), ""]
    batch = runtime.uploads.submit(upload_of(write_rows(tmp_path / "batch.csv", [row])))[0]
    runtime.clock.advance(hours=1)
    assert "oldest batch that waits for a runner" not in late(runtime)
    runtime.clock.advance(seconds=1)
    assert "oldest batch that waits for a runner" in late(runtime)
    runtime.partners.suspend(batch.partner_id, by="ada")
    assert "oldest batch that waits for a runner" not in late(runtime)
    runtime.partners.resume(batch.partner_id, by="ada")
    with running() as runner:
        runtime.batches.sign_next_chunk(batch.id, runner)
    assert "oldest batch that waits for a runner" not in late(runtime)


def test_an_audit_row_without_a_seal_is_late_after_an_hour(runtime):
    leaf(runtime)
    runtime.clock.advance(hours=1, seconds=1)
    assert "oldest audit row without a seal" in late(runtime)
    runtime.audit_log.seal()
    assert "oldest audit row without a seal" not in late(runtime)


def test_ocsp_answers_past_three_quarters_of_their_life_are_late_but_not_those_of_what_is_over(runtime):
    serial, _ = leaf(runtime, not_after=runtime.clock.now().replace(microsecond=0) + YEAR / 365)
    runtime.ocsp_refresh.run()
    runtime.clock.advance(hours=19)  # of 24
    assert "oldest OCSP answer signed ahead" in late(runtime)
    runtime.ocsp_refresh.run()
    assert "oldest OCSP answer signed ahead" not in late(runtime)
    runtime.clock.moment = runtime.certificates.show(serial).not_after
    runtime.clock.advance(hours=4)
    runtime.ocsp_refresh.run()
    assert "oldest OCSP answer signed ahead" not in late(runtime)


def test_crls_and_responders_are_late_before_they_are_over(runtime):
    runtime.clock.advance(days=6)
    found = late(runtime)
    assert "CRL mo-sub2.crl" in found
    runtime.crls.publish_due()
    assert [name for name in late(runtime) if name.startswith("CRL")] == []
    ends = dict(rows(runtime, "SELECT label, not_after FROM responder"))
    lives = dict(rows(runtime, "SELECT label, not_after - not_before FROM responder"))
    end = ends["ocsp-mo-sub2-1"] - lives["ocsp-mo-sub2-1"] // 20
    runtime.clock.moment = type(runtime.clock.moment).fromtimestamp(end, runtime.clock.moment.tzinfo)
    assert "OCSP responder of mo-sub2" in late(runtime)
    runtime.responders.rotate()
    assert "OCSP responder of mo-sub2" not in late(runtime)


def test_a_root_in_its_last_two_years_is_late_until_it_has_a_successor(home):
    with opened(home) as runtime:
        ca = foreign_ca(runtime, "old", RootKind.OEM)
        end = runtime.pools.roots.all()[0].valid_to
        runtime.clock.moment = end - 2 * YEAR
        assert [name for name in late(runtime) if "RCP" in name] == []
        runtime.clock.advance(seconds=1)
        (told,) = [name for name in late(runtime) if "RCP" in name]
        assert f"ends on {end:%Y-%m-%d} and has no successor" in told
        assert any(name.startswith("our root v2g-root ends") for name in late(runtime))
        younger = ForeignCa("younger", runtime.clock.now())
        runtime.pools.roots.add(der(younger.root), RootKind.MO, by="alice", evidence="read over the telephone")
        assert len([name for name in late(runtime) if "RCP" in name]) == 1  # of another kind
        runtime.pools.roots.add(der(younger.root), RootKind.OEM, by="alice", evidence="read over the telephone")
        assert [name for name in late(runtime) if "RCP" in name] == []
        assert ca is not None


def test_a_clock_set_forward_again_and_again_finds_everything_young_after_the_flows_and_nothing_over_in_the_pools(home):
    with opened(home) as runtime:
        ca = foreign_ca(runtime)
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
        runtime.pools.contracts.publish(MO, own_contract(runtime)[0])
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, OTHER_PCID, key=new_key(), years=3))
        start, left, numbers = runtime.clock.now(), [], []
        for years in (0.5, 1.5, 2.5, 3.5, 39):
            runtime.clock.moment = start + years * YEAR
            keep_young(runtime)
            over = [name for name in late(runtime) if "no successor" not in name and "CPS signer" not in name]
            assert over == []
            left.append((pcids(runtime), emaids(runtime)))
            numbers.append(number_of(crl_of(runtime, "v2g-root")))
        assert left == [([PCID, OTHER_PCID], [EMAID]), ([OTHER_PCID], []), ([OTHER_PCID], []), ([], []), ([], [])]
        assert numbers == sorted(set(numbers))  # each time a new list
        assert len([name for name in late(runtime) if "no successor" in name]) >= 2  # the foreign root, and ours
        made = dict(rows(runtime, "SELECT issuer_id, count(*) FROM responder GROUP BY issuer_id"))
        assert max(made.values()) >= 5  # each time a new one


def test_the_alarm_names_all_that_is_late_in_minutes():
    ages = [
        Age(name="a", seconds=7200, most=3600, is_late=True),
        Age(name="b", seconds=1, most=3600, is_late=False),
        Age(name="c", seconds=None, most=3600, is_late=True),
    ]
    with pytest.raises(OverdueError, match=r"^a: 120 min, at most 60; c: never$"):
        raise_late(ages)


def test_what_other_cas_do_not_tell_is_late_an_hour_after_the_day_in_which_they_may(any_home):
    with opened(any_home) as runtime:
        ca = foreign_ca(runtime)
        uploads = [vehicle_of(ca, pcid, key=new_key()) for pcid in (PCID, OTHER_PCID)]
        for upload in uploads:
            runtime.pools.provisioning.publish(OEM, upload)
        contract = contract_of(ca)
        runtime.pools.contracts.publish(MO, contract)
        source = runtime.pools.status_source
        source.silent.update([contract.leaf_der, *(one.leaf_der for one in uploads)])

        def told():
            keep_young(runtime)
            return [name for name in late(runtime) if name.startswith("status")]

        runtime.clock.advance(hours=25)
        assert told() == []
        runtime.clock.advance(seconds=1)
        assert told() == [
            f"status told by another CA of vehicle {PCID} and 1 more",
            f"status told by another CA of contract {EMAID}",
        ]
        source.silent.clear()
        assert told() == []
