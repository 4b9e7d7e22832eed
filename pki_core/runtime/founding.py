"""Founds an environment: directory, secrets, token, database, hierarchy by ceremony, partners.

A file says that a founding is not finished: with it, no other command works here, and the same founding goes on.
"""

import hashlib
import json
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki_core.hsm.gate import locked
from pki_core.issuance.load import load_profiles
from pki_core.model.errors import ConflictError, PkiError, SettingsError
from pki_core.model.partners import Partner
from pki_core.model.profiles import Level
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.founding_files import UNFINISHED, make_token, settings_text, write_private
from pki_core.runtime.wiring import Runtime, open_runtime
from pki_core.services.ceremony_rules import check_witnesses
from pki_core.services.crls import raise_failures
from pki_core.services.hierarchy import HierarchyNames, plan_hierarchy
from pki_core.settings import FOUNDING_FILE, HOME_FILE, check_settings
from pki_core.store.schema import migrate

_LOCK_FILE = "founding.lock"
_PATIENCE_SECONDS = 1.0

# The providers of the sample data; other environments get their partners one by one.
DEV_PARTNERS = (
    Partner(
        id="demo-mo",
        roles=frozenset({"mo"}),
        provider_prefixes=frozenset({"DEPNC"}),
        operator_prefixes=frozenset(),
        wmis=frozenset(),
    ),
    Partner(
        id="demo-cpo",
        roles=frozenset({"cpo"}),
        provider_prefixes=frozenset(),
        operator_prefixes=frozenset({"DEPNC"}),
        wmis=frozenset(),
    ),
    Partner(
        id="demo-oem",
        roles=frozenset({"oem"}),
        provider_prefixes=frozenset(),
        operator_prefixes=frozenset(),
        wmis=frozenset({"WPN"}),
    ),
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What the founder decides."""

    environment: str
    home: Path
    key_store: str = ""  # "" = as shipped; "file" in dev
    witnesses: tuple[str, ...] = ()
    overrides: str = ""  # TOML that goes into the home directory's file


def found_environment(founding: Founding, say: Say) -> Runtime:
    """Make a whole environment in an empty directory, or go on with one that was interrupted, and return it open.

    Raises:
        ConflictError: the directory holds something else, or a founding that was told something else.
        HsmUnavailableError: another process founds there now.
        SettingsError: the settings must not run, or there is no PKCS#11 module.
        CeremonyError: a ceremony was refused.
    """
    home = founding.home.resolve()
    _refuse_taken_home(home)
    own = _own_settings(founding)
    settings = check_settings(own, home)
    check_witnesses(settings.environment, founding.witnesses)
    load_profiles(settings.environment_values)  # before anything is made: a switch may be misspelt
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with locked(home / _LOCK_FILE, _PATIENCE_SECONDS):
        _refuse_taken_home(home)  # somebody else may have finished meanwhile
        own = _begin(home, own, settings.database_url, founding.witnesses)
        try:
            _make(home, own, founding.witnesses, say)
        except PkiError as error:
            raise type(error)(f"{error}; the same command goes on from here; to start over remove {home}") from error
        (home / FOUNDING_FILE).unlink()
        (home / _LOCK_FILE).unlink()
    return open_runtime(home)


def _refuse_taken_home(home: Path) -> None:
    present = {path.name for path in home.iterdir()} if home.exists() else set()
    if FOUNDING_FILE not in present and present - {_LOCK_FILE, f"{FOUNDING_FILE}{UNFINISHED}"}:
        raise ConflictError(f"{home} is not empty: an environment is made once and nothing is overwritten")


def _begin(home: Path, own: dict[str, Any], database_url: str, witnesses: tuple[str, ...]) -> dict[str, Any]:
    """Write down what is founded, or read what an interrupted founding was told: its id is the environment's."""
    mark = home / FOUNDING_FILE
    told = {"own": own, "witnesses": witnesses, "database": hashlib.sha256(database_url.encode()).hexdigest()}
    if not mark.exists():
        write_private(mark, json.dumps(told, default=str), mode=0o600)
        return own
    before = json.loads(mark.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(told, default=str))
    for one in (before, now):
        one["id"] = one["own"].pop("environment_id")
    if {**before, "id": ""} != {**now, "id": ""}:
        raise ConflictError(
            f"the founding that was interrupted in {home} was told something else: give the same command"
        )
    return {**own, "environment_id": before["id"]}


def _make(home: Path, own: dict[str, Any], witnesses: tuple[str, ...], say: Say) -> None:
    """Do what is left; every step may find itself done."""
    settings = check_settings(own, home)
    migrate(settings.database_url)
    stamped = _refuse_taken_database(Runtime(home, settings))
    if (home / HOME_FILE).exists():
        made = tomllib.loads((home / HOME_FILE).read_text(encoding="utf-8"))
        own["key_store"]["token_serial"] = made["key_store"]["token_serial"]
    else:
        own["key_store"]["token_serial"] = make_token(home, settings)
        write_private(home / HOME_FILE, settings_text(own), mode=0o600)
    say(f"{settings.key_store.kind} token {settings.key_store.token_label} made")
    settings = check_settings(own, home)
    runtime = Runtime(home, settings)
    try:
        if not stamped:
            with runtime.store.transaction() as work:
                work.environment.stamp(
                    settings.environment, settings.environment_id, runtime.key_store.identity, runtime.clock.now()
                )
        _run_ceremonies(runtime, witnesses, say)
        say(f"{len(runtime.responders.rotate().made)} OCSP responders")
        _add_partners(runtime)
        say(f"{len(_publish_crls(runtime))} CRLs")
        say(f"audit log sealed under checkpoint {runtime.audit_log.seal().number}")
    finally:
        runtime.close()


def _add_partners(runtime: Runtime) -> None:
    present = {partner.id for partner in runtime.partners.all()}
    for partner in DEV_PARTNERS if runtime.settings.environment == "dev" else ():
        if partner.id not in present:
            with runtime.store.transaction() as work:
                work.partners.add(partner, runtime.clock.now())


def _publish_crls(runtime: Runtime) -> tuple[str, ...]:
    """Publish every CRL once: the founder and the witnesses are here, so the roots sign too."""
    labels = [record.label for record in runtime.certificates.issuers() if record.level is Level.ROOT]
    if not runtime.settings.crl.automatic_roots:
        for label in labels:
            runtime.crls.publish(label, actor="founding")
    report = runtime.crls.publish_due(actor="founding")
    raise_failures(report.failures)
    return report.published


def _refuse_taken_database(runtime: Runtime) -> bool:
    """Return whether the database carries this founding's stamp."""
    try:
        with runtime.store.reading() as work:
            stamp = work.environment.read()
            if stamp is not None and stamp[1] != runtime.settings.environment_id:
                raise ConflictError("the database belongs to an environment already; give this one its own")
            return stamp is not None
    finally:
        runtime.close()


def _own_settings(founding: Founding) -> dict[str, Any]:
    try:
        own: dict[str, Any] = tomllib.loads(founding.overrides)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the overrides are not TOML: {error}") from error
    own["environment"] = founding.environment
    own["environment_id"] = str(uuid.uuid4())
    own.setdefault("key_store", {})
    if founding.key_store:
        own["key_store"]["kind"] = founding.key_store
    return own


def _run_ceremonies(runtime: Runtime, witnesses: tuple[str, ...], say: Say) -> None:
    section = runtime.settings.certificates
    names = HierarchyNames(
        environment=runtime.settings.environment,
        organization=section.organization,
        country=section.country,
        witnesses=witnesses,
    )
    ed448 = section.ed448_hierarchy and KeyAlgorithm.ED448 in runtime.key_store.algorithms()
    directory = runtime.home / "ceremonies"
    directory.mkdir(exist_ok=True)
    (runtime.home / "ca").mkdir(exist_ok=True)
    for name, content in plan_hierarchy(names, ed448=ed448):
        path = directory / name
        path.write_text(content, encoding="utf-8")
        plan = runtime.ceremonies.read(path)
        if not runtime.ceremonies.is_complete(plan):
            reviewed = hashlib.sha256(content.encode()).hexdigest()
            runtime.ceremonies.run(plan, lambda _line: None, reviewed_sha256=reviewed)
        say(f"{plan.label}: {plan.common_name}")
