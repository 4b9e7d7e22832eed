"""Fixtures with whole environments: founded once a session with file keys, copied for each test in milliseconds.

``environment`` is a copy on SQLite, ``any_environment`` one on SQLite and one on PostgreSQL. ``every_kind`` holds one
certificate of every kind of every hierarchy. A test module names this one in ``pytest_plugins``.
"""

from contextlib import closing

import pytest

from pki_core.model.ceremonies import Act
from pki_core.model.profiles import Edition, Level
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.wiring import open_runtime
from tests.journeys.acts import (
    GENERATIONS,
    Made,
    artefact,
    copy_home,
    found,
    found_by_command,
    hold,
    issue_leaf,
    plan_for,
)


@pytest.fixture(scope="session")
def founded_home(tmp_path_factory):
    """A closed environment to copy: three hierarchies of nine CAs each, and the three demo partners."""
    return found(tmp_path_factory.mktemp("founded") / "home")


@pytest.fixture(scope="session")
def founded_postgres(tmp_path_factory, postgres_url):
    """The same on PostgreSQL: a home, and databases to go with copies of it."""
    from tests.postgres import PostgresDatabases

    home = tmp_path_factory.mktemp("founded") / "home"
    with closing(PostgresDatabases(postgres_url, lambda url: found_by_command(home, url))) as databases:
        yield home, databases


@pytest.fixture(scope="session")
def untouched(founded_home, tmp_path_factory):
    """An open environment for tests that change nothing in it."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("untouched") / "home")
    with closing(open_runtime(home)) as runtime:
        yield runtime


@pytest.fixture
def home(founded_home, tmp_path):
    """A closed environment of the test's own."""
    return copy_home(founded_home, tmp_path / "home")


@pytest.fixture
def environment(home):
    """An open environment of the test's own."""
    with closing(open_runtime(home)) as runtime:
        yield runtime


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_home(request, tmp_path):
    """A closed environment of the test's own, on either database."""
    if request.param == "sqlite":
        yield copy_home(request.getfixturevalue("founded_home"), tmp_path / "home")
        return
    home, databases = request.getfixturevalue("founded_postgres")
    url = databases.create()
    yield copy_home(home, tmp_path / "home", url)
    databases.drop(url)


@pytest.fixture
def any_environment(any_home):
    """An open environment of the test's own, on either database."""
    with closing(open_runtime(any_home)) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def every_kind(founded_home, tmp_path_factory):
    """One certificate of every kind: every CA, every leaf, and a responder of every level, in every hierarchy."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("every-kind") / "home")
    with closing(open_runtime(home)) as runtime:
        by_id = {record.id: record for record in runtime.certificates.issuers()}

        def above(record):
            chain = [record.certificate_der]
            while record.parent_id is not None:
                record = by_id[record.parent_id]
                chain.append(record.certificate_der)
            return tuple(chain)

        made = []
        for record in by_id.values():
            if record.edition is Edition.INTERNET:
                continue  # of our own TLS; the serving tests look at those with real handshakes
            edition = "" if record.algorithm is KeyAlgorithm.SECP256R1 else "_20"
            kind = "v2g_root" if record.level is Level.ROOT else f"{record.branch}_{record.level}"
            own, *chain = above(record)
            made.append(Made(kind + edition, record.label, record.algorithm, own, tuple(chain)))
        for profile in runtime.profiles.values():
            if profile.level is Level.LEAF and profile.branch not in {"v2g", "tls"}:
                record, issued = issue_leaf(runtime, profile.id)
                made.append(Made(profile.id, profile.id, record.algorithm, issued.certificate_der, above(record)))
        for algorithm, suffix in GENERATIONS.items():
            for parent in (f"v2g-root{suffix}", f"mo-sub1{suffix}", f"cpo-sub2{suffix}"):
                profile = "ocsp_responder" + ("_20" if suffix else "")
                plan = plan_for(Act.CREATE_RESPONDER, f"ocsp-{parent}", profile, parent, algorithm=algorithm)
                hold(runtime, plan)
                with runtime.store.reading() as work:
                    record = work.issuers.get(parent)
                made.append(Made(profile, plan.label, algorithm, artefact(runtime, plan.label), above(record)))
        yield made
