"""The Flask front of the same store and HSM. Imports neither pandas nor Prefect.

The application is loaded when it is asked for: processes that only start, watch and fork others do without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webapp.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # any name of this package
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from webapp.app import create_app  # noqa: PLC0415

    return create_app
