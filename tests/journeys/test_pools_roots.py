"""The RCP: who may add and remove roots, which ones, and that nothing hangs on them."""

from datetime import timedelta

import pytest

from pki_core.model.errors import ConflictError, MalformedError, NotFoundError
from pki_core.model.pools import REMOVAL_WAITS, RootKind
from tests.journeys.acts import rows
from tests.journeys.pool_acts import (
    MO,
    OEM,
    YEAR,
    ForeignCa,
    audited,
    contract_of,
    der,
    emaids,
    foreign_ca,
    opened,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.environments"]
NOT_FOUND = "^Root certificate with the given ID is not found$"


@pytest.fixture
def light(home):
    with opened(home) as runtime:
        yield runtime


@pytest.fixture
def strict(light):
    """The rules of qa and prod."""
    light.pools.roots._needs_two = True
    return light


@pytest.fixture
def root_der(light):
    return der(ForeignCa("root", light.clock.now()).root)


def add(runtime, root_der, kind=RootKind.OEM, by="alice", evidence="read over the telephone"):
    return runtime.pools.roots.add(root_der, kind, by=by, evidence=evidence)


def told(runtime):
    with runtime.store.reading() as work:
        return [(str(one.event.type), one.event.root_id) for one in work.outbox.waiting(0, 100)]


def test_outside_dev_a_root_waits_for_a_second_person(strict, root_der):
    root = add(strict, root_der)
    assert strict.pools.roots.all() == []
    assert [one.id for one in strict.pools.roots.waiting()] == [root.id]
    with pytest.raises(NotFoundError, match=NOT_FOUND):
        strict.pools.roots.get(root.id)
    for same in ("alice", " Alice "):
        with pytest.raises(ConflictError, match="whoever adds"):
            strict.pools.roots.confirm(root.id, by=same)
    assert told(strict) == []
    strict.pools.roots.confirm(root.id, by="bob")
    kept = strict.pools.roots.get(root.id)
    assert (kept.added_by, kept.confirmed_by, kept.evidence) == ("alice", "bob", "read over the telephone")
    assert told(strict) == [("root.cert.added", root.id)]
    assert [action for action, _ in audited(strict)] == ["pool.rcp_added", "pool.rcp_confirmed"]
    with pytest.raises(ConflictError, match="already"):
        strict.pools.roots.confirm(root.id, by="carol")


def test_the_database_itself_refuses_one_person_twice(any_home):
    with opened(any_home) as runtime:
        runtime.pools.roots._needs_two = True
        root = add(runtime, der(ForeignCa("root", runtime.clock.now()).root))
        with pytest.raises(ConflictError), runtime.store.transaction() as work:
            work.root_pool.confirm(root.id, "ALICE")


def test_in_qa_and_prod_two_people_are_needed_and_in_dev_one(light):
    from pki_core.services.pool_roots import RootPool

    needs = {
        name: RootPool(light.store, light.clock, light.pools.removal, name)._needs_two for name in ("dev", "qa", "prod")
    }
    assert needs == {"dev": False, "qa": True, "prod": True}


def test_a_new_root_has_35_years_left(light):
    now = light.clock.now()
    limit = now.replace(year=now.year + 35)
    with pytest.raises(ConflictError, match="35 years"):
        add(light, der(ForeignCa("short", now, root_end=limit - timedelta(seconds=1)).root))
    assert add(light, der(ForeignCa("just", now, root_end=limit).root)).is_active


def test_35_years_from_a_leap_day_end_on_the_day_before(light):
    light.clock.moment = light.clock.now().replace(year=2028, month=2, day=29)
    end = light.clock.now().replace(year=2063, day=28)
    assert add(light, der(ForeignCa("leap", light.clock.now(), root_end=end).root)).is_active


def test_a_root_is_self_signed_and_a_ca(light):
    ca, twin = ForeignCa("one", light.clock.now()), ForeignCa("one", light.clock.now())
    with pytest.raises(MalformedError, match="not signed by itself"):
        add(light, der(ca.sub1))
    with pytest.raises(MalformedError, match="not signed by itself"):
        add(light, _with_signature_of(ca.root, twin.root))
    from tests.journeys.pool_acts import certificate

    now = light.clock.now()
    with pytest.raises(MalformedError, match="not that of a CA"):
        add(light, der(certificate("lonely", None, (now, now + 40 * YEAR))))
    with pytest.raises(MalformedError):
        add(light, b"junk")


def _with_signature_of(one, other):
    from asn1crypto import x509

    forged = x509.Certificate.load(der(one))
    forged["signature_value"] = x509.Certificate.load(der(other))["signature_value"].native
    return forged.dump(force=True)


def test_a_root_is_in_the_pool_once_a_kind(light, root_der):
    add(light, root_der, RootKind.OEM)
    add(light, root_der, RootKind.V2G)
    with pytest.raises(ConflictError, match="already"):
        add(light, root_der, RootKind.OEM)
    assert len(light.pools.roots.all()) == 2
    assert [root.kind for root in light.pools.roots.all(RootKind.V2G)] == [RootKind.V2G]


@pytest.mark.parametrize(("by", "evidence"), [("", "x"), ("a\nb", "x"), ("a" * 65, "x"), ("a", " "), ("a", "x" * 2001)])
def test_who_and_how_are_said(light, root_der, by, evidence):
    with pytest.raises(MalformedError):
        add(light, root_der, by=by, evidence=evidence)


def test_outside_dev_two_people_remove_a_root(strict, root_der):
    root = add(strict, root_der)
    strict.pools.roots.confirm(root.id, by="bob")
    for people in ([], ["alice"], ["alice", "Alice"]):
        with pytest.raises(ConflictError, match="two different people"):
            strict.pools.roots.remove(root.id, by=people)
    strict.pools.roots.remove(root.id, by=["alice", "bob"])
    assert told(strict)[-1] == ("root.cert.revoked", root.id)
    with pytest.raises(NotFoundError, match=NOT_FOUND):
        strict.pools.roots.remove(root.id, by=["alice", "bob"])


def test_a_root_that_goes_takes_nothing_with_it_and_lets_nothing_new_in(light):
    ca = foreign_ca(light)
    light.pools.provisioning.publish(OEM, vehicle_of(ca))
    light.pools.contracts.publish(MO, contract_of(ca))
    before = pcids(light), emaids(light)
    for root in light.pools.roots.all():
        light.pools.roots.remove(root.id, by=["alice"])
    light.pools.expiry.sweep()
    light.pools.ccp_cleanup.run()
    light.pools.check.run()
    assert (pcids(light), emaids(light)) == before
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca))


