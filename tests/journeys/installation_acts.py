"""What a vehicle asks for, and the codes of negative answers."""

from pki_core.model.pools import Namespace
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message
from tests.journeys.pool_acts import partner
from tests.vehicle import SESSION

CPO, OEM, MO = partner("cpo", id="cpo"), partner("oem", id="oem"), partner("mo", id="mo")
ISO_2, ISO_20 = Namespace.ISO_2_2013, Namespace.ISO_20_2022


def ask(runtime, vehicle, namespace=ISO_2, by=CPO, **changes):
    exi = vehicle.request_20(**changes) if namespace.is_edition_20 else vehicle.request_2(**changes)
    return runtime.contracts.installations.answer(by, exi, namespace)


def code_of(answer, edition=Edition.ISO_2):
    (item,) = answer.items
    assert (answer.is_found, item.contract) == (False, None)
    message = decode_message(edition, item.exi)
    assert message.header.session_id == SESSION
    return message.body.response_code if edition is Edition.ISO_2 else message.response_code
