"""CSR attributes: the list of RFC 7030 4.5.2 and the template of RFC 9908 3.4 beside it."""

import pytest
from asn1crypto import core

from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.csr_attributes import csr_attributes
from pki_core.wire.csr_body import elements
from tests.builders import profiles

TEMPLATE, PASSWORD = "1.2.840.113549.1.9.16.2.61", "1.2.840.113549.1.9.7"
CASES = {
    "evse_leaf": (KeyAlgorithm.SECP256R1, "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
    "evse_leaf_20": (KeyAlgorithm.SECP521R1, "1.3.132.0.35", "1.2.840.10045.4.3.4"),
    "evse_leaf_20_ed448": (KeyAlgorithm.ED448, "1.3.101.113", None),
    "contract_leaf": (KeyAlgorithm.SECP256R1, "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
    "oem_provisioning_leaf": (KeyAlgorithm.SECP256R1, "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
}


def content(der):
    (one,) = elements(der)
    skipped = 2 if one[1] < 0x80 else 2 + (one[1] & 0x7F)
    return one[skipped:]


def oid(der):
    return core.ObjectIdentifier.load(der).dotted


def made(profile_id, *, linking_required=False):
    algorithm = CASES[profile_id][0]
    return elements(content(csr_attributes(profiles()[profile_id], algorithm, linking_required=linking_required)))


def template_of(listed):
    attribute = elements(content(listed[-1]))
    assert oid(attribute[0]) == TEMPLATE
    (template,) = elements(content(attribute[1]))
    return elements(content(template))


@pytest.mark.parametrize("profile_id", CASES)
def test_the_list_names_one_key_type_and_the_signature_algorithm_of_the_profile(profile_id):
    _, key, signature = CASES[profile_id]
    listed = made(profile_id)
    keys = [elements(content(one)) for one in listed if one[0] == 0x30 and oid(elements(content(one))[0]) != TEMPLATE]
    if signature is None:
        assert [oid(one) for one in listed if one[0] == 0x06] == [key]
    else:
        assert [oid(one[0]) for one in keys] == ["1.2.840.10045.2.1"]
        assert oid(content(keys[0][1])) == key
        assert [oid(one) for one in listed if one[0] == 0x06] == [signature]


@pytest.mark.parametrize("profile_id", CASES)
def test_the_template_has_version_subject_key_and_attributes(profile_id):
    parts = template_of(made(profile_id))
    assert [one[0] for one in parts] == [0x02, 0x30, 0xA0, 0xA1]
    assert content(parts[0]) == b"\0"
    assert content(parts[3]) == b""
    algorithm = [oid(one) for one in elements(content(content(parts[2])))]
    assert algorithm[-1] == CASES[profile_id][1]


def test_the_template_fixes_the_domain_component_and_leaves_the_common_name_to_the_client():
    rdns = [elements(content(content(rdn))) for rdn in elements(content(template_of(made("evse_leaf"))[1]))]
    assert [oid(one[0]) for one in rdns] == ["0.9.2342.19200300.100.1.25", "2.5.4.3"]
    assert [content(value) for value in rdns[0][1:]] == [b"CPO"]
    assert rdns[1][1:] == []


def test_a_required_binding_is_named_in_the_list_and_in_the_template():
    listed = made("evse_leaf", linking_required=True)
    assert oid(listed[0]) == PASSWORD
    (attribute,) = elements(content(template_of(listed)[3]))
    assert oid(elements(content(attribute))[0]) == PASSWORD
    assert PASSWORD not in [oid(one) for one in made("evse_leaf") if one[0] == 0x06]
