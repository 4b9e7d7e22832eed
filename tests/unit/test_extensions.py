"""Extensions read back (RFC 5280 4.2): another library than the writer finds the same values, and nothing foreign."""

import pytest
from cryptography import x509

from pki_core.model.errors import MalformedError
from pki_core.model.profiles import KeyUsage
from pki_core.wire.extensions import (
    AUTHORITY_INFORMATION_ACCESS,
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    CRL_DISTRIBUTION_POINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    OCSP_NO_CHECK,
    ExtensionValues,
    alternative_names_value,
    constant_extensions,
    read_extensions,
)
from tests.builders import profile, profiles

KEY_IDENTIFIER = bytes.fromhex("4123456789abcdef")


def written(wanted):
    return tuple(
        (oid.dotted_string, critical, value)
        for oid, critical, value in constant_extensions(wanted.extensions, "the-ca", KEY_IDENTIFIER)
    )


def read(wanted):
    return read_extensions(written(wanted))


@pytest.mark.parametrize("profile_name", profiles())
def test_what_one_library_writes_the_other_reads(profile_name):
    wanted = profile(profile_name)
    extensions = wanted.extensions
    values = read(wanted)
    assert values.basic_constraints == (extensions.ca, extensions.path_length)
    assert values.key_usage == frozenset(extensions.key_usage)
    assert values.extended_key_usage == (extensions.extended_key_usage or None)
    assert values.authority_key_identifier == KEY_IDENTIFIER
    assert (values.policies is not None) is bool(extensions.policy_oids)
    assert values.ocsp_no_check is extensions.ocsp_no_check


def test_every_value_of_a_full_certificate_is_read():
    full = {
        "ca": True,
        "path_length": 2,
        "key_usage": tuple(KeyUsage),
        "extended_key_usage": ("1.3.6.1.5.5.7.3.1", "1.2.3.4"),
        "extended_key_usage_critical": True,
        "ocsp_url": "http://ocsp.test/{issuer}",
        "ca_issuers_url": "http://ca.test/{issuer}.cer",
        "crl_url": "http://crl.test/{issuer}.crl",
        "policy_oids": ("1.2.3", "1.2.4"),
        "cps_uri": "http://ca.test/cps",
        "ocsp_no_check": True,
    }
    assert read(profile(extensions=full)) == ExtensionValues(
        critical=frozenset({BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE}),
        basic_constraints=(True, 2),
        key_usage=frozenset(KeyUsage),
        extended_key_usage=("1.3.6.1.5.5.7.3.1", "1.2.3.4"),
        authority_key_identifier=KEY_IDENTIFIER,
        ocsp_urls=("http://ocsp.test/the-ca",),
        ca_issuers_urls=("http://ca.test/the-ca.cer",),
        crl_urls=("http://crl.test/the-ca.crl",),
        policies=(("1.2.3", ("http://ca.test/cps",)), ("1.2.4", ("http://ca.test/cps",))),
        ocsp_no_check=True,
    )


def test_an_empty_profile_carries_basic_constraints_and_key_usage_only():
    nothing = {"authority_key_identifier": False, "ocsp_url": ""}
    assert [oid for oid, _, _ in written(profile(extensions=nothing))] == [BASIC_CONSTRAINTS, KEY_USAGE]


@pytest.mark.parametrize("bit", KeyUsage)
def test_each_key_usage_bit_is_its_own(bit):
    assert read(profile(extensions={"key_usage": (bit,)})).key_usage == {bit}


def test_an_extension_that_stands_twice_is_malformed():
    one = written(profile())
    with pytest.raises(MalformedError, match="twice"):
        read_extensions((*one, one[-1]))


def test_an_extension_that_is_not_ours_is_malformed():
    name = x509.IssuerAlternativeName([x509.DNSName("bank.example")])
    with pytest.raises(MalformedError, match=r"2\.5\.29\.18"):
        read_extensions((("2.5.29.18", False, name.public_bytes()),))


def test_alternative_names_are_read_as_they_were_asked_for():
    names = ("bank.example", "127.0.0.1", "2001:db8::1")
    read_back = read_extensions((("2.5.29.17", False, alternative_names_value(names)),))
    assert read_back.alternative_names == names


def test_an_alternative_name_that_is_no_host_is_malformed():
    name = x509.SubjectAlternativeName([x509.RFC822Name("a@bank.example")])
    with pytest.raises(MalformedError, match=r"2\.5\.29\.17"):
        read_extensions((("2.5.29.17", False, name.public_bytes()),))


BROKEN = {
    "basic constraints of no SEQUENCE": (BASIC_CONSTRAINTS, "0101ff"),
    "basic constraints with more behind them": (BASIC_CONSTRAINTS, "30000500"),
    "a path length of text": (BASIC_CONSTRAINTS, "30060101ff0c0130"),
    "key usage of no BIT STRING": (KEY_USAGE, "0400"),
    "key usage of unknown bits": (KEY_USAGE, "0303070080"),
    "key usage cut off": (KEY_USAGE, "030303"),
    "purposes of no SEQUENCE": (EXTENDED_KEY_USAGE, "06012a"),
    "purposes that are no OIDs": (EXTENDED_KEY_USAGE, "3003020101"),
    "an authority key identifier of nothing": (AUTHORITY_KEY_IDENTIFIER, ""),
    "an access method of another kind": (AUTHORITY_INFORMATION_ACCESS, "300c300a06032a03048603616263"),
    "an access method without a place": (AUTHORITY_INFORMATION_ACCESS, "300c300a06082b06010505073001"),
    "distribution points of text": (CRL_DISTRIBUTION_POINTS, "0c03616263"),
    "a distribution point without a name": (CRL_DISTRIBUTION_POINTS, "30023000"),
    "policies cut off": (CERTIFICATE_POLICIES, "300430"),
    "no-check that is not NULL": (OCSP_NO_CHECK, "0101ff"),
    "no-check with content": (OCSP_NO_CHECK, "050100"),
    "cA FALSE written out": (BASIC_CONSTRAINTS, "3003010100"),
    "a boolean of 1": (BASIC_CONSTRAINTS, "3003010101"),
    "an authority with its serial number": (AUTHORITY_KEY_IDENTIFIER, "301480084123456789abcdefa1058603616263820101"),
    "a distribution point for some reasons": (CRL_DISTRIBUTION_POINTS, "300f300da007a005860361626381020640"),
    "a distribution point of another issuer": (CRL_DISTRIBUTION_POINTS, "30123010a007a0058603616263a2058603616263"),
    "indefinite length": (BASIC_CONSTRAINTS, "30800000"),
}


@pytest.mark.parametrize(("oid", "value"), BROKEN.values(), ids=BROKEN)
def test_a_value_that_does_not_decode_is_malformed(oid, value):
    with pytest.raises(MalformedError, match=oid.replace(".", r"\.")):
        read_extensions(((oid, False, bytes.fromhex(value)),))
