"""What changes while the status check looks: only the certificate that was found revoked takes its row along."""

import pytest

from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.store.contract_pool import ContractPoolGateway
from pki_core.store.provisioning_pool import ProvisioningPoolGateway
from tests.builders import new_key
from tests.journeys.crl_acts import revoke
from tests.journeys.pool_acts import (
    EMAID,
    MO,
    OEM,
    PCID,
    audited,
    contract_of,
    emaids,
    foreign_ca,
    issue,
    own_contract,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]
REMOVED = {"pool.pcp_removed", "pool.ccp_removed"}


@pytest.fixture
def ca(runtime):
    return foreign_ca(runtime)


def behind_its_back(monkeypatch, gateway, act):
    """Do something once the check has read what is revoked, and before it locks any of it."""
    honest, waiting = gateway.revoked, [act]

    def read(self, after, limit):
        found = honest(self, after, limit)
        if found[0] and waiting:
            waiting.pop()()
        return found

    monkeypatch.setattr(gateway, "revoked", read)


def while_asked(runtime, act):
    """Do something while a CA is asked whether it revoked a certificate, which it did."""
    source, waiting = runtime.pools.status_source, [act]
    honest = source.status_of

    def status_of(certificate_der, issuer_der):
        if certificate_der in source.revoked and waiting:
            waiting.pop()()
        return honest(certificate_der, issuer_der)

    source.status_of = status_of


def nothing_left(runtime):
    report = runtime.pools.check.run()
    assert (report.provisioning, report.contracts, report.revoked) == (0, 0, 0)
    assert not REMOVED & {action for action, _ in audited(runtime)}


def test_a_vehicle_issued_again_while_the_check_looks_stays_with_its_contract(runtime, ca, monkeypatch):
    key = new_key()
    (first,) = issue(runtime, "oem_provisioning_leaf", PCID, keys=[key])
    runtime.pools.contracts.publish(MO, contract_of(ca))
    revoke(runtime, f"{first.serial:x}", Reason.SUPERSEDED)
    again = []
    behind_its_back(
        monkeypatch,
        ProvisioningPoolGateway,
        lambda: again.extend(issue(runtime, "oem_provisioning_leaf", PCID, keys=[key])),
    )
    nothing_left(runtime)
    assert (pcids(runtime), emaids(runtime)) == ([PCID], [EMAID])
    assert runtime.pools.provisioning.get(MO, PCID).row.leaf_der == again[0].certificate_der


def test_a_contract_of_ours_replaced_while_the_check_looks_stays(runtime, ca, monkeypatch):
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca))
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    revoke(runtime, serial)
    newer, newer_serial = own_contract(runtime)
    behind_its_back(monkeypatch, ContractPoolGateway, lambda: runtime.pools.contracts.publish(MO, newer))
    nothing_left(runtime)
    assert emaids(runtime) == [EMAID]
    assert runtime.certificates.show(newer_serial).state is CertificateState.GOOD


def test_a_foreign_vehicle_replaced_while_its_ca_is_asked_stays(runtime, ca):
    key = new_key()
    first, second = vehicle_of(ca, key=key), vehicle_of(ca, key=key)
    runtime.pools.provisioning.publish(OEM, first)
    runtime.pools.contracts.publish(MO, contract_of(ca))
    runtime.clock.advance(hours=25)
    runtime.pools.status_source.revoked.add(first.leaf_der)
    while_asked(runtime, lambda: runtime.pools.provisioning.publish(OEM, second))
    nothing_left(runtime)
    assert runtime.pools.provisioning.get(MO, PCID).row.leaf_der == second.leaf_der


def test_a_foreign_contract_replaced_while_its_ca_is_asked_stays(runtime, ca):
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca))
    first, second = contract_of(ca), contract_of(ca)
    runtime.pools.contracts.publish(MO, first)
    runtime.clock.advance(hours=25)
    runtime.pools.status_source.revoked.add(first.leaf_der)
    while_asked(runtime, lambda: runtime.pools.contracts.publish(MO, second))
    nothing_left(runtime)
    assert runtime.pools.contracts.get(MO, EMAID).leaf_der == second.leaf_der
