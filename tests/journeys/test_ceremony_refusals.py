"""Key ceremonies that are refused: each with its sentence, and each leaves keys, artefacts and rows as they were."""

import hashlib
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.errors import CeremonyError, ConflictError, NotFoundError, RequestError
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.ceremonies import Ceremonies
from pki_core.services.ceremony_rules import CeremonyEnvironment, check_parent
from pki_core.services.hierarchy import ceremony_file
from tests.journeys.acts import hold, plan_for, rows, sub2, write_plan

pytest_plugins = ["tests.journeys.environments"]

WITNESSES = ("Ada Lovelace", "Alan Turing")


def everything(runtime):
    """What a ceremony could change: keys, artefacts, rows."""
    tables = ("issuer", "responder", "certificate", "certificate_status", "reservation", "audit", "profile")
    return (
        sorted(path.name for path in (runtime.home / "keys").iterdir()),
        sorted((path.name, path.read_bytes()) for path in (runtime.home / "ca").iterdir()),
        {table: rows(runtime, f"SELECT count(*) FROM {table}") for table in tables},  # noqa: S608  # names are ours
    )


@contextmanager
def refused(runtime, message, error=CeremonyError):
    """What happens inside is refused and changes nothing."""
    before = everything(runtime)
    with pytest.raises(error, match=message) as caught:
        yield caught
    assert isinstance(caught.value, RequestError)
    assert everything(runtime) == before


# --- files that are refused when they are read

GOOD_FILE = ceremony_file(sub2())


def without_line(key):
    return re.sub(rf"(?m)^{key} = .*\n", "", GOOD_FILE)


def with_value(key, value):
    changed = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", GOOD_FILE)
    assert changed != GOOD_FILE
    return changed


