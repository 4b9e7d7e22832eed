"""Tables of contracts: contract data in the CCP for every good row, a verdict for every row, after any crash."""

import csv
import json
from contextlib import closing, suppress

import pytest

from pki_core.issuance import pace
from pki_core.model.batches import BatchKind
from pki_core.model.errors import (
    ConflictError,
    ConstraintError,
    MalformedError,
    NotFoundError,
    SignerUnavailableError,
    VehicleChangedError,
)
from pki_core.model.revocations import Reason
from pki_core.runtime.wiring import Runtime
from pki_core.services.batches import MAX_ATTEMPTS
from pki_core.services.contracts import Contracts
from pki_core.services.runners import runner_token
from pki_core.services.uploads import Upload
from pki_core.store.contract_making import ContractMakingGateway
from tests.builders import SetClock
from tests.journeys.acts import copy_home, rows, uploads_with
from tests.journeys.contract_acts import ED448, P256, P521, SUFFIX, Garage, contract, signed_data
from tests.journeys.contract_batch_acts import (
    BEGINS,
    ENDS,
    HEADER,
    codes,
    emaid_of,
    pcid_of,
    sign,
    submit,
    upload_of_contracts,
)
from tests.journeys.crash_faults import INTEGRITY, refusing
from tests.journeys.pool_acts import emaids
from tests.journeys.rest_acts import api_of
from webapp.batch_jobs import BatchJobs, load_file

pytest_plugins = ["tests.journeys.rest_environments"]


def test_every_good_row_is_a_contract_and_every_row_has_a_verdict(any_environment):
    runtime = any_environment
    vehicles = Garage(runtime).build_many([pcid_of(number) for number in range(6)])
    good = [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(6)]
    bad = {
        6: (emaid_of(6), "WPNNOBODY00000001", BEGINS, ENDS),
        7: ("FRXYZ000000001", pcid_of(0), BEGINS, ENDS),
        8: (emaid_of(8), pcid_of(0), BEGINS, "2020-01-01"),
        9: (emaid_of(9), pcid_of(0), "tomorrow", ENDS),
        10: (emaid_of(0), pcid_of(0), BEGINS, ENDS),
        11: (emaid_of(11), "", BEGINS, ENDS),
        12: ("DEPNC", pcid_of(0), BEGINS, ENDS),
        13: (emaid_of(13), pcid_of(0), ENDS, BEGINS),
    }
    batch = submit(runtime, [*good, *bad.values()])
    counts = sign(runtime, batch)
    assert (counts.issued, counts.refused) == (6, 8)
    assert codes(runtime, batch) == dict.fromkeys(range(6), "issued") | {
        6: "vehicle.not_available",
        7: "identifier.outside_prefixes",
        8: "contract.ended",
        9: "row.begins_invalid",
        10: "row.duplicate_id",
        11: "row.pcid_missing",
        12: "identifier.invalid",
        13: "contract.ended",
    }
    for number, vehicle in enumerate(vehicles):
        now = runtime.clock.now()
        assert vehicle.install_2(signed_data(runtime, emaid_of(number)), now, b"\0") == emaid_of(number)


@pytest.mark.parametrize("algorithm", [P521, ED448])
def test_a_table_for_vehicles_of_the_twenty_edition_names_their_profile(environment, algorithm):
    (vehicle,) = Garage(environment).build_many([pcid_of(0)], algorithm)
    batch = submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)], "contract_leaf" + SUFFIX[algorithm])
    assert sign(environment, batch).issued == 1
    assert vehicle.install_20(signed_data(environment, emaid_of(0)), environment.clock.now(), b"\0") == emaid_of(0)


def test_a_row_may_have_a_name_of_its_own_and_say_how_long_it_is_renewed(environment):
    Garage(environment).build(pcid_of(0))
    header = (*HEADER, "renew_days", "row_id")
    batch = submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS, 180, "order 7")], header=header)
    assert sign(environment, batch).issued == 1
    assert rows(environment, "SELECT row_id FROM batch_item") == [("order 7",)]
    assert rows(environment, "SELECT renew_days FROM contract_data") == [(180,)]


