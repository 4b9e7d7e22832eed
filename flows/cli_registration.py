"""Commands about charging stations that are registered before they enrol (Hubject VRA)."""

from pathlib import Path
from typing import Annotated

import typer

from flows.output import Home, Json, answer, open_home, reports_errors

registration_app = typer.Typer(help="Charging stations announced before they enrol.", no_args_is_help=True)


@registration_app.command("import")
@reports_errors
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header; commonName is needed.")],
    partner: Annotated[str, typer.Option(help="The charge point operator they belong to.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Register every charging station of a file, each over the one of its name; one bad row stops all."""
    from pki_core.wire.registration_csv import read_end_entities  # noqa: PLC0415

    entities = read_end_entities(file)
    new = open_home(home).pools.registrations.put_file(partner, entities)
    answer(
        {"partner": partner, "rows": len(entities), "new": new},
        f"{len(entities)} charging stations of {partner} are registered, {new} of them new",
        as_json=as_json,
    )
