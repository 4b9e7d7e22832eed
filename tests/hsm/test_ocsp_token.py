"""OCSP responders whose keys are in a token: rotation makes them there, answers are signed there."""

import threading

import pytest

from pki_core.model.signer import KeyAlgorithm
from pki_core.services.ocsp import OcspResponder
from pki_core.services.ocsp_signing import OcspSigner
from pki_core.services.responders import Responders
from tests.journeys.acts import GENERATIONS
from tests.ocsp_forms import Response, certificate_id, nonce, request

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]
pytestmark = pytest.mark.softhsm

LEAFS = {
    KeyAlgorithm.SECP256R1: "contract_leaf",
    KeyAlgorithm.SECP521R1: "contract_leaf_20",
    KeyAlgorithm.ED448: "contract_leaf_20_ed448",
}


@pytest.fixture
def in_token(asked, key_store):
    """A responder whose delegates, made by a rotation, have their keys in the token."""
    runtime = asked.runtime
    asked.clock.advance(days=25)
    rules = runtime.responders._rules
    Responders(runtime.store, key_store, runtime.issuers, runtime.enrollment, runtime.clock, rules).rotate()
    signer = OcspSigner(runtime.store, lambda: key_store, runtime.clock, 60)
    return OcspResponder(runtime.store, runtime.clock, signer, runtime.ocsp_policy, 0.0)


def test_answers_are_signed_in_the_token_by_every_algorithm(asked, in_token):
    for algorithm, profile in LEAFS.items():
        record, serial = asked.issue(profile)
        for extensions in ([], [nonce(b"x" * 32)]):
            response = Response(in_token.answer(request(certificate_id(record, serial), extensions=extensions)).der)
            assert response.statuses == ["good"]
            (delegate, _) = asked.responders(f"mo-sub2{GENERATIONS[algorithm]}")
            assert response.certificates == [delegate.certificate_der]
            assert response.is_signed_by(delegate.certificate_der)

    # Threads share the token's one session; each gets the answer to its own nonce.
    record, serial = asked.issue()
    wrong = []

    def ask(number):
        for turn in range(25):
            value = bytes((number, turn)) * 8
            answer = in_token.answer(request(certificate_id(record, serial), extensions=[nonce(value)]))
            if Response(answer.der).nonce != value:
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    in_token.close()
    assert wrong == []
