"""Commands about CAs, ceremonies and certificates."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.output import Home, Json, answer, open_home, reports_errors, say
from pki_core.model.clock import rfc3339

if TYPE_CHECKING:
    pass

ca_app = typer.Typer(help="The CAs of the environment.", no_args_is_help=True)
ceremony_app = typer.Typer(help="Key ceremonies: one reviewed file, one act.", no_args_is_help=True)
certificate_app = typer.Typer(help="Issued certificates.", no_args_is_help=True)


@ca_app.command("list")
@reports_errors
def list_cas(home: Home = None, as_json: Json = False) -> None:
    """List every CA with its fingerprint."""
    from pki_core.wire.certificate_text import subject_text  # noqa: PLC0415
    from pki_core.wire.pem import certificate_pem  # noqa: PLC0415

    cas: list[dict[str, Any]] = [
        {
            "label": record.label,
            "branch": record.branch,
            "level": record.level.value,
            "edition": record.edition.value,
            "algorithm": record.algorithm.value,
            "subject": subject_text(record.certificate_der),
            "fingerprint": hashlib.sha256(record.certificate_der).hexdigest(),
            "not_after": rfc3339(record.not_after) if record.not_after else "",
            "pem": certificate_pem(record.certificate_der),
        }
        for record in open_home(home).certificates.issuers()
        if record.certificate_der
    ]
    lines = [f"{ca['label']:22} {ca['fingerprint'][:16]}  until {ca['not_after'][:10]}  {ca['subject']}" for ca in cas]
    answer({"cas": cas}, "\n".join(lines), as_json=as_json)


@certificate_app.command("show")
@reports_errors
def show_certificate(
    serial: Annotated[str, typer.Argument(help="Serial number in hexadecimal.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show one certificate and its status."""
    from pki_core.wire.pem import certificate_pem  # noqa: PLC0415

    record = open_home(home).certificates.show(serial)
    shown: dict[str, Any] = {
        "serial": record.serial,
        "issuer": record.issuer_label,
        "common_name": record.common_name,
        "partner": record.partner_id,
        "status": record.state.name.lower(),
        "not_before": rfc3339(record.not_before),
        "not_after": rfc3339(record.not_after),
        "issued_at": rfc3339(record.issued_at),
        "profile": record.profile_name,
        "profile_sha256": record.profile_hash,
        "fingerprint": hashlib.sha256(record.certificate_der).hexdigest(),
        "pem": certificate_pem(record.certificate_der),
    }
    answer(shown, "\n".join(f"{key}: {value}" for key, value in shown.items()), as_json=as_json)


@ceremony_app.command("run")
@reports_errors
def run_ceremony(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The reviewed ceremony file.")],
    sha256: Annotated[str, typer.Option(help="The file's hash as both witnesses saw it; needed outside dev.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run the one act a file describes."""
    ceremonies = open_home(home).ceremonies
    plan = ceremonies.read(file)
    artefacts = ceremonies.run(plan, (lambda _line: None) if as_json else say, reviewed_sha256=sha256)
    answer(
        {"label": plan.label, "artefacts": [str(path) for path in artefacts]},
        "\n".join(str(path) for path in artefacts),
        as_json=as_json,
    )
