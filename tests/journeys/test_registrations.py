"""Registration authority: charging stations announced before they enrol, each partner's own."""

import pytest

from pki_core.model.errors import LimitExceededError, MalformedError, NotAuthorizedError
from pki_core.model.registrations import EndEntity
from pki_core.services.registrations import MAX_AT_ONCE
from tests.journeys.acts import rows
from tests.journeys.pool_acts import partner

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def cpo(environment):
    return next(one for one in environment.partners.all() if one.id == "demo-cpo")


def station(cpo, at=1):
    return EndEntity(common_name=f"{min(cpo.operator_prefixes)}E{at:05d}")


def test_a_station_is_known_by_its_name_without_separators(environment, cpo):
    (prefix,) = cpo.operator_prefixes
    spaced = EndEntity(common_name=f"{prefix[:2]}*{prefix[2:]}*E1*2", device_name="left")
    assert environment.pools.registrations.put(cpo, [spaced]) == 1
    assert environment.pools.registrations.is_registered(cpo, f"{prefix}E12".lower())
    assert not environment.pools.registrations.is_registered(cpo, f"{prefix}E13")
    assert environment.pools.registrations.put(cpo, [EndEntity(common_name=f"{prefix}E12")]) == 0
    assert [one.device_name for one in environment.pools.registrations.page(cpo)] == [""]
    assert rows(environment, "SELECT count(*) FROM audit WHERE action = 'entity.registered'") == [(2,)]


def test_other_operators_stations_are_refused_in_the_words_clients_know(environment, cpo):
    for who, name in ((cpo, "FRXYZE1"), (partner("mo", id="demo-cpo"), "DEPNCE1")):
        with pytest.raises(NotAuthorizedError, match=r"^operator not allowed$"):
            environment.pools.registrations.put(who, [station(cpo), EndEntity(common_name=name)])
    assert environment.pools.registrations.page(cpo) == []


def test_registrations_are_each_partners_own(environment, cpo):
    environment.pools.registrations.put(cpo, [station(cpo)])
    other = partner("cpo", id="demo-mo")
    assert environment.pools.registrations.page(other) == []
    assert not environment.pools.registrations.is_registered(other, station(cpo).common_name)
    assert not environment.pools.registrations.remove(other, station(cpo).common_name)
    assert environment.pools.registrations.remove(cpo, station(cpo).common_name)
    assert not environment.pools.registrations.is_registered(cpo, station(cpo).common_name)


def test_there_are_limits(environment, cpo):
    with pytest.raises(LimitExceededError):
        environment.pools.registrations.put(cpo, [station(cpo)] * (MAX_AT_ONCE + 1))
    with pytest.raises(MalformedError):
        environment.pools.registrations.put(cpo, [])
    for fields in (
        {"common_name": "*"},
        {"common_name": "DEPNCE1", "device_name": "x" * 101},
        {"common_name": "DEPNCE1", "device_name": "a\nb"},
        {"common_name": "DEPNCE1", "evse_ids": ("x",) * 65},
    ):
        with pytest.raises(MalformedError):
            EndEntity(**fields)
