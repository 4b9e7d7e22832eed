"""How commands answer: text for people on stderr and stdout, or with ``--json`` one JSON object on stdout and no more.

Exit codes: 0 done, 1 the request was refused, 2 wrong usage, 3 a dependency is away (try again), 4 our own fault.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from pki_core.model.errors import InvariantError, PkiError, RequestError, SettingsError

EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_FAULT = 1, 3, 4

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="PNCPKI_HOME", help="Directory of the environment.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]

P = ParamSpec("P")


def say(text: str) -> None:
    """Print a line for people; never on standard output, which belongs to results."""
    sys.stderr.write(text + "\n")


def answer(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result."""
    sys.stdout.write((json.dumps(result, ensure_ascii=False) if as_json else text) + "\n")


def chosen_home(home: Path | None) -> Path:
    """Return the environment's directory; SettingsError when none was chosen."""
    if home is None:
        raise SettingsError("no environment is chosen: set PNCPKI_HOME or give --home DIRECTORY")
    return home


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the project's errors into one sentence and an exit code."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PkiError as error:
            if kwargs.get("as_json"):
                answer({"error": error.code, "message": str(error)}, "", as_json=True)
            else:
                say(f"pncpki: {error}")
            raise typer.Exit(_exit_code(error)) from None

    return guarded


def _exit_code(error: PkiError) -> int:
    if isinstance(error, RequestError):
        return EXIT_REFUSED
    return EXIT_FAULT if isinstance(error, InvariantError) else EXIT_UNAVAILABLE
