"""The Root Certificate Pool over HTTP, in the words of OPCP (rcp.v1) and OPNC (rcp.api.v1).

Everybody reads; people of the operator's write, each under a name of his own, and outside dev two of them are needed.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from flask import Response, jsonify, request

from pki_core.model.clock import rfc3339
from pki_core.model.errors import MalformedError, NotFoundError
from pki_core.model.partners import Partner
from pki_core.model.pools import ROOT_NOT_FOUND, PoolRoot, RootKind
from pki_core.runtime import Runtime
from pki_core.services.pool_roots import MAX_EVIDENCE
from pki_core.wire.root_facts import read_root_facts
from webapp import pool_fields as fields
from webapp.pool_gate import Dialect
from webapp.rest import json_body

WORDS: Final = {kind: kind.value.upper() for kind in RootKind}
OPNC_WORDS: Final = {**WORDS, RootKind.MO: "eMSP"}  # OPNC's name for a mobility operator
_KINDS = {word.lower(): kind for kind, word in (*WORDS.items(), *OPNC_WORDS.items())}
_NO_TRUST_LIST = "No CTL"


class RootViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._pool = runtime.pools.roots

    def all(self, dialect: Dialect, _partner: Partner) -> Response:
        """List the roots in force."""
        word = fields.query_text("rootType") or fields.query_text("pkiType")
        roots = self._pool.all(_kind_of(word) if word else None)
        shown = [_shown(root, dialect) for root in roots]
        if dialect is Dialect.OPCP:
            return jsonify(RootCertificateCollection={"rootCertificates": shown})
        return jsonify(rootCertificateCollection=shown)

    def get(self, dialect: Dialect, _partner: Partner, root_id: str) -> Response:
        """Show a root in force."""
        return jsonify(_wrapped(self._pool.get(_id_of(root_id)), dialect))

    def add(self, dialect: Dialect, partner: Partner) -> Response:
        """Add a root: in force at once in dev, else when another person has confirmed it."""
        body = json_body(request)
        certificate_der = fields.certificate_of(body, "caCertificate", shown="caCertificate")
        evidence = fields.text_of(body, "evidence", limit=MAX_EVIDENCE, needed=True)
        if not all(character.isprintable() or character == "\n" for character in evidence):
            raise MalformedError("evidence has characters that cannot be shown")
        root = self._pool.add(certificate_der, _kind_in(body), by=partner.id, evidence=evidence)
        answer = jsonify(_wrapped(root, dialect))
        answer.status_code = 200 if root.is_active else 202
        return answer

    def confirm(self, _dialect: Dialect, partner: Partner, root_id: str) -> Response:
        """Put a waiting root into force."""
        self._pool.confirm(_id_of(root_id), by=partner.id)
        return jsonify({})

    def remove(self, _dialect: Dialect, partner: Partner, root_id: str) -> Response:
        """Remove a root, or ask for it."""
        is_gone = self._pool.ask_removal(_id_of(root_id), by=partner.id)
        answer = jsonify({})
        answer.status_code = 200 if is_gone else 202
        return answer

    def waiting(self, _partner: Partner) -> Response:
        """List what waits for a second person."""
        return jsonify(
            waiting=[
                {
                    "root": _shown(root, Dialect.OPCP),
                    "addedBy": root.added_by,
                    "confirmedBy": root.confirmed_by,
                    "evidence": root.evidence,
                    "isInForce": root.is_active,
                    "removalAskedBy": root.removal_asked_by,
                }
                for root in self._pool.waiting()
            ]
        )


def _shown(root: PoolRoot, dialect: Dialect) -> dict[str, Any]:
    facts = read_root_facts(root.certificate_der)
    shown: dict[str, Any] = {
        "rootCertificateId": root.id,
        "distinguishedName": facts.distinguished_name,
        "caCertificate": fields.base64_of(root.certificate_der),
        "commonName": facts.common_name,
        "organizationName": facts.organization,
        "rootAuthorityKeyIdentifier": fields.base64_of(facts.key_identifier),
        "rootAuthorityKeyIdentifierHex": fields.with_colons(facts.key_identifier),
        "rootIssuerSerialNumber": facts.serial,
        "validFrom": rfc3339(root.valid_from),
        "validTo": rfc3339(root.valid_to),
        "fingerprint": facts.sha256,
        "fingerprintSha1": facts.sha1,
        "signatureAlgorithm": facts.signature_algorithm,
    }
    if dialect is Dialect.OPCP:
        return {**shown, "rootType": WORDS[root.kind]}
    return {**shown, "rootTypeList": [OPNC_WORDS[root.kind]], "rootCtlList": [_NO_TRUST_LIST]}


def _wrapped(root: PoolRoot, dialect: Dialect) -> dict[str, Any]:
    shown = _shown(root, dialect)
    if dialect is Dialect.OPCP:
        return {"RootResponse": shown}
    return {"rootCertificate": shown, "roootCertificate": shown}  # OPNC's schema has three o; readers of sense have two


def _kind_in(body: Mapping[str, Any]) -> RootKind:
    listed = body.get("rootTypeList")
    if listed is None:
        return _kind_of(fields.text_of(body, "rootType", needed=True))
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], str):
        raise MalformedError("rootTypeList has one type; the same certificate is added once for each")
    return _kind_of(listed[0])


def _kind_of(word: str) -> RootKind:
    kind = _KINDS.get(word.lower())
    if kind is None:
        raise MalformedError(f"rootType is one of {', '.join(WORDS.values())}")
    return kind


def _id_of(text: str) -> str:
    """Return the id of a root; what is no UUID is nobody's."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFoundError(ROOT_NOT_FOUND) from None
