"""What partners send about contracts over HTTP: orders, own data, data of other services, requests of vehicles."""

from datetime import timedelta

from cryptography import x509

from pki_core.model.contract_orders import ContractOrder
from pki_core.model.contracts import CertificateChain
from pki_core.model.pools import Namespace, RootKind
from pki_core.wire.contract_data import answer_2, sign_message
from pki_core.wire.contract_envelope import wrap_2
from tests.builders import MemorySigner, new_key, some_key
from tests.contract_chains import Entity, issue
from tests.journeys import contract_acts
from tests.journeys.contract_acts import P256, Garage, signed_data
from tests.journeys.pool_acts import EMAID, PCID, der, foreign_ca
from tests.journeys.rest_acts import b64
from tests.vehicle import Vehicle

GENERATE, GENERATE_OPNC = "/v1/cps/generate/signedContractData", "/opnc/v1/cps/contractData/generateandsign"
SIGN, SIGN_OPNC = "/v1/cps/contractData/signed", "/opnc/v1/cps/contractData/sign"
MSG_2, MSG_20, MSG_20_2020 = Namespace.ISO_2_2013.urn, Namespace.ISO_20_2022.urn, Namespace.ISO_20_2020.urn


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
    above = Entity(certificate=api.ca.sub1.certificate, key=None, above=root_of(api.ca))
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


def order(api, emaid=contract_acts.EMAID, pcid=contract_acts.PCID, namespace=MSG_2, **changes):
    """An order for the vehicle of ``Garage``."""
    return order_body(api.runtime, emaid, pcid, xsdMsgDefNamespace=namespace, **changes)


def generate(api, who="mo", path=GENERATE, **changes):
    answer = api.call(who, "PUT", path, json=order(api, **changes))
    assert (answer.status_code, answer.data) == (201, b"")
    assert "Content-Type" not in answer.headers


def request_of(vehicle, namespace=MSG_2):
    exi = vehicle.request_2() if namespace == MSG_2 else vehicle.request_20()
    return {"certificateInstallationReq": b64(exi), "xsdMsgDefNamespace": namespace}


def own_data(api, vehicle, emaid=contract_acts.EMAID):
    """Contract data that an operator made himself; returns its parts and the contract's key."""
    ca, key = foreign_ca(api.runtime), new_key()
    envelope = wrap_2(key, x509.load_der_x509_certificate(vehicle.chain.certificate_der).public_key())
    return ca, ca.leaf(emaid, key), envelope


def root_of(ca):
    return Entity(certificate=ca.root.certificate, key=None, above=None)


def signed_elsewhere(api, vehicle, branch="CPS", emaid=contract_acts.EMAID):
    """Contract data that another provisioning service signed, below a V2G root of the RCP."""
    ca, leaf_der, envelope = own_data(api, vehicle)
    root = issue("Other V2G Root", new_key(), lifetime=timedelta(days=365 * 40))
    api.runtime.pools.roots.add(root.der, RootKind.V2G, by="alice", evidence="read over the telephone")
    sub = issue("Other Prov Sub", new_key(), root)
    cps = issue("Other CPS", new_key(), sub, branch, is_ca=False)
    chain = CertificateChain(certificate_der=leaf_der, sub_certificates_der=(der(ca.sub2), der(ca.sub1)))
    signer = MemorySigner(P256)
    signer.key = cps.key
    message = sign_message(answer_2(cps.chain(), chain, envelope, emaid), signer)
    return message, (root, root_of(ca))
