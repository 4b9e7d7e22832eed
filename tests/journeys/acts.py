"""What tests do with whole environments: found and copy them, hold ceremonies, issue leafs."""

import base64
import csv
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import text

from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.requests import IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.founding import Founding, found_environment
from pki_core.services.hierarchy import ceremony_file
from pki_core.services.orders import Order
from pki_core.services.runners import runner_token
from pki_core.services.uploads import Upload, UploadRules, Uploads, issuer_for
from pki_core.wire.batch_file import BatchLimits
from pki_core.wire.pem import pem_to_der
from tests.builders import EMAID, new_key, spki

ROOT = Path(__file__).parents[2]
HOME_FILE = "pncpki.toml"
LEAF_NAMES = {
    "contract_leaf": EMAID,
    "evse_leaf": "DE*PNC*E12345*1",
    "oem_provisioning_leaf": "WPNABCDEFGHJKLMN1",
    "cps_leaf": "CPS 2026.1",
}
LIMITS = BatchLimits(
    max_octets=1_000_000,
    max_rows=1000,
    max_archive_octets=1_000_000,
    max_archive_ratio=100,
    max_archive_entries=1000,
    piece_rows=4,
)
GENERATIONS = {KeyAlgorithm.SECP256R1: "", KeyAlgorithm.SECP521R1: "-20", KeyAlgorithm.ED448: "-20-ed448"}


@dataclass(frozen=True)
class Made:
    """A certificate with the ones above it, the root last."""

    profile: str
    label: str
    algorithm: KeyAlgorithm
    certificate_der: bytes
    chain: tuple[bytes, ...]


def found(home):
    """Found a dev environment with file keys and every hierarchy."""
    with closing(found_environment(Founding(environment="dev", home=home, key_store="file"), lambda _line: None)):
        return home


def operator_environment(**more):
    """The environment variables of a command: none of the token that other tests of this process work with."""
    return {name: value for name, value in os.environ.items() if name != "SOFTHSM2_CONF"} | more


def found_by_command(home, database_url, key_store="file"):
    """Found a dev environment without Ed448 in a process of its own, as an operator does."""
    settings = home.with_name(f"{home.name}.toml")
    settings.write_text(f'database_url = "{database_url}"\n[certificates]\ned448_hierarchy = false\n')
    command = [sys.executable, "-m", "flows", "init", "--home", home, "--key-store", key_store, "--settings", settings]
    result = subprocess.run(
        [*command, "--json"], cwd=ROOT, env=operator_environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def copy_home(home, target, database_url=""):
    """Copy a closed environment; on PostgreSQL to a database of its own."""
    shutil.copytree(home, target)
    if database_url:
        file = target / HOME_FILE
        lines = file.read_text().splitlines()
        lines = [f'database_url = "{database_url}"' if line.startswith("database_url") else line for line in lines]
        file.write_text("\n".join(lines))
    return target


def plan_for(act, label, profile, parent="", **changes):
    """A ceremony as its file would say it."""
    fields = {
        "act": act,
        "environment": "dev",
        "label": label,
        "profile": profile,
        "parent": parent,
        "key_label": label,
        "algorithm": KeyAlgorithm.SECP256R1,
        "common_name": f"Test {label}",
        "organization": "pncpki dev",
        "country": "DE",
        "witnesses": (),
        "sha256": "",
    }
    return CeremonyPlan(**{**fields, **changes})


def write_plan(runtime, content):
    """Write a ceremony's file."""
    path = runtime.home / "plan.toml"
    path.write_text(content, encoding="utf-8")
    return path


def uploads_with(runtime, chunk_rows=1000, **limits):
    """Uploads of the environment under other limits; pieces of four rows, so that files have several."""
    rules = UploadRules(
        profiles=runtime.profiles,
        names=runtime.settings.name_policy,
        limits=replace(LIMITS, **limits),
        chunk_rows=chunk_rows,
    )
    return Uploads(runtime.store, runtime.clock, rules)


def hold(runtime, plan, say=lambda _line: None):
    """Write a ceremony's file, read it back and run it; returns the artefacts."""
    plan = runtime.ceremonies.read(write_plan(runtime, ceremony_file(plan)))
    return runtime.ceremonies.run(plan, say, reviewed_sha256=plan.sha256)


def order_for(runtime, profile, partner=None):
    """An order by the environment's own version of a profile."""
    with runtime.store.transaction() as work:
        now = runtime.clock.now()
        return Order.pinned(work, profile, now, runner=runner_token(), actor="test", partner=partner)


def issue_leaf(runtime, profile_name, common_name=None):
    """Issue one leaf as the operator would; returns its issuer's record and the outcome."""
    profile = runtime.profiles[profile_name]
    record = issuer_for(profile, runtime.certificates.issuers())
    subject = RequestedSubject(
        common_name=common_name or LEAF_NAMES[profile_name.partition("_20")[0]],
        organization="Test Mobility Ltd",
        country="DE",
    )
    request = IssueRequest(
        reference=profile_name, subject=subject, spki_der=spki(new_key(record.algorithm)), proof=OwnKeyProof()
    )
    outcomes = runtime.enrollment.issue(runtime.issuers.get(record.label), order_for(runtime, profile), [request])
    return record, outcomes[0]


def artefact(runtime, label):
    """The certificate a ceremony wrote."""
    return pem_to_der((runtime.home / "ca" / f"{label}.pem").read_text(), ("CERTIFICATE",))


def sub2(**changes):
    """A second MO Sub-CA 2: a ceremony that may be run."""
    fields = {"act": Act.CREATE_SUB_CA, "label": "mo-sub2-b", "profile": "mo_sub2", "parent": "mo-sub1"}
    return plan_for(**{**fields, **changes})


def rows(runtime, statement):
    """What the database says."""
    with runtime.store.reading() as work:
        return [tuple(row) for row in work.audit._connection.execute(text(statement))]


def edit(home, pattern, replacement):
    """Change one line of a home's settings."""
    file = home / "pncpki.toml"
    changed, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
    assert count == 1
    file.write_text(changed)


def secrets_of(home):
    """The PINs of a home."""
    return [path.read_text() for path in (home / "secrets").iterdir()]


def holders_of(secret, home):
    """The files of a home that hold a secret, besides its own."""
    return [
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and path.parent.name != "secrets" and secret.encode() in path.read_bytes()
    ]


def upload_of(path, partner="demo-mo", profile="contract_leaf", name=None):
    """A file handed over by a partner."""
    return Upload(path=path, source_name=name or path.name, partner_id=partner, profile_name=profile)


def write_rows(path, table, header=("row_id", "csr", "identifier")):
    """Write a CSV upload."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *table])
    return path


def in_base64(der):
    """A request as most uploads hold it."""
    return base64.b64encode(der).decode()


def verdicts(runtime, batch):
    """Row id -> code of what was decided at the upload."""
    found = rows(
        runtime,
        "SELECT v.batch_number, i.row_id, v.code, v.message FROM batch_verdict v "
        "JOIN batch_item i ON i.batch_number = v.batch_number AND i.seq = v.seq ORDER BY v.seq",
    )
    return {row_id: (code, message) for number, row_id, code, message in found if number == batch.number}
