"""Deliveries that are told again, those of suspended partners, and those of what is no longer the partner's."""

from contextlib import closing

import pytest
from sqlalchemy import text

from pki_core.model.errors import ConflictError, NotFoundError
from pki_core.model.webhooks import DeliveryState
from pki_core.runtime import open_runtime
from pki_core.services.partners import PartnerChange
from tests.builders import SetClock
from tests.journeys.acts import rows
from tests.journeys.crl_acts import right_now
from tests.journeys.hooks import receiver
from tests.journeys.webhook_acts import EMAID, HookClient, deliver, happen

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def told(environment):
    """A server that heard of an event, the deliveries, and the one that is finished."""
    with receiver() as server:
        HookClient(environment).added(server.url)
        happen(environment)
        deliver(environment)
        deliveries = environment.access.webhook_deliveries
        (delivery,) = deliveries.recent(None, 10)
        yield server, deliveries, delivery


def test_a_finished_delivery_can_be_told_again_the_same_bytes(environment, told):
    server, deliveries, delivery = told
    deliveries.replay(delivery.number, "operator")
    with pytest.raises(ConflictError):
        deliveries.replay(delivery.number, "operator")
    assert deliver(environment) == (1, 0, 0, 0)
    assert server.heard[0][2] == server.heard[1][2]
    with pytest.raises(NotFoundError):
        deliveries.replay(9999, "operator")
    assert rows(environment, "SELECT actor FROM audit WHERE action = 'webhook.replayed'") == [("operator",)]


def test_a_suspended_partner_is_told_when_he_is_resumed_and_loses_no_attempt(any_home):
    clock = SetClock(right_now())
    with closing(open_runtime(any_home, clock)) as runtime, receiver() as server, receiver() as other:
        client = HookClient(runtime)
        client.added(server.url)
        HookClient(runtime, "demo-oem", client.app).added(other.url, ["root.cert.added"])
        server.answers = [500]
        happen(runtime)
        assert deliver(runtime) == (0, 0, 0, 1)
        runtime.partners.suspend("demo-mo", by="ada")
        happen(runtime)
        happen(runtime, "root.cert.added", "", pcid="", emaid="", root_id="a-root")
        clock.advance(days=1)
        for delivered in (1, 0):
            assert deliver(runtime) == (delivered, 0, 0, 2)
        assert (len(server.heard), len(other.heard)) == (1, 1)
        with runtime.store.reading() as work:
            assert work.webhooks.longest_due(clock.now()) is None
        waiting = runtime.access.webhook_deliveries.recent(DeliveryState.WAITING, 10)
        assert sorted(one.attempts for one in waiting) == [0, 1]
        runtime.partners.resume("demo-mo", by="ada")
        assert deliver(runtime) == (2, 0, 0, 0)


def test_a_suspended_partner_is_told_nothing_again(environment, told):
    _, deliveries, delivery = told
    environment.partners.suspend("demo-mo", by="ada")
    with pytest.raises(ConflictError, match="partner 'demo-mo' is suspended"):
        deliveries.replay(delivery.number, "operator")
    assert deliveries.recent(None, 10) == [delivery]


TAKEN = {  # as (kind, value): what is taken, and what is given for it
    "prefix": ([("provider", "DEPNC")], []),
    "role": ([("role", "mo")], [("role", "cpo")]),
}


