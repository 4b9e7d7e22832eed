"""The PCP: what enters, what is found, what is told, what goes with what; on both databases where SQL decides."""

import pytest

from pki_core.model.errors import (
    ConflictError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    StoreUnavailableError,
    UnavailableError,
)
from pki_core.model.pools import Namespace, ProvisioningUpload, RootKind
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.pool_provisioning import Published, Selection
from pki_core.wire.pool_certificate import read_certificate
from tests.builders import make_csr, new_key
from tests.journeys.acts import LEAF_NAMES, rows
from tests.journeys.crl_acts import revoke
from tests.journeys.pool_acts import (
    CPS,
    MO,
    NO_VEHICLE,
    OEM,
    OTHER_OEM,
    PCID,
    YEAR,
    ForeignCa,
    Held,
    certificate,
    der,
    emaids,
    foreign_ca,
    issue,
    opened,
    partner,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]


# --- what enters


def test_a_foreign_vehicle_is_found_by_its_exact_pcid_in_any_case(runtime):
    ca = foreign_ca(runtime)
    upload = vehicle_of(ca, PCID.lower())
    assert runtime.pools.provisioning.publish(OEM, upload) is Published.ADDED
    for reader in (OEM, MO, CPS):
        entry = runtime.pools.provisioning.get(reader, PCID)
        assert entry.row.leaf_der == upload.leaf_der
        assert entry.row.pcid_as_sent == PCID.lower()
        assert entry.chain.certificates == (der(ca.sub2), der(ca.sub1))
    runtime.pools.provisioning.look_up(MO, PCID.lower())


@pytest.mark.parametrize("part", [PCID[:-1] + "2", PCID + "1", "WPNFOREGN0000000O"])
def test_nothing_but_the_exact_pcid_finds_a_vehicle(light, part):
    light.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(light)))
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.get(MO, part)


def test_an_oem_sees_its_own_vehicles_only_and_a_charging_operator_none(light):
    light.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(light)))
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.get(OTHER_OEM, PCID)
    with pytest.raises(NotAuthorizedError):
        light.pools.provisioning.get(partner("cpo"), PCID)


def test_checks_come_in_their_order_and_the_first_failure_stops(light):
    """WMI, validity, status, root: each upload fails from one check on."""
    light.clock.moment = light.clock.moment.replace(microsecond=0)
    ca = ForeignCa("unknown", light.clock.now())
    ended = vehicle_of(ca, end=light.clock.now())
    source = light.pools.status_source
    with pytest.raises(NotAuthorizedError, match="vehicles of WPN"):
        light.pools.provisioning.publish(OTHER_OEM, ended)
    source.revoked.add(ended.leaf_der)
    with pytest.raises(ConflictError, match="not valid now"):
        light.pools.provisioning.publish(OEM, ended)
    assert source.asked == []
    revoked = vehicle_of(ca)
    source.revoked.add(revoked.leaf_der)
    with pytest.raises(ConflictError, match="is revoked"):
        light.pools.provisioning.publish(OEM, revoked)
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca))
    light.pools.roots.add(der(ca.root), RootKind.MO, by="alice", evidence="telephone")  # of another kind
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca))
    light.pools.roots.add(der(ca.root), RootKind.OEM, by="alice", evidence="telephone")
    assert light.pools.provisioning.publish(OEM, vehicle_of(ca)) is Published.ADDED


def test_a_ca_that_ends_or_is_revoked_keeps_its_leafs_out(light):
    ca = foreign_ca(light)
    light.pools.status_source.revoked.add(der(ca.sub1))
    with pytest.raises(ConflictError, match="'foreign sub1' is revoked"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca))
    light.pools.status_source.revoked.clear()
    light.pools.status_source.unknown.add(der(ca.sub2))
    with pytest.raises(ConflictError, match="does not know"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca))
    light.pools.status_source.unknown.clear()
    light.clock.moment += 11 * YEAR
    with pytest.raises(ConflictError, match="'foreign sub2' is not valid now"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca, years=30))


def test_a_root_that_has_ended_keeps_its_leafs_out(light):
    ca = foreign_ca(light)
    long_lived = vehicle_of(ForeignCa("long", light.clock.now(), sub_years=60), years=60)
    light.clock.moment += 41 * YEAR
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, long_lived)
    with pytest.raises(ConflictError, match="not valid now"):
        light.pools.provisioning.publish(OEM, vehicle_of(ca, years=60))


def test_a_root_in_waiting_lets_nobody_in(home):
    with opened(home) as runtime:
        runtime.pools.roots._needs_two = True
        ca = foreign_ca(runtime)
        with pytest.raises(ConflictError, match="does not lead to a root"):
            runtime.pools.provisioning.publish(OEM, vehicle_of(ca))


class NobodyToAsk:
    def status_of(self, certificate_der, issuer_der):  # noqa: ARG002  # the protocol
        raise UnavailableError("the status of certificates of other CAs cannot be asked here")


