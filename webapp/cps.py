"""The provisioning service and the MO CA over HTTP, in the words of OPCP (cps.v1) and OPNC (cps.api.v1)."""

from dataclasses import replace
from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.clock import rfc3339
from pki_core.model.contract_orders import OwnContract, SignedContract
from pki_core.model.contracts import Message2
from pki_core.model.cps import CpsSigner
from pki_core.model.errors import MalformedError
from pki_core.model.partners import Partner
from pki_core.model.pools import Namespace
from pki_core.model.profiles import Edition
from pki_core.model.requests import Issued
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import Runtime
from pki_core.services.contract_generation import Roots
from pki_core.wire.contract_data import decode_message
from pki_core.wire.contract_xml import encode_xml
from pki_core.wire.root_facts import read_root_facts
from webapp import contract_schemas as schemas
from webapp import pool_fields as fields
from webapp.api_routes import Answer, Route, json_of, refusals
from webapp.contract_fields import Extras, extras_of, old_contract_of, order_of, orders_of, own_contract_of
from webapp.errors import empty_answer
from webapp.pool_gate import Dialect, Words, in_dialects
from webapp.pool_schemas import found, json_body_of, list_of, within
from webapp.rest import json_body

_MAX_LIST = 1_048_576  # octets of a thousand orders
_route = partial(Route, path="", tag="CPS", scope="cpservice")  # dialects have paths of their own
_READERS = ("oem", "cpo", "mo", "cps")
_CREATED = 201


class CpsViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._contracts = runtime.contracts

    def generate(self, dialect: Dialect, partner: Partner) -> Response:
        """Make a contract on an operator's behalf."""
        body = json_body(request)
        extras = extras_of(body)
        order = order_of(body, dialect)
        roots = Roots(extras.root_sha256, extras.mo_root_sha256)
        self._contracts.generation.generate_one(partner, order, extras.namespace, roots)
        return empty_answer(_CREATED)

    def generate_many(self, partner: Partner) -> Response:
        """Make many, each by itself."""
        body = json_body(request, _MAX_LIST)
        extras, orders = extras_of(body), orders_of(body)
        roots = Roots(extras.root_sha256, extras.mo_root_sha256)
        made = self._contracts.generation.generate(partner, orders, extras.namespace, roots)
        verdicts = [
            {
                "emaid": order.emaid,
                "pcid": order.pcid,
                "verdict": "issued" if isinstance(outcome, Issued) else "refused",
                "code": "issued" if isinstance(outcome, Issued) else outcome.code,
                "message": "" if isinstance(outcome, Issued) else outcome.message,
            }
            for order, outcome in zip(orders, made, strict=True)
        ]
        return jsonify(verdicts=verdicts)

    def sign(self, dialect: Dialect, partner: Partner) -> Response:
        """Sign contract data of an operator with his own PKI, and store it where he names a vehicle."""
        body = json_body(request)
        extras = extras_of(body)
        signed = self._signed(partner, own_contract_of(body, dialect, extras))
        if dialect is Dialect.OPNC:
            return _created(jsonify(signedContractData=_shown_opnc(signed, extras)))
        return _created(jsonify(_shown(signed, extras)))

    def forward(self, partner: Partner) -> Response:
        """Sign and store."""
        body = json_body(request)
        extras = extras_of(body)
        contract = old_contract_of(body, extras)
        if not contract.pcid:
            raise MalformedError("pcid is missing")
        return _created(jsonify(_shown(self._signed(partner, contract), extras)))

    def sign_only(self, partner: Partner) -> Response:
        """Sign and hand back."""
        body = json_body(request)
        extras = extras_of(body)
        contract = replace(old_contract_of(body, extras), pcid="")
        return jsonify(_shown(self._signed(partner, contract), extras))

    def signers(self, dialect: Dialect, _partner: Partner) -> Response:
        """List who signs contract data here."""
        active = self._contracts.signers.active()
        if dialect is Dialect.OPNC:
            return jsonify(cpsCertificateDataCollection=[_signer_opnc(one) for one in active])
        return jsonify(cpsCertificates=[_signer(one) for one in active])

    def _signed(self, partner: Partner, contract: OwnContract) -> SignedContract:
        (signed,) = self._contracts.own.sign(partner, [contract])
        return signed


