"""Key ceremonies: one reviewed file, one act, a transcript with hashes, and nothing half made."""

import hashlib
import re
from itertools import product

import pytest
from cryptography import x509

from pki_core.model.ceremonies import Act
from pki_core.model.errors import ConflictError, HsmUnavailableError, InvariantError
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.hierarchy import HierarchyNames, ceremony_file, plan_hierarchy
from tests.journeys.acts import artefact, hold, issue_leaf, plan_for, rows, sub2, write_plan

pytest_plugins = ["tests.journeys.environments"]

WITNESSES = ("Ada Lovelace", "Alan Turing")


# --- what a ceremony makes


def test_a_sub_ca_is_made_by_its_file(environment):
    lines = []
    certificate_path, transcript_path = hold(environment, sub2(), lines.append)
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=Test mo-sub2-b,O=pncpki dev,C=DE"
    assert certificate.issuer.rfc4514_string().startswith("CN=MO Sub1 CA")
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(artefact(environment, "mo-sub1")))
    record = environment.issuers.get("mo-sub2-b").record
    assert record.certificate_der == artefact(environment, "mo-sub2-b")
    assert (record.branch, record.level.value) == ("mo", "sub2")
    assert transcript_path.read_text(encoding="utf-8").splitlines() == lines


def test_the_newest_sub_ca_issues_from_then_on(environment):
    hold(environment, sub2())
    record, issued = issue_leaf(environment, "contract_leaf")
    assert record.label == "mo-sub2-b"
    leaf = x509.load_der_x509_certificate(issued.certificate_der)
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(artefact(environment, "mo-sub2-b")))


