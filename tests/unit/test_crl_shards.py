"""Certificates that name a partial CRL: which one follows from the serial, and nothing else differs."""

import re
from dataclasses import replace

import pytest
from cryptography import x509

from pki_core.issuance.load import load_profiles
from pki_core.model.errors import SettingsError
from pki_core.model.profiles import Level, Profile
from pki_core.model.revocations import shard_of
from tests.builders import VALUES, draft, issuer_for, prepare

SUBJECT = (("O", "Test Cars"), ("DC", "OEM"), ("CN", "WPN12345678901234"))
SHARDED = replace(VALUES, crl_shard_url="http://crl.test/{issuer}-{shard}.crl", crl_shards=4)


@pytest.fixture
def wanted():
    return load_profiles(SHARDED)["oem_provisioning_leaf"]


def test_every_certificate_names_the_shard_its_serial_belongs_to(wanted):
    issuer = issuer_for(wanted)
    ready = prepare(issuer, wanted, *[draft(subject=SUBJECT) for _ in range(64)])
    seen = set()
    for certificate_der in issuer.sign(ready):
        certificate = x509.load_der_x509_certificate(certificate_der)
        (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        shard = shard_of(certificate.serial_number, 4)
        assert point.full_name[0].value == f"http://crl.test/{issuer.record.label}-{shard:02d}.crl"
        seen.add(shard)
    assert seen == {0, 1, 2, 3}


def test_the_bytes_of_one_shard_are_not_clean_for_another(wanted):
    issuer = issuer_for(wanted)
    ready = prepare(issuer, wanted, *[draft(subject=SUBJECT) for _ in range(32)])
    lints = issuer._kind(wanted, wanted.hash)
    one = next(one for one in ready if shard_of(one.serial, 4) == 1)
    asked = draft(subject=SUBJECT)
    spki_der, subject = asked.spki_der, asked.subject
    assert lints[1][1].check(one.tbs_der, one.serial, subject, spki_der) is None
    finding = lints[2][1].check(one.tbs_der, one.serial, subject, spki_der)
    assert (finding.code, finding.message) == ("lint.extension", "crl urls is not what the profile says")


def test_cas_and_lean_certificates_name_no_shard():
    for one in load_profiles(SHARDED).values():
        sharded = one.level is Level.LEAF and one.extensions.crl_url != ""
        assert (one.extensions.crl_shards == 4) is sharded, one.id
        assert ("{shard}" in one.extensions.crl_url) is sharded, one.id


def test_a_profile_without_shards_keeps_the_hash_it_had_before_there_were_any():
    one = load_profiles(VALUES)["evse_leaf"]
    assert "crl_shards" not in one.to_json()
    assert Profile.from_json(one.to_json()) == one


def test_a_profile_with_shards_survives_its_json(wanted):
    assert Profile.from_json(wanted.to_json()) == wanted
    assert wanted.hash != load_profiles(VALUES)["oem_provisioning_leaf"].hash


@pytest.mark.parametrize("url", ["", "http://crl.test/{issuer}.crl", "http://crl.test/{issuer}-{shard}-{other}.crl"])
def test_shards_need_an_address_each(url):
    with pytest.raises(SettingsError, match=re.escape("crl_shard_url")):
        load_profiles(replace(SHARDED, crl_shard_url=url))
