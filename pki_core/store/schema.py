"""Brings a database to the newest schema with Alembic; the same migrations on SQLite and PostgreSQL."""

from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from pki_core.model.errors import StoreUnavailableError
from pki_core.store.engine import open_engine
from pki_core.store.faults import words_for

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST = "0019"  # the revision this version of the code works with; a test holds it against the migrations


def migrate(url: str) -> None:
    """Upgrade (or create) the schema in one transaction.

    Raises:
        StoreUnavailableError: the database cannot be reached or refused a statement.
    """
    from alembic import command  # noqa: PLC0415  # 0.1 s that only a migration needs

    engine = open_engine(url)
    config = alembic_config()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"the schema could not be brought up to date: {words_for(error.orig or error)}"
        ) from error
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Tell whether a database has exactly this version's schema."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            return bool(connection.scalar(text("SELECT version_num FROM alembic_version")) == NEWEST)
    except DBAPIError as error:
        raise StoreUnavailableError(words_for(error.orig or error)) from error
    finally:
        engine.dispose()


def alembic_config() -> "Config":
    """Return Alembic's configuration for our migrations."""
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", str(files("pki_core.store").joinpath("migrations")))
    return config
