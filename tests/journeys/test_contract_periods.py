"""When contracts are in force: no longer than certificate and CAs, and without a gap when they are replaced."""

from contextlib import closing
from datetime import timedelta

import pytest

from pki_core.model.errors import IssuerEndedError
from pki_core.model.revocations import Reason
from pki_core.runtime.wiring import open_runtime
from pki_core.services.batches import MAX_ATTEMPTS
from pki_core.services.contracts import Contracts
from tests.journeys.acts import rows
from tests.journeys.contract_acts import (
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    PCID,
    YEAR,
    Garage,
    contract,
    ending_ca,
    make,
    wanted,
)
from tests.journeys.contract_batch_acts import BEGINS, ENDS, codes, emaid_of, pcid_of, sign, submit
from tests.journeys.contract_rest_acts import GENERATE, GENERATE_OPNC, order
from tests.journeys.installation_acts import ask
from tests.journeys.pool_acts import emaids

pytest_plugins = ["tests.journeys.rest_environments"]
MANY = "/v1/cps/generate/contracts"
DAY = timedelta(days=1)


@pytest.mark.parametrize("ends_first", ["", "mo-sub2", "mo-sub1"], ids=["profile", "ca", "chain"])
def test_an_order_that_begins_at_the_last_possible_end_is_refused_alone_and_nothing_is_drawn(
    any_environment, ends_first
):
    runtime = any_environment
    Garage(runtime).build_many([PCID, OTHER_PCID])
    end = ending_ca(runtime, ends_first, 30 * DAY) if ends_first else None
    (probe,) = make(
        runtime, wanted(runtime, begins=runtime.clock.now() + 900 * DAY, ends=runtime.clock.now() + 3 * YEAR)
    )
    assert probe.code == "contract.period_invalid"
    assert emaids(runtime) == []
    assert rows(runtime, "SELECT count(*) FROM intent") == [(0,)]
    begins = end or runtime.clock.now() + 730 * DAY
    late, good = make(
        runtime,
        wanted(runtime, begins=begins, ends=begins + YEAR),
        wanted(runtime, OTHER_EMAID, OTHER_PCID, begins=begins - DAY, ends=begins + YEAR),
    )
    assert (late.code, good.common_name) == ("contract.period_invalid", OTHER_EMAID)
    if end:
        assert f"ends on {end:%Y-%m-%dT%H:%M:%SZ} at the latest" in late.message
        assert contract(runtime, OTHER_EMAID).valid_to == end
    assert emaids(runtime) == [OTHER_EMAID]


def test_a_contract_of_less_than_a_second_is_refused(environment):
    Garage(environment).build()
    begins = (environment.clock.now() + DAY).replace(microsecond=100)
    (refused,) = make(environment, wanted(environment, begins=begins, ends=begins.replace(microsecond=900)))
    assert refused.code == "contract.period_invalid"


def test_a_row_that_begins_too_late_is_one_verdict_of_its_table(any_environment):
    runtime = any_environment
    Garage(runtime).build_many([pcid_of(number) for number in range(4)])
    good = [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(3)]
    batch = submit(runtime, [*good, (emaid_of(3), pcid_of(3), "2045-06-01", "2046-01-01")])
    assert sign(runtime, batch).issued == 3
    assert codes(runtime, batch) == dict.fromkeys(range(3), "issued") | {3: "contract.period_invalid"}


@pytest.mark.parametrize("path", [GENERATE, GENERATE_OPNC])
def test_over_http_the_sentence_names_the_end_that_is_possible(api, garage, path):
    garage.build()
    late = order(api, contractBegins="2045-06-01T00:00:00Z", contractEnds="2046-01-01T00:00:00Z")
    status, sentence = api.refused("mo", "PUT", path, json=late)
    last = (api.runtime.clock.now() + 730 * DAY).year
    assert (status, f"ends on {last}-" in sentence) == (400, True)


def test_over_http_an_order_that_begins_too_late_stops_no_other_of_its_list(api, garage):
    garage.build_many([PCID, OTHER_PCID])
    late = order(api, contractBegins="2045-06-01T00:00:00Z", contractEnds="2046-01-01T00:00:00Z")
    body = {"contracts": [late, order(api, OTHER_EMAID, OTHER_PCID)]}
    verdicts = api.good("mo", "POST", MANY, json=body)["verdicts"]
    assert [one["code"] for one in verdicts] == ["contract.period_invalid", "issued"]
    assert emaids(api.runtime) == [OTHER_EMAID]


def test_a_contract_ends_with_the_first_of_the_cas_above_it(any_environment):
    Garage(any_environment).build()
    end = ending_ca(any_environment, "mo-sub1", 100 * DAY)
    make(any_environment, wanted(any_environment))
    assert contract(any_environment, EMAID).valid_to == end


def test_a_contract_that_replaces_one_in_force_is_in_force_at_once_whenever_it_was_to_begin(any_environment):
    runtime = any_environment
    vehicle = Garage(runtime).build()
    make(runtime, wanted(runtime))
    now = runtime.clock.now()
    (second,) = make(runtime, wanted(runtime, begins=now + 300 * DAY, ends=now + 500 * DAY))
    row = contract(runtime)
    assert (row.certificate_id, row.valid_from) == (second.certificate_id, second.not_before)
    (item,) = ask(runtime, vehicle).items
    assert vehicle.install_2(item.exi, runtime.clock.now()) == EMAID


