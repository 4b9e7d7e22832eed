"""Commands that revoke and release certificates and publish CRLs."""

from typing import Annotated, Any

import typer

from flows.output import Home, Json, answer, open_home, reports_errors
from pki_core.model.clock import rfc3339
from pki_core.model.revocations import parse_reason, reason_name

crl_app = typer.Typer(help="Certificate revocation lists.", no_args_is_help=True)

Witness = Annotated[list[str] | None, typer.Option(help="Name of a witness; two where two people must decide.")]


@reports_errors
def revoke(
    serial: Annotated[str, typer.Argument(help="Serial number in hexadecimal.")],
    reason: Annotated[
        str, typer.Option(help="As in RFC 5280: keyCompromise, superseded, ...; certificateHold can be ended.")
    ] = "unspecified",
    witness: Witness = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Revoke a certificate. OCSP says so within a second, the CRL when it is published next.

    keyCompromise, cACompromise and aACompromise correct another reason, and record the key of an expired certificate.
    """
    done = open_home(home).revocations.revoke(
        serial, parse_reason(reason), actor="operator", witnesses=tuple(witness or ())
    )
    _tell(done, as_json=as_json)


@reports_errors
def release(
    serial: Annotated[str, typer.Argument(help="Serial number in hexadecimal.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """End a hold: the certificate is good again."""
    _tell(open_home(home).revocations.release(serial, actor="operator"), as_json=as_json)


@crl_app.command("publish")
@reports_errors
def publish(
    issuer: Annotated[str, typer.Option(help="Label of the CA.")],
    approve: Annotated[
        list[str] | None,
        typer.Option(help="Guard to pass over: g9 mass revocation, g5 correction, g4 a list of a wrong clock."),
    ] = None,
    witness: Witness = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Publish the CRLs of one CA now. In production this is how a root signs."""
    from pki_core.services.crls import Approval  # noqa: PLC0415

    approval = Approval(guards=frozenset(approve or ()), witnesses=tuple(witness or ()))
    records = open_home(home).crls.publish(issuer, approval=approval)
    shown = [
        {
            "scope": record.scope,
            "kind": record.kind.value,
            "number": record.crl_number,
            "entries": record.entries,
            "octets": record.octets,
            "next_update": _iso(record.next_update),
        }
        for record in records
    ]
    _table({"issuer": issuer, "published": shown}, shown, as_json=as_json)


@crl_app.command("list")
@reports_errors
def list_crls(home: Home = None, as_json: Json = False) -> None:
    """List the published CRLs with their age."""
    runtime = open_home(home)
    now = runtime.clock.now()
    shown = [
        {
            "issuer": age.issuer_label,
            "scope": age.scope,
            "kind": age.kind.value,
            "number": age.crl_number,
            "entries": age.entries,
            "this_update": _iso(age.this_update),
            "next_update": _iso(age.next_update),
            "used_up": round(age.used_up(now), 3),
        }
        for age in runtime.crls.ages()
    ]
    _table({"crls": shown}, shown, as_json=as_json)


def _tell(done: Any, *, as_json: bool) -> None:  # noqa: ANN401  # Revoked; its module takes half a second to import
    state = done.state.name.lower() if done.crl_by else "expired"
    result = {
        "serial": done.serial,
        "issuer": done.issuer_label,
        "common_name": done.common_name,
        "status": state,
        "revoked_at": _iso(done.revoked_at) if done.revoked_at else None,
        "reason": reason_name(done.reason) if done.revoked_at or not done.crl_by else None,
        "ocsp": "now" if done.has_ocsp else None,
        "crl_by": _iso(done.crl_by) if done.crl_by else None,
        "crl_needs_person": done.crl_needs_person,
    }
    if not done.crl_by:
        told = f"{done.serial} ({done.common_name}) has expired\nIts key is certified never again; no CRL lists it"
        answer(result, told, as_json=as_json)
        return
    crl = f"CRL by {_iso(done.crl_by)}"
    if done.crl_needs_person:
        crl = f"CRL: pncpki crl publish --issuer {done.issuer_label}"
    first = "OCSP says so within a second" if done.has_ocsp else "This service refuses it from now on"
    told = f"{done.serial} ({done.common_name}) is {state}\n{first}; {crl}"
    answer(result, told, as_json=as_json)


def _table(result: dict[str, Any], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    answer(result, "\n".join("  ".join(str(value) for value in row.values()) for row in rows), as_json=as_json)


def _iso(moment: Any) -> str:  # noqa: ANN401  # a datetime
    return rfc3339(moment)
