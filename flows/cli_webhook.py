"""Commands about webhooks and tokens: what partners were told, telling it again, replacing a key that is known."""

from typing import Annotated, Any

import typer

from flows.output import Home, Json, answer, open_home, reports_errors
from pki_core.model.clock import rfc3339
from pki_core.model.errors import MalformedError
from pki_core.model.webhooks import DeliveryState

webhook_app = typer.Typer(help="Events told to partners.", no_args_is_help=True)
token_app = typer.Typer(help="Keys of access tokens.", no_args_is_help=True)

_ACTOR = "operator"


@webhook_app.command("list")
@reports_errors
def list_deliveries(
    state: Annotated[str, typer.Option(help="waiting, delivered, refused or failed.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the newest deliveries."""
    if state and state not in set(DeliveryState):
        raise MalformedError(f"there is no state {state!r}; there are {', '.join(DeliveryState)}")
    found = open_home(home).access.webhook_deliveries.recent(DeliveryState(state) if state else None, limit)
    shown: list[dict[str, Any]] = [
        {
            "id": one.number,
            "partner": one.partner_id,
            "endpoint": one.endpoint_id,
            "event": one.event_id,
            "type": one.event_type,
            "state": one.state.value,
            "attempts": one.attempts,
            "last_status": one.last_status,
            "created_at": rfc3339(one.created_at),
        }
        for one in found
    ]
    lines = [
        f"{one['id']:>8}  {one['state']:9} {one['attempts']} tries  {one['last_status'] or '-':>3}  "
        f"{one['created_at']}  {one['partner']}  {one['type']}"
        for one in shown
    ]
    answer({"deliveries": shown}, "\n".join(lines), as_json=as_json)


@webhook_app.command()
@reports_errors
def replay(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `webhook list` shows it.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell an event again, the same bytes; the next run of deliver_webhooks sends it."""
    open_home(home).access.webhook_deliveries.replay(number, _ACTOR)
    answer({"replayed": number}, f"webhook delivery {number} is due again", as_json=as_json)


@token_app.command()
@reports_errors
def withdraw(home: Home = None, as_json: Json = False) -> None:
    """Replace the keys of access tokens now. Every token ends within half a minute; partners fetch new ones."""
    rotation = open_home(home).access.token_keys.withdraw()
    result = {"made": rotation.made, "withdrawn": list(rotation.withdrawn)}
    answer(result, f"{rotation.made} signs tokens now; withdrawn: {', '.join(rotation.withdrawn)}", as_json=as_json)
