"""The guards before publication: each is tripped once; the CRL before stays, and somebody hears of it."""

import logging
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from pki_core.model.crls import FULL
from pki_core.model.errors import CeremonyError, ConflictError, CrlGuardError, HsmUnavailableError, LintError
from pki_core.model.revocations import Reason
from pki_core.services.crl_build import CrlFile
from pki_core.services.crl_scope import ScopePublisher
from pki_core.services.crls import Approval, Failure, raise_failures
from pki_core.store.crls import CrlGateway
from tests.journeys.acts import rows
from tests.journeys.crl_acts import LABEL, crl_of, der_of, leaf, leaves, listed, number_of, opened, published, revoke

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(home):
    with opened(home, crl="growth_entries = 3\ngrowth_percent = 50") as runtime:
        serial, _ = leaf(runtime)
        revoke(runtime, serial)
        runtime.clock.advance(minutes=10)
        runtime.crls.publish(LABEL)
        runtime.clock.advance(minutes=10)
        yield runtime


@pytest.fixture
def trips(runtime, caplog):
    @contextmanager
    def trip(guard, publish=None):
        before = der_of(runtime, LABEL)
        yield
        with caplog.at_level(logging.ERROR, logger="pncpki.crls"), pytest.raises(CrlGuardError) as caught:
            (publish or (lambda: runtime.crls.publish(LABEL)))()
        assert caught.value.code == f"crl.guard.{guard}"
        assert str(caught.value).startswith(f"CRL guard {guard.upper()}: ")
        assert der_of(runtime, LABEL) == before
        assert f"crl.guard.{guard}" in caplog.text
        last = rows(runtime, "SELECT action, detail FROM audit WHERE stream = 'crls' ORDER BY id DESC LIMIT 1")[0]
        assert last[0] == "crl.failed"
        assert f"crl.guard.{guard}" in last[1]

    return trip


def change(runtime, statement, **values):
    with runtime.store.transaction() as work:
        assert work.audit._connection.execute(text(statement), values).rowcount


class WrongKey:
    """A token that signs with another key than it says."""

    def __init__(self, store):
        self.store = store

    def bind(self, label):
        signer = self.store.bind(label)
        wrong = self.store.bind("cpo-sub2")
        return SimpleNamespace(label=label, spki_der=signer.spki_der, sign_digests=wrong.sign_digests)


def test_g1_a_signature_of_another_key_is_not_published(runtime, trips):
    with trips("g1"):
        runtime.crls._key_store = lambda: WrongKey(runtime.key_store)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_identifier": b"12345678"},
        {"number": 77},
        {"shard_url": "http://elsewhere.test/x.crl"},
        {"freshest_url": "http://elsewhere.test/x-delta.crl"},
        {"issuer_der": b"\x30\x00"},
        {"base_number": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_g2_a_list_that_says_something_unplanned_is_not_published(trips, monkeypatch, changes):
    sign = CrlFile.sign
    with trips("g2"):
        monkeypatch.setattr(CrlFile, "sign", lambda file, plan, signer: sign(file, replace(plan, **changes), signer))


def test_g3_a_number_that_does_not_rise_is_not_published(runtime, trips):
    with trips("g3"):
        change(runtime, "UPDATE crl_publication SET crl_number = crl_number - 1 WHERE kind = 'complete'")


def test_g3_numbers_of_lists_that_were_signed_and_never_published_count(runtime, monkeypatch):
    monkeypatch.setattr(CrlGateway, "point", lambda *_: False)
    with pytest.raises(CrlGuardError):
        runtime.crls.publish(LABEL)
    monkeypatch.undo()
    change(runtime, "UPDATE crl_publication SET crl_number = crl_number - 1 WHERE kind = 'complete'")
    with pytest.raises(CrlGuardError, match="G3"):
        runtime.crls.publish(LABEL)


def test_g4_a_clock_that_went_back_publishes_nothing(runtime, trips):
    with trips("g4"):
        runtime.clock.moment = published(runtime).this_update - timedelta(seconds=1)


def test_g4_a_list_of_the_future_is_not_published(runtime, trips, monkeypatch):
    sign = CrlFile.sign

    def sign_and_step_back(file, plan, signer):
        sign(file, plan, signer)
        runtime.clock.moment = plan.this_update - timedelta(seconds=1)

    with trips("g4"):
        monkeypatch.setattr(CrlFile, "sign", sign_and_step_back)


def test_g4_a_list_of_a_clock_that_ran_ahead_is_replaced_when_it_is_approved(runtime):
    true_time = runtime.clock.now()
    runtime.clock.advance(days=40)
    ahead = runtime.crls.publish(LABEL)[0]
    runtime.clock.moment = true_time
    with pytest.raises(CrlGuardError, match="G4"):
        runtime.crls.publish(LABEL)
    mended = runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g4"})))[0]
    assert mended.this_update == true_time < ahead.this_update
    assert mended.crl_number > ahead.crl_number
    assert published(runtime) == mended
    runtime.clock.advance(hours=1)
    assert runtime.crls.publish(LABEL)[0].crl_number > mended.crl_number  # and nobody has to be asked again


def test_the_publisher_sees_a_clock_that_went_back(runtime):
    runtime.clock.moment = published(runtime).this_update - timedelta(seconds=1)
    codes = {failure.error.code for failure in runtime.crls.publish_due().failures}
    assert codes == {"crl.guard.g4"}


def test_g5_a_revocation_that_vanished_from_the_database_is_missed(runtime, trips):
    with trips("g5"):
        change(runtime, "DELETE FROM revocation")


def test_g5_a_revocation_that_came_under_another_issuer_is_missed(runtime, trips):
    with trips("g5"):
        change(runtime, "UPDATE revocation SET issuer_id = issuer_id + 1")


def test_g5_what_was_removed_can_be_approved(runtime):
    change(runtime, "DELETE FROM revocation")
    runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g5"})))
    assert listed(crl_of(runtime)) == []


def test_g5_a_release_an_end_and_a_change_to_revoked_are_no_loss(runtime):
    held, changed = leaves(runtime, 2)
    short, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=30))
    for serial, reason in ((held, 6), (changed, 6), (short, 1)):
        revoke(runtime, serial, Reason(reason))
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=1)
    runtime.revocations.release(held, actor="test")
    revoke(runtime, changed)
    for _ in range(3):
        runtime.crls.publish(LABEL)
        runtime.clock.advance(hours=1)
    assert changed in listed(crl_of(runtime))
    assert not {held, short} & set(listed(crl_of(runtime)))


