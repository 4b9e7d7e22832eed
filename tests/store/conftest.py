"""Fixtures of the store: a store on a fresh database, and the rows nearly every test needs first."""

import pytest

from pki_core.store.unit_of_work import Store
from tests.builders import NOW, PARTNER, profile
from tests.store.rows import issuer_columns


@pytest.fixture
def store(database_url):
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def ids(store):
    """An issuer, a profile and a partner."""
    with store.transaction() as work:
        issuer_id = work.issuers.add(**issuer_columns())
        profile_id = work.issuers.pin_profile(profile(), NOW)
        work.partners.add(PARTNER, NOW)
    return issuer_id, profile_id
