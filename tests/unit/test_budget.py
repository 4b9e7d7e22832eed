"""The OCPP budget: the six certificates of an installation answer share 3398 octets, and no ceremony breaks that."""

import re
from dataclasses import replace

import pytest

from pki_core.issuance.subject import build_subject
from pki_core.model.errors import CeremonyError
from pki_core.model.profiles import Edition, Level
from pki_core.model.requests import RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.services import budget
from pki_core.services.budget import MAX_OCTETS, SignerSize, certificate_octets
from tests.builders import MemorySigner, draft, issuer_for, issuer_name, issuer_record, prepare, profile, profiles

SIGNER = MemorySigner()
CAS = [(branch, level) for branch in ("mo", "cps") for level in (Level.SUB1, Level.SUB2)]


def check_ocpp_budget(known, issuers, organization="Example Mobility Ltd", signers=()):
    return budget.check_ocpp_budget(known, issuers, organization, signers)


def ca(branch, level, octets=550, **changes):
    fields = {"label": f"{branch}-{level}", "branch": branch, "certificate_der": bytes(octets), **changes}
    return issuer_record(SIGNER, level, **fields)


def hierarchy(generation=0, **octets):
    """Two CAs of each branch, one below the other; those of a later generation have other numbers and labels."""
    return [
        ca(
            branch,
            level,
            octets.get(f"{branch}_{level}", 550),
            label=f"{branch}-{level}" + (f"-{generation}" if generation else ""),
            id=10 * generation + place,
            parent_id=10 * generation + place - 1,
        )
        for place, (branch, level) in enumerate(CAS, 1)
    ]


CPS_SUB2 = 4  # its number in the first generation


def test_a_lean_hierarchy_fits_and_the_sum_is_told():
    total = check_ocpp_budget(profiles(), hierarchy())
    leafs = total - 4 * 550
    assert 900 < leafs < 1198
    assert total <= MAX_OCTETS


def test_the_sum_grows_with_every_one_of_the_four_cas():
    total = check_ocpp_budget(profiles(), hierarchy())
    for branch, level in CAS:
        assert check_ocpp_budget(profiles(), hierarchy(**{f"{branch}_{level}": 551})) == total + 1


def test_the_organization_of_contracts_is_measured_as_it_is_set():
    total = check_ocpp_budget(profiles(), hierarchy(), "x" * 20)
    assert check_ocpp_budget(profiles(), hierarchy(), "x" * 21) == total + 2  # in the leafs of both branches
    assert check_ocpp_budget(profiles(), hierarchy(), "ß" * 40) >= total + 2 * 60  # a character of two octets
    with pytest.raises(CeremonyError, match="3398"):
        check_ocpp_budget(profiles(), hierarchy(mo_sub1=550 + MAX_OCTETS - total), "x" * 21)


@pytest.mark.parametrize("missing", range(4))
def test_an_incomplete_hierarchy_is_not_judged(missing):
    issuers = hierarchy(mo_sub1=800, cps_sub1=800, mo_sub2=800, cps_sub2=800)
    del issuers[missing]
    assert check_ocpp_budget(profiles(), issuers) == 0


def test_a_ca_without_a_certificate_does_not_complete_a_hierarchy():
    issuers = hierarchy()
    issuers[1] = replace(issuers[1], certificate_der=b"")
    assert check_ocpp_budget(profiles(), issuers) == 0


def test_what_does_not_fit_is_refused_with_the_sum_and_every_share():
    fits = check_ocpp_budget(profiles(), hierarchy())
    over = 550 + MAX_OCTETS - fits
    assert check_ocpp_budget(profiles(), hierarchy(mo_sub1=over)) == MAX_OCTETS
    with pytest.raises(CeremonyError) as caught:
        check_ocpp_budget(profiles(), hierarchy(mo_sub1=over + 1))
    text = str(caught.value)
    assert f"room for {MAX_OCTETS} octets of certificates, not {MAX_OCTETS + 1}" in text
    shares = dict(re.findall(r"([\w-]+) (\d+)(?:,|$)", text.partition(": ")[2]))
    assert set(shares) == {"mo-sub1", "mo-sub2", "cps-sub1", "cps-sub2", "contract_leaf", "cps_leaf"}
    assert sum(map(int, shares.values())) == MAX_OCTETS + 1


@pytest.mark.parametrize(("branch", "level"), CAS)
def test_the_larger_of_two_generations_counts_whichever_is_the_newer(branch, level):
    """The older one goes on where the newer is revoked, and signers below an older root are chosen by its name."""
    total = check_ocpp_budget(profiles(), hierarchy())
    small, large = hierarchy(), hierarchy(1, **{f"{branch}_{level}": 590})
    for issuers in ([*small, *large], [*large, *small]):
        assert check_ocpp_budget(profiles(), issuers) == total + 40


