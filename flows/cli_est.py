"""Commands about EST requests that wait for approval (RFC 7030 4.2.3)."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.output import Home, Json, answer, open_home, reports_errors
from pki_core.model.clock import rfc3339
from pki_core.model.est import EstRequestState

if TYPE_CHECKING:
    from pki_core.runtime import Runtime

est_app = typer.Typer(help="EST requests under labels with manual approval.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(metavar="ID", help="As `est pending` lists it.")]
By = Annotated[str, typer.Option(help="Who decides; needed outside dev, and never the partner who asks.")]


@est_app.command("pending")
@reports_errors
def list_pending(home: Home = None, as_json: Json = False) -> None:
    """List the requests that wait, the oldest first."""
    shown = [
        {
            "id": one.id,
            "partner": one.partner_id,
            "label": one.label,
            "common_name": one.common_name,
            "asked_at": rfc3339(one.asked_at),
        }
        for one in open_home(home).approvals.pending()
    ]
    lines = [f"{one['id']}  {one['asked_at']}  {one['partner']}  {one['label']}  {one['common_name']}" for one in shown]
    answer({"pending": shown}, "\n".join(lines) or "nothing waits", as_json=as_json)


@est_app.command("approve")
@reports_errors
def approve(number: Number, by: By = "", home: Home = None, as_json: Json = False) -> None:
    """Approve a request: it is signed when its client asks again."""
    _decide(number, EstRequestState.APPROVED, by, open_home(home), as_json=as_json)


@est_app.command("refuse")
@reports_errors
def refuse(number: Number, by: By = "", home: Home = None, as_json: Json = False) -> None:
    """Refuse a request for good."""
    _decide(number, EstRequestState.REFUSED, by, open_home(home), as_json=as_json)


def _decide(number: str, state: EstRequestState, by: str, runtime: "Runtime", *, as_json: bool) -> None:
    request = runtime.approvals.decide(number, state, by)
    result = {"id": request.id, "state": state.value, "common_name": request.common_name}
    answer(result, f"{request.common_name} of {request.partner_id}: {state}", as_json=as_json)
