"""Kill -9 of runners that make contracts: no row without its verdict, no contract twice, no certificate without one."""

import pytest

from pki_core.services.contract_signing import ContractSigning
from pki_core.store.contract_making import ContractMakingGateway
from tests.invariants import check_books, read_snapshot
from tests.journeys import crash_points
from tests.journeys.crash_driver import (
    CHUNK_ROWS,
    VEHICLES,
    Orders,
    Storm,
    harass,
    run,
    run_until_death,
    sign,
)
from tests.journeys.crash_points import POINTS, Point

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = pytest.mark.slow
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


@pytest.mark.parametrize("point", [*OWN, *SHARED])
def test_a_runner_killed_while_it_makes_contracts_costs_nothing_but_serials(contracting, point):
    run_until_death(sign_contracts, contracting, Orders(point=point))
    run(sign_contracts, contracting, Orders())
    books = check_books(contracting.url, contracting.batch_id)
    assert books.codes == EXPECTED
    assert books.void == (CHUNK_ROWS if (OWN | crash_points.POINTS)[point].burns else 0)
    assert len(read_snapshot(contracting.url).contracts) == VEHICLES


def test_runners_killed_at_random_moments_make_every_contract_once(contracting):
    harass(contracting, Storm(runners=2, kills=3, seed=1))
    run(sign_contracts, contracting, Orders(heal="sweep"))
    assert check_books(contracting.url, contracting.batch_id).codes == EXPECTED