BAD_FILES = {
    "another environment": (with_value("environment", '"qa"'), "this file is for 'qa', but this environment is 'dev'"),
    "no TOML": ("act = ", "not a readable ceremony file"),
    "no text": ("\0", "not a readable ceremony file"),
    "an empty file": ("", "does not say 'act'"),
    "an unknown act": (with_value("act", '"destroy-root"'), "destroy-root"),
    "an unknown algorithm": (with_value("algorithm", '"rsa2048"'), "rsa2048"),
    "an unknown profile": (with_value("profile", '"mo_sub3"'), "there is no profile 'mo_sub3'"),
    "a number for a name": (with_value("common_name", "7"), "every value of a ceremony file is a text"),
    "a witness that is no name": (with_value("witnesses", "[1, 2]"), "witnesses is a list of names"),
    "one witness without a list": (with_value("witnesses", '"Ada"'), "witnesses is a list of names"),
    "an unknown key": (GOOD_FILE + 'pin = "1234"\n', "says 'pin', which means nothing here"),
    "a hash of its own": (GOOD_FILE + 'sha256 = "00"\n', "says 'sha256'"),
    "a namesake that is no name": (GOOD_FILE + "same_name_as = 2\n", "every value of a ceremony file is a text"),
    "a root below a parent": (with_value("act", '"create-root"'), "do not fit create-root"),
    "a sub CA without a parent": (with_value("parent", '""'), "do not fit create-sub-ca"),
    "a leaf": (with_value("profile", '"contract_leaf"'), "do not fit create-sub-ca"),
    "a sub CA as responder": (with_value("act", '"create-responder"'), "do not fit create-responder"),
    "an algorithm of the other edition": (with_value("algorithm", '"secp521r1"'), "mo_sub2 allows no secp521r1 key"),
    "no label": (with_value("label", '""'), "a label has at most 64"),
    "a label that is a path": (with_value("label", '"../../mo"'), "a label has at most 64"),
    "a label of 65 characters": (with_value("label", f'"{"x" * 65}"'), "a label has at most 64"),
    "a label beyond ASCII": (with_value("label", '"mö-sub2"'), "a label has at most 64"),
    "no organisation": (with_value("organization", '""'), "organization"),
    "a country that is none": (with_value("country", '"Germany"'), "country"),
    "a common name that is too long": (with_value("common_name", f'"{"x" * 65}"'), "common name"),
    "no common name": (with_value("common_name", '""'), "common name"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_may_not_be_run_is_refused_when_it_is_read(untouched, content, message):
    with refused(untouched, re.escape(message)):
        untouched.ceremonies.read(write_plan(untouched, content))


@pytest.mark.parametrize("key", [key for key in CeremonyPlan.__slots__ if key not in {"sha256", "same_name_as"}])
def test_a_file_says_everything(untouched, key):
    with refused(untouched, f"does not say '{key}'"):
        untouched.ceremonies.read(write_plan(untouched, without_line(key)))


def test_a_file_that_is_not_there_is_refused(untouched, tmp_path):
    with refused(untouched, "not a readable ceremony file"):
        untouched.ceremonies.read(tmp_path / "nowhere.toml")


# --- acts that are refused when they are run


@pytest.mark.parametrize("suffix", [".pem", ".transcript.txt"])
def test_no_artefact_is_overwritten(environment, suffix):
    (environment.home / "ca" / f"mo-sub2-b{suffix}").write_text("kept")
    with refused(environment, "overwrites nothing"):
        hold(environment, sub2())


def test_no_issuer_is_overwritten(environment):
    for path in (environment.home / "ca").glob("mo-sub2.*"):
        path.unlink()
    with refused(environment, "an issuer, responder or signer 'mo-sub2' already", ConflictError):
        hold(environment, sub2(label="mo-sub2", key_label="fresh"))


def test_no_responder_is_overwritten(environment):
    hold(environment, plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", "mo-sub2"))
    for path in (environment.home / "ca").glob("ocsp-1.*"):
        path.unlink()
    with refused(environment, "an issuer, responder or signer 'ocsp-1' already", ConflictError):
        hold(environment, plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", "mo-sub2", key_label="fresh"))


def test_no_key_is_overwritten_or_used_twice(untouched):
    with refused(untouched, "mo-sub2", ConflictError):
        hold(untouched, sub2(key_label="mo-sub2"))


@pytest.mark.parametrize("common_name", ["MO Sub2 CA", "mo  sub2 ca ", "MO SUB2 CA"])
def test_a_ca_takes_no_name_of_another_one(untouched, common_name):
    with refused(untouched, "mo-sub2 has this name: .* same_name_as = 'mo-sub2'"):
        hold(untouched, sub2(common_name=common_name))


@pytest.mark.parametrize(
    ("label", "common_name"), [("mo-sub1", "MO Sub2 CA"), ("nobody", "MO Sub2 CA"), ("mo-sub2", "X")]
)
def test_a_file_that_is_wrong_about_the_ca_of_its_name_is_refused(untouched, label, common_name):
    with refused(untouched, f"same_name_as says '{label}', but no such CA has this name"):
        hold(untouched, sub2(common_name=common_name, same_name_as=label))


def test_a_name_is_used_again_where_the_file_says_so(environment):
    _, transcript = hold(environment, sub2(common_name="MO Sub2 CA", same_name_as="mo-sub2"))
    assert "the new CA has the name of mo-sub2 as well, as the file says" in transcript.read_text()
    first, second = (environment.issuers.get(label).record for label in ("mo-sub2", "mo-sub2-b"))
    assert first.subject_der == second.subject_der
    assert first.key_identifier != second.key_identifier


def test_a_responder_may_have_any_name(environment):
    hold(environment, plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", "mo-sub2", common_name="MO Sub2 CA"))


@pytest.mark.parametrize("label", ["MO-SUB2", "Mo-Sub2", "CPS-signer-1"])
def test_no_label_differs_from_another_in_its_case_alone(untouched, label):
    with refused(untouched, f"the label '{label}' differs from '{label.lower()}' in its case alone"):
        hold(untouched, sub2(label=label))


@pytest.mark.parametrize("act", ["sub-ca", "responder"])
def test_a_parent_must_be_there(untouched, act):
    plans = {
        "sub-ca": sub2(parent="mo-sub9"),
        "responder": plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", "mo-sub9"),
    }
    with refused(untouched, "there is no issuer 'mo-sub9'", NotFoundError):
        hold(untouched, plans[act])


def test_a_parent_must_have_its_certificate(environment):
    with environment.store.transaction() as work:
        columns = "branch, edition, level, algorithm, parent_id, subject_der, spki_der, key_identifier"
        work.audit._connection.execute(
            text(
                f"INSERT INTO issuer (label, key_label, {columns}) "  # noqa: S608  # names are ours
                f"SELECT 'pending', 'pending', {columns} FROM issuer WHERE label = 'mo-sub1'"
            )
        )
    with refused(environment, "'pending' has no certificate yet", ConflictError):
        hold(environment, sub2(parent="pending"))


def test_a_chain_keeps_one_algorithm(untouched):
    plan = sub2(label="mo-sub2-20-b", profile="mo_sub2_20", parent="mo-sub1-20", algorithm=KeyAlgorithm.ED448)
    with refused(untouched, "a chain keeps one algorithm: mo-sub1-20 is secp521r1"):
        hold(untouched, plan)


@pytest.mark.parametrize(
    ("profile", "parent"),
    [
        ("mo_sub2", "v2g-root"),  # a level left out
        ("mo_sub1", "mo-sub1"),  # the same level again
        ("mo_sub2", "mo-sub2"),
        ("mo_sub2", "cpo-sub1"),  # another branch
        ("cps_sub2", "mo-sub1"),
    ],
)
def test_a_sub_ca_stands_below_the_ca_of_its_branch_and_level(untouched, profile, parent):
    with refused(untouched, f"profile {profile} .*{parent}"):
        hold(untouched, sub2(profile=profile, parent=parent))


@pytest.mark.parametrize(
    ("profile", "parent"),
    [("mo_sub2", "mo-sub1-20"), ("mo_sub2_20", "mo-sub1"), ("cps_sub1", "v2g-root-20"), ("cps_sub1_20", "v2g-root")],
)
def test_a_sub_ca_stands_below_a_ca_of_its_edition(untouched, profile, parent):
    # No profile allows a key of the other edition's algorithms, so the editions alone are held apart here.
    record = untouched.issuers.get(parent).record
    plan = sub2(profile=profile, parent=parent, algorithm=record.algorithm)
    with pytest.raises(CeremonyError, match=f"profile {profile} makes no certificate below {parent}"):
        check_parent(plan, untouched.profiles[profile], record)


def test_a_responder_of_one_edition_answers_for_no_ca_of_the_other(untouched):
    record = untouched.issuers.get("mo-sub2-20").record
    plan = plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", "mo-sub2-20", algorithm=record.algorithm)
    with pytest.raises(CeremonyError, match="profile ocsp_responder makes no certificate below mo-sub2-20"):
        check_parent(plan, untouched.profiles["ocsp_responder"], record)


def test_a_responder_answers_for_a_ca_of_its_edition(environment):
    plan = plan_for(
        Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder_20", "mo-sub2-20-ed448", algorithm=KeyAlgorithm.ED448
    )
    hold(environment, plan)
    other = replace(plan, label="ocsp-2", key_label="ocsp-2", parent="mo-sub2")
    with refused(environment, "a chain keeps one algorithm"):
        hold(environment, other)


def test_a_ca_certificate_larger_than_its_edition_allows_is_refused(untouched):
    plan = sub2(profile="cpo_sub2", parent="cpo-sub1", organization="電" * 64, common_name="電" * 64)
    with refused(untouched, "800"):
        hold(untouched, plan)


def test_a_sub_ca_that_breaks_the_ocpp_budget_is_refused_with_the_sum(untouched):
    plan = sub2(organization="ß" * 64, common_name="ß" * 64)
    with refused(untouched, "room for 3398 octets") as caught:
        hold(untouched, plan)
    total, shares = re.search(r"not (\d+): (.*)", str(caught.value)).groups()
    assert int(total) > 3398
    assert sum(int(share) for share in re.findall(r" (\d+)", " " + shares)) == int(total)
    assert "mo-sub2-b " in shares


def test_other_branches_do_not_care_for_the_budget(environment):
    plan = sub2(
        label="cpo-sub2-b",
        profile="cpo_sub2",
        parent="cpo-sub1",
        organization="x" * 64,
        common_name="y" * 64,
    )
    hold(environment, plan)


# --- outside dev: two people and the hash they saw


def as_qa(runtime):
    """The ceremonies of the environment as if it were QA."""
    place = CeremonyEnvironment(
        name="qa", directory=runtime.home / "ca", profiles=runtime.profiles, organization="Test"
    )
    services = runtime.store, runtime.key_store, runtime.issuers, runtime.enrollment, runtime.clock
    return Ceremonies(place, *services)


def qa_plan(runtime, ceremonies, witnesses=WITNESSES):
    content = ceremony_file(sub2(environment="qa", witnesses=tuple(witnesses)))
    plan = ceremonies.read(write_plan(runtime, content))
    assert plan.sha256 == hashlib.sha256(content.encode()).hexdigest()
    return plan


def silent(_line):
    """Say nothing."""


def test_outside_dev_two_witnesses_and_the_reviewed_hash_run_it(environment):
    plan = qa_plan(environment, as_qa(environment))
    _, transcript = as_qa(environment).run(plan, silent, reviewed_sha256=plan.sha256)
    assert f"input file sha256 {plan.sha256}; witnesses Ada Lovelace, Alan Turing" in transcript.read_text()


@pytest.mark.parametrize(
    "witnesses",
    [
        [],
        ["Ada"],
        ["Ada", "Ada"],
        ["Ada", " ada "],
        ["Ada", ""],
        ["", " "],
        ["ADA", "ada", "Ada "],
        ["Ada L", "ada  l "],
        ["Ada L", "Ada\u00a0L", "AdaL", "Ada\tL"],
        ["Zo\u00eb", "Zoe\u0308"],
    ],
    ids=ascii,
)
def test_outside_dev_one_person_is_not_two(untouched, witnesses):
    plan = qa_plan(untouched, as_qa(untouched), witnesses)
    with refused(untouched, "2 different witnesses"):
        as_qa(untouched).run(plan, silent, reviewed_sha256=plan.sha256)


@pytest.mark.parametrize("reviewed", ["", "0" * 64, "not a hash"])
def test_outside_dev_the_hash_must_be_the_one_both_saw(untouched, reviewed):
    with refused(untouched, "the reviewed hash is not this file's"):
        as_qa(untouched).run(qa_plan(untouched, as_qa(untouched)), silent, reviewed_sha256=reviewed)


def test_outside_dev_a_file_changed_after_the_review_is_refused(untouched):
    reviewed = qa_plan(untouched, as_qa(untouched)).sha256
    changed = ceremony_file(sub2(environment="qa", witnesses=WITNESSES, common_name="Mallory Sub2 CA"))
    plan = as_qa(untouched).read(write_plan(untouched, changed))
    with refused(untouched, "the reviewed hash is not this file's"):
        as_qa(untouched).run(plan, silent, reviewed_sha256=reviewed)


@pytest.mark.parametrize("other", ["dev", "prod"])
def test_outside_dev_the_file_of_another_environment_is_refused(untouched, other):
    content = ceremony_file(sub2(environment=other, witnesses=WITNESSES))
    with refused(untouched, f"this file is for '{other}', but this environment is 'qa'"):
        as_qa(untouched).read(write_plan(untouched, content))
