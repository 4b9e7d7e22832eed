"""How commands answer: text for people on stderr and stdout, or with ``--json`` one JSON object on stdout and no more.

Exit codes: 0 done, 1 the request or the settings were refused, 2 wrong usage, 3 a dependency is away or rows are still
open (try again), 4 our own fault, or the token refused its PIN, 130 interrupted.
"""

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from pki_core.model.characters import SURROGATE, without_controls, without_surrogates
from pki_core.model.errors import (
    FileUnusableError,
    InvariantError,
    MalformedError,
    PkiError,
    RequestError,
    RowsOpenError,
    SettingsError,
)

if TYPE_CHECKING:
    from pki_core.runtime import Runtime

EXIT_REFUSED, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_FAULT = 1, 2, 3, 4
EXIT_INTERRUPTED = 130
OWNER_ONLY = 0o077  # the umask of commands: what they write is their owner's alone

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
    said = json.dumps(result, ensure_ascii=False) if as_json else text
    sys.stdout.write(without_surrogates(said) + "\n")  # the path of a file may be anything


def chosen_home(home: Path | None) -> Path:
    """Return the environment's directory; SettingsError when none was chosen."""
    if home is None:
        raise SettingsError("no environment is chosen: set PNCPKI_HOME or give --home DIRECTORY")
    return home


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the project's errors into one sentence and an exit code."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            _refuse_undecoded(kwargs.values())
            command(*args, **kwargs)
        except PkiError as error:
            tell(error.code, str(error), as_json=as_json)
            raise typer.Exit(_exit_code(error)) from None
        except OSError as error:
            tell(FileUnusableError.code, f"{error.filename or 'a file'}: {error.strerror or error}", as_json=as_json)
            raise typer.Exit(EXIT_REFUSED) from None
        except KeyboardInterrupt:
            tell("interrupted", "interrupted; resume goes on where it was", as_json=as_json)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception as error:  # the one place where what nobody foresaw becomes an answer
            logging.getLogger("pncpki").debug("unforeseen", exc_info=True)
            tell("internal", f"an unforeseen {type(error).__name__} stopped the command: {error}", as_json=as_json)
            raise typer.Exit(EXIT_FAULT) from None

    return guarded


def _refuse_undecoded(values: Iterable[object]) -> None:
    """Refuse texts that are not UTF-8: no store takes them. Paths are not asked: a file may have any name."""
    for value in values:
        texts = value if isinstance(value, list) else [value]
        for text in texts:
            if isinstance(text, str) and SURROGATE.search(text):
                raise MalformedError(f"the argument '{without_controls(text)}' is not UTF-8")


def tell(code: str, message: str, *, as_json: bool) -> None:
    """Print why a command did not do what was asked."""
    if as_json:
        answer({"error": code, "message": message}, "", as_json=True)
    else:
        say(f"pncpki: {message}")


def open_home(home: Path | None) -> "Runtime":
    """Open the environment a command works on."""
    from pki_core.runtime import open_runtime  # noqa: PLC0415  # half a second

    return open_runtime(chosen_home(home))


def _exit_code(error: PkiError) -> int:
    if isinstance(error, RequestError) and not isinstance(error, RowsOpenError):
        return EXIT_REFUSED
    return EXIT_FAULT if isinstance(error, InvariantError) else EXIT_UNAVAILABLE