def test_the_bundle_of_a_table_has_the_certificates_and_no_key(environment, tmp_path):
    Garage(environment).build(pcid_of(0))
    batch = submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)])
    sign(environment, batch)
    environment.results.write(batch.id, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["verdict"], row["common_name"]) == ("issued", emaid_of(0))
    assert row["certificate_pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in (tmp_path / "out" / "results.csv").read_text()


def test_contracts_in_ndjson_are_the_same_batch_kind(environment):
    Garage(environment).build(pcid_of(0))
    path = environment.home / "contracts.ndjson"
    path.write_text(json.dumps(dict(zip(HEADER, (emaid_of(0), pcid_of(0), BEGINS, ENDS), strict=True))) + "\n")
    upload = Upload(
        path=path,
        source_name=path.name,
        partner_id="demo-mo",
        profile_name="contract_leaf",
        kind=BatchKind.CONTRACT,
    )
    batch, _ = environment.uploads.submit(upload)
    assert sign(environment, batch).issued == 1


def test_a_row_that_is_refused_with_its_whole_chunk_ends_up_alone_and_the_others_are_contracts(
    environment, monkeypatch
):
    Garage(environment).build_many([pcid_of(number) for number in range(4)])
    batch = submit(environment, [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(4)])
    plain = Contracts.request_of

    def stumbling(contracts, one, vehicle, spki_der):
        if one.emaid == emaid_of(2):
            raise MalformedError("nobody foresaw this row")
        return plain(contracts, one, vehicle, spki_der)

    monkeypatch.setattr(Contracts, "request_of", stumbling)
    for _ in range(20):
        with suppress(MalformedError):
            sign(environment, batch)
            break
    assert codes(environment, batch) == dict.fromkeys((0, 1, 3), "issued") | {2: "row.quarantined"}


def test_a_row_that_the_database_never_takes_ends_up_alone_and_the_others_are_contracts(any_environment):
    runtime, last = any_environment, 7
    Garage(runtime).build_many([pcid_of(number) for number in range(last + 1)])
    table = [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(last + 1)]
    batch = uploads_with(runtime, 4).submit(upload_of_contracts(runtime, table))[0]
    url, raised = str(runtime.store._engine.url.render_as_string(hide_password=False)), 0
    with refusing(url, "contract", f"NEW.emaid = '{emaid_of(2)}'", INTEGRITY):
        for run in range(20):
            try:
                sign(runtime, batch)
                break
            except ConstraintError:
                raised += 1
            if run == 2:  # the chunk that failed stood in nobody's way
                assert codes(runtime, batch) == dict.fromkeys(range(4, last + 1), "issued")
    assert codes(runtime, batch) == dict.fromkeys({*range(last + 1)} - {2}, "issued") | {2: "row.quarantined"}
    assert raised == 2 * MAX_ATTEMPTS
    assert emaids(runtime) == [emaid_of(number) for number in range(last + 1) if number != 2]


@pytest.mark.parametrize("rows_of_a_chunk", [4, 8])
def test_a_vehicle_that_changes_during_every_attempt_ends_up_alone_and_the_others_are_contracts(
    any_environment, monkeypatch, rows_of_a_chunk
):
    runtime, restless, total = any_environment, 2, 8
    garage = Garage(runtime)
    garage.build_many([pcid_of(number) for number in range(total)])
    table = [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(total)]
    batch = uploads_with(runtime, rows_of_a_chunk).submit(upload_of_contracts(runtime, table))[0]
    plain, raised = Contracts.sign, 0

    def changing(contracts, messages, signer, keep):
        made = plain(contracts, messages, signer, keep)
        garage.build(pcid_of(restless))
        return made

    monkeypatch.setattr(Contracts, "sign", changing)
    for _ in range(20):
        try:
            sign(runtime, batch)
            break
        except VehicleChangedError:
            raised += 1
    assert codes(runtime, batch) == dict.fromkeys({*range(total)} - {restless}, "issued") | {
        restless: "row.quarantined"
    }
    assert raised == 2 * MAX_ATTEMPTS


def test_a_clash_with_another_writer_costs_a_chunk_nothing(environment, monkeypatch):
    Garage(environment).build(pcid_of(0))
    batch = submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)])
    plain, clashes = ContractMakingGateway.put, iter(range(MAX_ATTEMPTS - 1))

    def clashing(gateway, *arguments):
        if next(clashes, None) is not None:
            raise ConstraintError("somebody was quicker")
        plain(gateway, *arguments)

    monkeypatch.setattr(ContractMakingGateway, "put", clashing)
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(ConstraintError):
            sign(environment, batch)
    assert sign(environment, batch).issued == 1


