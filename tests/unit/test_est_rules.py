"""Rules of RFC 7030 about single requests, one by one (3.5, 3.7)."""

import base64

import pytest

from pki_core.model.credentials import Presented
from pki_core.model.errors import CsrRejectedError
from pki_core.model.est import Authentication, EstLabel, Linking, PasswordMeaning
from pki_core.services.est_rules import accepted, check_linking

UNIQUE = b"unique bytes"
BOUND = base64.b64encode(UNIQUE).decode()
SHOWN = Presented(certificate_der=b"c", user="u", secret="s", token_partner="t")


def label(**fields):
    return EstLabel(branch="cpo", **fields)


def linked(policy, password, tls_unique=UNIQUE, *, registrar=False):
    return check_linking(policy, password, tls_unique, is_registrar=registrar)


@pytest.mark.parametrize("linking", Linking)
def test_a_right_binding_is_taken_and_a_wrong_one_refused_under_every_policy(linking):
    assert linked(label(linking=linking), BOUND)
    for tls_unique in (b"other bytes!", b"", None):
        with pytest.raises(CsrRejectedError):
            linked(label(linking=linking), BOUND, tls_unique)


def test_no_binding_is_refused_only_where_it_is_required():
    assert not linked(label(linking=Linking.OPTIONAL), "")
    with pytest.raises(CsrRejectedError) as caught:
        linked(label(linking=Linking.REQUIRED), "")
    assert caught.value.reason == "linking.required"


def test_a_registrar_hands_on_bindings_of_its_clients_but_must_hand_one_on_where_it_is_required():
    assert not linked(label(linking=Linking.REQUIRED), "anything", registrar=True)
    with pytest.raises(CsrRejectedError):
        linked(label(linking=Linking.REQUIRED), "", registrar=True)


def test_a_code_is_no_binding():
    assert not linked(label(challenge_password=PasswordMeaning.ENROLLMENT_CODE), "code", None)


def test_a_password_outside_ascii_is_a_wrong_binding():
    with pytest.raises(CsrRejectedError):
        linked(label(), "\ud800\u20ac")


@pytest.mark.parametrize(
    ("kinds", "renews", "left"),
    [
        (frozenset(Authentication), False, SHOWN),
        ({Authentication.BASIC}, False, Presented(user="u", secret="s")),
        ({Authentication.BASIC}, True, Presented(certificate_der=b"c", user="u", secret="s")),
        ({Authentication.BEARER}, False, Presented(token_partner="t")),
        ({Authentication.CERTIFICATE}, False, Presented(certificate_der=b"c")),
        (set(), False, Presented()),
    ],
)
def test_only_what_a_label_accepts_counts_and_a_renewals_certificate_always(kinds, renews, left):
    assert accepted(SHOWN, label(authentication=frozenset(kinds)), renews=renews) == left
