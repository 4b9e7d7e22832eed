"""Signers of contract data: made and rotated by ceremonies, chosen by algorithm and root, never too large."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.ceremonies import Act
from pki_core.model.contracts import AadForm
from pki_core.model.errors import CeremonyError, ConflictError, KeyRejectedError, SettingsError
from pki_core.model.requests import Issued
from pki_core.model.revocations import Reason
from pki_core.runtime.wiring import open_runtime
from pki_core.services import ceremonies
from pki_core.services.uploads import issuer_for
from tests.journeys.acts import artefact, edit, hold, order_for, plan_for, rows
from tests.journeys.contract_acts import (
    ED448,
    EMAID,
    LABEL,
    OTHER_EMAID,
    P256,
    P521,
    Garage,
    contract,
    demo_mo,
    make,
    signed_data,
    wanted,
)
from tests.journeys.pool_acts import opened
from tests.journeys.signer_acts import signer
from tests.vehicle import InstallationRefusedError
from webapp import create_app

pytest_plugins = ["tests.journeys.environments"]


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_an_environment_is_founded_with_a_signer_of_every_generation(untouched, algorithm):
    chosen = untouched.contracts.signers.choose(algorithm)
    assert chosen.record.label == f"cps-signer{LABEL[algorithm]}-1"
    root = next(one for one in untouched.certificates.issuers() if one.label == f"v2g-root{LABEL[algorithm]}")
    assert chosen.root_der == root.certificate_der
    assert len(chosen.chain.sub_certificates_der) == 2
    assert untouched.contracts.signers.choose(algorithm, chosen.root_sha256.upper()) == chosen


def test_a_ceremony_makes_the_next_signer_and_new_data_is_signed_by_it(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    before = signed_data(environment)
    lines = []
    hold(environment, signer(), lines.append)
    assert any("of 3398 octets" in line for line in lines)
    assert environment.contracts.signers.active()[0].record.label == "cps-signer-2"
    make(environment, wanted(environment))
    after = signed_data(environment)
    leaf_der = artefact(environment, "cps-signer-2")
    assert leaf_der not in before
    for data in (before, after):  # what the old one signed is still good
        assert vehicle.install_2(data, environment.clock.now(), b"\0") == EMAID
    listed = [one.record.label for one in environment.contracts.signers.active() if one.algorithm is P256]
    assert listed == ["cps-signer-2", "cps-signer-1"]


def test_a_revoked_signer_signs_nothing_more(environment):
    hold(environment, signer())
    record = environment.contracts.signers.choose(P256).record
    assert record.label == "cps-signer-2"
    environment.revocations.revoke(record.serial, Reason.KEY_COMPROMISE, actor="test")
    assert environment.contracts.signers.choose(P256).record.label == "cps-signer-1"


def test_nobody_signs_below_a_root_of_others(environment):
    Garage(environment).build()
    with pytest.raises(ConflictError, match="no CPS signer below"):
        make(environment, wanted(environment), root="00" * 32)
    assert rows(environment, "SELECT count(*) FROM contract") == [(0,)]


def test_a_key_that_is_not_the_signers_is_not_used(environment):
    first = environment.contracts.signers.choose(P256)
    with environment.store.transaction() as work:
        work.cps_signers._connection.exec_driver_sql(
            "UPDATE cps_signer SET key_label = 'mo-sub2-other' WHERE label = 'cps-signer-1'"
        )
    environment.key_store.generate("mo-sub2-other", P256)
    with pytest.raises(KeyRejectedError):
        environment.contracts.signers.key_of(environment.contracts.signers.choose(P256))
    assert first.record.key_label == "cps-signer-1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parent": "mo-sub2"}, "makes no certificate below"),
        ({"parent": "cps-sub1"}, "makes no certificate below"),
        ({"parent": ""}, "do not fit"),
        ({"profile": "contract_leaf"}, "do not fit"),
        ({"label": "cps-signer-1"}, "exists"),
    ],
)
def test_a_ceremony_for_a_signer_that_does_not_fit_is_refused(untouched, changes, words):
    plan = plan_for(
        Act.CREATE_CPS_SIGNER,
        changes.get("label", "cps-signer-9"),
        changes.get("profile", "cps_leaf"),
        changes.get("parent", "cps-sub2"),
    )
    with pytest.raises((CeremonyError, ConflictError), match=words):
        hold(untouched, plan)


def test_what_would_not_fit_into_an_answer_is_refused_with_the_sum(environment):
    """A change of profiles starts no service and signs nothing; a ceremony by those profiles makes no signer."""
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))  # large, and fits as profiles are
    environment.close()
    edit(environment.home, r"\Z", '\n[certificates]\nswitches = ["full_extensions"]\n')
    changed = open_runtime(environment.home)
    words = r"5600 characters, not 5\d\d\d, has room for 3398 octets of certificates, not 3\d\d\d: .*cps_leaf \d+"
    try:
        with pytest.raises(SettingsError, match=words):
            create_app(changed)
        with pytest.raises(SettingsError, match=words):
            _ = changed.contracts.making
        with pytest.raises(CeremonyError, match=words):
            hold(changed, signer("cps-signer-3", common_name="ß" * 16, organization="ß" * 62))
        assert changed.contracts.signers.choose(P256).record.label == "cps-signer-2"
    finally:
        changed.close()


def test_the_organization_that_is_set_counts_before_a_contract_says_it(environment):
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))  # large, and fits with "pncpki dev"
    environment.close()
    edit(environment.home, r"\Z", f'\n[certificates]\norganization = "{"ß" * 40}"\n')
    changed = open_runtime(environment.home)
    try:
        with pytest.raises(SettingsError, match=r"5600 characters, not 56.*contract_leaf 5"):
            create_app(changed)
        with pytest.raises(CeremonyError, match="contract_leaf 5"):
            hold(changed, signer("cps-signer-3", common_name="ß" * 64, organization="ß" * 64))
    finally:
        changed.close()


@pytest.fixture
def narrow(environment):
    """An environment where an answer by an older, large signer hardly fits; the newest one is small."""
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))
    hold(environment, signer("cps-signer-3"))
    return environment


def test_an_older_signer_counts_as_long_as_it_may_be_chosen(narrow):
    large = mo_sub2(organization="w" * 60, common_name="w" * 60)
    words = r"5600 characters, not 5\d\d\d, has room for 3398 octets of certificates, not 3\d\d\d: .*mo-sub2-b \d+"
    with pytest.raises(CeremonyError, match=words):
        hold(narrow, large)
    (record,) = [one.record for one in narrow.contracts.signers.active() if one.record.label == "cps-signer-2"]
    narrow.revocations.revoke(record.serial, Reason.SUPERSEDED, actor="test")
    lines = []
    hold(narrow, large, lines.append)
    assert any("of 3398 octets" in line for line in lines)


def test_an_older_signer_that_a_longer_name_left_too_large_is_told_until_it_is_revoked(narrow, caplog):
    record = next(one.record for one in narrow.contracts.signers.active() if one.record.label == "cps-signer-2")
    narrow.close()
    edit(narrow.home, r"\Z", f'\n[certificates]\norganization = "{"ß" * 40}"\n')
    changed = open_runtime(narrow.home)
    try:
        create_app(changed)
        assert re.search(rf"cps_leaf {len(record.certificate_der)} \(cps-signer-2\)", caplog.text)
        hold(changed, signer("cps-signer-4"))  # what is to come in its place does not depend on it
        changed.revocations.revoke(record.serial, Reason.SUPERSEDED, actor="test")
        assert changed.contracts.excess() == ""
    finally:
        changed.close()


@pytest.fixture
def upgraded(environment, monkeypatch):
    """An environment whose large signer was measured beside the newest MO CA alone, as the rules once were."""
    monkeypatch.setattr(ceremonies, "check_size", lambda *_: None)
    hold(environment, mo_sub2(organization="w" * 60, common_name="w" * 60))
    hold(environment, mo_sub2("mo-sub2-c"))
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))
    monkeypatch.undo()
    return environment


TOO_LONG = r"5600 characters, not 58\d\d, .* not 35\d\d: .*mo-sub2-b \d+, .*cps_leaf \d+ \(cps-signer-2\)"


def test_what_an_older_ca_makes_too_long_starts_the_front_and_is_told(upgraded, caplog):
    create_app(upgraded)
    (told,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert re.search(TOO_LONG, told.getMessage())
    (late,) = [one for one in upgraded.ages.look() if "3398" in one.name]
    assert late.is_late
    assert re.search(TOO_LONG, late.name)
    with pytest.raises(CeremonyError, match=r"mo-sub2-b \d+"):
        hold(upgraded, signer("cps-signer-3", common_name="ß" * 64, organization="ß" * 64))
    hold(upgraded, signer("cps-signer-3"))
    (record,) = [one.record for one in upgraded.contracts.signers.active() if one.record.label == "cps-signer-2"]
    upgraded.revocations.revoke(record.serial, Reason.SUPERSEDED, actor="test")
    caplog.clear()
    create_app(upgraded)
    assert not caplog.records
    assert not [one for one in upgraded.ages.look() if "3398" in one.name]


def test_a_revoked_ca_that_leaves_a_large_one_keeps_no_front_from_starting_and_no_order_from_its_measure(upgraded):
    serial = x509.load_der_x509_certificate(artefact(upgraded, "mo-sub2-c")).serial_number
    upgraded.revocations.revoke(f"{serial:x}", Reason.CA_COMPROMISE, actor="test")
    create_app(upgraded)
    Garage(upgraded).build()
    order = order_for(upgraded, upgraded.profiles["contract_leaf"], demo_mo(upgraded))
    (outcome,) = upgraded.contracts.making.issue(upgraded.issuers.get("mo-sub2-b"), order, [wanted(upgraded)])
    assert outcome.code == "contract.answer_too_long"


def test_what_a_change_of_profiles_makes_of_the_newest_starts_no_front_whatever_older_ones_do(upgraded):
    upgraded.close()
    edit(upgraded.home, r"\Z", '\n[certificates]\nswitches = ["full_extensions"]\n')
    changed = open_runtime(upgraded.home)
    try:
        with pytest.raises(SettingsError, match=r"mo-sub2-c \d+, .*cps_leaf \d+ \(cps-signer-2\)"):
            create_app(changed)
    finally:
        changed.close()


def test_a_signer_that_has_ended_does_not_count(home):
    with opened(home) as runtime:
        hold(runtime, signer(common_name="ß" * 64, organization="ß" * 64))
        record = runtime.contracts.signers.choose(P256).record
        runtime.clock.moment = record.not_after - timedelta(days=1)
        hold(runtime, signer("cps-signer-3"))
        large = mo_sub2(organization="w" * 60, common_name="w" * 60)
        with pytest.raises(CeremonyError, match="3398"):
            hold(runtime, large)
        runtime.clock.moment = record.not_after
        hold(runtime, large)


@pytest.mark.parametrize("how", ["revoked", "ended"])
def test_an_older_mo_ca_counts_as_long_as_it_may_be_chosen(environment, how):
    hold(environment, mo_sub2(organization="w" * 60, common_name="w" * 60))
    hold(environment, mo_sub2("mo-sub2-c"))
    large = signer(common_name="ß" * 64, organization="ß" * 64)
    with pytest.raises(CeremonyError, match=r"3398 octets of certificates, not 3\d\d\d: .*mo-sub2-b \d+"):
        hold(environment, large)
    if how == "revoked":
        der = artefact(environment, "mo-sub2-b")
        serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
        environment.revocations.revoke(serial, Reason.SUPERSEDED, actor="test")
    else:
        with environment.store.transaction() as work:
            work.issuers._connection.exec_driver_sql(
                f"UPDATE issuer SET not_after = {int(environment.clock.now().timestamp())} WHERE label = 'mo-sub2-b'"  # noqa: S608
            )
    hold(environment, large)


def test_a_smaller_mo_ca_may_be_made_where_the_one_that_is_there_has_become_too_large(environment):
    hold(environment, mo_sub2(organization="ß" * 38, common_name="ß" * 38))
    environment.close()
    edit(environment.home, r"\Z", f'\n[certificates]\norganization = "{"ß" * 40}"\n')
    changed = open_runtime(environment.home)
    try:
        with pytest.raises(SettingsError, match="mo-sub2-b"):
            changed.contracts.check_budget()
        hold(changed, mo_sub2("mo-sub2-c"))
    finally:
        changed.close()


def mo_sub2(label="mo-sub2-b", **changes):
    return plan_for(Act.CREATE_SUB_CA, label, "mo_sub2", "mo-sub1", **changes)


def make_as(runtime, *orders, ocsp_url):
    """Make contracts by a profile as it was when their table came in."""
    known = runtime.profiles["contract_leaf"]
    profile = replace(known, extensions=replace(known.extensions, ocsp_url=ocsp_url))
    record = issuer_for(profile, runtime.certificates.issuers())
    order = order_for(runtime, profile, demo_mo(runtime))
    return runtime.contracts.making.issue(runtime.issuers.get(record.label), order, orders)


def test_an_answer_that_no_station_carries_is_not_made_and_the_sum_is_told(environment):
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))
    Garage(environment).build()
    orders = wanted(environment), wanted(environment, OTHER_EMAID, "WPNNOSUCHCAR00001")
    refused, other = make_as(environment, *orders, ocsp_url="http://127.0.0.1:8080/" + "o" * 44)
    assert (refused.reference, refused.code, other.code) == (
        EMAID,
        "contract.answer_too_long",
        "vehicle.not_available",
    )
    shares = re.fullmatch(
        r"an installation answer has at most 5600 characters, not 56\d\d: its certificates have (\d+) octets \("
        r"contractCertificate (\d+), contractSubCa2Certificate (\d+), contractSubCa1Certificate (\d+), "
        r"cpsCertificate (\d+), cpsSubCa2Certificate (\d+), cpsSubCa1Certificate (\d+)\), and about 3398 fit",
        refused.message,
    )
    total, *each = map(int, shares.groups())
    assert total == sum(each) > 3398
    assert rows(environment, "SELECT count(*) FROM contract") == [(0,)]
    assert rows(environment, "SELECT count(*) FROM reservation") == [(0,)]
    (made,) = make_as(environment, orders[0], ocsp_url="http://127.0.0.1:8080/" + "o" * 20)
    assert isinstance(made, Issued)
    assert 5550 < -(-len(signed_data(environment)) // 3) * 4 <= 5600


def test_data_is_not_signed_anew_by_a_signer_whose_answer_no_station_would_carry(environment):
    Garage(environment).build()
    make_as(environment, wanted(environment), ocsp_url="http://127.0.0.1:8080/" + "o" * 44)
    before = signed_data(environment)
    first = environment.contracts.signers.choose(P256).record
    hold(environment, signer(common_name="ß" * 64, organization="ß" * 64))
    environment.revocations.revoke(first.serial, Reason.SUPERSEDED, actor="test")
    waiting = 0, 1, 0, 0, False
    assert environment.contracts.resigning.run(dry_run=True) == environment.contracts.resigning.run() == waiting
    assert signed_data(environment) == before
    hold(environment, signer("cps-signer-3"))
    assert environment.contracts.resigning.run().resigned == 1


@pytest.mark.parametrize("form", list(AadForm))
def test_the_binding_of_an_envelope_is_a_setting_and_a_vehicle_of_another_reading_cannot_open_it(environment, form):
    environment.close()
    edit(environment.home, r"\Z", f'\n[contracts]\naad_form = "{form}"\n')
    changed = open_runtime(environment.home)
    try:
        vehicle = Garage(changed).build(algorithm=P521)
        make(changed, wanted(changed), algorithm=P521)
        vehicle.aad_form = form
        assert vehicle.install_20(signed_data(changed), changed.clock.now(), b"\0") == EMAID
        vehicle.aad_form = AadForm.NONE if form is not AadForm.NONE else AadForm.PCID_SKI_RAW
        with pytest.raises(InstallationRefusedError):
            vehicle.install_20(signed_data(changed), changed.clock.now(), b"\0")
        assert contract(changed) is not None
    finally:
        changed.close()