def test_g5_a_damaged_list_before_is_not_passed_over(runtime):
    change(runtime, "UPDATE crl_piece SET octets = :o", o=b"rubbish")
    with pytest.raises(CrlGuardError, match="G5"):
        runtime.crls.publish(LABEL)


def test_g6_data_older_than_that_of_the_list_before_is_not_published(runtime, trips):
    with trips("g6"):
        change(runtime, "UPDATE crl SET snapshot = snapshot + 3600")


def test_g7_a_runner_that_lost_its_lease_publishes_nothing(runtime, trips, monkeypatch):
    store_list = ScopePublisher._store_list

    def store_slowly(publisher, scope, candidate):
        record = store_list(publisher, scope, candidate)
        runtime.clock.advance(hours=1)  # the lease is over
        return record

    with trips("g7"):
        monkeypatch.setattr(ScopePublisher, "_store_list", store_slowly)


def test_g7_of_two_publishers_the_one_that_was_overtaken_publishes_nothing(runtime, monkeypatch):
    store_list = ScopePublisher._store_list
    overtaken = []

    def be_overtaken(publisher, scope, candidate):
        record = store_list(publisher, scope, candidate)
        if not overtaken:
            overtaken.append(record)
            runtime.clock.advance(hours=1)
            runtime.crls.publish(LABEL)
        return record

    monkeypatch.setattr(ScopePublisher, "_store_list", be_overtaken)
    with pytest.raises(CrlGuardError) as caught:
        runtime.crls.publish(LABEL)
    assert caught.value.code in {"crl.guard.g7", "crl.guard.g8"}  # the faster one removed what the slower had stored
    assert number_of(crl_of(runtime)) == overtaken[0].crl_number + 1


def test_g7_what_is_served_must_still_be_what_the_list_was_compared_with(runtime, monkeypatch):
    store_list, before = ScopePublisher._store_list, published(runtime)

    def be_replaced(publisher, scope, candidate):
        record = store_list(publisher, scope, candidate)
        change(runtime, "UPDATE crl_publication SET crl_id = :other WHERE crl_id = :mine", other=1, mine=before.id)
        return record

    monkeypatch.setattr(ScopePublisher, "_store_list", be_replaced)
    with pytest.raises(CrlGuardError, match="G7: another CRL was published"):
        runtime.crls.publish(LABEL)


def test_g7_while_one_publisher_is_at_it_another_waits_its_turn(runtime, monkeypatch):
    make = ScopePublisher._make
    refused = []

    def try_beside(publisher, task, before, stack):
        monkeypatch.setattr(ScopePublisher, "_make", make)
        with pytest.raises(ConflictError, match="another runner"):
            runtime.crls.publish(LABEL)
        report = runtime.crls.publish_due(everything=True)
        assert f"{LABEL}.crl" not in report.published
        refused.append(report.failures)  # nobody's fault
        return make(publisher, task, before, stack)

    monkeypatch.setattr(ScopePublisher, "_make", try_beside)
    runtime.crls.publish(LABEL)
    assert refused == [()]


def test_g8_what_the_store_gives_back_otherwise_than_it_was_signed_is_not_published(trips, monkeypatch):
    add_pieces = CrlGateway.add_pieces

    def add_damaged(gateway, crl_id, pieces):
        add_pieces(gateway, crl_id, [octets[:-1] + bytes((octets[-1] ^ 1,)) for octets in pieces])

    with trips("g8"):
        monkeypatch.setattr(CrlGateway, "add_pieces", add_damaged)