def test_nobody_to_ask_means_nobody_foreign_enters(home):
    with opened(home) as runtime:
        runtime.pools.__dict__["status_source"] = NobodyToAsk()
        ca = foreign_ca(runtime)
        with pytest.raises(UnavailableError):
            runtime.pools.provisioning.publish(OEM, vehicle_of(ca))
        assert pcids(runtime) == []


@pytest.mark.parametrize("field", ["leaf_der", "sub1_der", "sub2_der"])
@pytest.mark.parametrize("junk", [b"junk", b"\x30\x03\x02\x01\x05", b"x" * 5000])
def test_what_is_no_certificate_is_named_by_its_field(light, field, junk):
    upload = vehicle_of(foreign_ca(light))
    fields = {"leaf_der": upload.leaf_der, "sub1_der": upload.sub1_der, "sub2_der": upload.sub2_der, field: junk}
    said = {"leaf_der": "vehicleCertificate", "sub1_der": "subCa1Certificate", "sub2_der": "subCa2Certificate"}[field]
    with pytest.raises(MalformedError, match=f"^Invalid certificate format on {said}$"):
        light.pools.provisioning.publish(OEM, ProvisioningUpload(**fields))


def test_a_path_that_is_not_signed_from_end_to_end_is_refused(light):
    ca, twin = foreign_ca(light), ForeignCa("foreign", light.clock.now())  # the same names, other keys
    mixed = ProvisioningUpload(leaf_der=twin.leaf(PCID), sub1_der=der(ca.sub1), sub2_der=der(ca.sub2))
    with pytest.raises(ConflictError, match="is not signed by"):
        light.pools.provisioning.publish(OEM, mixed)
    swapped = ProvisioningUpload(leaf_der=ca.leaf(PCID), sub1_der=der(twin.sub1), sub2_der=der(twin.sub2))
    with pytest.raises(ConflictError, match="is not signed by"):
        light.pools.provisioning.publish(OEM, swapped)
    foreign = ProvisioningUpload(leaf_der=twin.leaf(PCID), sub1_der=der(twin.sub1), sub2_der=der(twin.sub2))
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, foreign)


def test_a_leaf_signs_no_leafs(light):
    ca = foreign_ca(light)
    key = new_key()
    parent = certificate("WPNMIDDLE00000001", ca.sub2, (ca.moment, ca.moment + YEAR), key=key)
    child = certificate(PCID, Held(key, parent.certificate), (ca.moment, ca.moment + YEAR))
    upload = ProvisioningUpload(leaf_der=der(child), sub1_der=der(ca.sub2), sub2_der=der(parent))
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.provisioning.publish(OEM, upload)


def test_roots_of_ours_stand_above_what_they_are_for_alone(light):
    (vehicle,) = issue(light, "oem_provisioning_leaf", PCID)
    leaf, *above = (
        read_certificate(one)
        for one in (vehicle.certificate_der, *(one.certificate_der for one in light.certificates.chain("oem-sub2")[:2]))
    )
    assert light.pools.checks.check(leaf, above, (RootKind.OEM,)).is_own
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.checks.check(leaf, above, (RootKind.PE,))
    client = light.credentials.issue_certificate("demo-oem", make_csr(PCID, new_key()), light.profiles["tls_client"])
    with pytest.raises(ConflictError, match="does not lead to a root"):
        light.pools.checks.check(read_certificate(client.certificate_der), (), tuple(RootKind))


def test_a_ca_certificate_is_no_vehicle(light):
    ca = foreign_ca(light)
    looks_like_one = certificate(PCID, ca.sub2, (ca.moment, ca.moment + YEAR), ca=True)
    upload = ProvisioningUpload(leaf_der=der(looks_like_one), sub1_der=der(ca.sub1), sub2_der=der(ca.sub2))
    with pytest.raises(MalformedError, match="vehicleCertificate"):
        light.pools.provisioning.publish(OEM, upload)


# --- what we issue ourselves


def test_what_we_issue_to_a_vehicle_is_in_the_pool_with_it(runtime):
    (issued,) = issue(runtime, "oem_provisioning_leaf", "wpnABCDEFGHJKLMN1")
    entry = runtime.pools.provisioning.get(MO, "WPNABCDEFGHJKLMN1")
    assert entry.row.leaf_der == issued.certificate_der
    assert entry.row.pcid_as_sent == "wpnABCDEFGHJKLMN1"
    assert entry.row.valid_to <= issued.not_after
    chain = runtime.certificates.chain("oem-sub2")
    assert entry.chain.certificates == tuple(record.certificate_der for record in chain)
    assert rows(runtime, "SELECT count(*) FROM provisioning_certificate WHERE leaf_der IS NULL") == [(1,)]


