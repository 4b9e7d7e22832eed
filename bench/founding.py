"""Jobs: found an environment, make its database, write files of CSRs."""

import base64
import csv
import uuid
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql
from sqlalchemy.engine import make_url

from flows.sample_batch import sample_csr, sample_emaid, write_sample
from pki_core.hsm.softhsm import find_softhsm_module
from pki_core.runtime.founding import Founding, found_environment


def found(home: str) -> None:
    """Found a dev environment with everything as shipped."""
    found_environment(Founding(environment="dev", home=Path(home)), lambda _line: None).close()


def create_database(url: str) -> str:
    """Make an empty database on a PostgreSQL server and return its URL."""
    name = f"pncpki_bench_{uuid.uuid4().hex[:12]}"
    server = make_url(url).set(drivername="postgresql")
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """Remove a database again, whoever is still connected to it."""
    made = make_url(url)
    server = made.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(str(made.database))))


def softhsm_module() -> str:
    """Return the path of SoftHSM's module."""
    return str(find_softhsm_module())


def write_files(files: list[str], rows: int, first: int, *, edition_20: bool) -> None:
    """Write files of good rows, each row another request."""
    for number, file in enumerate(files):
        _write_rows(file, rows, first + number * rows, edition_20=edition_20)


def _write_rows(file: str, rows: int, first: int, *, edition_20: bool) -> None:
    """ISO 15118-20 wants P-521 keys."""
    if not edition_20:
        write_sample(Path(file), rows, bad=0, first=first)
        return
    with Path(file).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("row_id", "csr", "identifier"))
        for number in range(first, first + rows):
            emaid = sample_emaid(number)
            csr_der = sample_csr(emaid, ec.generate_private_key(ec.SECP521R1()))
            writer.writerow((f"contract-{number:06d}", base64.b64encode(csr_der).decode(), emaid))
