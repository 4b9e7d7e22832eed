"""The RCP over HTTP: everybody reads, people of the operator's write, and outside dev two of them."""

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from pki_core.model.pools import RootKind
from tests.journeys.pool_acts import ForeignCa, audited, der, foreign_ca
from tests.journeys.rest_acts import RCP, RCP_OPNC, b64, pem, root_body

pytest_plugins = ["tests.journeys.rest_environments"]
NOT_FOUND = "Root certificate with the given ID is not found"


@pytest.fixture
def strict(api):
    """The rules of qa and prod."""
    api.runtime.pools.roots._needs_two = True
    return api


@pytest.fixture
def new_ca(api):
    """A foreign CA whose root is not in the RCP."""
    return ForeignCa("new", api.runtime.clock.now())


def test_roots_are_listed_in_the_words_of_opcp(api):
    ca = foreign_ca(api.runtime, "foreign", RootKind.OEM, RootKind.MO)
    (listed,) = api.good("cpo", "GET", f"{RCP}?rootType=oem")["RootCertificateCollection"]["rootCertificates"]
    assert api.good("cps", "GET", f"{RCP}/{listed['rootCertificateId']}") == {"RootResponse": listed}
    assert listed["caCertificate"] == b64(der(ca.root))
    assert (listed["rootType"], listed["commonName"], listed["organizationName"]) == (
        "OEM",
        "foreign root",
        "Foreign Ltd",
    )
    assert listed["distinguishedName"] == "CN=foreign root, O=Foreign Ltd"
    assert listed["rootIssuerSerialNumber"] == f"{ca.root.certificate.serial_number:x}"
    assert listed["validTo"] == ca.root.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    every = api.good("mo", "GET", RCP)["RootCertificateCollection"]["rootCertificates"]
    assert sorted(one["rootType"] for one in every) == ["MO", "OEM"]
    assert api.good("mo", "GET", f"{RCP}?rootType=V2G")["RootCertificateCollection"]["rootCertificates"] == []


def test_roots_are_listed_in_the_words_of_opnc(api):
    foreign_ca(api.runtime, "foreign", RootKind.OEM, RootKind.MO)
    (listed,) = api.good("cpo", "GET", f"{RCP_OPNC}?pkiType=emsp")["rootCertificateCollection"]
    assert (listed["rootTypeList"], "rootType" in listed) == (["eMSP"], False)
    one = api.good("cps", "GET", f"{RCP_OPNC}/{listed['rootCertificateId']}")
    assert one == {"rootCertificate": listed, "roootCertificate": listed}
    assert api.refused("cpo", "GET", f"{RCP_OPNC}?pkiType=car")[0] == 400


def test_in_dev_a_person_of_the_operators_adds_and_removes_a_root(api, new_ca):
    root = api.good("alice", "PUT", RCP, json=root_body(new_ca))["RootResponse"]
    assert api.good("oem", "GET", f"{RCP}/{root['rootCertificateId']}")["RootResponse"] == root
    status, message = api.refused("bob", "PUT", RCP, json=root_body(new_ca))
    assert (status, message) == (400, "this root is in the pool as oem already")
    assert api.good("alice", "DELETE", f"{RCP}/{root['rootCertificateId']}") == {}
    assert api.refused("oem", "GET", f"{RCP}/{root['rootCertificateId']}") == (404, NOT_FOUND)


@pytest.mark.parametrize("place", [RCP, RCP_OPNC])
def test_outside_dev_a_root_waits_for_another_person(strict, new_ca, place):
    made = strict.good("alice", "PUT", place, status=202, json=root_body(new_ca, "MO"))
    root_id = next(iter(made.values()))["rootCertificateId"]
    assert strict.refused("oem", "GET", f"{place}/{root_id}") == (404, NOT_FOUND)
    (waiting,) = strict.good("bob", "GET", "/v1/root/waiting")["waiting"]
    assert (waiting["root"]["rootCertificateId"], waiting["addedBy"]) == (root_id, "alice")
    assert (waiting["evidence"], waiting["isInForce"]) == ("read over the telephone", False)
    status, message = strict.refused("alice", "POST", f"{place}/{root_id}/confirm")
    assert (status, message) == (400, "whoever adds a root cannot confirm it")
    strict.good("bob", "POST", f"{place}/{root_id}/confirm")
    assert strict.good("oem", "GET", f"{place}/{root_id}")
    assert strict.good("bob", "GET", "/v1/root/waiting") == {"waiting": []}


