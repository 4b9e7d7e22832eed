"""Lists of orders for vehicles of both editions: what was made is told, and where nothing can be made nothing is."""

from datetime import timedelta
from hashlib import sha256

import pytest

from pki_core.model.errors import (
    ConflictError,
    ConstraintError,
    HsmUnavailableError,
    InvariantError,
    IssuerEndedError,
    IssuerRevokedError,
    SignerUnavailableError,
    UnavailableError,
)
from pki_core.model.pools import Namespace
from pki_core.model.requests import Refused
from pki_core.model.revocations import Reason
from pki_core.services.contract_generation import ANY_ROOTS, TRY_LATER, Roots, error_of
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.contracts import Contracts
from pki_core.services.cps_signers import CpsSigners
from pki_core.services.issuers import Issuers
from tests.journeys.acts import rows
from tests.journeys.contract_acts import (
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    P256,
    P521,
    PCID,
    Garage,
    contract,
    demo_mo,
    ending_ca,
    wanted,
)
from tests.journeys.contract_rest_acts import GENERATE, MSG_20, order
from tests.journeys.pool_acts import emaids, events, forget_events

pytest_plugins = ["tests.journeys.rest_environments"]
MANY = "/v1/cps/generate/contracts"
DAY = timedelta(days=1)
MADE = {P256: EMAID, P521: OTHER_EMAID}


@pytest.fixture
def both(any_environment):
    """An environment with a vehicle of each edition."""
    garage = Garage(any_environment)
    garage.build()
    garage.build(OTHER_PCID, P521)
    forget_events(any_environment)
    return any_environment


def generate(runtime, *, turned=False, roots=ANY_ROOTS):
    old = wanted(runtime)._replace(namespace=Namespace.ISO_2_2013)
    new = wanted(runtime, OTHER_EMAID, OTHER_PCID)._replace(namespace=Namespace.ISO_20_2022)
    orders = [new, old] if turned else [old, new]
    return runtime.contracts.generation.generate(demo_mo(runtime), orders, Namespace.ISO_2_2013, roots)


def failing_for(monkeypatch, errors):
    """Contract data is not signed with these algorithms."""
    plain = ContractSigning.signed

    def signed(signing, messages, signer, *keep):
        if signer.algorithm in errors:
            raise errors[signer.algorithm]
        return plain(signing, messages, signer, *keep)

    monkeypatch.setattr(ContractSigning, "signed", signed)


def without_signer(_runtime, monkeypatch):
    honest = CpsSigners.active
    monkeypatch.setattr(CpsSigners, "active", lambda self: [one for one in honest(self) if one.algorithm is P256])
    return SignerUnavailableError


def without_key(_runtime, monkeypatch):
    honest = CpsSigners.key_of

    def key_of(signers, signer):
        if signer.algorithm is P521:
            raise HsmUnavailableError("the token is away")
        return honest(signers, signer)

    monkeypatch.setattr(CpsSigners, "key_of", key_of)
    return HsmUnavailableError


def without_ca(runtime, _monkeypatch):
    with runtime.store.reading() as work:
        ca = work.issuers.get("mo-sub1-20").id
        (serial,) = [one.serial for one in work.responders.standings() if one.ca_id == ca]
    runtime.revocations.revoke(serial, Reason.CERTIFICATE_HOLD, actor="test", witnesses=("alice", "bob"))
    return IssuerRevokedError


def with_ended_ca(runtime, _monkeypatch):
    ending_ca(runtime, "mo-sub2-20", -DAY)
    return IssuerEndedError


def with_ended_chain(runtime, _monkeypatch):
    ending_ca(runtime, "mo-sub1-20", -DAY)
    return IssuerEndedError


def without_ca_key(_runtime, monkeypatch):
    honest = Issuers.get

    def get(issuers, label):
        if label == "mo-sub2-20":
            raise HsmUnavailableError("the token is away")
        return honest(issuers, label)

    monkeypatch.setattr(Issuers, "get", get)
    return HsmUnavailableError


MISSING = [without_signer, without_key, without_ca, without_ca_key, with_ended_ca, with_ended_chain]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_missing_for_one_edition_is_found_out_before_anything_is_made(both, monkeypatch, missing, turned):
    error = missing(both, monkeypatch)
    with pytest.raises(error):
        generate(both, turned=turned)
    assert (emaids(both), events(both)) == ([], [])
    assert rows(both, "SELECT count(*) FROM certificate WHERE common_name LIKE 'DEPNC%'") == [(0,)]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("of_mo", [False, True], ids=["cps", "mo"])
def test_a_root_that_stands_above_one_edition_alone_is_told_before_anything_is_made(both, turned, of_mo):
    (root,) = [one for one in both.certificates.issuers() if one.label == "v2g-root"]
    fingerprint = sha256(root.certificate_der).hexdigest()
    with pytest.raises(ConflictError):
        generate(both, turned=turned, roots=Roots(mo_sha256=fingerprint) if of_mo else Roots(fingerprint))
    assert (emaids(both), events(both)) == ([], [])
    assert rows(both, "SELECT count(*) FROM certificate WHERE common_name LIKE 'DEPNC%'") == [(0,)]


