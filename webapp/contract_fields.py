"""Fields of contract data's requests: orders, wrapped keys, EXI, the root of a provisioning service."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pki_core.model.contract_orders import LONGEST_RENEWAL, ContractOrder, OwnContract
from pki_core.model.contracts import KeyEnvelope
from pki_core.model.errors import MalformedError
from pki_core.model.limits import NOTE_LIMIT, SHA256_DIGITS, URL_LIMIT
from pki_core.model.pools import Namespace
from pki_core.services.contract_intake import MOST_SUBS
from pki_core.services.own_contracts import MOST_AT_ONCE
from pki_core.wire.contract_rows import moment_of
from pki_core.wire.pem import base64_to_der
from pki_core.wire.pool_certificate import read_certificate
from webapp import pool_fields as fields
from webapp.pool_gate import Dialect

_HEX = frozenset("0123456789abcdefABCDEF")
_MOST_KEY = 1024  # characters of base64: a wrapped key has 94 octets at most
_SUBS = "contractSignatureCertChainSubCertificates"


class Extras(NamedTuple):
    """What most requests say besides."""

    namespace: Namespace
    root_sha256: str
    meta: str
    mo_root_sha256: str


def extras_of(body: Mapping[str, Any]) -> Extras:
    """Return message definition, root of the provisioning service and remarks of a request."""
    fields.text_of(body, "subscriptionUrl", limit=URL_LIMIT)
    meta = fields.text_of(body, "metaData", "metadata", limit=NOTE_LIMIT)
    namespace = fields.namespace_of(fields.text_of(body, "xsdMsgDefNamespace"))
    root = _fingerprint_of(body, "cpsV2GRootCertificateFingerprint")
    return Extras(namespace, root, meta, _fingerprint_of(body, "moRootCertificateFingerprint"))


def _fingerprint_of(body: Mapping[str, Any], name: str) -> str:
    text = fields.text_of(body, name)
    if text and (len(text) != SHA256_DIGITS or not _HEX.issuperset(text)):
        raise MalformedError(f"{name} is a SHA-256 in hexadecimal")
    return text.lower()


def octets_of(body: Mapping[str, Any], *names: str, limit: int = _MOST_KEY) -> bytes:
    """Return octets in base64 that have to be there; ``limit`` in characters."""
    text = fields.text_of(body, *names, limit=limit, needed=True)
    try:
        return base64_to_der("".join(text.split()))
    except MalformedError:
        raise MalformedError(f"{names[0]} is not base64") from None


def order_of(body: Mapping[str, Any], dialect: Dialect) -> ContractOrder:
    """Return an order of a contract."""
    emaid = fields.emaid_of(fields.text_of(body, "emaid", needed=True), dialect)
    pcid = fields.pcid_of(fields.text_of(body, "pcid", needed=True))
    moments = []
    for name in ("contractBegins", "contractEnds"):
        moment = moment_of(fields.text_of(body, name, needed=True))
        if moment is None:
            raise MalformedError(f"The {name} does not match the specification")
        moments.append(moment)
    days = body.get("renewDays", 0)
    if type(days) is not int or not 0 <= days <= LONGEST_RENEWAL:
        raise MalformedError(f"renewDays is 0 to {LONGEST_RENEWAL}")
    return ContractOrder(
        reference=emaid,
        emaid=emaid,
        pcid=pcid,
        begins=moments[0],
        ends=moments[1],
        renew_days=days,
        namespace=fields.namespace_of(said) if (said := fields.text_of(body, "xsdMsgDefNamespace")) else None,
        meta=fields.text_of(body, "metaData", "metadata", limit=NOTE_LIMIT),
    )


def orders_of(body: Mapping[str, Any]) -> list[ContractOrder]:
    """Return the orders of a list; what one does not say, the list says for it.

    Raises:
        MalformedError: names the member that is wrong by its place, from 0 on.
    """
    listed = body.get("contracts")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_AT_ONCE:
        raise MalformedError(f"contracts is a list of 1 to {MOST_AT_ONCE} orders")
    meta = extras_of(body).meta
    orders = [_order_at(place, one) for place, one in enumerate(listed)]
    return [one if one.meta else one._replace(meta=meta) for one in orders]


def _order_at(place: int, listed: object) -> ContractOrder:
    name = f"contracts[{place}]"
    body = member_of({name: listed}, name)
    try:
        return order_of(body, Dialect.OPCP)
    except MalformedError as error:
        raise MalformedError(f"{name}: {error}") from error


def member_of(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that has to be an object."""
    found = body.get(name)
    if not isinstance(found, dict):
        raise MalformedError(f"{name} is an object")
    return found


def own_contract_of(body: Mapping[str, Any], dialect: Dialect, extras: Extras) -> OwnContract:
    """Return contract data to be signed, in the words of either dialect."""
    if dialect is Dialect.OPNC:
        bundle = member_of(body, "contractCertificateBundle")
        chain = member_of(bundle, "contractCertificateChain")
        names = ("certificate", "subCa2Certificate", "subCa1Certificate")
        pcid = fields.text_of(bundle, "pcid")
    else:
        bundle = chain = member_of(body, "contractData")
        names = ("contractCertificate", "contractSubCa2Certificate", "contractSubCa1Certificate")
        pcid = fields.text_of(body, "pcid")
    return OwnContract(
        leaf_der=fields.certificate_of(chain, names[0], shown="contractCertificate"),
        sub2_der=fields.certificate_of(chain, names[1], shown="contractSubCa2Certificate", needed=False),
        sub1_der=fields.certificate_of(chain, names[2], shown="contractSubCa1Certificate"),
        envelope=_envelope_of(bundle),
        namespace=extras.namespace,
        pcid=fields.pcid_of(pcid) if pcid else "",
        root_sha256=extras.root_sha256,
        meta=extras.meta,
    )


def old_contract_of(body: Mapping[str, Any], extras: Extras) -> OwnContract:
    """Return contract data to be signed, in the words OPCP has given up."""
    chain = member_of(body, "contractSignatureCertChain")
    listed = chain.get(_SUBS)
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_SUBS:
        raise MalformedError(f"Invalid certificate format on {_SUBS} list")
    subs = [fields.certificate_of({_SUBS: one}, _SUBS, shown=f"{_SUBS} list") for one in listed]
    try:
        for der in subs:
            read_certificate(der)
    except MalformedError:
        raise MalformedError(f"Invalid certificate format on {_SUBS} list") from None
    pcid = fields.text_of(body, "pcid")
    return OwnContract(
        leaf_der=fields.certificate_of(
            chain, "contractSignatureCertChainCertificate", shown="contractSignatureCertChainCertificate"
        ),
        sub2_der=subs[0] if len(subs) == MOST_SUBS else b"",
        sub1_der=subs[-1],
        envelope=_envelope_of(body),
        namespace=extras.namespace,
        pcid=fields.pcid_of(pcid) if pcid else "",
        root_sha256=extras.root_sha256,
        meta=extras.meta,
    )


def _envelope_of(body: Mapping[str, Any]) -> KeyEnvelope:
    return KeyEnvelope(
        dh_public_key=octets_of(body, "dHpublickey", "dHPublicKey", "dhPublicKey"),
        encrypted_private_key=octets_of(body, "contractSignatureEncryptedPrivateKey"),
    )
