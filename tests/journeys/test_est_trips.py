"""What an enrolment costs on PostgreSQL: trips to the server, counted where the driver makes them."""

import pytest

from pki_core.model.revocations import Reason
from tests.builders import make_csr, new_key
from tests.journeys.acts import rows
from tests.journeys.est_acts import certificates_in, est_client, station_csr
from tests.journeys.trips import ON_POSTGRES, counted

pytest_plugins = ["tests.journeys.environments"]


@ON_POSTGRES
@pytest.mark.parametrize(("shows", "most"), [("certificate", 7), ("secret", 8)])
def test_an_enrolment_makes_few_trips_to_the_database(any_home, shows, most):
    with est_client(any_home) as client:
        if shows == "certificate":
            profile = client.runtime.profiles["tls_client"]
            issued = client.runtime.credentials.issue_certificate("demo-cpo", make_csr("x", new_key()), profile)
            caller = client.with_certificate(issued.certificate_der)
        else:
            caller = client
        certificates_in(caller.enroll(station_csr()))  # what is looked up once a process
        with counted() as trips:
            certificates_in(caller.enroll(station_csr()))
        assert len(trips) == most


@ON_POSTGRES
def test_a_certificate_withdrawn_between_two_requests_is_refused_at_once(any_home):
    with est_client(any_home) as client:
        profile = client.runtime.profiles["tls_client"]
        issued = client.runtime.credentials.issue_certificate("demo-cpo", make_csr("x", new_key()), profile)
        caller = client.with_certificate(issued.certificate_der)
        certificates_in(caller.enroll(station_csr()))
        client.runtime.revocations.revoke(f"{issued.serial:x}", Reason.KEY_COMPROMISE, actor="test")
        assert caller.enroll(station_csr()).status_code == 403
        assert rows(client.runtime, "SELECT count(*) FROM reservation") == [(0,)]