FAILURES = [
    (HsmUnavailableError("away"), TRY_LATER, "order it again"),
    (InvariantError("our own fault"), "internal", "the fault is ours"),
    (ConstraintError("the database refuses it"), "request.conflict", "the database refuses it"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("fails", [P256, P521])
@pytest.mark.parametrize("failure", FAILURES, ids=["away", "ours", "refused"])
def test_what_fails_later_for_one_edition_is_the_outcome_of_its_orders(
    both, monkeypatch, caplog, fails, turned, failure
):
    error, code, says = failure
    with monkeypatch.context() as patched:
        failing_for(patched, {fails: error})
        outcomes = generate(both, turned=turned)
    (refused,) = [one for one in outcomes if isinstance(one, Refused)]
    (made,) = [one for one in outcomes if not isinstance(one, Refused)]
    assert (refused.reference, refused.code) == (MADE[fails], code)
    assert says in refused.message
    assert ("order it again" in refused.message) == (code == TRY_LATER)
    (line,) = [one for one in caplog.records if one.name == "pncpki.contracts"]
    assert (line.levelname, "demo-mo" in line.message, str(error) in line.message) == ("ERROR", True, True)
    assert emaids(both) == [made.common_name]
    assert [one.reference for one in outcomes] == ([OTHER_EMAID, EMAID] if turned else [EMAID, OTHER_EMAID])
    assert "own fault" not in refused.message
    assert isinstance(error_of(refused), UnavailableError) == (code == TRY_LATER)
    assert not any(isinstance(one, Refused) for one in generate(both))


def test_where_nothing_was_made_the_call_says_so(both, monkeypatch):
    failing_for(monkeypatch, {P256: HsmUnavailableError("the one"), P521: HsmUnavailableError("the other")})
    with pytest.raises(HsmUnavailableError):
        generate(both)
    assert emaids(both) == []


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("other_vehicle", [False, True])
def test_of_two_orders_of_one_contract_for_both_editions_the_second_is_a_duplicate(
    any_environment, turned, other_vehicle
):
    runtime, garage = any_environment, Garage(any_environment)
    garage.build()
    second = OTHER_PCID if other_vehicle else PCID
    garage.build(second, P521)
    forget_events(runtime)
    old = wanted(runtime)._replace(namespace=Namespace.ISO_2_2013)
    new = wanted(runtime, pcid=second)._replace(namespace=Namespace.ISO_20_2022)
    orders = [new, old] if turned else [old, new]
    first, duplicate = runtime.contracts.generation.generate(demo_mo(runtime), orders, Namespace.ISO_2_2013)
    assert (first.common_name, duplicate.code) == (EMAID, "row.duplicate_identifier")
    assert contract(runtime).namespace is orders[0].namespace
    assert rows(runtime, "SELECT count(*) FROM certificate WHERE common_name LIKE 'DEPNC%'") == [(1,)]


def test_an_order_that_may_not_be_leaves_its_emaid_to_the_next_whatever_their_editions(both, monkeypatch):
    plain, asked = Contracts.issue, []

    def issue(contracts, issuer, order, orders, *more):
        asked.append([one.pcid for one in orders])
        return plain(contracts, issuer, order, orders, *more)

    monkeypatch.setattr(Contracts, "issue", issue)
    ended = wanted(both)._replace(namespace=Namespace.ISO_2_2013, ends=both.clock.now())
    good = wanted(both, pcid=OTHER_PCID)._replace(namespace=Namespace.ISO_20_2022)
    refused, made = both.contracts.generation.generate(demo_mo(both), [ended, good], Namespace.ISO_2_2013)
    assert (refused.code, made.common_name) == ("contract.ended", EMAID)
    assert asked == [[OTHER_PCID]]  # of the other edition nothing is left to be made


def test_over_http_what_was_made_has_its_verdict_and_one_order_is_503(api, garage, monkeypatch):
    garage.build()
    garage.build(OTHER_PCID, P521)
    failing_for(monkeypatch, {P521: HsmUnavailableError("away")})
    new = order(api, OTHER_EMAID, OTHER_PCID, MSG_20)
    verdicts = api.good("mo", "POST", MANY, json={"contracts": [order(api), new]})["verdicts"]
    assert [one["code"] for one in verdicts] == ["issued", TRY_LATER]
    for method, path, body in (("PUT", GENERATE, new), ("POST", MANY, {"contracts": [new]})):
        answer = api.call("mo", method, path, json=body)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert emaids(api.runtime) == [EMAID]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contractEnds": "x"}, "contracts[1]: The contractEnds does not match the specification"),
        ({"emaid": "x"}, "contracts[1]: emaid : must match"),
        ({"pcid": None}, "contracts[1]: pcid is missing"),
        ({"xsdMsgDefNamespace": "urn:x"}, "contracts[1]: xsdMsgDefNamespace is one of"),
        (None, "contracts[1] is an object"),
    ],
    ids=["moment", "emaid", "pcid", "namespace", "no-order"],
)
def test_over_http_a_malformed_order_refuses_its_list_and_is_named_by_its_place(api, garage, change, says):
    garage.build()
    good = order(api)
    bad = change if change is None else {**good, **change}
    status, sentence = api.refused("mo", "POST", MANY, json={"contracts": [good, bad]})
    assert (status, says in sentence) == (400, True)
    assert emaids(api.runtime) == []