def test_a_ca_is_measured_with_those_above_and_below_it_alone():
    total = check_ocpp_budget(profiles(), hierarchy())
    issuers = [*hierarchy(mo_sub1=590), *hierarchy(1, mo_sub2=590)]
    assert check_ocpp_budget(profiles(), issuers) == total + 40


def test_a_sub_ca_1_that_nothing_stands_below_yet_is_measured_with_the_largest_sub_ca_2():
    total = check_ocpp_budget(profiles(), hierarchy())
    planned = ca("mo", Level.SUB1, 560, id=0, label="planned", parent_id=None)
    others = [one for one in [*hierarchy(), *hierarchy(1, mo_sub2=570)] if (one.branch, one.level) != CAS[0]]
    assert check_ocpp_budget(profiles(), [*others, planned]) == total + 10 + 20


def test_every_signer_counts_with_the_cas_it_is_below_of():
    bare = check_ocpp_budget(profiles(), hierarchy(), signers=[SignerSize(CPS_SUB2, 0)])
    both = [SignerSize(CPS_SUB2, 500), SignerSize(CPS_SUB2, 450)]
    for signers in (both, both[::-1]):
        assert check_ocpp_budget(profiles(), hierarchy(), signers=signers) == bare + 500
    issuers = [*hierarchy(cps_sub1=600), *hierarchy(1)]
    older, newer = SignerSize(CPS_SUB2, 500), SignerSize(10 + CPS_SUB2, 520)
    assert check_ocpp_budget(profiles(), issuers, signers=[newer, older]) == bare + 50 + 500
    assert check_ocpp_budget(profiles(), issuers, signers=[newer]) == bare + 520  # no answer has the larger CA


def test_leafs_are_measured_under_their_sub_ca_2():
    total = check_ocpp_budget(profiles(), hierarchy())
    long_name = issuer_name("a much longer name than before").public_bytes()
    sizes = {}
    for position, (branch, level) in enumerate(CAS):
        issuers = hierarchy()
        issuers[position] = replace(issuers[position], subject_der=long_name)
        sizes[branch, level] = check_ocpp_budget(profiles(), issuers) - total
    assert sizes["mo", Level.SUB1] == sizes["cps", Level.SUB1] == 0
    assert sizes["mo", Level.SUB2] == sizes["cps", Level.SUB2] == len(long_name) - len(hierarchy()[1].subject_der)


@pytest.mark.parametrize(
    "other",
    [
        ca("mo", Level.SUB1, 5000, edition=Edition.ISO_20),
        ca("cpo", Level.SUB1, 5000),
        ca("oem", Level.SUB2, 5000),
        ca("v2g", Level.ROOT, 5000),
    ],
    ids=["edition 20", "CPO", "OEM", "root"],
)
def test_cas_that_are_in_no_answer_do_not_count(other):
    assert check_ocpp_budget(profiles(), [*hierarchy(), other]) == check_ocpp_budget(profiles(), hierarchy())


def test_the_long_form_breaks_the_budget():
    with pytest.raises(CeremonyError, match="3398"):
        check_ocpp_budget(profiles("full_extensions"), hierarchy(mo_sub1=630, mo_sub2=640, cps_sub1=630, cps_sub2=630))


@pytest.mark.parametrize("profile_name", ["mo_sub2_20", "evse_leaf_20_ed448"])
def test_what_has_signatures_of_one_length_is_measured_exactly(profile_name):
    wanted = profile(profile_name)
    signer = MemorySigner(KeyAlgorithm.ED448)
    issuer = issuer_for(wanted, signer=signer)
    subject = (("O", "Example"), ("CN", "DE*PNC*E1"))
    if wanted.subject.domain_component:
        subject = (subject[0], ("DC", wanted.subject.domain_component), subject[1])
    (der,) = issuer.sign(prepare(issuer, wanted, draft(subject=subject, key=signer.key)))
    assert len(der) == certificate_octets(wanted, issuer.record, subject)


MEASURED = [
    name for name, one in profiles().items() if one.level is not Level.ROOT and one.edition is not Edition.INTERNET
]


@pytest.mark.parametrize("profile_name", MEASURED)
def test_no_certificate_is_larger_than_it_was_measured_to_be(profile_name):
    wanted = profile(profile_name)
    signer = MemorySigner(wanted.key_algorithms[0])
    issuer = issuer_for(wanted, signer=signer)
    requested = RequestedSubject(common_name="DEPNC0000000019", organization="Example Mobility Ltd", country="DE")
    subject = build_subject(wanted.subject, requested, requested.common_name)
    measured = certificate_octets(wanted, issuer.record, subject)
    prepared = prepare(issuer, wanted, *[draft(subject=subject, key=signer.key)] * 8)
    sizes = [len(der) for der in issuer.sign(prepared)]
    assert measured - 8 <= max(sizes) <= measured
