"""The operator's command line: the same jobs as the flows, run now, and the key ceremony.

Importing this module must stay cheap: each command imports what it needs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_audit import audit_app
from flows.cli_batch import batch_app
from flows.cli_ca import ca_app, ceremony_app, certificate_app
from flows.cli_est import est_app
from flows.cli_partner import partner_app
from flows.cli_registration import registration_app
from flows.cli_revoke import crl_app, release, revoke
from flows.cli_serve import openapi, serve
from flows.cli_webhook import token_app, webhook_app
from flows.output import EXIT_USAGE, OWNER_ONLY, Home, Json, answer, chosen_home, open_home, reports_errors, say, tell
from pki_core.model.errors import MalformedError

app = typer.Typer(
    rich_markup_mode=None,  # plain help: the panels of rich cost half of the time until it is read
    help="The open Plug & Charge PKI: certificates for ISO 15118 from a key in an HSM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command()(openapi)
app.add_typer(audit_app, name="audit")
app.add_typer(batch_app, name="batch")
app.add_typer(ca_app, name="ca")
app.add_typer(ceremony_app, name="ceremony")
app.add_typer(certificate_app, name="certificate")
app.add_typer(crl_app, name="crl")
app.add_typer(est_app, name="est")
app.add_typer(partner_app, name="partner")
app.add_typer(registration_app, name="registration")
app.command()(revoke)
app.command()(release)
app.add_typer(token_app, name="token")
app.add_typer(webhook_app, name="webhook")


@app.callback()
def choose(home: Home = None) -> None:
    """Take ``--home`` before the command as well as behind it."""
    if home is not None:
        os.environ["PNCPKI_HOME"] = str(home)


@app.command()
@reports_errors
def init(
    home: Home = None,
    env: Annotated[str, typer.Option("--env", help="dev, qa or prod.")] = "dev",
    key_store: Annotated[str, typer.Option(envvar="PNCPKI_KEY_STORE", help="file: key files, dev only.")] = "",
    witness: Annotated[list[str] | None, typer.Option(help="Name of a witness; two outside dev.")] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML laid over the shipped settings.")] = None,
    as_json: Json = False,
) -> None:
    """Stand up a whole environment: token, database, hierarchy, partners."""
    from pki_core.runtime.founding import Founding, found_environment  # noqa: PLC0415

    founding = Founding(
        environment=env,
        home=chosen_home(home),
        key_store=key_store,
        witnesses=tuple(witness or ()),
        overrides=_text_of(settings) if settings else "",
    )
    runtime = found_environment(founding, (lambda _line: None) if as_json else say)
    labels = [record.label for record in runtime.certificates.issuers()]
    result = {"environment": env, "home": str(runtime.home), "issuers": labels}
    text = f"{env} environment with {len(labels)} CAs in {runtime.home}\nnext: export PNCPKI_HOME={runtime.home}"
    answer(result, text, as_json=as_json)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{path} is not UTF-8 text") from error


@app.command()
@reports_errors
def migrate(home: Home = None, as_json: Json = False) -> None:
    """Bring the database to this version's schema."""
    from pki_core.runtime import migrate_home  # noqa: PLC0415

    migrate_home(chosen_home(home))
    answer({"migrated": True}, "the database has this version's schema", as_json=as_json)


@app.command()
@reports_errors
def run(
    name: Annotated[
        str,
        typer.Argument(
            help="The flow: check_pools, clean_ccp, deliver_webhooks, dispatch, publish_crls, refresh_ocsp, "
            "remind_renewals, renew_contracts, resign_contracts, rotate_responders, rotate_token_keys, seal_audit, "
            "sweep_expired, sweep_stuck or watch_ages."
        ),
    ],
    home: Home = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Run a flow now."""
    from flows.run_now import run_flow  # noqa: PLC0415

    result = run_flow(name, open_home(home), dry_run=dry_run)
    answer(result, "\n".join(f"{key}: {value}" for key, value in result.items()), as_json=as_json)


@app.command()
@reports_errors
def schedule(home: Home = None) -> None:
    """Run every flow by its schedule on this machine, until a signal."""
    from flows.prefect_here import prefect_at_hand  # noqa: PLC0415

    runtime = open_home(home)
    with prefect_at_hand(runtime.home, runtime.settings.key_store.pin_variable):
        from flows.serve_here import serve_flows  # noqa: PLC0415

        say("every flow runs by its schedule; Ctrl-C ends it")
        serve_flows(runtime)


@app.command("prefect-server")
@reports_errors
def prefect_server(
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 4200,
    bind: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve Prefect's API and pages until a signal; flows reach it by PREFECT_API_URL."""
    from flows.prefect_server import run_server  # noqa: PLC0415

    say(f"export PREFECT_API_URL=http://{bind}:{port}/api")
    run_server(port, bind)


@app.command()
@reports_errors
def sample(
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 1000,
    bad: Annotated[int, typer.Option(min=0, help="How many of them are wrong, each in another way.")] = 12,
    as_json: Json = False,
) -> None:
    """Write a sample batch of contract CSRs for the partner demo-mo."""
    from flows.sample_batch import write_sample  # noqa: PLC0415

    if bad > rows:
        raise MalformedError(f"{bad} of {rows} rows cannot be wrong")
    write_sample(out, rows, bad)
    answer({"file": str(out), "rows": rows, "bad": bad}, f"{out}: {rows} rows, {bad} of them wrong", as_json=as_json)


@app.command()
@reports_errors
def demo(
    home: Annotated[Path, typer.Option("--dir", help="Where; made anew each time.")] = Path("demo"),
    rows: Annotated[int, typer.Option(min=20)] = 1000,
    key_store: Annotated[str, typer.Option(envvar="PNCPKI_KEY_STORE", help="file: key files instead of a token.")] = "",
) -> None:
    """Show the main job from nothing: environment, batch, signing, results, verification."""
    from flows.demo import run_demo  # noqa: PLC0415

    run_demo(home, rows, key_store)


def main() -> None:
    """Run the command line; with ``--json`` a usage error is one JSON object too."""
    os.umask(OWNER_ONLY)  # also for the servers and workers that a command becomes or starts
    if "--json" not in sys.argv:
        app()
        return
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        message = getattr(error, "format_message", None)  # typer carries its own copy of click's errors
        if message is None:
            raise
        tell("usage", message(), as_json=True)
        raise SystemExit(EXIT_USAGE) from None
    raise SystemExit(code if isinstance(code, int) else 0)
