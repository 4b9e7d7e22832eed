"""Commands about the audit log."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.output import EXIT_FAULT, Home, Json, answer, open_home, reports_errors
from pki_core.model.errors import SettingsError

audit_app = typer.Typer(help="The audit log: sealed under signed checkpoints, verified.", no_args_is_help=True)


@audit_app.command("seal")
@reports_errors
def seal(home: Home = None, as_json: Json = False) -> None:
    """Put every row written so far under a signed checkpoint."""
    sealed = open_home(home).audit_log.seal()
    text = f"checkpoint {sealed.number}: {sealed.rows} new rows" if sealed.rows else "there is nothing new to seal"
    answer(asdict(sealed), text, as_json=as_json)


@audit_app.command("verify")
@reports_errors
def verify(
    anchor: Annotated[
        Path | None, typer.Option(help="File of anchor lines kept elsewhere, by a log collector.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Recompute every chain, check every signature and the anchor; exit code 4 when something was changed."""
    if anchor is not None and not anchor.is_file():
        raise SettingsError(f"there is no file {anchor}")
    verified = open_home(home).audit_log.verify(anchor)
    counts = (
        f"{verified.checkpoints} checkpoints over {verified.sealed_rows} rows, {verified.unsealed_rows} not sealed yet"
    )
    told = [f"FAULT {fault}" for fault in verified.faults] or ["sealed rows are unchanged"]
    if verified.unsealed_rows:
        told.append(f"the {verified.unsealed_rows} rows since the last checkpoint are under no seal yet: not judged")
    answer({"ok": not verified.faults, **asdict(verified)}, "\n".join([counts, *told]), as_json=as_json)
    if verified.faults:
        raise typer.Exit(EXIT_FAULT)
