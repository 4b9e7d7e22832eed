"""Who may do what over HTTP: every partner against every route, one table (v2g-domain: roles and rights).

A row has the status each caller gets for what belongs to ``oem``, ``mo``, ``cpo`` and ``alice`` (a person of the
operator's); ``other-`` is another partner of the same role, whose prefixes are others; ``oem-mo`` and ``oem-cps`` have
two roles and other prefixes too: what one role may read, the other must not touch. Owners call last. A route without a
row fails a test here: say who may call it.
"""

import base64
import csv
import io
from collections import Counter
from contextlib import contextmanager

import pytest

from pki_core.model.pools import RootKind
from pki_core.services.uploads import Upload
from pki_core.services.webhooks import EndpointWish
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import copy_home
from tests.journeys.contract_rest_acts import contract_bodies, generated
from tests.journeys.est_acts import certificates_in, station_csr
from tests.journeys.pool_acts import EMAID, PCID, ForeignCa, foreign_ca, partner, vehicle_of
from tests.journeys.rest_acts import api_of, b64, root_body, vehicle_body
from webapp.api_routes import routes_of
from webapp.batch_jobs import BatchJobs, load_file

pytest_plugins = ["tests.journeys.rest_environments"]
CALLERS = ("alice", "cps", "other-cpo", "cpo", "other-mo", "mo", "other-oem", "oem", "oem-mo", "oem-cps", "nobody")
STATION = "DEPNCE45B78C"

