"""What the pools do reaches those it concerns and nobody else: from the act to real receivers."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from pki_core.model.pools import Namespace
from pki_core.model.webhooks import events_for
from tests.builders import new_key
from tests.journeys.hooks import heard_by, receiver
from tests.journeys.pool_acts import (
    CPS,
    EMAID,
    MO,
    OEM,
    OTHER_MO,
    OTHER_OEM,
    PCID,
    YEAR,
    contract_of,
    foreign_ca,
    opened,
    own_contract,
    vehicle_of,
)
from tests.journeys.webhook_acts import HookClient

pytest_plugins = ["tests.journeys.environments"]
pytestmark = pytest.mark.enable_socket

FRENCH = "FRXYZC00000001"
LISTENERS = {
    one.id: one
    for one in (replace(OEM, id="an-oem"), OTHER_OEM, replace(MO, id="an-mo"), OTHER_MO, replace(CPS, id="a-cps"))
}


class Town:
    """Five partners with an endpoint each that hears of all it may."""

    def __init__(self, runtime, stack):
        self.runtime, self.hooks, self.secrets = runtime, {}, {}
        app = None
        for partner in LISTENERS.values():
            scopes = {"provider_prefixes": frozenset(), "wmis": frozenset()}
            if "oem" in partner.roles:
                scopes["wmis"] = partner.wmis
            if "mo" in partner.roles:
                scopes["provider_prefixes"] = partner.provider_prefixes
            known = replace(partner, operator_prefixes=frozenset(), **scopes)
            runtime.partners.add(known)
            client = HookClient(runtime, known.id, app)
            app = client.app
            hook = self.hooks[known.id] = stack.enter_context(receiver())
            self.secrets[known.id] = client.added(hook.url, sorted(events_for(known.roles)))["secret"]

    def hears(self):
        """What each partner is told by the next run, without those who hear nothing."""
        self.runtime.access.webhook_deliveries.run(1000)
        heard = {
            who: sorted(
                (one["eventType"], one["payload"].get("emaid", "")) for one in heard_by(hook, self.secrets[who])
            )
            for who, hook in self.hooks.items()
        }
        for hook in self.hooks.values():
            hook.heard.clear()
        return {who: events for who, events in heard.items() if events}


@pytest.fixture
def town(any_home):
    with opened(any_home) as runtime, ExitStack() as stack:
        yield Town(runtime, stack)


def test_each_partner_hears_what_concerns_him_and_nobody_else_does(town):
    pools, runtime = town.runtime.pools, town.runtime
    ca = foreign_ca(runtime)
    assert set(town.hears()) == set(LISTENERS)  # of two roots: everybody
    pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    assert town.hears() == {}  # how many vehicles an OEM builds is nobody's business
    pools.contracts.publish(MO, contract_of(ca))
    assert town.hears() == {
        "an-oem": [("oem.contract.created", EMAID)],
        "an-mo": [("mo.contract.created.sent.to.oem", EMAID)],
    }
    pools.contracts.publish(OTHER_MO, contract_of(ca, FRENCH))
    assert town.hears() == {
        "an-oem": [("oem.contract.created", FRENCH)],
        "other-mo": [("mo.contract.created.sent.to.oem", FRENCH)],
    }
    pools.provisioning.publish(OEM, vehicle_of(ca, key=new_key(), years=1))
    assert town.hears() == {
        "an-oem": [("oem.contract.deleted", EMAID), ("oem.contract.deleted", FRENCH)],
        "an-mo": [("mo.contract.deleted.sent.to.oem", EMAID), ("mo.prov.cert.updated", "")],
        "other-mo": [("mo.contract.deleted.sent.to.oem", FRENCH), ("mo.prov.cert.updated", "")],
    }


def test_sweeps_tell_those_whose_contracts_they_take(town):
    pools, runtime = town.runtime.pools, town.runtime
    pools.provisioning.publish(OEM, vehicle_of(foreign_ca(runtime), years=1))
    pools.contracts.publish(MO, own_contract(runtime)[0])
    town.hears()
    runtime.clock.moment += YEAR
    assert pools.expiry.sweep().provisioning == 1
    assert town.hears() == {
        "an-oem": [("oem.contract.deleted", EMAID)],
        "an-mo": [("mo.contract.deleted.sent.to.oem", EMAID), ("mo.prov.cert.deleted", "")],
    }
    pools.expiry.sweep()
    assert town.hears() == {}


def test_reminders_reach_operator_and_oem(town):
    pools, runtime = town.runtime.pools, town.runtime
    ca = foreign_ca(runtime)
    pools.provisioning.publish(OEM, vehicle_of(ca, PCID, years=1))
    pools.contracts.publish(MO, contract_of(ca, years=1))
    town.hears()
    runtime.clock.moment += YEAR * 0.95
    pools.reminders.run()
    assert town.hears() == {
        "an-oem": [("oem.prov.cert.renewal.due", "")],
        "an-mo": [("mo.contract.renewal.due", EMAID)],
    }


@pytest.mark.parametrize("status", [400, 409])
def test_an_operator_hears_that_a_maker_refuses_his_contract(town, status):
    pools, ca = town.runtime.pools, foreign_ca(town.runtime)
    pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    town.hears()
    town.hooks["an-oem"].answers = [status]
    pools.contracts.publish(MO, contract_of(ca))
    assert town.hears()["an-oem"] == [("oem.contract.created", EMAID)]
    town.runtime.access.webhook_deliveries.run(1000)
    (told,) = heard_by(town.hooks["an-mo"], town.secrets["an-mo"])
    assert (told["eventType"], told["payload"]["pcid"], told["xsdMsgDefNamespace"]) == (
        "mo.contract.rejected.by.oem",
        PCID,
        Namespace.ISO_2_2013.urn,
    )
    assert town.hooks["other-mo"].heard == []
    town.hooks["an-mo"].heard.clear()
    assert town.hears() == {}


def test_an_operator_hears_once_that_a_maker_is_told_later(town):
    pools, ca, clock = town.runtime.pools, foreign_ca(town.runtime), town.runtime.clock
    pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    pools.contracts.publish(MO, contract_of(ca))
    town.hears()
    town.hooks["an-oem"].answers = [500, 503, 404]
    pools.contracts.publish(MO, contract_of(ca))
    town.hears()
    assert town.hears() == {"an-mo": [("mo.contract.queued.to.oem", EMAID)]}
    for _ in range(2):  # later once more, then not found: which is no word about the contract
        clock.advance(hours=1, seconds=1)
        assert town.hears() == {"an-oem": [("oem.contract.updated", EMAID)]}
    assert town.hears() == {}


def test_what_is_not_about_a_new_contract_has_no_echo(town):
    pools, ca = town.runtime.pools, foreign_ca(town.runtime)
    pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    pools.contracts.publish(MO, contract_of(ca))
    town.hears()
    town.hooks["an-oem"].answers = [409]
    pools.contracts.delete(MO, EMAID)
    town.hears()
    assert town.hears() == {}