def test_a_contract_that_replaces_one_of_another_ca_in_force_is_in_force_at_once(any_environment):
    runtime = any_environment
    Garage(runtime).build()
    make(runtime, wanted(runtime))
    with runtime.store.transaction() as work:  # an operator with a PKI of his own: no certificate of ours
        work.audit._connection.exec_driver_sql(
            "UPDATE contract SET certificate_id = NULL, leaf_der ="
            " (SELECT der FROM certificate_der WHERE certificate_der.id = contract.certificate_id)"
        )
    (made,) = make(runtime, wanted(runtime, begins=runtime.clock.now() + 40 * DAY))
    assert contract(runtime).valid_from == made.not_before


@pytest.mark.parametrize("before", ["none", "to come", "on hold", "ended"])
def test_a_contract_without_one_in_force_before_it_begins_when_it_was_said_to(any_environment, before):
    runtime = any_environment
    Garage(runtime).build()
    now = runtime.clock.now()
    later = (now + 40 * DAY).replace(microsecond=0)
    if before != "none":
        (first,) = make(runtime, wanted(runtime, begins=now + 30 * DAY if before == "to come" else now))
    if before == "on hold":
        runtime.revocations.revoke(f"{first.serial:x}", Reason.CERTIFICATE_HOLD, actor="test")
    if before == "ended":
        with runtime.store.transaction() as work:
            statement = f"UPDATE contract SET valid_from = 1, valid_to = {int(now.timestamp())}"  # noqa: S608  # ours
            work.audit._connection.exec_driver_sql(statement)
    (made,) = make(runtime, wanted(runtime, begins=later))
    assert contract(runtime).certificate_id == made.certificate_id
    assert contract(runtime).valid_from == later


def test_a_renewal_is_in_force_at_once(any_environment):
    vehicle, runtime = Garage(any_environment).build(), any_environment
    make(runtime, wanted(runtime, ends=runtime.clock.now() + 20 * DAY, renew_days=90))
    first = contract(runtime)
    assert runtime.contracts.renewals.run().renewed == 1
    second = contract(runtime)
    assert second.certificate_id != first.certificate_id
    assert second.valid_from <= runtime.clock.now()
    assert ask(runtime, vehicle).is_found


def test_a_contract_below_a_revoked_ca_is_not_in_force(any_environment):
    runtime = any_environment
    Garage(runtime).build()
    make(runtime, wanted(runtime))

    def in_force():
        with runtime.store.reading() as work:
            return work.contract_making.in_force({EMAID}, runtime.clock.now())

    assert in_force() == {EMAID}
    with runtime.store.reading() as work:
        standing = next(one for one in work.responders.standings() if one.ca_id == work.issuers.get("mo-sub1").id)
    runtime.revocations.revoke(standing.serial, Reason.CA_COMPROMISE, actor="test")
    assert in_force() == set()


@pytest.mark.parametrize("label", ["mo-sub2", "mo-sub1"])
@pytest.mark.parametrize("path", [GENERATE, GENERATE_OPNC])
def test_where_a_ca_has_ended_no_order_is_to_blame_and_nothing_is_made(api, garage, label, path):
    garage.build()
    ending_ca(api.runtime, label, -DAY)
    answers = [
        api.call("mo", "PUT", path, json=order(api)),
        api.call("mo", "POST", MANY, json={"contracts": [order(api)]}),
    ]
    for answer in answers:
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "issuer.ended" in answer.get_data(as_text=True)
    assert emaids(api.runtime) == []
    assert rows(api.runtime, "SELECT count(*) FROM intent") == [(0,)]


@pytest.mark.parametrize("label", ["mo-sub2", "mo-sub1"])
def test_a_table_waits_where_a_ca_has_ended_and_no_row_pays_for_it(any_environment, label):
    runtime = any_environment
    Garage(runtime).build_many([pcid_of(0)])
    batch = submit(runtime, [(emaid_of(0), pcid_of(0), BEGINS, ENDS)])
    ending_ca(runtime, label, -DAY)
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(IssuerEndedError, match="CA mo-sub2, or one above it, has ended"):
            sign(runtime, batch)
    assert codes(runtime, batch) == {}


def test_a_contract_whose_ca_has_ended_is_not_given_up_by_its_renewal(any_environment):
    runtime = any_environment
    Garage(runtime).build()
    make(runtime, wanted(runtime, ends=runtime.clock.now() + 20 * DAY, renew_days=90))
    with closing(open_runtime(runtime.home)) as later:
        ending_ca(later, "mo-sub1", -DAY)
        report = later.contracts.renewals.run()
    assert (report.renewed, report.refused) == (0, 0)
    assert "has ended" in report.failures[0]
    assert rows(runtime, "SELECT count(*) FROM audit WHERE action = 'contract.not_renewed'") == [(0,)]


def test_of_orders_of_one_period_the_first_is_asked_and_each_other_period_by_itself(environment, monkeypatch):
    runtime, asked = environment, []
    Garage(runtime).build_many([pcid_of(number) for number in range(4)])
    plain = Contracts.period_fault

    def counted(contracts, issuer, profile, one):
        asked.append(one.reference)
        return plain(contracts, issuer, profile, one)

    monkeypatch.setattr(Contracts, "period_fault", counted)
    begins = runtime.clock.now()
    periods = [(begins, begins + YEAR), (begins, begins + YEAR), (begins + 900 * DAY, begins + 3 * YEAR)]
    periods.append((begins, begins + 3 * YEAR))
    orders = [
        wanted(runtime, emaid_of(number), pcid_of(number), begins=first, ends=last)
        for number, (first, last) in enumerate(periods)
    ]
    outcomes = make(runtime, *orders)
    assert [getattr(one, "code", "issued") for one in outcomes] == [
        "issued",
        "issued",
        "contract.period_invalid",
        "issued",
    ]
    assert asked == [emaid_of(0), emaid_of(2), emaid_of(3)]
