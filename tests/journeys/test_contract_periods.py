"""When contracts are in force: no longer than certificate and CAs, and without a gap when they are replaced."""

from datetime import timedelta

import pytest

from pki_core.model.revocations import Reason
from tests.journeys.acts import rows
from tests.journeys.contract_acts import EMAID, OTHER_EMAID, OTHER_PCID, PCID, YEAR, Garage, contract, make, wanted
from tests.journeys.contract_batch_acts import BEGINS, ENDS, codes, emaid_of, pcid_of, sign, submit
from tests.journeys.contract_rest_acts import GENERATE, GENERATE_OPNC, order
from tests.journeys.installation_acts import ask
from tests.journeys.pool_acts import emaids

pytest_plugins = ["tests.journeys.rest_environments"]
MANY = "/v1/cps/generate/contracts"
DAY = timedelta(days=1)


def ending_ca(runtime, label, after):
    """Let a CA end soon, as one does that is not renewed in time; returns its end."""
    end = (runtime.clock.now() + after).replace(microsecond=0)
    with runtime.store.transaction() as work:
        statement = f"UPDATE issuer SET not_after = {int(end.timestamp())} WHERE label = '{label}'"  # noqa: S608  # ours
        assert work.audit._connection.exec_driver_sql(statement).rowcount == 1
    return end


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
