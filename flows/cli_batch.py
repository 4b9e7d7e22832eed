"""Commands about batches: submit, sign, status, resume, result."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.output import EXIT_UNAVAILABLE, Home, Json, answer, chosen_home, open_home, reports_errors
from pki_core.model.batches import BatchKind

if TYPE_CHECKING:
    from pki_core.runtime import Runtime

batch_app = typer.Typer(help="Files of CSRs in, certificates out; or tables of contracts.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch, as submit printed it.")]
Workers = Annotated[int, typer.Option(min=1, max=32, help="Worker processes on this machine.")]
Direct = Annotated[bool, typer.Option("--direct", help="The same chunks without Prefect.")]


@batch_app.command()
@reports_errors
def submit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, NDJSON, Parquet, XLSX or ZIP.")],
    partner: Annotated[str, typer.Option(help="Whose batch it is.")],
    profile: Annotated[str, typer.Option(help="Which certificate kind.")] = "contract_leaf",
    kind: Annotated[BatchKind, typer.Option(help="contract: a table of emaid, pcid, begins, ends.")] = BatchKind.CSR,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Load a file of CSRs, or a table of contracts. The same file twice is the same batch."""
    from pki_core.services.uploads import Upload  # noqa: PLC0415

    upload = Upload(path=file, source_name=file.name, partner_id=partner, profile_name=profile, kind=kind)
    batch, fresh = open_home(home).uploads.submit(upload)
    result = {"batch_id": batch.id, "total": batch.total, "new": fresh}
    note = "" if fresh else " (this file was submitted before)"
    answer(result, f"batch {batch.id}: {batch.total} rows{note}\nnext: pncpki batch sign {batch.id}", as_json=as_json)


@batch_app.command()
@reports_errors
def sign(
    batch_id: BatchId, workers: Workers = 1, direct: Direct = False, home: Home = None, as_json: Json = False
) -> None:
    """Sign what is open of a batch. Stop it at any time; resume goes on."""
    from flows.run_now import sign_batch  # noqa: PLC0415

    directory = chosen_home(home)
    runtime = open_home(home)
    runtime.batches.free_dead_runners(batch_id)
    sign_batch(runtime, batch_id, directory, workers=workers, direct=direct, quiet=as_json)
    result = _status(runtime, batch_id)
    if result["pending"]:
        answer(result, f"{_text(result)}\nanother runner holds what is pending", as_json=as_json)
        raise typer.Exit(EXIT_UNAVAILABLE)
    answer(result, f"{_text(result)}\nnext: pncpki batch result {batch_id} --out DIRECTORY", as_json=as_json)


@batch_app.command()
@reports_errors
def resume(
    batch_id: BatchId, workers: Workers = 1, direct: Direct = False, home: Home = None, as_json: Json = False
) -> None:
    """Go on with a batch whose runner died: the same as sign, which always starts from what is open."""
    sign(batch_id, workers=workers, direct=direct, home=home, as_json=as_json)


@batch_app.command()
@reports_errors
def status(batch_id: BatchId, home: Home = None, as_json: Json = False) -> None:
    """Tell how far a batch is."""
    result = _status(open_home(home), batch_id)
    answer(result, _text(result), as_json=as_json)


@batch_app.command()
@reports_errors
def result(
    batch_id: BatchId,
    out: Annotated[Path, typer.Option(file_okay=False, help="Directory for the bundle.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the result bundle of a finished batch."""
    runtime = open_home(home)
    counts = runtime.results.write(batch_id, out)
    written = {"batch_id": batch_id, "out": str(out), "issued": counts.issued, "refused": counts.refused}
    answer(written, f"{counts.issued} certificates and {counts.refused} refusals in {out}", as_json=as_json)


def _status(runtime: "Runtime", batch_id: str) -> dict[str, Any]:
    batch, counts = runtime.batches.status(batch_id)
    return {
        "batch_id": batch.id,
        "state": batch.state.value,
        "total": counts.total,
        "issued": counts.issued,
        "refused": counts.refused,
        "pending": counts.pending,
        "profile": batch.profile_name,
        "partner": batch.partner_id,
    }


def _text(status: dict[str, Any]) -> str:
    return (
        f"batch {status['batch_id']} is {status['state']}: {status['issued']} issued, "
        f"{status['refused']} refused, {status['pending']} pending of {status['total']}"
    )
