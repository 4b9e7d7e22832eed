"""CRLs as they are published, by the cases of RFC 5280 5; on both databases where the database matters."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from threading import Event

import pytest
from cryptography import x509

from pki_core.model.crls import CrlKind
from pki_core.model.errors import ConflictError, NotFoundError
from pki_core.model.profiles import Level
from pki_core.model.revocations import Reason, shard_of
from pki_core.runtime.founding import Founding, found_environment
from tests.journeys.acts import artefact, hold, rows, sub2
from tests.journeys.crl_acts import (
    LABEL,
    combined,
    content,
    crl_of,
    extension,
    leaf,
    leaves,
    listed,
    number_of,
    opened,
    published,
    revoke,
)

SHARDED = "cpo-sub2"  # EVSE leafs name their CRL, contracts do not: OCPP leaves no room

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


@pytest.fixture
def with_deltas(any_home):
    with opened(any_home, crl="delta_minutes = 15") as runtime:
        runtime.crls.publish_due(everything=True)  # founding published without deltas
        yield runtime


@pytest.fixture
def sharded(any_home):
    with opened(any_home, certificates="crl_shards = 3") as runtime:
        yield runtime


def as_issuer(runtime, label):
    return x509.load_der_x509_certificate(artefact(runtime, label))


def test_a_new_environment_serves_a_crl_of_every_ca(untouched):
    ages = untouched.crls.ages()
    assert {age.issuer_label for age in ages} == {record.label for record in untouched.certificates.issuers()}
    assert {(age.scope, age.kind, age.crl_number, age.entries) for age in ages} == {("full", CrlKind.COMPLETE, 1, 0)}
    assert not untouched.crls.overdue()


def test_l01_a_ca_that_revoked_nothing_has_no_list_of_entries(untouched):
    for record in untouched.certificates.issuers():
        crl = crl_of(untouched, record.label)
        assert len(crl) == 0
        assert b"\x30\x00" not in crl.tbs_certlist_bytes


def test_l02_l03_every_crl_is_of_version_2_signed_by_its_ca_under_its_very_name(untouched):
    algorithms = set()
    for record in untouched.certificates.issuers():
        crl, issuer = crl_of(untouched, record.label), as_issuer(untouched, record.label)
        assert crl.tbs_certlist_bytes[2 + (crl.tbs_certlist_bytes[1] & 0x7F) * (crl.tbs_certlist_bytes[1] >> 7) :][
            :3
        ] == bytes.fromhex("020101")
        assert crl.issuer.public_bytes() == issuer.subject.public_bytes()
        assert crl.is_signature_valid(issuer.public_key())
        algorithms.add(crl.signature_algorithm_oid.dotted_string)
    assert algorithms == {"1.2.840.10045.4.3.2", "1.2.840.10045.4.3.4", "1.3.101.113"}


def test_l05_l06_times_key_identifier_and_a_number_that_always_rises(runtime):
    numbers = []
    for _ in range(3):
        runtime.clock.advance(minutes=1)
        runtime.crls.publish(LABEL)
        crl = crl_of(runtime)
        numbers.append(number_of(crl))
        assert crl.last_update_utc == runtime.clock.now()
        assert crl.next_update_utc == runtime.clock.now() + timedelta(hours=48)
        identifier = extension(crl, x509.AuthorityKeyIdentifier)
        key = as_issuer(runtime, LABEL).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert (identifier.critical, identifier.value.key_identifier) == (False, key.digest)
        assert not extension(crl, x509.CRLNumber).critical
    assert numbers == [2, 3, 4]


def test_l07_reasons_are_left_out_when_unspecified_and_told_otherwise(runtime):
    reasons = [reason for reason in Reason if reason not in {Reason.REMOVE_FROM_CRL, Reason.CERTIFICATE_HOLD}]
    serials = leaves(runtime, len(reasons))
    for serial, reason in zip(serials, reasons, strict=True):
        revoke(runtime, serial, reason)
    runtime.crls.publish(LABEL)
    crl = crl_of(runtime)
    for serial, reason in zip(serials, reasons, strict=True):
        found = crl.get_revoked_certificate_by_serial_number(int(serial, 16))
        assert [one.critical for one in found.extensions] == ([] if reason is Reason.UNSPECIFIED else [False])
    assert content(crl)[int(serials[0], 16)][1] is None
    assert content(crl)[int(serials[1], 16)][1] is x509.ReasonFlags.key_compromise


def test_l09_entries_stand_once_in_the_order_of_revocation(runtime):
    serials = leaves(runtime, 6)
    order = [serials[at] for at in (3, 0, 5, 1, 4, 2)]
    for serial in order:
        revoke(runtime, serial)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == order
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == order


def test_l10_an_expired_certificate_is_in_one_more_crl_and_then_its_row_is_gone(runtime):
    short, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(hours=2))
    long, _ = leaf(runtime)
    revoke(runtime, short)
    revoke(runtime, long)
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=3)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [short, long]  # issued after its end: the one that RFC 5280 3.3 demands
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [long]
    assert [f"{int(row[0], 16):x}" for row in rows(runtime, "SELECT serial FROM revocation")] == [long]
    assert runtime.certificates.show(short).revoked_at is not None  # what happened is kept, the list's row is not
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [long]


def test_l10_a_certificate_revoked_just_before_its_end_is_listed_all_the_same(runtime):
    runtime.crls.publish(LABEL)
    short, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=20))
    runtime.clock.advance(minutes=19)
    revoke(runtime, short)
    runtime.clock.advance(minutes=10)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [short]


def test_l10_a_row_stays_while_a_list_may_not_have_seen_it_yet(runtime):
    def kept():
        return [f"{int(row[0], 16):x}" for row in rows(runtime, "SELECT serial FROM revocation")]

    short, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=20))
    runtime.clock.advance(minutes=19)
    revoke(runtime, short)
    for _ in range(2):  # both issued after its end, the first of them within the margin after its revocation
        runtime.clock.advance(minutes=2)
        runtime.crls.publish(LABEL)
    assert kept() == [short]
    for _ in range(2):
        runtime.clock.advance(minutes=10)
        runtime.crls.publish(LABEL)
    assert kept() == []


def test_l11_l12_each_certificate_is_listed_under_the_very_address_it_names(sharded):
    sharded.crls.publish(SHARDED)
    for shard in range(3):
        crl_of(sharded, f"{SHARDED}-{shard:02d}")  # every shard exists, empty or not
    serials = leaves(sharded, 8, "evse_leaf")
    for serial in serials:
        revoke(sharded, serial)
    sharded.clock.advance(minutes=1)
    sharded.crls.publish(SHARDED)
    for serial in serials:
        der = sharded.certificates.show(serial).certificate_der
        points = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.CRLDistributionPoints)
        (address,) = points.value[0].full_name
        name = address.value.rpartition("/")[2].removesuffix(".crl")
        crl = crl_of(sharded, name)
        point = extension(crl, x509.IssuingDistributionPoint)
        assert point.critical
        assert point.value.full_name == [address]
        flags = (point.value.only_contains_user_certs, point.value.only_contains_ca_certs, point.value.indirect_crl)
        assert flags == (False, False, False)
        assert serial in listed(crl)
        assert name == f"{SHARDED}-{shard_of(int(serial, 16), 3):02d}"
    parts = [listed(crl_of(sharded, f"{SHARDED}-{shard:02d}")) for shard in range(3)]
    assert sorted(sum(parts, [])) == sorted(serials)  # noqa: RUF017  # three short lists


def test_l16_a_full_crl_without_distribution_point_stands_beside_the_shards(sharded):
    (serial,) = leaves(sharded, 1, "evse_leaf")
    revoke(sharded, serial)
    sharded.crls.publish(SHARDED)
    crl = crl_of(sharded, SHARDED)
    assert listed(crl) == [serial]
    assert extension(crl, x509.IssuingDistributionPoint) is None
    assert not any(one.critical for one in crl.extensions)


def test_a_shard_that_certificates_once_named_is_published_after_the_shards_are_gone(any_home):
    with opened(any_home, certificates="crl_shards = 3") as runtime:
        (serial,) = leaves(runtime, 1, "evse_leaf")
        runtime.crls.publish(SHARDED)
    text = (any_home / "pncpki.toml").read_text().replace("crl_shards = 3\n", "")
    (any_home / "pncpki.toml").write_text(text)
    with opened(any_home) as runtime:
        runtime.clock.advance(hours=2)
        revoke(runtime, serial)
        runtime.crls.publish_due()
        assert listed(crl_of(runtime, f"{SHARDED}-{shard_of(int(serial, 16), 3):02d}")) == [serial]


def test_l13_l14_base_and_delta_are_the_full_crl_of_the_same_number(with_deltas):
    runtime = with_deltas
    serials = leaves(runtime, 6)
    ending, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=30))
    for serial in (*serials[:2], ending):
        revoke(runtime, serial)
    revoke(runtime, serials[2], Reason.CERTIFICATE_HOLD)
    revoke(runtime, serials[3], Reason.CERTIFICATE_HOLD)
    runtime.crls.publish(LABEL)
    base = crl_of(runtime)
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)  # the one past the end of the short one
    base = crl_of(runtime)
    runtime.clock.advance(hours=1)
    revoke(runtime, serials[4])
    runtime.revocations.release(serials[2], actor="test")
    revoke(runtime, serials[3])  # from hold to revoked
    revoke(runtime, serials[5], Reason.CERTIFICATE_HOLD)
    runtime.revocations.release(serials[5], actor="test")
    runtime.crls.publish(LABEL)
    full, delta = crl_of(runtime), crl_of(runtime, f"{LABEL}-delta")
    indicator = extension(delta, x509.DeltaCRLIndicator)
    assert (indicator.critical, indicator.value.crl_number) == (True, number_of(base))
    assert number_of(delta) == number_of(full) == number_of(base) + 1
    assert combined(base, delta) == content(full)
    assert content(base) != content(full)
    assert int(ending, 16) in content(base)
    assert int(ending, 16) not in content(full)
    assert delta.is_signature_valid(as_issuer(runtime, LABEL).public_key())


def test_l13_a_delta_between_two_full_crls_tells_what_is_new_under_a_number_of_its_own(with_deltas):
    runtime = with_deltas
    before, after = leaves(runtime, 2)
    revoke(runtime, before)
    runtime.clock.advance(minutes=10)  # a delta repeats what is younger than any transaction can last
    runtime.crls.publish(LABEL)
    base = crl_of(runtime)
    runtime.clock.advance(minutes=20)
    revoke(runtime, after)
    assert set(runtime.crls.publish_due().published) >= {f"{LABEL}-delta.crl"}
    delta = crl_of(runtime, f"{LABEL}-delta")
    assert listed(delta) == [after]
    assert number_of(delta) == number_of(base) + 1
    assert number_of(crl_of(runtime)) == number_of(base)  # the full one was not due
    assert delta.next_update_utc - delta.last_update_utc == timedelta(minutes=45)
    runtime.clock.advance(minutes=41)
    runtime.crls.publish_due()
    assert number_of(crl_of(runtime)) == number_of(base) + 2
    assert listed(crl_of(runtime)) == [before, after]


def test_l15_the_full_crl_says_where_its_delta_is_and_the_delta_does_not(with_deltas):
    freshest = extension(crl_of(with_deltas), x509.FreshestCRL)
    assert not freshest.critical
    assert freshest.value[0].full_name[0].value.endswith(f"/crl/{LABEL}-delta.crl")
    assert extension(crl_of(with_deltas, f"{LABEL}-delta"), x509.FreshestCRL) is None


def test_the_delta_of_a_shard_has_the_shards_distribution_point(any_home):
    with opened(any_home, certificates="crl_shards = 2", crl="delta_minutes = 15") as runtime:
        runtime.crls.publish(SHARDED)
        crl, delta = crl_of(runtime, f"{SHARDED}-01"), crl_of(runtime, f"{SHARDED}-01-delta")
        assert extension(delta, x509.IssuingDistributionPoint) == extension(crl, x509.IssuingDistributionPoint)
        assert extension(crl, x509.FreshestCRL).value[0].full_name[0].value.endswith(f"/crl/{SHARDED}-01-delta.crl")


def test_l17_after_a_change_of_key_both_keys_have_a_crl_of_their_own(runtime):
    old = as_issuer(runtime, LABEL)
    names = {attribute.rfc4514_attribute_name: attribute.value for attribute in old.subject}
    same = {"common_name": names["CN"], "organization": names["O"], "country": names["C"], "same_name_as": LABEL}
    hold(runtime, sub2(**same))
    new = as_issuer(runtime, "mo-sub2-b")
    assert new.subject == old.subject
    runtime.crls.publish_due()
    serial, _ = leaf(runtime)  # by the newest
    revoke(runtime, serial)
    runtime.crls.publish_due(everything=True)
    by_label = {label: crl_of(runtime, label) for label in (LABEL, "mo-sub2-b")}
    assert by_label[LABEL].is_signature_valid(old.public_key())
    assert by_label["mo-sub2-b"].is_signature_valid(new.public_key())
    assert not by_label[LABEL].is_signature_valid(new.public_key())
    issuer = runtime.certificates.show(serial).issuer_label
    assert {label: listed(crl) for label, crl in by_label.items()} == {
        label: [serial] if label == issuer else [] for label in by_label
    }


def test_only_what_is_due_is_published(runtime):
    runtime.crls.publish_due(everything=True)  # the environment may have been founded some minutes ago
    assert runtime.crls.publish_due().published == ()
    serial, _ = leaf(runtime)
    runtime.clock.advance(minutes=1)
    revoke(runtime, serial)
    runtime.clock.advance(minutes=1)
    assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
    runtime.clock.advance(minutes=57)
    assert runtime.crls.publish_due().published == ()
    runtime.clock.advance(minutes=3)
    names = set(runtime.crls.publish_due().published)
    assert {f"{LABEL}.crl", "cpo-sub2.crl"} <= names
    assert "v2g-root.crl" not in names


def test_of_each_list_the_last_few_are_kept_and_the_one_that_is_served(runtime):
    for _ in range(6):
        runtime.crls.publish(LABEL)
    issuer_id = published(runtime).issuer_id
    found = rows(runtime, f"SELECT crl_number FROM crl WHERE issuer_id = {issuer_id} ORDER BY crl_number")  # noqa: S608
    assert found == [(5,), (6,), (7,)]
    pieces = "SELECT count(*) FROM crl_piece WHERE crl_id NOT IN (SELECT id FROM crl)"
    assert rows(runtime, pieces) == [(0,)]


def test_a_ca_without_certificate_an_expired_one_and_one_that_may_not_sign_crls_publish_none(runtime):
    from tests.store.rows import issuer_columns

    with runtime.store.transaction() as work:
        work.issuers.add(**issuer_columns("pending"))
    with pytest.raises(ConflictError):
        runtime.crls.publish("pending")
    with pytest.raises(NotFoundError):
        runtime.crls.publish("nobody")
    runtime.clock.advance(days=365 * 60)
    assert runtime.crls.publish_due() == type(runtime.crls.publish_due())(published=(), failures=())


def test_ages_tell_what_is_half_used_up(runtime):
    runtime.clock.advance(hours=25)
    overdue = {age.issuer_label for age in runtime.crls.overdue()}
    levels = {record.level for record in runtime.certificates.issuers() if record.label in overdue}
    assert Level.ROOT not in levels
    assert LABEL in overdue
    runtime.crls.publish(LABEL)
    assert LABEL not in {age.issuer_label for age in runtime.crls.overdue()}


@pytest.mark.parametrize("label", ["mo-sub2", "mo-sub2-20", "mo-sub2-20-ed448"])
def test_entries_of_every_algorithm_verify(home, label):
    with opened(home) as runtime:
        with runtime.store.transaction() as work:
            issuer = work.issuers.get(label)
        sub1 = as_issuer(runtime, label.replace("sub2", "sub1"))
        revoke(runtime, f"{as_issuer(runtime, label).serial_number:x}", Reason.CESSATION_OF_OPERATION)
        runtime.crls.publish(label.replace("sub2", "sub1"))
        crl = crl_of(runtime, label.replace("sub2", "sub1"))
        assert crl.is_signature_valid(sub1.public_key())
        assert [entry.serial_number for entry in crl] == [as_issuer(runtime, issuer.label).serial_number]


def test_no_revocation_is_lost_while_lists_are_being_made(any_environment):
    serials = leaves(any_environment, 60)
    done = Event()

    def publish():
        numbers = []
        while not done.is_set():
            numbers += [record.crl_number for record in any_environment.crls.publish(LABEL)]
        return numbers

    with ThreadPoolExecutor(4) as pool:
        publishing = pool.submit(publish)
        list(pool.map(lambda serial: revoke(any_environment, serial), serials))
        done.set()
        numbers = publishing.result()  # G5 held at every step: nothing that was listed went missing
    any_environment.crls.publish(LABEL)
    assert sorted(listed(crl_of(any_environment))) == sorted(serials)
    assert numbers == sorted(set(numbers))


def test_founding_publishes_the_lists_of_roots_that_need_a_person(tmp_path):
    overrides = "[certificates]\ned448_hierarchy = false\n[crl]\nautomatic_roots = false\n"
    founding = Founding(environment="dev", home=tmp_path / "home", key_store="file", overrides=overrides)
    with closing(found_environment(founding, lambda _line: None)) as runtime:
        assert {age.issuer_label for age in runtime.crls.ages()} == {
            one.label for one in runtime.certificates.issuers()
        }
