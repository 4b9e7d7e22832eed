"""What partners send about contracts over HTTP, for a vehicle of a foreign maker: orders, own data, requests."""

from datetime import timedelta

from cryptography import x509

from pki_core.model.contract_orders import ContractOrder
from pki_core.model.pools import Namespace
from pki_core.wire.contract_envelope import wrap_2
from tests.builders import new_key, some_key
from tests.contract_chains import Entity
from tests.journeys.contract_acts import P256, Garage, signed_data
from tests.journeys.pool_acts import EMAID, PCID, der
from tests.journeys.rest_acts import b64
from tests.vehicle import Vehicle

MSG_2 = Namespace.ISO_2_2013.urn


def generated(runtime, operator):
    """A contract made for the foreign vehicle."""
    now = runtime.clock.now()
    order = ContractOrder(EMAID, EMAID, PCID, now, now + timedelta(days=300))
    return runtime.contracts.generation.generate_one(operator, order, Namespace.ISO_2_2013)


def own_body(ca, leaf_der, envelope, *, is_opnc=False, **more):
    """Contract data of an operator's own, to be signed."""
    keys = {
        "contractSignatureEncryptedPrivateKey": b64(envelope.encrypted_private_key),
        "dHpublickey": b64(envelope.dh_public_key),
    }
    sub1, sub2 = b64(der(ca.sub1)), b64(der(ca.sub2))
    if is_opnc:
        chain = {"certificate": b64(leaf_der), "subCa2Certificate": sub2, "subCa1Certificate": sub1}
        return {
            "contractCertificateBundle": {"contractCertificateChain": chain, **keys, **more},
            "xsdMsgDefNamespace": MSG_2,
        }
    data = {
        "contractCertificate": b64(leaf_der),
        "contractSubCa1Certificate": sub1,
        "contractSubCa2Certificate": sub2,
        **keys,
    }
    return {"contractData": data, "xsdMsgDefNamespace": MSG_2, **more}


def old_body(ca, leaf_der, envelope, **more):
    """The same in the words OPCP has given up."""
    chain = {
        "contractSignatureCertChainCertificate": b64(leaf_der),
        "contractSignatureCertChainSubCertificates": [b64(der(ca.sub2)), b64(der(ca.sub1))],
    }
    return {
        "contractSignatureCertChain": chain,
        "contractSignatureEncryptedPrivateKey": b64(envelope.encrypted_private_key),
        "dHpublickey": b64(envelope.dh_public_key),
        **more,
    }


def order_body(runtime, emaid=EMAID, pcid=PCID, **changes):
    """An order of a contract."""
    now = runtime.clock.now()
    fields = {
        "emaid": emaid,
        "pcid": pcid,
        "contractBegins": now.isoformat(),
        "contractEnds": (now + timedelta(days=300)).isoformat(),
        "xsdMsgDefNamespace": MSG_2,
    }
    return {**fields, **changes}


def contract_bodies(api, *, is_opnc):
    """A body of every kind."""
    leaf_der = api.ca.leaf(PCID, some_key())
    root = Entity(certificate=api.ca.root.certificate, key=None, above=None)
    above = Entity(certificate=api.ca.sub1.certificate, key=None, above=root)
    oem = Entity(certificate=x509.load_der_x509_certificate(leaf_der), key=some_key(), above=above)
    vehicle = Vehicle(oem, P256, [Garage(api.runtime)._above("v2g-root")])
    key = new_key()
    contract_der = api.ca.leaf(EMAID, key)
    envelope = wrap_2(key, some_key().public_key())
    stored = signed_data(api.runtime, EMAID)
    signed = {"emaid": EMAID, "pcid": PCID, "xsdMsgDefNamespace": MSG_2}
    signed |= {"certificateInstallationRes" if is_opnc else "signedContractDataXML": b64(stored)}
    return {
        "request": {"certificateInstallationReq": b64(vehicle.request_2()), "xsdMsgDefNamespace": MSG_2},
        "signed": signed,
        "order": order_body(api.runtime),
        "orders": {"contracts": [order_body(api.runtime)]},
        "to-sign": own_body(api.ca, contract_der, envelope, is_opnc=is_opnc),
        "old": old_body(api.ca, contract_der, envelope, pcid=PCID),
    }
