"""Fixtures of the crash tests: founded environments with a batch, copied for each test in milliseconds.

``crashing`` has its keys in SoftHSM and is used by processes that die; ``faulty`` has file keys and is used in the
test's own process. Both come on SQLite and on PostgreSQL.
"""

import shutil
from contextlib import closing

import pytest

from flows.sample_batch import write_sample
from pki_core.runtime.wiring import Runtime
from pki_core.settings import load_settings
from tests.invariants import check_books
from tests.journeys.crash_driver import (
    FILE_KEYS,
    OVERRIDES,
    AheadClock,
    Orders,
    Place,
    found,
    found_with_contracts,
    run,
    sign,
)

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
ROWS, BAD = 80, 8


class Template:
    """One founded environment, and copies of it."""

    def __init__(self, directory, founding, postgres_url):
        self._directory, self._databases, self._batch_id = directory, None, ""
        job, *arguments = founding

        def make(url):
            self._batch_id = run(job, Place(directory, url), *arguments)

        if postgres_url is None:
            make(f"sqlite:///{directory / 'store.db'}")
        else:
            from tests.postgres import PostgresDatabases

            self._databases = PostgresDatabases(postgres_url, make)

    def copy(self, directory):
        """Return a place of its own with the same keys, certificates and batch."""
        shutil.copytree(self._directory, directory)
        url = f"sqlite:///{directory / 'store.db'}" if self._databases is None else self._databases.create()
        return Place(directory, url, self._batch_id)

    def drop(self, place):
        if self._databases is not None:
            self._databases.drop(place.url)

    def close(self):
        if self._databases is not None:
            self._databases.close()


class Templates:
    """The templates on one database, each founded when it is first wanted."""

    def __init__(self, directory, sample, postgres_url=None):
        self._directory, self._sample, self._postgres_url = directory, sample, postgres_url
        self._templates = {}

    def get(self, extra="", sample=None, job=found):
        """Return what a job founded from settings and a file: ``found``, or one of the same arguments and answer."""
        founding = (job, OVERRIDES + extra, sample or self._sample)
        if founding not in self._templates:
            home = self._directory / f"home-{len(self._templates)}"
            self._templates[founding] = Template(home, founding, self._postgres_url)
        return self._templates[founding]

    def close(self):
        for template in self._templates.values():
            template.close()


@pytest.fixture(scope="session")
def crash_sample(tmp_path_factory):
    """A file of 80 requests, one of them wrong in each chunk."""
    file = tmp_path_factory.mktemp("sample") / "batch.csv"
    write_sample(file, ROWS, bad=BAD)
    return file


@pytest.fixture(scope="session")
def other_sample(tmp_path_factory):
    """Another file, for tests of the upload itself: 60 requests, every tenth wrong."""
    file = tmp_path_factory.mktemp("sample") / "other.csv"
    write_sample(file, 60, bad=6, first=5001)
    return file


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory, crash_sample):
    """What the environments of single tests are copied from."""
    with closing(Templates(tmp_path_factory.mktemp("founded"), crash_sample)) as templates:
        yield templates


@pytest.fixture(scope="session")
def postgres_templates(tmp_path_factory, crash_sample, postgres_url):
    """The same on PostgreSQL."""
    with closing(Templates(tmp_path_factory.mktemp("founded"), crash_sample, postgres_url)) as templates:
        yield templates


def copied(request, directory, **wanted):
    template = request.getfixturevalue(f"{request.param}_templates").get(**wanted)
    place = template.copy(directory)
    yield place
    template.drop(place)


@pytest.fixture(params=DATABASES)
def crashing(request, tmp_path):
    """An environment with SoftHSM keys and a queued batch, for processes that die."""
    yield from copied(request, tmp_path / "home")


@pytest.fixture(params=DATABASES)
def faulty(request, tmp_path):
    """An environment with file keys and a queued batch, for this process."""
    yield from copied(request, tmp_path / "home", extra=FILE_KEYS)


@pytest.fixture(params=DATABASES)
def contracting(request, tmp_path):
    """An environment with SoftHSM keys and a queued table of contracts, for processes that die."""
    yield from copied(request, tmp_path / "home", job=found_with_contracts)


@pytest.fixture(scope="session")
def large_sample(tmp_path_factory):
    """Thousands of requests, for the long runs."""
    file = tmp_path_factory.mktemp("sample") / "large.csv"
    write_sample(file, 3000, bad=150)
    return file


@pytest.fixture(params=DATABASES)
def large(request, large_sample, tmp_path):
    """A crashing environment with a batch of thousands."""
    yield from copied(request, tmp_path / "home", sample=large_sample)


@pytest.fixture(scope="session")
def large_codes(sqlite_templates, large_sample, tmp_path_factory):
    """Row -> code of the large sample, signed by one runner whom nothing befell."""
    place = sqlite_templates.get(sample=large_sample).copy(tmp_path_factory.mktemp("undisturbed") / "home")
    run(sign, place, Orders())
    return check_books(place.url, place.batch_id).codes


@pytest.fixture
def opened(faulty):
    """Open the faulty environment, as often as there shall be runners, each with its own clock."""
    runtimes = []

    def open_one(ahead=0):
        settings = load_settings(faulty.home).model_copy(update={"database_url": faulty.url})
        runtimes.append(Runtime(faulty.home, settings, AheadClock(ahead)))
        return runtimes[-1]

    yield open_one
    for runtime in runtimes:
        runtime.close()


@pytest.fixture(scope="session")
def expected_codes(sqlite_templates, tmp_path_factory):
    """Row -> code of the sample, signed by one runner whom nothing befell."""
    place = sqlite_templates.get().copy(tmp_path_factory.mktemp("undisturbed") / "home")
    run(sign, place, Orders())
    books = check_books(place.url, place.batch_id)
    assert books.void == 0
    assert len(books.refused) == BAD
    return books.codes


@pytest.fixture(scope="session")
def failing_token(tmp_path_factory):
    """Put the PKCS#11 module that fails on demand before SoftHSM in a home; return the switches it needs."""
    from pki_core.hsm.softhsm import find_softhsm_module
    from tests.hsm.token_fixtures import ROOT, compile_c

    source, target = ROOT / "bench" / "slow_token.c", tmp_path_factory.mktemp("shim") / "slow_token.so"
    module = compile_c(source, target, "-shared", "-fPIC", "-ldl")

    def put(home):
        file = home / "pncpki.toml"
        text = file.read_text().replace("[key_store]", f'[key_store]\nmodule = "{module}"')
        file.write_text(text)
        return {"SHIM_TARGET": str(find_softhsm_module())}

    return put
