"""The MO CA makes contracts for operators: keys wrapped for their vehicles, signed by the CPS, in the CCP at once."""

import pytest

from tests.journeys.contract_acts import (
    ED448,
    EMAID,
    P256,
    P521,
    PCID,
    Garage,
    contract,
    make,
    signed_data,
    wanted,
)

pytest_plugins = ["tests.journeys.environments"]
NO_SESSION = b"\0"


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_a_vehicle_installs_what_was_made_for_it(environment, algorithm):
    vehicle = Garage(environment).build(algorithm=algorithm)
    (outcome,) = make(environment, wanted(environment), algorithm=algorithm)
    assert outcome.common_name == EMAID
    install = vehicle.install_2 if algorithm is P256 else vehicle.install_20
    assert install(signed_data(environment), environment.clock.now(), NO_SESSION) == EMAID
    row = contract(environment)
    assert (row.key.pcid, row.key.algorithm, row.is_default) == (PCID, algorithm, True)