def test_g9_a_mass_revocation_waits_for_approval(runtime, trips):
    serials = leaves(runtime, 4)
    with trips("g9"):
        for serial in serials:
            revoke(runtime, serial)
    runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g9"}), witnesses=("Ada", "Grace")))
    assert set(serials) <= set(listed(crl_of(runtime)))
    detail = rows(runtime, "SELECT detail FROM audit WHERE action = 'crl.published' ORDER BY id DESC LIMIT 1")[0][0]
    assert "g9 approved by Ada, Grace" in detail


def test_g9_a_list_that_shrinks_waits_for_approval_as_well(runtime, trips):
    ends = runtime.clock.now() + timedelta(minutes=30)
    for _ in range(3):
        revoke(runtime, leaf(runtime, not_after=ends)[0])
    runtime.crls.publish(LABEL)
    for serial in leaves(runtime, 3):
        revoke(runtime, serial)
    runtime.crls.publish(LABEL)  # 7, of which 3 have been listed to their end an hour later
    for serial in (held := leaves(runtime, 3)):
        revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    runtime.crls.publish(LABEL)
    assert len(crl_of(runtime)) == 10
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    for serial in held:
        runtime.revocations.release(serial, actor="test")
    with trips("g9"):
        runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g9"})))
    assert len(crl_of(runtime)) == 4


def test_g5_a_list_of_the_very_moment_of_the_end_does_not_show_it(runtime):
    """RFC 5280 3.3: an entry goes once a list was issued after the end, not at it."""
    ends = runtime.clock.now() + timedelta(minutes=30)
    serial, _ = leaf(runtime, not_after=ends)
    revoke(runtime, serial)
    runtime.clock.moment = ends
    runtime.crls.publish(LABEL)
    assert serial in listed(crl_of(runtime))
    change(runtime, "DELETE FROM revocation WHERE not_after = :ends", ends=int(ends.timestamp()))
    runtime.clock.advance(minutes=1)
    with pytest.raises(CrlGuardError, match="G5"):
        runtime.crls.publish(LABEL)


def test_g9_three_more_are_no_mass(runtime):
    for serial in leaves(runtime, 3):
        revoke(runtime, serial)
    runtime.crls.publish(LABEL)
    assert len(crl_of(runtime)) == 4


def test_an_approval_needs_two_people_outside_dev_and_names_a_guard_that_can_be_approved(runtime):
    object.__setattr__(runtime.crls._policy, "environment", "prod")
    with pytest.raises(CeremonyError):
        runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g9"}), witnesses=("Ada",)))
    with pytest.raises(ConflictError, match="g1 cannot be approved"):
        runtime.crls.publish(LABEL, approval=Approval(guards=frozenset({"g1"}), witnesses=("Ada", "Grace")))


def test_a_list_that_breaks_a_rule_is_not_published(runtime, monkeypatch):
    before = der_of(runtime, LABEL)
    monkeypatch.setattr("pki_core.services.crl_scope.crl_findings", lambda *_: ["crl.duplicate"])
    with pytest.raises(LintError, match=r"crl\.duplicate"):
        runtime.crls.publish(LABEL)
    assert der_of(runtime, LABEL) == before


def test_entries_damaged_in_the_database_stop_the_list(runtime):
    before = der_of(runtime, LABEL)
    change(runtime, "UPDATE revocation SET entry_der = :o", o=b"\x30\x03\x02\x01\x01")
    with pytest.raises(LintError, match="cannot be read back"):
        runtime.crls.publish(LABEL)
    assert der_of(runtime, LABEL) == before


def test_one_issuers_failure_does_not_stop_the_others_and_the_flow_fails_loudly(runtime, monkeypatch):
    change(runtime, "DELETE FROM revocation")
    runtime.clock.advance(hours=2)
    report = runtime.crls.publish_due()
    assert [(one.issuer_label, one.error.code) for one in report.failures] == [(LABEL, "crl.guard.g5")]
    assert "cpo-sub2.crl" in report.published
    from flows import publish_crls as module

    monkeypatch.setenv("PNCPKI_HOME", str(runtime.home))
    monkeypatch.setattr(module, "environment_runtime", lambda: runtime)
    monkeypatch.setattr(module, "create_table_artifact", lambda **_: None)  # there is no Prefect server here
    with pytest.raises(CrlGuardError, match="G5"):
        module.publish_crls.fn()


def test_our_own_fault_is_raised_before_a_dependency_that_is_away():
    away, fault = HsmUnavailableError("away"), LintError("fault")
    failures = [Failure(issuer_label=LABEL, scope=FULL, error=error) for error in (away, fault)]
    with pytest.raises(LintError):
        raise_failures(failures)
    raise_failures([])


def test_a_token_that_is_away_leaves_the_list_and_can_be_tried_again(runtime):
    class Away:
        def bind(self, _label):
            raise HsmUnavailableError("the token is away")

    before, store = der_of(runtime, LABEL), runtime.crls._key_store
    runtime.crls._key_store = Away
    with pytest.raises(HsmUnavailableError):
        runtime.crls.publish(LABEL)
    assert der_of(runtime, LABEL) == before
    runtime.crls._key_store = store
    runtime.crls.publish(LABEL)
    assert der_of(runtime, LABEL) != before