def test_a_table_waits_for_a_signer_and_goes_on_when_there_is_one(environment):
    Garage(environment).build(pcid_of(0))
    batch = submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)])
    signer = environment.contracts.signers.choose(P256).record
    environment.revocations.revoke(signer.serial, Reason.CERTIFICATE_HOLD, actor="test")
    with pytest.raises(SignerUnavailableError):
        environment.batches.check_ready(batch.id)
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(SignerUnavailableError):
            sign(environment, batch)
    assert codes(environment, batch) == {}
    environment.revocations.release(signer.serial, actor="test")
    assert sign(environment, batch).issued == 1
    assert codes(environment, batch) == {0: "issued"}


def test_what_is_no_table_of_contracts_is_refused_whole(environment):
    with pytest.raises(MalformedError, match="no column 'pcid'"):
        submit(environment, [(emaid_of(0), BEGINS, ENDS)], header=("emaid", "begins", "ends"))
    with pytest.raises(NotFoundError, match="no certificate profile of contracts"):
        submit(environment, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)], "evse_leaf")
    table, header = [("a", "b", "c", "d", "e", "f")], (*HEADER, "row_id", "csr")
    submit(environment, table, header=header)
    with pytest.raises(ConflictError, match="of another kind"):
        submit(environment, table, header=header, kind=BatchKind.CSR)
    assert contract(environment, emaid_of(0)) is None


def test_a_table_of_contracts_comes_in_over_http_and_tells_its_kind(rest_home, tmp_path, monkeypatch):
    monkeypatch.setattr(BatchJobs, "load", lambda jobs, upload, _turn: load_file(jobs._home, upload))  # in this process
    home, secrets = rest_home
    with api_of(copy_home(home, tmp_path / "home"), secrets) as api:
        Garage(api.runtime).build(pcid_of(0))
        table = "\n".join([",".join(HEADER), ",".join((emaid_of(0), pcid_of(0), BEGINS, ENDS))])
        sent = {"data": table.encode(), "content_type": "text/csv"}
        accepted = api.good("mo", "POST", "/v1/batches?name=a.csv&kind=contract", 202, **sent)
        assert (accepted["kind"], accepted["total"]) == ("contract", 1)
        assert api.refused("mo", "POST", "/v1/batches?name=a.csv&kind=other", **sent)[0] == 400
        assert sign(api.runtime, api.runtime.batches.get(accepted["id"])).issued == 1
        (item,) = api.good("mo", "GET", f"/v1/batches/{accepted['id']}/items")["items"]
        assert (item["verdict"], item["common_name"]) == ("issued", emaid_of(0))


def test_a_slow_token_makes_contracts_under_one_lease_renewed_meanwhile(any_environment, monkeypatch):
    vehicles = 6
    Garage(any_environment).build_many([pcid_of(number) for number in range(vehicles)])
    table = [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(vehicles)]
    batch = submit(any_environment, table)
    clock = SetClock(any_environment.clock.now())
    monkeypatch.setattr(pace, "FIRST", 1)
    monkeypatch.setattr(pace, "monotonic", lambda: clock.now().timestamp())
    with closing(Runtime(any_environment.home, any_environment.settings, clock)) as runtime:
        lease, signer = runtime.settings.issuance.lease_seconds, type(runtime.issuers.get("mo-sub2")._signer)
        plain = signer.sign

        def sign_slowly(self, messages):
            clock.advance(
                seconds=lease / vehicles * len(messages)
            )  # certificates fill a lease, their contracts another
            return plain(self, messages)

        monkeypatch.setattr(signer, "sign", sign_slowly)
        assert runtime.batches.sign_next_chunk(batch.id, runner_token()).issued == vehicles
        assert runtime.batches.status(batch.id)[1].issued == vehicles
