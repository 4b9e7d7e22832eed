"""The CCP: one EMAID one vehicle, one default, nobody sees another's; on both databases where SQL decides."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text

from pki_core.model.errors import (
    ConflictError,
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    PkiError,
)
from pki_core.model.pools import ProvisioningKey, RootKind
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.services.pool_contracts import MAX_SIGNED_OCTETS
from tests.builders import new_key
from tests.journeys.acts import rows
from tests.journeys.contract_acts import signed_data
from tests.journeys.crl_acts import revoke
from tests.journeys.pool_acts import (
    CPS,
    EMAID,
    MO,
    OEM,
    OTHER_EMAID,
    OTHER_MO,
    OTHER_OEM,
    OTHER_PCID,
    PCID,
    audited,
    contract_of,
    emaids,
    events,
    foreign_ca,
    forget_events,
    issue,
    own_contract,
    partner,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]
NOT_FOUND = "^The contract for the given EMAID not found.$"
THIRD_EMAID = "DEPNCC00000003"


@pytest.fixture
def ca(request):
    """A foreign CA whose vehicle PCID is in the PCP of the test's environment."""
    name = "runtime" if "runtime" in request.fixturenames else "light"
    runtime = request.getfixturevalue(name)
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca))
    return ca


def default_of(runtime, pcid=PCID):
    return [row.emaid for row in runtime.pools.contracts.of_vehicle(OEM, pcid) if row.is_default]


def test_a_contract_is_kept_with_its_data_and_both_sides_are_told(runtime, ca):
    upload = contract_of(ca)
    assert runtime.pools.contracts.publish(MO, upload) is True
    assert runtime.pools.contracts.get(MO, "DE-PNC-C00000001").leaf_der == upload.leaf_der
    assert signed_data(runtime, EMAID) == upload.signed_data
    assert events(runtime) == [
        ("oem.contract.created", "WPN", PCID, EMAID),
        ("mo.contract.created.sent.to.oem", "DEPNC", PCID, EMAID),
    ]
    assert audited(runtime)[-1] == ("pool.ccp_published", f"{EMAID} {PCID} added")


def test_the_same_emaid_again_overwrites_and_tells(runtime, ca):
    runtime.pools.contracts.publish(MO, contract_of(ca))
    forget_events(runtime)
    again = replace(contract_of(ca, years=1), signed_data=b"new")
    assert runtime.pools.contracts.publish(MO, again) is False
    assert signed_data(runtime, EMAID) == b"new"
    assert emaids(runtime) == [EMAID]
    assert default_of(runtime) == [EMAID]
    assert [event[0] for event in events(runtime)] == ["oem.contract.updated", "mo.contract.updated.sent.to.oem"]


def test_an_emaid_belongs_to_one_pcid(runtime, ca):
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, OTHER_PCID))
    runtime.pools.contracts.publish(MO, contract_of(ca))
    with pytest.raises(ConflictError, match=r"^Invalid Tupple - EMAID is already used by other PCID\.$"):
        runtime.pools.contracts.publish(MO, contract_of(ca, EMAID, OTHER_PCID))
    assert runtime.pools.contracts.get(MO, EMAID).key.pcid == PCID


def test_a_check_digit_makes_no_second_contract(runtime, ca):
    runtime.pools.contracts.publish(MO, contract_of(ca, EMAID + "A"))
    assert runtime.pools.contracts.publish(MO, contract_of(ca, EMAID)) is False
    assert emaids(runtime) == [EMAID]


def test_the_common_name_is_kept_as_it_was_issued(light, ca):
    light.pools.contracts.publish(MO, contract_of(ca, EMAID + "A"))
    assert light.pools.contracts.get(MO, EMAID).emaid_as_issued == EMAID + "A"


def test_the_first_contract_is_the_default_and_no_other_is_promoted_when_it_goes(runtime, ca):
    for emaid in (EMAID, OTHER_EMAID):
        runtime.pools.contracts.publish(MO, contract_of(ca, emaid))
    assert default_of(runtime) == [EMAID]
    runtime.pools.contracts.delete(MO, EMAID)
    assert default_of(runtime) == []
    runtime.pools.contracts.publish(MO, contract_of(ca, THIRD_EMAID))
    assert default_of(runtime) == []
    runtime.pools.contracts.set_default(OEM, PCID, THIRD_EMAID)
    assert default_of(runtime) == [THIRD_EMAID]
    runtime.pools.contracts.set_default(OEM, PCID, OTHER_EMAID)
    assert default_of(runtime) == [OTHER_EMAID]