@pytest.mark.parametrize("place", [RCP, RCP_OPNC])
def test_outside_dev_a_root_goes_when_two_people_ask_for_it(strict, new_ca, place):
    (root,) = [strict.runtime.pools.roots.add(der(new_ca.root), RootKind.OEM, by="alice", evidence="x")]
    strict.runtime.pools.roots.confirm(root.id, by="bob")
    for _ in range(2):
        strict.good("alice", "DELETE", f"{place}/{root.id}", status=202)
    assert strict.good("oem", "GET", f"{place}/{root.id}")
    (waiting,) = strict.good("bob", "GET", "/v1/root/waiting")["waiting"]
    assert (waiting["isInForce"], waiting["removalAskedBy"], waiting["confirmedBy"]) == (True, "alice", "bob")
    strict.good("bob", "DELETE", f"{place}/{root.id}", status=200)
    assert strict.refused("oem", "GET", f"{place}/{root.id}") == (404, NOT_FOUND)
    assert audited(strict.runtime)[-1][0] == "pool.rcp_removed"


def test_a_root_may_be_sent_as_pem_and_by_opncs_list_of_types(api, new_ca):
    sent = {"caCertificate": pem(der(new_ca.root)), "rootTypeList": ["eMSP"], "evidence": "telephone"}
    assert api.good("alice", "PUT", RCP_OPNC, json=sent)["rootCertificate"]["rootTypeList"] == ["eMSP"]


def test_our_own_root_enters_the_pool_like_anybodys(api):
    root_der = next(one.certificate_der for one in api.runtime.certificates.issuers() if one.label == "v2g-root")
    sent = {"caCertificate": b64(root_der), "rootType": "V2G", "evidence": "compared with /pki/roots by telephone"}
    made = api.good("alice", "PUT", RCP, json=sent)["RootResponse"]
    assert made["distinguishedName"].startswith("CN=V2G Root CA, DC=V2G")
    (listed,) = api.good("cpo", "GET", f"{RCP}?rootType=v2g")["RootCertificateCollection"]["rootCertificates"]
    assert listed["caCertificate"] == b64(root_der)


def test_a_root_without_35_years_is_refused(api):
    old = ForeignCa("old", api.runtime.clock.now(), root_years=34)
    status, message = api.refused("alice", "PUT", RCP, json=root_body(old))
    assert (status, message) == (400, "a new root must be valid for 35 years from now")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"caCertificate": "AAAA"}, "not a DER certificate"),
        ({"caCertificate": None}, "Invalid certificate format on caCertificate"),
        ({"rootType": "CAR"}, "rootType is one of"),
        ({"rootType": None}, "rootType is missing"),
        ({"rootType": ["OEM"]}, "rootType is a text"),
        ({"rootTypeList": ["OEM", "V2G"]}, "rootTypeList has one type"),
        ({"rootTypeList": "OEM"}, "rootTypeList has one type"),
        ({"evidence": None}, "evidence is missing"),
        ({"evidence": " "}, "say in at most"),
        ({"evidence": "x" * 2001}, "evidence is a text of at most"),
        ({"evidence": "a\x01b"}, "evidence has characters"),
    ],
)
def test_a_root_that_is_told_badly_is_refused(steady, changes, message):
    ca = ForeignCa("new", steady.runtime.clock.now())
    status, told = steady.refused("alice", "PUT", RCP, json={**root_body(ca), **changes})
    assert status == 400
    assert told.startswith(message)


@pytest.mark.parametrize("root_id", [str(uuid.UUID(int=1)), "x", "%00", "a" * 300, "..%2f.."])
def test_a_root_nobody_has_is_not_found(steady, root_id):
    for who, method, place in (("cpo", "GET", ""), ("alice", "DELETE", ""), ("alice", "POST", "/confirm")):
        status, message = steady.refused(who, method, f"{RCP}/{root_id}{place}")
        assert status == 404
        assert message in {NOT_FOUND, "Not Found"}


def test_there_is_no_certificate_trust_list_yet(steady):
    assert steady.refused("cpo", "GET", "/v1/root/ctl") == (404, "Not Found")


@pytest.mark.postgres
def test_two_people_who_ask_at_the_same_moment_remove_a_root_once(rest_postgres):
    roots = rest_postgres.runtime.pools.roots
    roots._needs_two = True
    made = [ForeignCa(f"r{number}", rest_postgres.runtime.clock.now()) for number in range(4)]
    for ca in made:
        root = roots.add(der(ca.root), RootKind.V2G, by="carol", evidence="telephone")
        with ThreadPoolExecutor(4) as people:
            asked = [people.submit(status_of, rest_postgres, who, "DELETE", root.id) for who in ("alice", "bob") * 2]
        assert Counter(one.result() for one in asked) in ({202: 1, 200: 1, 404: 2}, {202: 2, 200: 1, 404: 1})
    assert roots.waiting() == []
    assert [action for action, _ in audited(rest_postgres.runtime)].count("pool.rcp_removed") == len(made)


def status_of(api, who, method, root_id):
    return api.call(who, method, f"{RCP}/{root_id}").status_code