# endpoint, what is sent ("-" = nothing), then a status for each of CALLERS
TABLE = """
pools.rcp_all                  -       200 200 200 200 200 200 200 200 200 200 401
pools.rcp_get                  -       200 200 200 200 200 200 200 200 200 200 401
pools.rcp_waiting              -       200 403 403 403 403 403 403 403 403 403 401
pools.rcp_add                  root    200 403 403 403 403 403 403 403 403 403 401
pools.rcp_confirm              -       400 403 403 403 403 403 403 403 403 403 401
pools.rcp_remove               -       200 403 403 403 403 403 403 403 403 403 401
pools.pcp_publish              vehicle 403 403 403 403 403 403 403 200 403 403 401
pools.pcp_delete               -       403 403 403 403 403 403 404 200 404 404 401
pools.pcp_get                  -       403 200 403 403 200 200 404 200 200 200 401
pools.pcp_look_up              -       403 200 403 403 200 200 404 200 200 200 401
pools.pcp_algorithms           -       403 200 403 403 200 200 404 200 200 200 401
pools.ccp_get                  -       403 403 403 403 404 200 404 200 404 404 401
pools.ccp_of_vehicle           -       403 403 403 403 403 403 403 200 403 403 401
pools.ccp_delete               -       403 403 403 403 404 200 403 403 404 403 401
pools.ccp_default              -       403 403 403 403 403 403 403 200 403 403 401
pools.ccp_install              request 403 403 200 200 403 403 404 200 404 404 401
pools.ccp_provide              -       403 403 403 403 403 403 403 200 403 403 401
pools.ccp_add                  signed  403 201 403 403 403 201 403 403 403 201 401
pools.cps_generate             order   403 403 403 403 403 201 403 403 403 403 401
pools.cps_generate_many        orders  403 403 403 403 200 200 403 403 200 403 401
pools.cps_sign                 to-sign 403 403 403 403 403 201 403 403 403 403 401
pools.cps_forward              old     403 403 403 403 403 201 403 403 403 403 401
pools.cps_sign_only            old     403 403 403 403 403 200 403 403 403 403 401
pools.cps_signers              -       403 200 200 200 200 200 200 200 200 200 401
pools.vra_page                 -       403 403 200 200 403 403 403 403 403 403 401
pools.vra_put                  station 403 403 403 200 403 403 403 403 403 403 401
pools.vra_remove               -       403 403 404 200 403 403 403 403 403 403 401
batches.submit                 table   403 403 403 403 202 202 403 403 202 403 401
batches.recent                 -       200 200 200 200 200 200 200 200 200 200 401
batches.status                 -       404 404 404 404 404 200 404 404 404 404 401
batches.items                  -       404 404 404 404 404 200 404 404 404 404 401
batches.result                 -       404 404 404 404 404 409 404 404 404 404 401
batches.cancel                 -       404 404 404 404 404 200 404 404 404 404 401
webhooks.add                   hook    201 201 201 201 201 201 201 201 201 201 401
webhooks.all                   -       200 200 200 200 200 200 200 200 200 200 401
webhooks.get                   -       404 404 404 404 404 200 404 404 404 404 401
webhooks.change                hook    404 404 404 404 404 200 404 404 404 404 401
webhooks.remove                -       404 404 404 404 404 200 404 404 404 404 401
opnc_revocation.revoke_certificate leaf 404 404 404 200 404 404 404 404 404 404 401
est.simpleenroll               cpo     403 403 403 200 403 403 403 403 403 403 401
est.simpleenroll               mo      403 403 403 403 403 200 403 403 403 403 401
est.simpleenroll               oem     403 403 403 403 403 403 403 200 403 403 401
est.simpleenroll               cps     403 200 403 403 403 403 403 403 403 200 401
est.simpleenroll_opnc          cpo     403 403 403 200 403 403 403 403 403 403 401
est.simplereenroll             cpo     403 403 403 403 403 403 403 403 403 403 401
est.simplereenroll_opnc        cpo     403 403 403 403 403 403 403 403 403 403 401
est.serverkeygen               cpo     501 501 501 501 501 501 501 501 501 501 501
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
COMMON_NAMES = {"cpo": "DEPNCE00001", "mo": EMAID, "oem": "WPN00000000000009", "cps": "CPS 1"}


@pytest.fixture(scope="module")
def populated(rest_home, tmp_path_factory):
    """A closed environment where every owner has something; returns it with secrets, and what paths name."""
    home, secrets = rest_home
    home = copy_home(home, tmp_path_factory.mktemp("populated") / "home")
    with api_of(home, secrets) as api:
        pools = api.runtime.pools
        ca = foreign_ca(api.runtime)
        pools.provisioning.publish(partner("oem", id="oem"), vehicle_of(ca))
        generated(api.runtime, partner("mo", id="mo"))
        api.good("cpo", "PUT", "/v1/vra/cpo/endEntities", json={"commonName": STATION})
        places = {
            "root_id": pools.roots.all(RootKind.OEM)[0].id,
            "pcid": PCID,
            "emaid": EMAID,
            "common_name": STATION,
            "batch_id": submitted(api),
            "endpoint_id": hook_of(api),
        }
        signed = api.call("cpo", "POST", "/.well-known/cpo/simpleenroll", data=base64.encodebytes(station_csr()))
        made = {"places": places, "leaf": certificates_in(signed)[0], "ca": ca}
    return home, secrets, made


@contextmanager
def a_copy(populated, home):
    """A copy of it, opened."""
    founded, secrets, made = populated
    with api_of(copy_home(founded, home), secrets) as api:
        vars(api).update(made)
        yield api


@pytest.fixture(scope="module")
def read_only(populated, tmp_path_factory):
    """A copy for calls that change nothing."""
    with a_copy(populated, tmp_path_factory.mktemp("read-only") / "home") as api:
        yield api


def submitted(api):
    path = api.runtime.home / "rows.csv"
    path.write_bytes(a_table())
    mo = next(one for one in api.runtime.partners.all() if one.id == "mo")
    upload = Upload(path=path, source_name="rows.csv", partner_id=mo.id, profile_name="contract_leaf")
    return api.runtime.uploads.submit(upload)[0].id


def hook_of(api):
    mo = next(one for one in api.runtime.partners.all() if one.id == "mo")
    wish = EndpointWish(url="https://hooks.example.com/", events=("root.cert.added",))
    return api.runtime.access.webhooks.add(mo, wish).id


def a_table():
    file = io.StringIO()
    csr_der = make_csr("DEPNCC00000077", new_key(), subject=name(("CN", "DEPNCC00000077"), ("O", "MO")))
    csv.writer(file).writerows([["row_id", "csr"], ["1", b64(csr_der)]])
    return file.getvalue().encode()


def what(api, kind, *, is_opnc):
    """What a request carries."""
    if kind in COMMON_NAMES:
        csr_der = make_csr(key=new_key(), subject=name(("C", "DE"), ("O", "Any Ltd"), ("CN", COMMON_NAMES[kind])))
        return {"data": base64.encodebytes(csr_der), "content_type": "application/pkcs10"}
    if kind == "vehicle":
        body = vehicle_body(api.ca)
        chain = {"certificate": body.pop("vehicleCertificate"), **body}
        return {"json": {"provisioningCertificateChain": chain} if is_opnc else vehicle_body(api.ca)}
    if kind == "root":
        return {"json": root_body(ForeignCa("another", api.runtime.clock.now()))}
    if kind == "table":
        return {"data": a_table(), "content_type": "text/csv"}
    if kind in {"request", "signed", "order", "orders", "to-sign", "old"}:
        return {"json": contract_bodies(api, is_opnc=is_opnc)[kind]}
    sent = {
        "-": None,
        "station": {"commonName": STATION},
        "hook": {"url": "https://hooks.example.com/", "enabledEvents": ["root.cert.added"]},
        "leaf": {"certificate": b64(api.leaf), "revocationReason": "superseded"},
    }
    return {} if sent[kind] is None else {"json": sent[kind]}


def path_of(api, placed, kind):
    rule = placed.rule
    if placed.endpoint.startswith("est."):
        if "opnc" in rule:
            return f"{rule}?caDomain={kind}&iso15118Version=ISO15118-2"
        return rule.replace("<label>", kind) if "<label>" in rule else rule.replace("/est/", f"/est/{kind}/")
    identifier = EMAID if "delete" in placed.endpoint else PCID
    for key, value in {**api.places, "identifier": identifier}.items():
        rule = rule.replace(f"<{key}>", value)
    return rule + ("?name=rows.csv&profile=contract_leaf" if kind == "table" else "")


def declared(api):
    """Routes for partners by endpoint: OPNC's words and aliases count as the route itself, the many of EST do not."""
    found = {}
    for placed in routes_of(api.app):
        if placed.route.roles is not None and not (placed.is_alias and placed.endpoint.startswith("est.")):
            found.setdefault(name_of(placed), []).append(placed)
    return found


