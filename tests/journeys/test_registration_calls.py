"""Registration authority over HTTP and from files: a CPO's own charging stations, in clients' words and with limits."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.errors import LimitExceededError, MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.registrations import EndEntity
from pki_core.services.registrations import MAX_AT_ONCE
from pki_core.wire import registration_csv
from pki_core.wire.registration_csv import read_end_entities
from tests.journeys.acts import in_base64, rows, upload_of, write_rows
from tests.journeys.batch_api_acts import ApiClient, errors_of, sign
from tests.journeys.est_acts import est_client, station_csr
from tests.journeys.rest_acts import VRA

pytest_plugins = ["tests.journeys.rest_environments"]
STATION = {
    "commonName": "DE*PNC*E45B*78C",
    "evseID": ["DE*PNC*E45B*78C*1", "DE*PNC*E45B*78C*2"],
    "manufacture": "Example Charging Ltd",
    "deviceName": "Hall 7",
    "deviceSWVersion": "1.2.3",
    "evseSerialNumber": "4711",
    "chargeBoxSerialNumber": "",
    "ocppVersion": "2.0.1",
    "evseISOversion": "15118-20",
}


def run(*arguments):
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_station_is_registered_listed_and_forgotten(api):
    assert api.good("cpo", "PUT", VRA, json=STATION) == {}
    assert api.good("cpo", "GET", VRA) == {"endEntities": [STATION], "next_after": None}
    assert api.good("other-cpo", "GET", VRA)["endEntities"] == []
    assert api.refused("other-cpo", "DELETE", f"{VRA}/DEPNCE45B78C") == (404, "there is no such end entity")
    assert api.good("cpo", "DELETE", f"{VRA}/DEPNCE45B78C") == {}
    assert api.refused("cpo", "DELETE", f"{VRA}/DEPNCE45B78C") == (404, "there is no such end entity")


def test_many_stations_are_registered_in_one_call_and_listed_in_pages(api):
    many = [{"commonName": f"DEPNCE{at:05d}"} for at in range(MAX_AT_ONCE)]
    api.good("cpo", "PUT", VRA, json={"endEntities": many})
    api.good("cpo", "PUT", VRA, json={"commonName": "DEPNCE99999"})
    page = api.good("cpo", "GET", VRA)
    assert len(page["endEntities"]) == MAX_AT_ONCE
    rest = api.good("cpo", "GET", f"{VRA}?after={page['next_after']}")
    assert [one["commonName"] for one in rest["endEntities"]] == ["DEPNCE99999"]
    assert rest["next_after"] is None
    assert api.refused("cpo", "PUT", VRA, json={"endEntities": [*many, STATION]})[0] == 413


def test_stations_of_other_operators_are_refused_in_clients_words(steady):
    for body in ({"commonName": "FRXYZE1"}, {"endEntities": [STATION, {"commonName": "FRXYZE1"}]}):
        assert steady.refused("cpo", "PUT", VRA, json=body) == (403, "operator not allowed")
    assert steady.good("cpo", "GET", VRA)["endEntities"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"commonName": None},
        {"commonName": "no EVSEID"},
        {"commonName": "DEPNCE1\x00"},
        {"commonName": ["DEPNCE1"]},
        {"evseID": {}},
        {"evseID": 0},
        {"evseID": ["x" * 101]},
        {"evseID": ["x"] * 65},
        {"evseID": [1]},
        {"evseISOversion": "15118"},
        {"deviceName": "x" * 101},
        {"deviceName": "a\nb"},
        {"deviceName": 7},
    ],
)
def test_a_station_that_is_told_badly_is_refused(steady, changes):
    assert steady.refused("cpo", "PUT", VRA, json={**STATION, **changes})[0] == 400
    for body in ({"endEntities": [{**STATION, **changes}]}, {"endEntities": []}, {"endEntities": [7]}):
        assert steady.refused("cpo", "PUT", VRA, json=body)[0] == 400


def test_a_file_of_stations_is_registered_by_one_command(api, tmp_path, monkeypatch):
    monkeypatch.setenv("PNCPKI_HOME", str(api.runtime.home))
    monkeypatch.setattr("pki_core.services.registrations.MAX_AT_ONCE", 2)
    file = tmp_path / "stations.csv"
    lines = [f"DE*PNC*E{at},DE*PNC*E{at}*1;DE*PNC*E{at}*2,Hall {at},15118-2" for at in range(5)]
    file.write_text("commonname,evseID,deviceName,evseISOversion\r\n" + "\r\n".join(lines) + "\r\n")
    done = run("registration", "import", str(file), "--partner", "cpo")
    assert (done["rows"], done["new"]) == (5, 5)
    assert run("registration", "import", str(file), "--partner", "cpo")["new"] == 0
    listed = api.good("cpo", "GET", VRA)["endEntities"]
    assert [one["evseID"] for one in listed] == [[f"DE*PNC*E{at}*1", f"DE*PNC*E{at}*2"] for at in range(5)]


def test_one_bad_row_keeps_a_whole_file_out(api, tmp_path):
    file = tmp_path / "stations.csv"
    file.write_text('commonName,deviceName\nDEPNCE1,\n\nDEPNCE2,"a, b"\nhello,\nDEPNCE3,\n')
    with pytest.raises(MalformedError, match=r"^line 5: EVSEID 'hello' lacks"):
        api.runtime.pools.registrations.put_file("cpo", read_end_entities(file))
    file.write_text("commonName\nDEPNCE1\nFRXYZE1\n")
    with pytest.raises(NotAuthorizedError, match=r"^line 3: operator not allowed$"):
        api.runtime.pools.registrations.put_file("cpo", read_end_entities(file))
    with pytest.raises(NotFoundError):
        api.runtime.pools.registrations.put_file("nobody", read_end_entities(file))
    assert rows(api.runtime, "SELECT count(*) FROM end_entity") == [(0,)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: each column"),
        ("commonName\n", "no row"),
        ("name\nx\n", "'name' is none of"),
        ("deviceName\nx\n", "commonName among"),
        ("commonName,commonname\nx,x\n", "stands once"),
        ("commonName,deviceName\nDEPNCE1\n", "line 2: 1 fields instead of 2"),
        ("commonName,deviceName\n,x\n", "line 2: commonName is empty"),
        ("commonName,evseISOversion\nDEPNCE1,15118\n", "line 2: evseISOversion"),
        ('commonName\n"DEPNCE1\n', "line 2: unexpected end"),
        ("commonName,deviceName\nDEPNCE1," + "x" * 101, "line 2: each text"),
        ("commonName\nDEPNCE1\nDEPNCE2\nDEPNCE3\n", "at most 2 rows"),
        (b"commonName\n\xff\n", "not UTF-8"),
        ("commonName\n" + "x" * 3000, "at most 2048 octets"),
    ],
)
def test_a_file_that_is_no_table_of_stations_is_refused_with_its_line(tmp_path, monkeypatch, text, told):
    monkeypatch.setattr(registration_csv, "MAX_ROWS", 2)
    monkeypatch.setattr(registration_csv, "MAX_OCTETS", 2048)
    file = tmp_path / "stations.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((MalformedError, LimitExceededError), match=told):
        read_end_entities(file)


def test_a_label_may_ask_for_registration_before_a_station_enrols(home):
    with est_client(home, more="\n[est.labels.cpo]\nregistered_only = true\n") as station:
        refused = station.enroll(station_csr("DEPNCE45B78C"))
        assert refused.status_code == 403
        assert b"registration.missing" in refused.data
        cpo = next(one for one in station.runtime.partners.all() if one.id == "demo-cpo")
        station.runtime.pools.registrations.put(cpo, [EndEntity(common_name="DE*PNC*E45B*78C")])
        assert station.enroll(station_csr("DEPNCE45B78C")).status_code == 200
        assert station.enroll(station_csr("DEPNCE45B78D")).status_code == 403
        station.runtime.pools.registrations.remove(cpo, "DEPNCE45B78C")
        assert station.enroll(station_csr("DEPNCE45B78C")).status_code == 403
        assert (
            rows(station.runtime, "SELECT detail FROM audit WHERE action = 'est.refused'")
            == [("cpo registration.missing",)] * 3
        )


def test_a_batch_certifies_no_name_that_its_label_wants_registered_and_is_not(home, tmp_path):
    with est_client(home, more="\n[est.labels.cpo]\nregistered_only = true\n") as station:
        runtime, known, unknown = station.runtime, "DEPNCE45B78C", "DEPNCE45B78D"
        cpo = next(one for one in runtime.partners.all() if one.id == "demo-cpo")
        runtime.pools.registrations.put(cpo, [EndEntity(common_name="DE*PNC*E45B*78C")])
        table = [[one, in_base64(station_csr(one)), ""] for one in (unknown, known)]
        upload = upload_of(write_rows(tmp_path / "stations.csv", table), "demo-cpo", "evse_leaf")
        batch = runtime.uploads.submit(upload)[0]
        sign(runtime, batch.id)
        with runtime.store.reading() as work:
            verdicts = [(row.common_name, row.code) for piece in work.batches.results(batch.number, 9) for row in piece]
    assert verdicts == [(unknown, "registration.missing"), (known, "issued")]


def test_where_requests_are_approved_one_by_one_no_partner_hands_in_a_file_of_them(home):
    with est_client(home, more='\n[est.labels.cpo]\napproval = "manual"\n') as station:
        answer = ApiClient(station.runtime, "demo-cpo").upload(b"row_id,csr\n")
    assert (answer.status_code, errors_of(answer)[1]) == (
        403,
        ["these requests are approved one by one: enrol over EST, or ask the operator"],
    )
