"""Fixtures for batches over HTTP: requests and tables of them, and a client."""

import csv
import io

import pytest

from pki_core.model.signer import KeyAlgorithm
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import in_base64
from tests.journeys.batch_api_acts import ApiClient, emaid

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture(scope="session")
def requests():
    """Requests of a partner, by their number; making one costs a key."""
    made = {}

    def request(number):
        if number not in made:
            key = new_key(KeyAlgorithm.SECP256R1)
            made[number] = in_base64(make_csr(key=key, subject=name(("O", "Test"), ("CN", emaid(number)))))
        return made[number]

    return request


@pytest.fixture
def table(requests):
    """A CSV file of some good rows and some that are none."""

    def build(good, bad=0):
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(["row_id", "csr", "identifier"])
        writer.writerows([f"row-{number}", requests(number), ""] for number in range(good))
        writer.writerows([f"bad-{number}", "AAAA", ""] for number in range(bad))
        return file.getvalue().encode()

    return build


@pytest.fixture
def uploader(environment):
    return ApiClient(environment)