def test_a_vehicle_has_a_certificate_an_algorithm_and_each_is_chosen_by_it(light):
    pcid = "WPNABCDEFGHJKLMN1"
    issue(light, "oem_provisioning_leaf", pcid)
    issue(light, "oem_provisioning_leaf_20", pcid)
    assert light.pools.provisioning.algorithms(MO, pcid) == [KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1]
    for selection, expected in (
        (Selection(algorithm=KeyAlgorithm.SECP521R1), Namespace.ISO_20_2022),
        (Selection(namespace=Namespace.ISO_20_2020), Namespace.ISO_20_2022),
        (Selection(namespace=Namespace.ISO_2_2013), Namespace.ISO_2_2013),
    ):
        assert light.pools.provisioning.get(MO, pcid, selection).row.namespace is expected
    light.pools.provisioning.delete(OEM, pcid, Selection(algorithm=KeyAlgorithm.SECP256R1))
    assert light.pools.provisioning.algorithms(MO, pcid) == [KeyAlgorithm.SECP521R1]
    with pytest.raises(MalformedError, match="exclude"):
        Selection(algorithm=KeyAlgorithm.SECP256R1, namespace=Namespace.ISO_2_2013)


@pytest.mark.parametrize("profile", ["contract_leaf", "evse_leaf", "cps_leaf"])
def test_other_kinds_enter_no_pool_by_themselves(light, profile):
    issue(light, profile, LEAF_NAMES[profile])
    assert pcids(light) == []
    assert emaids(light) == []


def test_a_pcid_twice_in_one_list_leaves_the_last_certificate(runtime):
    pcid = "WPNABCDEFGHJKLMN1"
    _, last = issue(runtime, "oem_provisioning_leaf", pcid, pcid.lower())
    assert runtime.pools.provisioning.get(MO, pcid).row.leaf_der == last.certificate_der


def test_a_certificate_without_its_pool_row_does_not_exist(light, monkeypatch):
    from pki_core.store.provisioning_pool import ProvisioningPoolGateway

    def fail(_self, _rows):
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(ProvisioningPoolGateway, "add_issued", fail)
    with pytest.raises(StoreUnavailableError):
        issue(light, "oem_provisioning_leaf", PCID)
    assert rows(light, f"SELECT count(*) FROM certificate WHERE common_name = '{PCID}'") == [(0,)]  # noqa: S608


def test_a_certificate_of_ours_published_by_its_oem_is_known_as_ours(light):
    (issued,) = issue(light, "oem_provisioning_leaf", PCID)
    chain = light.certificates.chain("oem-sub2")
    upload = ProvisioningUpload(
        leaf_der=issued.certificate_der, sub2_der=chain[0].certificate_der, sub1_der=chain[1].certificate_der
    )
    assert light.pools.provisioning.publish(OEM, upload) is Published.RENEWED
    assert light.pools.provisioning.get(OEM, PCID).row.certificate_id is not None
    assert light.pools.status_source.asked == []
    revoke(light, f"{issued.serial:x}")
    with pytest.raises(ConflictError, match="is revoked"):
        light.pools.provisioning.publish(OEM, upload)


# --- what a look-up checks again


def test_a_revoked_vehicle_of_ours_is_not_shown_from_the_same_moment(light):
    (issued,) = issue(light, "oem_provisioning_leaf", PCID)
    revoke(light, f"{issued.serial:x}")
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.get(MO, PCID)


def test_a_foreign_vehicle_is_asked_for_again_after_a_day(light):
    upload = vehicle_of(foreign_ca(light))
    light.pools.provisioning.publish(OEM, upload)
    light.pools.status_source.asked.clear()
    light.pools.status_source.revoked.add(upload.leaf_der)
    assert light.pools.provisioning.get(MO, PCID).row.leaf_der == upload.leaf_der
    assert light.pools.status_source.asked == []
    light.clock.advance(hours=25)
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.get(MO, PCID)
    light.pools.status_source.revoked.clear()
    light.pools.provisioning.get(MO, PCID)
    asked = len(light.pools.status_source.asked)
    light.pools.provisioning.get(MO, PCID)
    assert len(light.pools.status_source.asked) == asked


def test_a_foreign_vehicle_without_its_root_is_not_shown_but_stays(light):
    ca = foreign_ca(light)
    light.pools.provisioning.publish(OEM, vehicle_of(ca))
    (root,) = light.pools.roots.all(RootKind.OEM)
    light.pools.roots.remove(root.id, by=["alice"])
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.get(MO, PCID)
    assert pcids(light) == [PCID]
    light.pools.roots.add(der(ca.root), RootKind.OEM, by="alice", evidence="telephone")
    light.pools.provisioning.get(MO, PCID)


def test_the_pool_has_no_list_no_count_and_no_search():
    from pki_core.services.pool_provisioning import ProvisioningPool

    assert {name for name in vars(ProvisioningPool) if not name.startswith("_")} == {
        "publish",
        "get",
        "algorithms",
        "look_up",
        "delete",
    }