def cps_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of provisioning service and MO CA."""
    views = CpsViews(runtime)
    return [*_generating(views), *_signing(views), *_signers(views)]


def _generating(views: CpsViews) -> list[Route]:
    made = {_CREATED: Answer(summary="The contract is in the CCP.")}
    generate = _route(
        method="PUT",
        view=views.generate,
        summary="Make a contract on an operator's behalf: key, certificate, signature, and its place in the CCP.",
        details="The private key is encrypted for the vehicle and kept nowhere else. The same EMAID and PCID again "
        "replace the contract. A first contract is in force from contractBegins on; one that replaces a contract in "
        "force is in force at once, as its certificate is. renewDays asks for another contract of so many days when "
        "this one ends.",
        answers=refusals(400, 404, 413),
        roles=("mo",),
    )
    many = _route(
        method="POST",
        path="/v1/cps/generate/contracts",
        view=views.generate_many,
        summary="Make many contracts: a verdict for each, and an order that is refused stops no other.",
        details="A list with a malformed order is refused whole, with the order's place: contracts[0] is the first. "
        "Where a part of this service is away, the answer is 503 before anything is made; what fails later is the "
        "verdict of its orders. The code contract.try_later means that a part was away: order that one again; "
        "internal, that the fault is ours. What replaces a contract in force is in force at once, whatever its "
        "contractBegins.",
        answers={
            200: json_of(schemas.VERDICTS, "The verdicts, in the order of the orders."),
            **refusals(400, 404, 413),
        },
        roles=("mo",),
        body=json_body_of(schemas.ORDERS),
        name="cps_generate_many",
    )
    body = json_body_of(schemas.ORDER)
    return [
        *in_dialects(
            "cps_generate",
            generate,
            Words(path="/v1/cps/generate/signedContractData", answers=made, body=body),
            Words(path="/opnc/v1/cps/contractData/generateandsign", answers=made, body=body),
        ),
        many,
    ]


def _signing(views: CpsViews) -> list[Route]:
    sign = _route(
        method="PUT",
        view=views.sign,
        summary="Sign contract data of an operator with his own PKI; with a PCID it goes into the CCP, too.",
        details="The chain of the contract certificate has to lead to a root of the RCP; every status is asked.",
        answers=refusals(400, 413),
        roles=("mo",),
    )
    old = json_body_of(schemas.TO_SIGN_OLD)
    forward = replace(
        sign,
        path="/v1/cps/forward/signedContractData",
        view=views.forward,
        summary="Sign contract data and put it into the CCP.",
        answers={_CREATED: json_of(schemas.SIGNED, "Signed and stored."), **sign.answers},
        name="cps_forward",
        body=old,
        is_deprecated=True,
    )
    sign_only = replace(
        sign,
        path="/v1/cps/signedContractData",
        view=views.sign_only,
        summary="Sign contract data and hand it back.",
        answers={200: json_of(schemas.SIGNED, "Signed."), **sign.answers},
        name="cps_sign_only",
        body=old,
        is_deprecated=True,
    )
    return [
        *in_dialects(
            "cps_sign",
            sign,
            Words(
                path="/v1/cps/contractData/signed",
                answers={_CREATED: json_of(schemas.SIGNED, "Signed: XML for ISO 15118-2, EXI for -20.")},
                body=json_body_of(schemas.TO_SIGN),
            ),
            Words(
                path="/opnc/v1/cps/contractData/sign",
                answers={_CREATED: json_of(within("signedContractData", schemas.SIGNED_OPNC), "Signed: EXI.")},
                body=json_body_of(schemas.TO_SIGN_OPNC),
            ),
        ),
        forward,
        sign_only,
    ]


def _signers(views: CpsViews) -> list[Route]:
    signers = _route(
        method="GET",
        view=views.signers,
        summary="List the certificates that contract data is signed with, the newest first.",
        answers=refusals(),
        roles=_READERS,
        scope="",
    )
    return in_dialects(
        "cps_signers",
        signers,
        Words(
            path="/v1/cps/signer",
            answers=found(within("cpsCertificates", list_of(schemas.SIGNER))),
            aliases=("/cps/signer",),
        ),
        Words(
            path="/opnc/v1/cps/cpsCertificates",
            answers=found(within("cpsCertificateDataCollection", list_of(schemas.SIGNER_OPNC))),
        ),
    )


def _created(answer: Response) -> Response:
    answer.status_code = _CREATED
    return answer


def _facts(signed: SignedContract, extras: Extras) -> dict[str, Any]:
    shown = {
        "pcid": signed.pcid,
        "emaid": signed.emaid,
        "xsdMsgDefNamespace": signed.namespace.urn,
        "cpsV2GRootCertificateFingerprint": signed.root_sha256,
        "cpsRootDistinguishedName": read_root_facts(signed.root_der).distinguished_name,
    }
    return {**shown, "metaData": extras.meta} if extras.meta else shown


def _shown(signed: SignedContract, extras: Extras) -> dict[str, Any]:
    edition = Edition.ISO_20 if signed.namespace.is_edition_20 else Edition.ISO_2
    message = decode_message(edition, signed.exi)
    data = encode_xml(message) if isinstance(message, Message2) else signed.exi
    return {**_facts(signed, extras), "signedData": fields.base64_of(data)}


def _shown_opnc(signed: SignedContract, extras: Extras) -> dict[str, Any]:
    return {**_facts(signed, extras), "certificateInstallationRes": fields.base64_of(signed.exi)}


def _signer(signer: CpsSigner) -> dict[str, Any]:
    sub2, sub1 = signer.chain.sub_certificates_der
    return {
        **_signer_facts(signer),
        "cpsRootDistinguishedName": read_root_facts(signer.root_der).distinguished_name,
        "cpsCertificate": fields.base64_of(signer.chain.certificate_der),
        "cpsSubCa1Certificate": fields.base64_of(sub1),
        "cpsSubCa2Certificate": fields.base64_of(sub2),
    }


def _signer_opnc(signer: CpsSigner) -> dict[str, Any]:
    sub2, sub1 = signer.chain.sub_certificates_der
    return {
        **_signer_facts(signer),
        "cpsV2GRootDistinguishedName": read_root_facts(signer.root_der).distinguished_name,
        "cpsCertificateChain": {
            "certificate": fields.base64_of(signer.chain.certificate_der),
            "subCa1Certificate": fields.base64_of(sub1),
            "subCa2Certificate": fields.base64_of(sub2),
        },
    }


def _signer_facts(signer: CpsSigner) -> dict[str, Any]:
    is_2 = signer.algorithm is KeyAlgorithm.SECP256R1
    facts = read_root_facts(signer.chain.certificate_der)
    return {
        "cpsDistinguishedName": facts.distinguished_name,
        "validFrom": rfc3339(signer.record.not_before),
        "validTo": rfc3339(signer.record.not_after),
        "organizationName": facts.organization,
        "cpsV2GRootCertificateFingerprint": signer.root_sha256,
        "xsdMsgDefNamespace": (Namespace.ISO_2_2013 if is_2 else Namespace.ISO_20_2022).urn,
    }