def test_a_root_that_waits_and_is_given_up_is_told_to_nobody(strict, root_der):
    root = add(strict, root_der)
    strict.pools.roots.remove(root.id, by=["alice", "bob"])
    assert told(strict) == []
    assert rows(strict, "SELECT count(*) FROM pool_root") == [(0,)]


def test_each_person_removes_for_himself_and_the_second_one_counts(strict, root_der):
    root = add(strict, root_der)
    strict.pools.roots.confirm(root.id, by="bob")
    for same in ("alice", " Alice "):
        assert strict.pools.roots.ask_removal(root.id, by=same) is False
    assert strict.pools.roots.get(root.id).removal_asked_by == "Alice"
    assert strict.pools.roots.ask_removal(root.id, by="bob") is True
    assert told(strict)[-1] == ("root.cert.revoked", root.id)
    assert [action for action, _ in audited(strict)][-3:] == ["pool.rcp_removal_asked"] * 2 + ["pool.rcp_removed"]
    with pytest.raises(NotFoundError, match=NOT_FOUND):
        strict.pools.roots.ask_removal(root.id, by="carol")


def test_a_removal_asked_for_long_ago_needs_a_second_person_again(strict, root_der):
    root = add(strict, root_der)
    strict.pools.roots.confirm(root.id, by="bob")
    strict.pools.roots.ask_removal(root.id, by="alice")
    strict.clock.moment += REMOVAL_WAITS + timedelta(seconds=1)
    assert strict.pools.roots.ask_removal(root.id, by="bob") is False
    assert strict.pools.roots.ask_removal(root.id, by="alice") is True


def test_in_dev_one_person_removes_a_root(light, root_der):
    root = add(light, root_der)
    assert light.pools.roots.ask_removal(root.id, by="alice") is True
    assert light.pools.roots.all() == []
