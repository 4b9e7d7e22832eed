"""Commands about partners and what they prove themselves with."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.output import Home, Json, answer, open_home, reports_errors
from pki_core.model.certificates import serial_text
from pki_core.model.clock import rfc3339
from pki_core.model.partners import Partner as Described

partner_app = typer.Typer(
    help="Who may ask for certificates, and what they prove themselves with.", no_args_is_help=True
)

Partner = Annotated[str, typer.Argument(metavar="PARTNER", help="The partner's short name.")]
Several = Annotated[list[str] | None, typer.Option(help="As with `partner add`; may be given several times.")]
Shared = Annotated[bool, typer.Option("--shared", help="Also where another partner holds one of the prefixes.")]
By = Annotated[str, typer.Option(help="Who decided, for the audit log.", show_default=False)]


@partner_app.command("add")
@reports_errors
def add_partner(
    partner_id: Annotated[str, typer.Argument(metavar="PARTNER", help="Short name, used as user name later.")],
    role: Annotated[list[str], typer.Option(help="mo, cpo, oem, cps or operator; may be given several times.")],
    provider: Annotated[list[str] | None, typer.Option(help="5 characters: country and provider (EMAID).")] = None,
    operator: Annotated[list[str] | None, typer.Option(help="5 characters: country and operator (EVSEID).")] = None,
    wmi: Annotated[list[str] | None, typer.Option(help="3 characters (PCID).")] = None,
    shared: Shared = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Add a partner and the prefixes its identifiers must start with."""
    from pki_core.services.partners import describe_partner  # noqa: PLC0415

    partner = describe_partner(partner_id, role, provider or [], operator or [], wmi or [])
    open_home(home).partners.add(partner, exclusive=not shared)
    answer({"partner": partner.id}, f"partner {partner.id} added", as_json=as_json)


@partner_app.command("change")
@reports_errors
def change_partner(
    partner_id: Partner,
    add_role: Several = None,
    remove_role: Several = None,
    add_provider: Several = None,
    remove_provider: Several = None,
    add_operator: Several = None,
    remove_operator: Several = None,
    add_wmi: Several = None,
    remove_wmi: Several = None,
    shared: Shared = False,
    by: By = "operator",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Give a partner roles and prefixes and take others; they count from the next request on."""
    from pki_core.services.partners import describe_change  # noqa: PLC0415

    added = {"role": add_role, "provider": add_provider, "operator": add_operator, "wmi": add_wmi}
    removed = {"role": remove_role, "provider": remove_provider, "operator": remove_operator, "wmi": remove_wmi}
    change = describe_change(*({kind: typed or [] for kind, typed in one.items()} for one in (added, removed)))
    partner = open_home(home).partners.change(partner_id, change, by=by, exclusive=not shared)
    answer(_shown(partner), f"partner {partner_id} changed", as_json=as_json)


@partner_app.command("suspend")
@reports_errors
def suspend_partner(partner_id: Partner, by: By = "operator", home: Home = None, as_json: Json = False) -> None:
    """Refuse everything a partner shows, tokens included, from the next request on; what is issued stays valid."""
    open_home(home).partners.suspend(partner_id, by=by)
    answer({"suspended": partner_id}, f"partner {partner_id} is suspended", as_json=as_json)


@partner_app.command("resume")
@reports_errors
def resume_partner(partner_id: Partner, by: By = "operator", home: Home = None, as_json: Json = False) -> None:
    """Let a suspended partner's credentials count again."""
    open_home(home).partners.resume(partner_id, by=by)
    answer({"resumed": partner_id}, f"partner {partner_id} is no longer suspended", as_json=as_json)


@partner_app.command("list")
@reports_errors
def list_partners(home: Home = None, as_json: Json = False) -> None:
    """List partners with their roles and prefixes."""
    shown = [_shown(partner) for partner in open_home(home).partners.all()]
    answer({"partners": shown}, "\n".join(str(one) for one in shown), as_json=as_json)


@partner_app.command("secret")
@reports_errors
def make_secret(partner_id: Partner, home: Home = None, as_json: Json = False) -> None:
    """Make a machine secret and show it this once; the user name is the partner's id."""
    secret = open_home(home).credentials.make_secret(partner_id)
    answer({"user": partner_id, "secret": secret}, f"user:   {partner_id}\nsecret: {secret}", as_json=as_json)


@partner_app.command("code")
@reports_errors
def make_code(partner_id: Partner, home: Home = None, as_json: Json = False) -> None:
    """Make a code that is good for one enrolment, for labels that read challengePassword as one; shown this once."""
    from pki_core.model.credentials import CredentialKind  # noqa: PLC0415

    code = open_home(home).credentials.make_secret(partner_id, CredentialKind.CODE)
    answer({"partner": partner_id, "code": code}, code, as_json=as_json)


@partner_app.command("certificate")
@reports_errors
def issue_certificate(
    partner_id: Partner,
    csr: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The partner's request, PEM or DER.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Issue a TLS client certificate in the partner's name; it counts as a credential from now on."""
    from pki_core.services.credentials import CLIENT_PROFILE  # noqa: PLC0415
    from pki_core.wire.csr_body import csr_der_of  # noqa: PLC0415
    from pki_core.wire.pem import certificate_pem  # noqa: PLC0415

    runtime = open_home(home)
    issued = runtime.credentials.issue_certificate(
        partner_id, csr_der_of(csr.read_bytes()), runtime.profiles[CLIENT_PROFILE]
    )
    pem = certificate_pem(issued.certificate_der)
    result = {"partner": partner_id, "serial": serial_text(issued.serial), "pem": pem}
    answer(result, pem.rstrip(), as_json=as_json)


@partner_app.command("credentials")
@reports_errors
def list_credentials(partner_id: Partner, home: Home = None, as_json: Json = False) -> None:
    """List what a partner proves himself with; secrets themselves are stored nowhere."""
    shown: list[dict[str, Any]] = [
        {
            "id": one.id,
            "kind": one.kind.value,
            "sha256": one.sha256,
            "created_at": _moment(one.created_at),
            "not_after": _moment(one.not_after),
            "ended_at": _moment(one.ended_at),
        }
        for one in open_home(home).credentials.of_partner(partner_id)
    ]
    lines = [
        f"{one['id']:>5}  {one['kind']:12} {one['sha256'][:16]}  since {one['created_at']}"
        + (f"  ended {one['ended_at']}" if one["ended_at"] else "")
        for one in shown
    ]
    answer({"credentials": shown}, "\n".join(lines), as_json=as_json)


@partner_app.command("withdraw")
@reports_errors
def withdraw_credential(
    partner_id: Partner,
    number: Annotated[int, typer.Argument(metavar="ID", help="As `partner credentials` lists it.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Withdraw a credential: it counts for nothing from the next request on."""
    open_home(home).credentials.withdraw(partner_id, number)
    answer({"withdrawn": number}, f"credential {number} of {partner_id} is withdrawn", as_json=as_json)


def _shown(partner: Described) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "partner": partner.id,
        "roles": sorted(partner.roles),
        "providers": sorted(partner.provider_prefixes),
        "operators": sorted(partner.operator_prefixes),
        "wmis": sorted(partner.wmis),
    }
    return shown | {"suspended": True} if partner.is_suspended else shown


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else rfc3339(moment)
