"""Names: a common name is an identifier of the profile's kind, and belongs to the partner who asks."""

from dataclasses import replace

import pytest

from pki_core.model.errors import CsrRejectedError
from pki_core.model.identifiers import ISO_3166_ALPHA_2, CheckDigitPolicy
from pki_core.model.requests import IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.services.names import JudgedName, NamePolicy, judge_alternative_names, judge_name
from tests.builders import EMAID, PARTNER, profile

LENIENT = NamePolicy(check_digit=CheckDigitPolicy.OFF)
WRONG_DIGIT = EMAID[:-1] + "9"


def asked(common_name, expected=""):
    return IssueRequest(
        reference="row-1",
        subject=RequestedSubject(common_name=common_name),
        spki_der=b"",
        proof=OwnKeyProof(),
        expected_identifier=expected,
    )


def judge(common_name, profile_name="contract_leaf", partner=PARTNER, policy=LENIENT, expected=""):
    return judge_name(asked(common_name, expected), profile(profile_name), partner, policy)


def refusal(*arguments, **options):
    with pytest.raises(CsrRejectedError) as caught:
        judge(*arguments, **options)
    return caught.value.reason


@pytest.mark.parametrize(
    ("profile_name", "common_name"),
    [
        ("contract_leaf", EMAID),
        ("contract_leaf", EMAID[:14]),
        ("contract_leaf_20", EMAID),
        ("evse_leaf", "DEPNCE12345"),
        ("evse_leaf", "DE*PNC*E12345*1"),
        ("evse_leaf_20", "DEPNCS" + "A" * 33),
        ("oem_provisioning_leaf", "WPNABCDEFGHJKLMN1"),
        ("oem_provisioning_leaf_20", "WPNABCDEFGHJKLMN1"),
        ("oem_provisioning_leaf_20", "WPN" + "A" * 61),
    ],
)
def test_an_identifier_of_the_right_kind_and_partner_is_kept(profile_name, common_name):
    assert judge(common_name, profile_name).common_name == common_name


@pytest.mark.parametrize(
    "spelling",
    [EMAID, EMAID.lower(), "DE-PNC-C00000001-A", "de-pnc-c00000001-a"],
    ids=["plain", "lower", "dashed", "both"],
)
def test_all_spellings_of_an_emaid_are_one_identifier(spelling):
    assert judge(spelling).canonical == judge(EMAID).canonical


def test_a_free_name_is_taken_as_it_is():
    assert judge("CPS 2026.1 QA", "cps_leaf") == JudgedName(common_name="CPS 2026.1 QA", canonical="CPS 2026.1 QA")


@pytest.mark.parametrize("profile_name", ["contract_leaf", "evse_leaf", "oem_provisioning_leaf", "cps_leaf"])
def test_a_request_without_a_name_is_refused(profile_name):
    assert refusal("", profile_name) == "identifier.missing"


@pytest.mark.parametrize(
    ("profile_name", "common_name"),
    [
        ("contract_leaf", "DEPNCE12345"),
        ("contract_leaf", "DE*PNC*E12345"),
        ("contract_leaf", " " + EMAID),
        ("contract_leaf", EMAID + "\u200b"),
        ("contract_leaf", EMAID.replace("0", "\u0660")),
        ("contract_leaf", "bank.example"),
        ("evse_leaf", EMAID),
        ("evse_leaf", "DEPNCE"),
        ("oem_provisioning_leaf", EMAID),
        ("oem_provisioning_leaf", "WPNABCDEFGHJKLM"),
        ("oem_provisioning_leaf", "WPN" + "A" * 61),  # edition 20 only
    ],
)
def test_an_identifier_of_another_kind_is_refused(profile_name, common_name):
    assert refusal(common_name, profile_name) == "identifier.invalid"


@pytest.mark.parametrize(
    ("profile_name", "common_name"),
    [
        ("contract_leaf", "DEXYZC00000001"),
        ("contract_leaf", "FRPNCC00000001"),
        ("contract_leaf", "DEPNDC00000001"),
        ("evse_leaf", "DEXYZE12345"),
        ("evse_leaf_20", "DEXYZS" + "A" * 33),
        ("oem_provisioning_leaf", "WPXABCDEFGHJKLMN1"),
    ],
)
def test_an_identifier_of_somebody_else_is_refused(profile_name, common_name):
    assert refusal(common_name, profile_name) == "identifier.outside_prefixes"
    assert judge(common_name, profile_name, partner=None).common_name == common_name  # the operator's own ceremony


@pytest.mark.parametrize("spelling", ["depncc00000001", "de-pnc-c00000001", "De-Pnc-C00000001"])
def test_prefixes_hold_for_every_spelling(spelling):
    assert judge(spelling).canonical
    assert refusal(spelling.lower().replace("pnc", "xyz")) == "identifier.outside_prefixes"