def test_the_database_itself_refuses_a_second_default(runtime, ca):
    for emaid in (EMAID, OTHER_EMAID):
        runtime.pools.contracts.publish(MO, contract_of(ca, emaid))
    with pytest.raises(ConflictError), runtime.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE contract SET is_default = (1 = 1)"))


def test_the_database_itself_refuses_a_contract_without_its_vehicle(runtime, ca):
    runtime.pools.contracts.publish(MO, contract_of(ca))
    with pytest.raises(ConflictError), runtime.store.transaction() as work:
        work.provisioning_pool.remove([ProvisioningKey(PCID, KeyAlgorithm.SECP256R1)])
    with pytest.raises(ConflictError), runtime.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE contract SET pcid = 'WPNNOBODY00000001'"))


def test_only_a_vehicles_own_oem_sets_its_default(light, ca):
    light.pools.contracts.publish(MO, contract_of(ca))
    with pytest.raises(NotAuthorizedError):
        light.pools.contracts.set_default(OTHER_OEM, PCID, EMAID)
    with pytest.raises(NotAuthorizedError):
        light.pools.contracts.set_default(MO, PCID, EMAID)
    with pytest.raises(NotFoundError, match=r"^Contract or Vehicle not found\.$"):
        light.pools.contracts.set_default(OEM, PCID, OTHER_EMAID)


def test_nobody_sees_or_removes_another_operators_contract(light, ca):
    light.pools.contracts.publish(MO, contract_of(ca))
    for stranger in (OTHER_MO, OTHER_OEM, partner("cpo")):
        with pytest.raises(NotFoundError, match=NOT_FOUND):
            light.pools.contracts.get(stranger, EMAID)
    with pytest.raises(NotFoundError, match=NOT_FOUND):
        light.pools.contracts.delete(OTHER_MO, EMAID)
    with pytest.raises(NotAuthorizedError):
        light.pools.contracts.delete(OEM, EMAID)
    with pytest.raises(NotAuthorizedError):
        light.pools.contracts.of_vehicle(OTHER_OEM, PCID)
    with pytest.raises(NotAuthorizedError):
        light.pools.contracts.publish(OTHER_MO, contract_of(ca, OTHER_EMAID))
    assert light.pools.contracts.publish(CPS, contract_of(ca, OTHER_EMAID)) is True
    assert light.pools.contracts.get(OEM, EMAID).emaid == EMAID


def test_what_does_not_exist_and_what_is_not_yours_look_the_same(light, ca):
    light.pools.contracts.publish(MO, contract_of(ca))
    said = []
    for emaid in (EMAID, OTHER_EMAID):
        with pytest.raises(NotFoundError) as caught:
            light.pools.contracts.delete(OTHER_MO, emaid)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_contract_needs_its_vehicle_in_the_pool(light, ca):
    said = r"^The OEM provisioning certificate with the given PCID is not available\.$"
    with pytest.raises(ConflictError, match=said):
        light.pools.contracts.publish(MO, contract_of(ca, EMAID, OTHER_PCID))
    (issued,) = issue(light, "oem_provisioning_leaf", OTHER_PCID)
    revoke(light, f"{issued.serial:x}")
    with pytest.raises(ConflictError, match=said):
        light.pools.contracts.publish(MO, contract_of(ca, EMAID, OTHER_PCID))
    with pytest.raises(ConflictError, match=said):
        light.pools.contracts.publish(MO, replace(contract_of(ca), algorithm=KeyAlgorithm.ED448))


def test_a_contract_that_has_ended_is_refused_in_the_words_clients_know(light, ca):
    with pytest.raises(ConflictError, match=r"^The given contractEnds date is in the past\.$"):
        light.pools.contracts.publish(MO, contract_of(ca, end=light.clock.now()))


