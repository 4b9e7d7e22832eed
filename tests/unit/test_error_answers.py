"""What callers read of errors: their own faults in words, ours never."""

import pytest

from pki_core.model.errors import HsmUnavailableError, InvariantError, MalformedError, SettingsError
from webapp.errors import message_of, status_of


@pytest.mark.parametrize(
    ("error", "status"), [(SettingsError("/secret/place is gone"), 503), (HsmUnavailableError("/secret/place"), 503)]
)
def test_what_an_operator_has_to_mend_is_not_the_callers_fault_and_is_not_told(error, status):
    assert status_of(error) == status
    assert message_of(error) == f"{error.code}: a part of this service is away; ask again"


def test_a_callers_own_fault_is_told_and_ours_is_not():
    assert (status_of(MalformedError("no DER")), "no DER" in message_of(MalformedError("no DER"))) == (400, True)
    assert (status_of(InvariantError("a row is gone")), "row" in message_of(InvariantError("a row is gone"))) == (
        500,
        False,
    )