def name_of(placed):
    blueprint = placed.endpoint.partition(".")[0]
    name = f"{blueprint}.{placed.route.endpoint}"
    return name if blueprint == "est" else name.removesuffix("_opnc")


def test_every_route_for_partners_has_its_row(steady):
    assert {row[0] for row in ROWS} == set(declared(steady))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:2]))
def test_each_caller_gets_what_is_his_and_nothing_else(read_only, populated, row, tmp_path, monkeypatch):
    monkeypatch.setattr(BatchJobs, "load", lambda jobs, upload, _turn: load_file(jobs._home, upload))  # in this process
    endpoint, kind, *statuses = row
    expected = dict(zip(CALLERS, map(int, statuses), strict=True))
    for number, placed in enumerate(declared(read_only)[endpoint]):
        if placed.route.method == "GET":
            ask(read_only, placed, kind, expected)
            continue
        with a_copy(populated, tmp_path / str(number)) as api:  # what an owner did elsewhere is not done here
            ask(api, placed, kind, expected)


def test_a_token_opens_the_services_it_was_asked_for_and_no_others(read_only):
    opened = Counter()
    for who, scope in (("mo", "rcpservice"), ("oem", "pcpservice"), ("mo", "ccpservice"), ("cpo", "pkigateway")):
        sent = {"grant_type": "client_credentials", "client_id": who, "client_secret": read_only.secrets[who]}
        token = read_only.good("nobody", "POST", "/oauth/token", json={**sent, "scope": scope})["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        for endpoint, places in declared(read_only).items():
            for placed in places:
                route = placed.route
                if route.method != "GET" or not route.scope or (route.roles and who not in route.roles):
                    continue
                answer = read_only.call("nobody", "GET", path_of(read_only, placed, "-"), headers=bearer)
                assert (answer.status_code == 403) is (route.scope != scope), (who, endpoint, scope)
                opened[scope] += answer.status_code == 200
    assert all(opened[scope] for scope in ("rcpservice", "pcpservice", "ccpservice", "pkigateway"))


def ask(api, placed, kind, expected):
    """Ask in an order that keeps the owner for the end."""
    given = {}
    for who in sorted(expected, key=lambda one: 200 <= expected[one] < 300):
        answer = api.call(
            who, placed.route.method, path_of(api, placed, kind), **what(api, kind, is_opnc="/opnc/" in placed.rule)
        )
        given[who] = answer.status_code
        assert answer.mimetype in {"application/json", "text/plain", "application/pkcs7-mime"} or not answer.data
        roles = set(placed.route.roles)
        if roles and not set(who.removeprefix("other-").split("-")) & (roles | {"alice"}) and who != "nobody":
            assert answer.status_code == 403, (who, placed.rule)
    assert given == expected, placed.rule
