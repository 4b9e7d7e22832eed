"""A template sets values into known forms: the outcome is what encoding from the start gives, octet for octet."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki_core.issuance.load import EnvironmentValues, load_profiles
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import CertificateTemplate, IssuerNames, name_der
from pki_core.wire.public_key import spki_of

VALUES = EnvironmentValues(
    ocsp_url="http://ocsp.example/", ca_issuers_url="", crl_url="http://crl.example/", policy_oid="1.2.3", cps_uri=""
)
ISSUER = IssuerNames(
    label="mo-sub2",
    subject_der=name_der((("C", "DE"), ("O", "Test"), ("CN", "MO Sub2"))),
    key_identifier=bytes(range(8)),
    algorithm=KeyAlgorithm.SECP256R1,
)
VALIDITY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC), datetime(2028, 1, 2, tzinfo=UTC)
CONTRACT = (("C", "DE"), ("O", "Demo"), ("DC", "MO"))


def template():
    return CertificateTemplate(load_profiles(VALUES)["contract_leaf"], ISSUER)


def spki(scalar):
    return spki_of(ec.derive_private_key(scalar, ec.SECP256R1()).public_key())


def serial(number):
    return (1 << 136) + number


@pytest.mark.parametrize(
    ("number", "names", "key", "validity"),
    [
        (2, (*CONTRACT, ("CN", "DEPNC000000002")), 1002, VALIDITY),
        (3, (*CONTRACT, ("CN", "DEPNC0000000029")), 1003, VALIDITY),  # 15 characters
        (4, (*CONTRACT, ("CN", "DEPNC*00000004")), 1004, VALIDITY),  # another string type
        (5, (("C", "DE"), ("O", "Other"), ("DC", "MO"), ("CN", "DEPNC000000005")), 1005, VALIDITY),
        (6, (*CONTRACT, ("CN", "DEPNC000000006")), 1006, LATER),
        (7 << 8, (*CONTRACT, ("CN", "DEPNC000000007")), 1007, VALIDITY),
    ],
)
def test_a_known_form_gives_what_a_new_template_gives(number, names, key, validity):
    used = template()
    used.tbs(serial(1), (*CONTRACT, ("CN", "DEPNC000000001")), spki(1001), VALIDITY)
    for _ in range(2):
        made = used.tbs(serial(number), names, spki(key), validity)
        assert made == template().tbs(serial(number), names, spki(key), validity)


def test_values_that_stand_in_each_other_make_no_form():
    used, name = template(), (*CONTRACT, ("CN", "MO"))  # "MO" stands in DC and in the issuer's name as well
    first = used.tbs(serial(1), name, spki(1001), VALIDITY)
    second = used.tbs(serial(2), (*CONTRACT, ("CN", "XY")), spki(1002), VALIDITY)
    assert first == template().tbs(serial(1), name, spki(1001), VALIDITY)
    assert second == template().tbs(serial(2), (*CONTRACT, ("CN", "XY")), spki(1002), VALIDITY)


def test_forms_do_not_grow_with_the_names_seen():
    used = template()
    for number in range(600):
        names = (("C", "DE"), ("O", f"Operator {number}"), ("DC", "MO"), ("CN", "DEPNC000000001"))
        used.tbs(serial(number), names, spki(1001), VALIDITY)
    assert len(used._forms) <= 256
