"""What an order says beside vehicle and EMAID: remarks, roots, message definitions; what a vehicle has room for."""

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from pki_core.model.pools import RootKind
from pki_core.model.profiles import Edition
from pki_core.services.runners import runner_token
from pki_core.wire.contract_data import NO_CONTRACT_20, decode_message, encode_message, sign_message
from tests.journeys.acts import rows
from tests.journeys.contract_acts import (
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    P256,
    P521,
    PCID,
    contract,
    make,
    wanted,
)
from tests.journeys.contract_batch_acts import BEGINS, ENDS, submit
from tests.journeys.contract_rest_acts import (
    GENERATE,
    GENERATE_OPNC,
    MSG_2,
    MSG_20,
    SIGN,
    generate,
    order,
    own_body,
    own_data,
    request_of,
)
from tests.journeys.pool_acts import der, foreign_ca
from tests.journeys.rest_acts import CCP, CCP_OPNC, PCP, vehicle_body

pytest_plugins = ["tests.journeys.rest_environments"]
MANY = "/v1/cps/generate/contracts"


def message_defs(api, vehicle, namespace=MSG_2):
    content = api.good("cpo", "POST", CCP, json=request_of(vehicle, namespace))["CCPResponse"]["emaidContent"]
    return [one["messageDef"] for one in content]


def test_what_an_operator_says_beside_an_order_is_handed_out_with_the_contract(api, garage):
    vehicle = garage.build()
    generate(api, metaData="tariff 7")
    assert [one["metaData"] for one in message_defs(api, vehicle)] == ["tariff 7"]
    (one,) = api.good("oem", "GET", f"{CCP_OPNC}/{EMAID}/{PCID}")["signedContractDataCollection"]
    assert one["metaData"] == "tariff 7"
    generate(api)
    assert "metaData" not in message_defs(api, vehicle)[0]
    assert api.refused("mo", "PUT", GENERATE, json=order(api, metaData="x" * 4097))[0] == 400


def test_what_comes_with_data_signed_elsewhere_or_for_own_contracts_is_handed_out_too(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    api.good("mo", "PUT", SIGN, 201, json=own_body(ca, leaf_der, envelope, pcid=PCID, metaData="own"))
    ((number, _),) = rows(api.runtime, "SELECT signer_id, emaid FROM contract")
    assert number == api.runtime.contracts.signers.choose(P256).record.id
    assert message_defs(api, vehicle)[0]["metaData"] == "own"
    (stored,) = rows(api.runtime, "SELECT signed_data FROM contract_data")
    body = {"emaid": EMAID, "pcid": PCID, "metaData": "elsewhere"}
    api.good("mo", "PUT", CCP, 201, json={**body, "signedContractDataXML": base64.b64encode(stored[0]).decode()})
    assert message_defs(api, vehicle)[0]["metaData"] == "elsewhere"


def test_what_an_operator_said_outlives_a_renewal(api, garage):
    vehicle, runtime = garage.build(), api.runtime
    ends = runtime.clock.now() + timedelta(days=20)
    make(runtime, wanted(runtime, ends=ends, renew_days=100, meta="tariff 7"))
    assert runtime.contracts.renewals.run().renewed == 1
    assert contract(runtime).valid_to > ends
    assert message_defs(api, vehicle)[0]["metaData"] == "tariff 7"


def test_each_order_of_a_list_has_its_own_message_definition_and_remark(api, garage):
    old, new = garage.build(), garage.build(OTHER_PCID, P521)
    orders = [order(api), order(api, OTHER_EMAID, OTHER_PCID, MSG_20, metaData="its own")]
    del orders[0]["xsdMsgDefNamespace"]
    body = {"contracts": orders, "xsdMsgDefNamespace": MSG_2, "metaData": "the list's"}
    verdicts = api.good("mo", "POST", MANY, json=body)["verdicts"]
    assert [one["verdict"] for one in verdicts] == ["issued", "issued"]
    assert message_defs(api, old)[0]["metaData"] == "the list's"
    assert message_defs(api, new, MSG_20)[0]["metaData"] == "its own"


@pytest.mark.parametrize("path", [GENERATE, GENERATE_OPNC])
def test_the_mo_root_that_an_operator_names_is_the_one_above_or_nothing_is_made(api, garage, path):
    vehicle = garage.build()
    roots = {one.label: hashlib.sha256(one.certificate_der).hexdigest() for one in api.runtime.certificates.issuers()}
    foreign = hashlib.sha256(der(foreign_ca(api.runtime, "other", RootKind.MO).root)).hexdigest()

    def asked(fingerprint):
        return api.call("mo", "PUT", path, json=order(api, moRootCertificateFingerprint=fingerprint)).status_code

    assert asked("00" * 32) == 404
    conflicts = {asked(roots["v2g-root-20"]), asked(foreign)}
    assert conflicts <= {400, 409}
    assert asked("zz") == 400
    assert contract(api.runtime) is None
    assert asked(roots["v2g-root"].upper()) == 201
    assert message_defs(api, vehicle)


@pytest.mark.parametrize(("most", "gets"), [(1, [EMAID]), (8, [EMAID, OTHER_EMAID])])
def test_a_vehicle_gets_as_many_contracts_as_it_has_room_for(api, garage, most, gets):
    vehicle = garage.build(algorithm=P521)
    generate(api, namespace=MSG_20)
    generate(api, emaid=OTHER_EMAID, namespace=MSG_20)
    request = with_room_for(vehicle, most)
    body = {"certificateInstallationReq": base64.b64encode(request).decode(), "xsdMsgDefNamespace": MSG_20}
    content = api.good("cpo", "POST", CCP, json=body)["CCPResponse"]["emaidContent"]
    assert [one["messageDef"]["emaid"] for one in content] == gets


def test_a_vehicle_without_room_gets_a_negative_answer(api, garage):
    vehicle = garage.build(algorithm=P521)
    generate(api, namespace=MSG_20)
    request = with_room_for(vehicle, 0)
    body = {"certificateInstallationReq": base64.b64encode(request).decode(), "xsdMsgDefNamespace": MSG_20}
    answer = api.call("cpo", "POST", CCP, json=body)
    assert answer.status_code == 404
    (content,) = answer.json["CCPResponse"]["emaidContent"]
    exi = base64.b64decode(content["messageDef"]["certificateInstallationRes"])
    assert decode_message(Edition.ISO_20, exi).response_code == NO_CONTRACT_20


def with_room_for(vehicle, most):
    message = decode_message(Edition.ISO_20, vehicle.request_20())
    unsigned = replace(message, header=replace(message.header, signature=None), most_contract_chains=most)
    return encode_message(sign_message(unsigned, vehicle._signer))


def test_cas_that_answer_slowly_cost_a_chunk_no_lease(api):
    """Together they take a lease and a half; none of them alone takes a third of one."""
    runtime, ca = api.runtime, foreign_ca(api.runtime)
    for number in range(6):
        api.good("oem", "PUT", PCP, json=vehicle_body(ca, f"WPNFOREGN{number:08d}"))
    runtime.clock.moment += timedelta(days=2)  # what was known of them is too old
    source, lease = runtime.pools.status_source, runtime.batches._lease
    answered = source.status_of

    def slow(*certificates):
        runtime.clock.moment += lease / 4
        return answered(*certificates)

    source.status_of = slow
    batch = submit(runtime, [(f"DEPNC{n:09d}", f"WPNFOREGN{n:08d}", BEGINS, ENDS) for n in range(6)])
    report = runtime.batches.sign_next_chunk(batch.id, runner_token())
    assert (report.issued, report.refused) == (6, 0)