@pytest.mark.parametrize(
    ("profile_name", "common_name", "field"),
    [
        ("contract_leaf", EMAID, "provider_prefixes"),
        ("evse_leaf", "DEPNCE12345", "operator_prefixes"),
        ("oem_provisioning_leaf", "WPNABCDEFGHJKLMN1", "wmis"),
    ],
)
def test_a_prefix_of_another_kind_allows_nothing(profile_name, common_name, field):
    assert refusal(common_name, profile_name, partner=replace(PARTNER, **{field: frozenset()})) == (
        "identifier.outside_prefixes"
    )


@pytest.mark.parametrize("expected", [EMAID, EMAID.lower(), "DE-PNC-C00000001-A", EMAID[:14]])
def test_a_row_may_expect_the_identifier_in_any_spelling(expected):
    assert judge(EMAID, expected=expected).common_name == EMAID


@pytest.mark.parametrize("expected", ["DEPNCC00000002", "DEPNCE12345", "nonsense"])
def test_a_row_that_expects_another_identifier_is_refused(expected):
    assert refusal(EMAID, expected=expected) == "identifier.unexpected"


def test_a_free_name_must_be_the_expected_one_to_the_letter():
    assert judge("CPS 1", "cps_leaf", expected="CPS 1").canonical == "CPS 1"
    assert refusal("CPS 1", "cps_leaf", expected="cps 1") == "identifier.unexpected"


@pytest.mark.parametrize(
    ("policy", "common_name", "outcome"),
    [
        (CheckDigitPolicy.OFF, WRONG_DIGIT, "kept"),
        (CheckDigitPolicy.WARN, WRONG_DIGIT, "warned"),
        (CheckDigitPolicy.REJECT, WRONG_DIGIT, "refused"),
        (CheckDigitPolicy.WARN, EMAID, "kept"),
        (CheckDigitPolicy.REJECT, EMAID, "kept"),
        (CheckDigitPolicy.REJECT, EMAID[:14], "kept"),  # there is none to be wrong
    ],
)
def test_check_digits_are_judged_by_the_policy(policy, common_name, outcome):
    names = NamePolicy(check_digit=policy)
    if outcome == "refused":
        assert refusal(common_name, policy=names) == "identifier.invalid"
        return
    judged = judge(common_name, policy=names)
    assert judged.common_name == common_name
    assert bool(judged.warnings) is (outcome == "warned")


@pytest.mark.parametrize(
    ("profile_name", "common_name"),
    [("contract_leaf", "QQPNCC00000001"), ("evse_leaf", "QQPNCE12345"), ("evse_leaf", "QQPNCS" + "A" * 33)],
)
def test_countries_are_judged_by_the_policy(profile_name, common_name):
    strict = NamePolicy(check_digit=CheckDigitPolicy.OFF, countries=ISO_3166_ALPHA_2)
    assert judge(common_name, profile_name, partner=None).common_name == common_name
    assert refusal(common_name, profile_name, partner=None, policy=strict) == "identifier.invalid"


# --- alternative names


def judge_hosts(*names, profile_name="tls_server"):
    return judge_alternative_names(asked("x")._replace(alternative_names=names), profile(profile_name))


def test_dns_names_and_ip_addresses_are_kept_as_asked():
    names = ("bank.example", "localhost", "a-1.b", "127.0.0.1", "2001:db8::1")
    assert judge_hosts(*names) == names


@pytest.mark.parametrize("profile_name", ["contract_leaf", "tls_client"])
def test_a_kind_without_alternative_names_takes_none(profile_name):
    assert judge_hosts(profile_name=profile_name) == ()
    with pytest.raises(CsrRejectedError) as caught:
        judge_hosts("bank.example", profile_name=profile_name)
    assert caught.value.reason == "names.not_allowed"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "names.missing"),
        (("a.example", "a.example"), "names.too_many"),
        (tuple(f"a{number}.example" for number in range(17)), "names.too_many"),
        *(
            ((name,), "names.invalid")
            for name in (
                *("", "*.example", "A.example", "a..b", ".a", "a.", "-a", "a-", "a_b", "1.2.3.4.5", "127.1", "a b"),
                *("bücher.example", "x" * 64, "::01", "http://a", ".".join(["a" * 60] * 5), "a\n", "127.0.0.1/8"),
            )
        ),
    ],
)
def test_what_is_no_host_or_not_asked_rightly_is_refused(names, reason):
    with pytest.raises(CsrRejectedError) as caught:
        judge_hosts(*names)
    assert caught.value.reason == reason
