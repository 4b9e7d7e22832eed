"""Kill -9 of runners that make contracts: no row without its verdict, no contract twice, no certificate without one."""

from contextlib import closing

import pytest

from pki_core.model.batches import BatchKind
from pki_core.runtime.wiring import open_runtime
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.uploads import Upload
from pki_core.store.contract_making import ContractMakingGateway
from tests.invariants import check_books, read_snapshot
from tests.journeys import crash_points
from tests.journeys.acts import copy_home, edit, write_rows
from tests.journeys.contract_acts import Garage
from tests.journeys.crash_driver import Orders, Place, Storm, harass, run, run_until_death, sign
from tests.journeys.crash_points import POINTS, Point

pytest_plugins = ["tests.journeys.environments"]
pytestmark = pytest.mark.slow
CHUNK_ROWS, VEHICLES = 6, 16
HEADER = ("emaid", "pcid", "begins", "ends")
EXPECTED = dict.fromkeys(range(VEHICLES), "issued") | {
    VEHICLES: "vehicle.not_available",
    VEHICLES + 1: "contract.ended",
}
# What lies between the certificate's signature and the rows of its contract; each in the second chunk.
OWN = {
    "before the answers are signed": Point(ContractSigning, "signed", "before", burns=True, nth=2),
    "after the answers were signed": Point(ContractSigning, "signed", "after", burns=True, nth=2),
    "between contracts and events": Point(ContractMakingGateway, "put", "after", burns=True, nth=2),
}
SHARED = ["after the reservation", "after signing", "before the record is committed", "after recording"]


def sign_contracts(place, orders):
    """Sign, in a process that knows the points of this file."""
    POINTS.update(OWN)
    return sign(place, orders)


@pytest.fixture(scope="module")
def handed_in(founded_home, tmp_path_factory):
    """A closed environment with a table of contracts for its vehicles."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("contracts") / "home")
    edit(home, r"\Z", f"\n[issuance]\nchunk_rows = {CHUNK_ROWS}\nlease_seconds = 60\n")
    with closing(open_runtime(home)) as runtime:
        pcids = [f"WPNCRASH{number:09d}" for number in range(VEHICLES)]
        Garage(runtime).build_many(pcids)
        table = [(f"DEPNC{number:09d}", pcid, "2026-01-01", "2027-01-01") for number, pcid in enumerate(pcids)]
        table += [("DEPNC000000900", "WPNNOBODY00000001", "2026-01-01", "2027-01-01")]
        table += [("DEPNC000000901", pcids[0], "2020-01-01", "2021-01-01")]
        path = write_rows(home / "contracts.csv", table, HEADER)
        upload = Upload(
            path=path,
            source_name=path.name,
            partner_id="demo-mo",
            profile_name="contract_leaf",
            kind=BatchKind.CONTRACT,
        )
        batch, _ = runtime.uploads.submit(upload)
    return home, batch.id


@pytest.fixture
def place(handed_in, tmp_path):
    home = copy_home(handed_in[0], tmp_path / "home")
    return Place(home, f"sqlite:///{home / 'store.db'}", handed_in[1])


@pytest.mark.parametrize("point", [*OWN, *SHARED])
def test_a_runner_killed_while_it_makes_contracts_costs_nothing_but_serials(place, point):
    run_until_death(sign_contracts, place, Orders(point=point))
    run(sign_contracts, place, Orders())
    books = check_books(place.url, place.batch_id)
    assert books.codes == EXPECTED
    assert books.void == (CHUNK_ROWS if (OWN | crash_points.POINTS)[point].burns else 0)
    assert len(read_snapshot(place.url).contracts) == VEHICLES


def test_runners_killed_at_random_moments_make_every_contract_once(place):
    harass(place, Storm(runners=2, kills=3, seed=1))
    run(sign_contracts, place, Orders(heal="sweep"))
    assert check_books(place.url, place.batch_id).codes == EXPECTED