@pytest.mark.parametrize(("taken", "given"), TAKEN.values(), ids=TAKEN)
def test_what_is_no_longer_a_partners_when_it_is_due_is_not_told(any_home, caplog, taken, given):
    clock = SetClock(right_now())
    with closing(open_runtime(any_home, clock)) as runtime, receiver() as server, receiver() as other:
        client = HookClient(runtime)
        client.added(server.url)
        HookClient(runtime, "demo-oem", client.app).added(other.url, ["oem.contract.created"])
        server.answers, other.answers = [500], [500]
        happen(runtime, scope="DEPNC")
        happen(runtime, "oem.contract.created", scope="WPN")
        assert deliver(runtime) == (0, 0, 0, 2)
        runtime.partners.change("demo-mo", PartnerChange(added=tuple(given), removed=tuple(taken)), by="ada")
        clock.advance(days=1)
        delivered, _, failed, waiting = deliver(runtime)
        assert (len(server.heard), len(other.heard)) == (1, 2)
        assert (delivered, failed, waiting) == (1, 1, 0)
        (mine,) = runtime.access.webhook_deliveries.recent(DeliveryState.FAILED, 10)
        assert f"webhook delivery {mine.number} (event {mine.event_id}) is not told" in caplog.text
        runtime.access.webhook_deliveries.replay(mine.number, "operator")
        assert deliver(runtime)[0] == 0
        runtime.partners.change("demo-mo", PartnerChange(added=tuple(taken), removed=tuple(given)), by="ada")
        runtime.access.webhook_deliveries.replay(mine.number, "operator")
        assert deliver(runtime)[0] == 1
        assert len(server.heard) == 2


def forget_scopes(runtime):
    """Make deliveries what they were before migration 0018."""
    with runtime.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE webhook_delivery SET scope = NULL"))


BEFORE = {  # of deliveries made before their scope was kept: event, what it tells beside its PCID, partner, his prefix
    "contract": ("mo.contract.created.sent.to.oem", EMAID, "demo-mo", ("provider", "DEPNC")),
    "maker": ("oem.contract.created", EMAID, "demo-oem", ("wmi", "WPN")),
    "provisioning": ("oem.prov.cert.renewal.due", "", "demo-oem", ("wmi", "WPN")),
}


@pytest.mark.parametrize(("kind", "emaid", "partner", "prefix"), BEFORE.values(), ids=BEFORE)
def test_deliveries_made_before_their_scope_was_kept_say_themselves_whose_they_are(
    environment, kind, emaid, partner, prefix
):
    deliveries = environment.access.webhook_deliveries
    with receiver() as server:
        HookClient(environment, partner).added(server.url, [kind])
        happen(environment, kind, prefix[1], emaid=emaid)
        assert deliver(environment)[0] == 1
        forget_scopes(environment)
        (delivery,) = deliveries.recent(None, 10)
        deliveries.replay(delivery.number, "operator")
        assert deliver(environment)[0] == 1
        environment.partners.change(partner, PartnerChange(added=(), removed=(prefix,)), by="ada")
        deliveries.replay(delivery.number, "operator")
        assert deliver(environment) == (0, 0, 1, 0)
        assert len(server.heard) == 2


def test_a_root_is_told_again_though_the_delivery_was_made_before_its_scope_was_kept(environment):
    with receiver() as server:
        HookClient(environment).added(server.url, ["root.cert.added"])
        happen(environment, "root.cert.added", pcid="", emaid="", root_id="a-root")
        assert deliver(environment)[0] == 1
        forget_scopes(environment)
        (delivery,) = environment.access.webhook_deliveries.recent(None, 10)
        environment.access.webhook_deliveries.replay(delivery.number, "operator")
        assert deliver(environment)[0] == 1


def test_a_vehicle_is_told_again_only_where_it_was_kept_whom_it_was_for(environment):
    """Which operator had a contract of the vehicle is in no such delivery: one that waits still goes by the role."""
    deliveries = environment.access.webhook_deliveries
    with receiver() as server:
        HookClient(environment).added(server.url)
        server.answers = [500]
        happen(environment, scope="DEPNC", emaid="")
        assert deliver(environment)[3] == 1
        forget_scopes(environment)
        with environment.store.transaction() as work:
            work.audit._connection.execute(text("UPDATE webhook_delivery SET next_at = 0"))
        assert deliver(environment)[0] == 1
        (delivery,) = deliveries.recent(None, 10)
        with pytest.raises(ConflictError, match=f"webhook delivery {delivery.number} tells of a vehicle"):
            deliveries.replay(delivery.number, "operator")
        assert deliveries.recent(None, 10) == [delivery]
        assert deliver(environment)[0] == 0
    assert rows(environment, "SELECT count(*) FROM audit WHERE action = 'webhook.replayed'") == [(0,)]
