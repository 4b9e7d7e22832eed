"""``pncpki serve`` and ``pncpki openapi``: become processes of the front, which is never imported here but started."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.output import Home, Json, chosen_home, reports_errors

_PORT = {"min": 0, "max": 65_535}


@reports_errors
def serve(
    https_port: Annotated[int, typer.Option(**_PORT, help="EST and partners; 0 = any free one.")] = 8443,
    http_port: Annotated[int, typer.Option(**_PORT, help="OCSP, CRLs, CA certificates; 0 = any free one.")] = 8080,
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    proxy_socket: Annotated[
        Path | None, typer.Option(help="Instead of HTTPS: a Unix socket for a proxy that ends TLS.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Serve EST over HTTPS and OCSP, CRLs and CA certificates over HTTP, until a signal."""
    arguments = ["--home", str(chosen_home(home)), "--bind", bind]
    arguments += ["--https-port", str(https_port), "--http-port", str(http_port)]
    if proxy_socket is not None:
        arguments += ["--proxy-socket", str(proxy_socket)]
    _become("serve", arguments, as_json=as_json)


@reports_errors
def openapi(
    out: Annotated[Path | None, typer.Option(help="A file; standard output when there is none.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the API document (OpenAPI 3.1), as the front serves it at /openapi.json."""
    arguments = ["--home", str(chosen_home(home))]
    if out is not None:
        arguments += ["--out", str(out)]
    _become("openapi", arguments, as_json=as_json)


def _become(act: str, arguments: list[str], *, as_json: bool) -> NoReturn:
    if as_json:
        arguments = [*arguments, "--json"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "webapp", act, *arguments])  # noqa: S606  # our own module
