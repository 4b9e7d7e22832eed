"""What we make for a vehicle, opened by the package iso15118; PNCPKI_ISO15118_PYTHON names a Python that has it."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message
from tests.journeys.contract_acts import EMAID, Garage, make, signed_data, wanted

pytest_plugins = ["tests.journeys.environments"]
PYTHON = os.environ.get("PNCPKI_ISO15118_PYTHON", "")
CHILD = Path(__file__).with_name("iso15118_child.py")


@pytest.mark.skipif(not PYTHON, reason="PNCPKI_ISO15118_PYTHON names no Python with iso15118")
def test_the_published_vehicle_opens_the_envelope_of_a_contract_we_made(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    data = signed_data(environment)
    body = decode_message(Edition.ISO_2, data).body
    pem = vehicle.agreement_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    question = {
        "decrypt": body.encrypted_private_key.value.hex(),
        "vehicle_key": pem,
        "dh_public_key": body.dh_public_key.value.hex(),
    }
    answer = subprocess.run(
        [PYTHON, str(CHILD)], input=json.dumps(question) + "\n", capture_output=True, text=True, check=True
    )
    assert vehicle.install_2(data, environment.clock.now(), b"\0") == EMAID
    key, _ = vehicle.installed[EMAID]
    scalar = key.private_numbers().private_value.to_bytes(32)
    assert bytes.fromhex(json.loads(answer.stdout)["key"]) == scalar
