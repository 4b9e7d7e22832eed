"""Fixtures for the tests of keys and tokens. A conftest above may import the same names once these lines are gone."""

from tests.hsm.token_fixtures import (
    key_store,
    raw_pkcs11,
    run_child,
    slow_token,
    softhsm_home,
    start_child,
    through_slow_token,
    token_signers,
)

__all__ = [
    "key_store",
    "raw_pkcs11",
    "run_child",
    "slow_token",
    "softhsm_home",
    "start_child",
    "through_slow_token",
    "token_signers",
]