def test_a_contracts_chain_is_held_to_the_same_checks(light, ca):
    upload = contract_of(ca)
    light.pools.status_source.revoked.add(upload.leaf_der)
    with pytest.raises(ConflictError, match="is revoked"):
        light.pools.contracts.publish(MO, upload)
    oem_only = foreign_ca(light, "oem only", RootKind.OEM)
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.contracts.publish(MO, contract_of(oem_only))
    v2g = foreign_ca(light, "v2g", RootKind.V2G)
    assert light.pools.contracts.publish(MO, contract_of(v2g)) is True


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"leaf_der": b"junk"}, MalformedError),
        ({"emaid": OTHER_EMAID}, MalformedError),
        ({"emaid": "DE-PNC"}, MalformedError),
        ({"pcid": "short"}, MalformedError),
        ({"signed_data": b""}, LimitExceededError),
        ({"signed_data": bytes(MAX_SIGNED_OCTETS + 1)}, LimitExceededError),
        ({"cps_fingerprint": "f" * 63}, MalformedError),
        ({"cps_fingerprint": "g" * 64}, MalformedError),
    ],
)
def test_what_is_malformed_is_refused(light, ca, change, error):
    with pytest.raises(error):
        light.pools.contracts.publish(MO, replace(contract_of(ca), **change))
    assert emaids(light) == []


def test_a_contracts_end_is_the_earliest_of_its_chain(light, ca):
    late = contract_of(ca, years=15)  # the sub-CAs end after ten
    light.pools.contracts.publish(MO, late)
    assert light.pools.contracts.get(MO, EMAID).valid_to < light.clock.now().replace(year=light.clock.now().year + 11)


def test_deleting_a_contract_revokes_ours_first_and_tells(runtime, ca):  # noqa: ARG001  # puts the vehicle in
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    forget_events(runtime)
    runtime.pools.contracts.delete(MO, EMAID)
    assert emaids(runtime) == []
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert events(runtime) == [
        ("oem.contract.deleted", "WPN", PCID, EMAID),
        ("mo.contract.deleted.sent.to.oem", "DEPNC", PCID, EMAID),
    ]
    actions = [row[0] for row in rows(runtime, "SELECT action FROM audit ORDER BY id")]
    assert actions.index("certificate.revoked") < actions.index("pool.ccp_removed")


def test_a_contract_on_hold_is_revoked_when_it_goes(light, ca):  # noqa: ARG001  # as above
    from pki_core.model.revocations import Reason

    upload, serial = own_contract(light)
    light.pools.contracts.publish(MO, upload)
    revoke(light, serial, Reason.CERTIFICATE_HOLD)
    light.pools.contracts.delete(MO, EMAID)
    assert light.certificates.show(serial).state is CertificateState.REVOKED


def test_revocation_can_be_skipped_on_demand(light, ca):  # noqa: ARG001  # as above
    upload, serial = own_contract(light)
    light.pools.contracts.publish(MO, upload)
    light.pools.contracts.delete(MO, EMAID, skip_revocation=True)
    assert emaids(light) == []
    assert light.certificates.show(serial).state is CertificateState.GOOD


def test_a_vehicle_gets_no_contract_that_is_revoked_ended_or_for_another_key(light, ca):
    upload, serial = own_contract(light)
    light.pools.contracts.publish(MO, upload)
    assert [one.emaid for one in light.pools.contracts.of_vehicle(OEM, PCID)] == [EMAID]
    revoke(light, serial)
    assert light.pools.contracts.of_vehicle(OEM, PCID) == []
    with pytest.raises(NotFoundError, match=r"^Contract or Vehicle not found\.$"):
        light.contracts.installations.provide(OEM, EMAID, PCID, b"\0")
    light.pools.contracts.publish(MO, contract_of(ca, OTHER_EMAID))
    assert [one.emaid for one in light.pools.contracts.of_vehicle(OEM, PCID)] == [OTHER_EMAID]
    light.clock.advance(days=3 * 365)
    assert light.pools.contracts.of_vehicle(OEM, PCID) == []


@pytest.mark.slow
def test_two_operators_at_once_get_one_default_and_one_owner(runtime, ca):
    """Eight contracts for one vehicle and one EMAID for two vehicles, all at the same moment."""
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, OTHER_PCID, key=new_key()))
    uploads = [contract_of(ca, f"DEPNCC{at:08d}") for at in range(8)]
    uploads += [contract_of(ca, "DEPNCC99999999", pcid) for pcid in (PCID, OTHER_PCID)]
    failures = []

    def publish(upload):
        try:
            runtime.pools.contracts.publish(MO, upload)
        except PkiError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=publish, args=(upload,)) for upload in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner = runtime.pools.contracts.get(MO, "DEPNCC99999999").key.pcid
    defaults = [pcid for (pcid,) in rows(runtime, "SELECT pcid FROM contract WHERE is_default ORDER BY pcid")]
    assert defaults == sorted({PCID, owner})
    assert (len(emaids(runtime)), len(failures)) == (9, 1)