def test_the_transcript_tells_every_step_with_its_hashes(environment):
    plan = sub2()
    _, transcript = hold(environment, plan)
    lines = transcript.read_text(encoding="utf-8").splitlines()
    told = [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 ", "", line) for line in lines]
    assert told != lines
    record = environment.issuers.get("mo-sub2-b").record
    certificate = x509.load_der_x509_certificate(record.certificate_der)
    identity = environment.key_store.identity
    profile = environment.profiles["mo_sub2"]
    file_hash = hashlib.sha256(ceremony_file(plan).encode()).hexdigest()
    total = next(line for line in told if "installation answer" in line)
    assert told == [
        "ceremony create-sub-ca mo-sub2-b in environment dev",
        f"input file sha256 {file_hash}; witnesses none (dev)",
        f"token keys (file, serial {identity.serial})",
        total,
        "key mo-sub2-b secp256r1 made in a file, for development only",
        f"public key sha256 {hashlib.sha256(record.spki_der).hexdigest()}",
        f"profile mo_sub2 sha256 {profile.hash}",
        f"certificate serial {certificate.serial_number:036x} issued by mo-sub1",
        f"certificate sha256 {hashlib.sha256(record.certificate_der).hexdigest()}",
        "verified: signature of mo-sub1 over the artefact mo-sub2-b.pem",
        "verified: the token signs with the key of mo-sub2-b",
        "ceremony complete",
    ]
    assert 2500 < int(re.search(r"have (\d+) of 3398 octets", total)[1]) <= 3398


def test_a_new_root_is_made_beside_the_old_one(environment):
    hold(environment, plan_for(Act.CREATE_ROOT, "v2g-root-b", "v2g_root"))
    der = artefact(environment, "v2g-root-b")
    root = x509.load_der_x509_certificate(der)
    root.verify_directly_issued_by(root)
    assert root.issuer == root.subject
    years = (root.not_valid_after_utc - root.not_valid_before_utc).days / 365.25
    assert 39.9 < years < 40.1
    hold(environment, sub2(label="cpo-sub1-b", profile="cpo_sub1", parent="v2g-root-b"))
    below = x509.load_der_x509_certificate(artefact(environment, "cpo-sub1-b"))
    below.verify_directly_issued_by(root)


@pytest.mark.parametrize("parent", ["v2g-root", "oem-sub1", "mo-sub2"])
def test_a_responder_is_made_for_a_ca_of_any_level(environment, parent):
    plan = plan_for(Act.CREATE_RESPONDER, "ocsp-1", "ocsp_responder", parent)
    hold(environment, plan)
    responder = x509.load_der_x509_certificate(artefact(environment, "ocsp-1"))
    responder.verify_directly_issued_by(x509.load_der_x509_certificate(artefact(environment, parent)))
    responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
    with environment.store.reading() as work:
        assert work.responders.labels()[-1] == "ocsp-1"
        assert work.issuers.find("ocsp-1") is None


def test_the_act_is_in_the_audit_log_with_the_hash_of_its_file(environment):
    hold(environment, sub2(witnesses=WITNESSES))
    (actor, action, detail) = rows(environment, "SELECT actor, action, detail FROM audit WHERE stream = 'ceremonies'")[
        -1
    ]
    file_hash = hashlib.sha256(ceremony_file(sub2(witnesses=WITNESSES)).encode()).hexdigest()
    assert (actor, action) == ("operator", "ceremony.run")
    assert detail == f"create-sub-ca mo-sub2-b file {file_hash} witnesses Ada Lovelace, Alan Turing"


def test_the_certificate_goes_the_way_of_every_other(environment):
    hold(environment, sub2())
    record = environment.issuers.get("mo-sub2-b").record
    serial = f"{x509.load_der_x509_certificate(record.certificate_der).serial_number:036x}"
    found = environment.certificates.show(serial)
    assert (found.certificate_der, found.profile_hash) == (record.certificate_der, environment.profiles["mo_sub2"].hash)
    assert rows(environment, f"SELECT action FROM audit WHERE serial = '{serial}'") == [("certificate.issued",)]  # noqa: S608  # hex
    assert rows(environment, "SELECT count(*) FROM reservation") == [(0,)]


def test_a_ceremony_of_edition_20_has_no_budget_to_keep(environment):
    plan = sub2(label="mo-sub2-20-b", profile="mo_sub2_20", parent="mo-sub1-20", algorithm=KeyAlgorithm.SECP521R1)
    hold(environment, plan)
    assert environment.issuers.get("mo-sub2-20-b").record.edition.value == "iso15118-20"


# --- faults while it runs


def test_a_token_that_fails_leaves_no_issuer_that_could_issue(environment, monkeypatch):
    signer = type(environment.key_store.bind("mo-sub1"))

    def away(*_):
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr(signer, "sign", away)
    with pytest.raises(HsmUnavailableError):
        hold(environment, sub2())
    monkeypatch.undo()
    assert not list((environment.home / "ca").glob("mo-sub2-b*"))
    with pytest.raises(ConflictError, match="no certificate yet"):
        environment.issuers.get("mo-sub2-b")
    assert rows(environment, "SELECT count(*) FROM reservation") == [(0,)]
    assert issue_leaf(environment, "contract_leaf")[0].label == "mo-sub2"


def test_an_artefact_that_is_not_what_was_issued_is_seen(environment, monkeypatch):
    other = artefact(environment, "mo-sub2")
    monkeypatch.setattr("pki_core.services.ceremony_artefacts.pem_to_der", lambda *_: other)
    with pytest.raises(InvariantError, match="does not hold the certificate that was issued"):
        hold(environment, sub2())


# --- the files of a whole environment


@pytest.mark.parametrize(("ed448", "count"), [(False, 21), (True, 31)])
def test_the_files_of_a_hierarchy_come_in_an_order_that_can_be_run(untouched, ed448, count):
    names = HierarchyNames(environment="dev", organization="pncpki dev", country="DE", witnesses=WITNESSES)
    files = plan_hierarchy(names, ed448=ed448)
    assert [name for name, _ in files] == sorted(name for name, _ in files)
    plans = [untouched.ceremonies.read(write_plan(untouched, content)) for _, content in files]
    assert len(plans) == count
    made = {""}
    for plan in plans:
        assert plan.parent in made
        made.add(plan.label)
        assert plan.witnesses == WITNESSES
    kinds = {plan.profile for plan in plans}
    branches = {f"{branch}_{level}" for branch, level in product(("cpo", "mo", "oem", "cps"), ("sub1", "sub2"))}
    v2g = {kind + edition for kind in branches | {"v2g_root"} for edition in ("", "_20")}
    assert kinds == v2g | {"tls_root", "cps_leaf", "cps_leaf_20"}


@pytest.mark.parametrize(
    "name",
    [
        "Söhne & Töchter # no comment",
        "O'Neill",
        'The "Grid"',
        "back\\slash",
    ],
)
def test_a_file_says_any_name_as_it_is(untouched, name):
    plan = sub2(organization=name, witnesses=(name, "Ada"))
    read = untouched.ceremonies.read(write_plan(untouched, ceremony_file(plan)))
    assert (read.organization, read.witnesses) == (plan.organization, plan.witnesses)


def test_every_ca_of_a_founded_environment_has_its_transcript_and_file(untouched):
    for record in untouched.certificates.issuers():
        transcript = (untouched.home / "ca" / f"{record.label}.transcript.txt").read_text()
        assert transcript.splitlines()[-1].endswith("ceremony complete")
        (file,) = (untouched.home / "ceremonies").glob(f"[0-9][0-9]-{record.label}.toml")
        assert hashlib.sha256(file.read_bytes()).hexdigest() in transcript
        assert hashlib.sha256(record.certificate_der).hexdigest() in transcript
        assert artefact(untouched, record.label) == record.certificate_der


@pytest.mark.parametrize("step", ["_verify", "_put_into_service"])
def test_a_ca_whose_ceremony_broke_off_issues_nothing_and_the_same_file_goes_on(environment, monkeypatch, step):
    def broken(*_arguments, **_options):
        raise InvariantError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(type(environment.ceremonies), step, broken)
        with pytest.raises(InvariantError, match="the power went"):
            hold(environment, sub2())
    assert issue_leaf(environment, "contract_leaf")[0].label == "mo-sub2"
    with pytest.raises(ConflictError):
        environment.issuers.get("mo-sub2-b")
    lines = []
    certificate_path, transcript_path = hold(environment, sub2(), lines.append)
    assert any("interrupted run" in line for line in lines)
    assert certificate_path.exists()
    assert transcript_path.read_text(encoding="utf-8").splitlines() == lines
    assert not list(certificate_path.parent.glob("*.unfinished"))
    assert issue_leaf(environment, "contract_leaf")[0].label == "mo-sub2-b"
