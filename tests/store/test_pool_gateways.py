"""The gateways of the pools, on SQLite and PostgreSQL alike: sets, constraints, and plans that read no whole pool."""

import pytest
from sqlalchemy import text

from pki_core.model.errors import ConflictError
from pki_core.model.pools import (
    ContractRow,
    Event,
    EventType,
    Namespace,
    ProvisioningKey,
    ProvisioningRow,
)
from pki_core.model.registrations import EndEntity
from pki_core.model.signer import KeyAlgorithm
from pki_core.store.engine import is_postgres
from pki_core.store.pool_tables import provisioning_certificate
from pki_core.store.provisioning_pool import IssuedRow
from tests.builders import NOW, PARTNER
from tests.store.rows import LATER, record, reserve

P256, P521 = KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1
ENDS = int(LATER.timestamp())


def issued(pcid, certificate_id=1, key=b"k", algorithm=P256):
    return IssuedRow(pcid, algorithm.value, pcid.lower(), 2, 1, certificate_id, key, ENDS, 1, 1)


def foreign(pcid, key=b"k", **changes):
    fields = {
        "key": ProvisioningKey(pcid, P256),
        "pcid_as_sent": pcid,
        "namespace": Namespace.ISO_2_2013,
        "chain_id": 1,
        "certificate_id": None,
        "leaf_der": b"leaf of " + pcid.encode(),
        "key_sha256": key,
        "valid_to": LATER,
        "added_at": NOW,
        "checked_at": NOW,
    }
    return ProvisioningRow(**{**fields, **changes})


def contract(emaid, pcid="WPN1", key=b"k", **changes):
    fields = {
        "emaid": emaid,
        "emaid_as_issued": emaid,
        "key": ProvisioningKey(pcid, P256),
        "key_sha256": key,
        "namespace": Namespace.ISO_2_2013,
        "is_default": False,
        "chain_id": 1,
        "certificate_id": None,
        "leaf_der": b"leaf",
        "valid_from": NOW,
        "valid_to": LATER,
        "cps_fingerprint": "",
        "updated_at": NOW,
        "checked_at": NOW,
    }
    return ContractRow(**{**fields, **changes})


def emaid(at):
    return f"DEPNCC{at:08d}"


@pytest.fixture
def chained(store):
    """A store that knows one chain, number 1."""
    with store.transaction() as work:
        assert work.chains.ensure([b"sub2", b"sub1"], "ab" * 32, LATER, now=NOW) == 1
    return store


def put(store, *rows):
    with store.transaction() as work:
        for row in rows:
            if isinstance(row, ContractRow):
                work.contract_pool.put(row, b"signed")
            else:
                work.provisioning_pool.put(row)


# --- chains


def test_a_chain_is_stored_once(chained):
    with chained.transaction() as work:
        assert work.chains.ensure([b"sub2", b"sub1"], "ab" * 32, LATER, now=None) == 1
        others = [
            work.chains.ensure([b"sub2sub1"], "ab" * 32, LATER, now=NOW),
            work.chains.ensure([b"sub2", b"sub1"], "cd" * 32, LATER, now=NOW),
            work.chains.ensure([b"sub", b"2sub1"], "ab" * 32, LATER, now=None),
        ]
        assert len({1, *others}) == 4
        assert work.chains.get(others[0]).certificates == (b"sub2sub1",)
        assert work.chains.get(1).certificates == (b"sub2", b"sub1")
        assert [chain.is_own for chain in work.chains.all()] == [False, False, False, True]


# --- the PCP


def test_issued_rows_go_in_as_a_set_and_only_another_key_counts_as_replaced(chained):
    with chained.transaction() as work:
        assert work.provisioning_pool.add_issued([issued(f"WPN{at}", at, bytes((at,))) for at in (2, 1, 3)]) == []
    again = [issued("WPN4", 14, b"new"), issued("WPN1", 11, b"\x01"), issued("WPN2", 12, b"other")]
    with chained.transaction() as work:
        assert work.provisioning_pool.add_issued(again) == [ProvisioningKey("WPN2", P256)]
        numbers = work.audit._connection.execute(
            text("SELECT pcid, certificate_id FROM provisioning_certificate ORDER BY pcid")
        ).all()
    assert [tuple(row) for row in numbers] == [("WPN1", 11), ("WPN2", 12), ("WPN3", 3), ("WPN4", 14)]


def test_an_issued_row_over_a_foreign_one_leaves_nothing_of_it(chained):
    put(chained, foreign("WPN1", v2g_roots=("aa:bb",), previous_pcid="WPN0"))
    with chained.transaction() as work:
        assert work.provisioning_pool.add_issued([issued("WPN1", 9)]) == []
        row = work.audit._connection.execute(text("SELECT * FROM provisioning_certificate")).one()
    assert (row.certificate_id, row.leaf_der, row.v2g_roots, row.previous_pcid) == (9, None, None, None)


def test_a_failed_insert_leaves_the_transaction_whole(chained):
    put(chained, foreign("WPN1"))
    with chained.transaction() as work:
        work.outbox.append(NOW, [Event(EventType.ROOT_ADDED, "")])
        work.provisioning_pool.add_issued([issued("WPN1"), issued("WPN2")])
    with chained.reading() as work:
        assert len(work.outbox.waiting(0, 10)) == 1
        assert len(work.provisioning_pool.expired(LATER, 10)) == 2


def test_a_row_is_read_as_it_was_written(chained):
    row = foreign("WPN1", v2g_roots=("aa:bb", "cc"), previous_pcid="WPN0", namespace=Namespace.ISO_20_2022)
    put(chained, row)
    with chained.reading() as work:
        assert work.provisioning_pool.get(row.key) == row
        assert work.provisioning_pool.of_pcid("WPN1") == [row]
        assert work.provisioning_pool.get(ProvisioningKey("WPN1", P521)) is None


def test_the_der_of_ours_comes_from_where_it_was_issued(store, ids):
    number = reserve(store, ids, 1)
    with store.transaction() as work:
        record(work, ids, number, 1)
        work.provisioning_pool.add_issued([issued("WPN1", number * 4096)])
        assert work.provisioning_pool.get(ProvisioningKey("WPN1", P256)).leaf_der == b"der\x00"


@pytest.mark.parametrize(
    "changes",
    [{"certificate_id": 1, "leaf_der": b"both"}, {"certificate_id": None, "leaf_der": None}, {"pcid": "wpn1"}],
)
def test_the_database_refuses_rows_that_cannot_be(chained, changes):
    columns = {**issued("WPN1")._asdict(), **changes}
    with pytest.raises(ConflictError), chained.transaction() as work:
        work.audit._connection.execute(provisioning_certificate.insert().values(**columns))


def test_sets_of_keys_mean_pairs_of_pcid_and_algorithm(chained):
    with chained.transaction() as work:
        work.provisioning_pool.add_issued(
            [
                issued(pcid, at, algorithm=algorithm)
                for at, (pcid, algorithm) in enumerate([("WPN1", P256), ("WPN1", P521), ("WPN2", P256), ("WPN2", P521)])
            ]
        )
        assert work.provisioning_pool.remove([ProvisioningKey("WPN1", P256), ProvisioningKey("WPN2", P521)]) == 2
        assert work.provisioning_pool.remove([]) == 0
        left = work.provisioning_pool.expired(LATER, 10)
    assert set(left) == {ProvisioningKey("WPN1", P521), ProvisioningKey("WPN2", P256)}


def test_foreign_rows_are_paged_by_their_keys(chained):
    put(chained, *[foreign(f"WPN{at}") for at in range(5)], foreign("WPN5", checked_at=LATER))
    seen, after = [], None
    with chained.reading() as work:
        while page := work.provisioning_pool.unchecked(LATER, after, 2):
            seen += [row.key.pcid for row in page]
            after = page[-1].key
    assert seen == [f"WPN{at}" for at in range(5)]


# --- the CCP


def test_a_contract_is_written_over_with_its_data_and_keeps_its_place_as_default(chained):
    put(chained, foreign("WPN1"))
    with chained.transaction() as work:
        assert work.contract_pool.put(contract(emaid(1), is_default=True), b"one")
        assert not work.contract_pool.put(contract(emaid(1), cps_fingerprint="ab" * 32), b"two")
        assert work.contract_pool.signed_data(emaid(1)) == b"two"
        kept = work.contract_pool.get(emaid(1))
    assert kept == contract(emaid(1), is_default=True, cps_fingerprint="ab" * 32)


def test_an_emaid_with_another_vehicle_is_refused_by_the_database(chained):
    put(chained, foreign("WPN1"), foreign("WPN2"), contract(emaid(1)))
    with pytest.raises(ConflictError):
        put(chained, contract(emaid(1), "WPN2"))


@pytest.mark.parametrize(
    "changes", [{"emaid": "DEPNCC1"}, {"emaid": "depncc00000001"}, {"valid_to": NOW}, {"chain_id": 99}]
)
def test_the_database_refuses_contracts_that_cannot_be(chained, changes):
    put(chained, foreign("WPN1"))
    with pytest.raises(ConflictError):
        put(chained, contract(**{"emaid": emaid(1), **changes}))


def test_orphans_are_found_in_windows_that_meet(chained):
    put(chained, foreign("WPN1"), foreign("WPN2", key=b"other"), foreign("WPN3", valid_to=NOW))
    put(chained, *[contract(emaid(at), f"WPN{at % 3 + 1}") for at in range(9)])
    for window in (1, 2, 4, 9, 100):
        found, after = [], ""
        with chained.reading() as work:
            while True:
                page, after = work.contract_pool.orphans(after, NOW, window)
                found += [one.emaid for one in page]
                if not after:
                    break
        assert sorted(found) == [emaid(at) for at in (1, 2, 4, 5, 7, 8)]


def test_removal_takes_the_data_along(chained):
    put(chained, foreign("WPN1"), contract(emaid(1)), contract(emaid(2)))
    with chained.transaction() as work:
        assert work.contract_pool.remove([emaid(1), emaid(9)]) == 1
        assert work.contract_pool.remove([]) == 0
        assert work.audit._connection.execute(text("SELECT emaid FROM contract_data")).all() == [(emaid(2),)]


# --- the outbox and registrations


def test_events_wait_in_order_until_they_are_removed(store):
    told = [Event(EventType.OEM_CONTRACT_CREATED, "WPN", f"WPN{at}", emaid(at)) for at in range(3)]
    with store.transaction() as work:
        work.outbox.append(NOW, told)
        work.outbox.append(NOW, [])
        waiting = work.outbox.waiting(0, 10)
        assert [one.event for one in waiting] == told
        assert len({one.id for one in waiting}) == 3
        assert {one.at for one in waiting} == {NOW}
        assert [one.event for one in work.outbox.waiting(waiting[0].number, 1)] == [told[1]]
        assert work.outbox.remove([waiting[0].number]) == 1
        assert [one.event for one in work.outbox.waiting(0, 10)] == told[1:]


def test_end_entities_are_each_partners_own(store, ids):  # noqa: ARG001  # a partner
    entity = EndEntity(common_name="DE*PNC*E1", evse_ids=("DE*PNC*E1*1",), ocpp_version="2.0.1")
    with store.transaction() as work:
        assert work.registrations.put(PARTNER.id, [entity], NOW) == 1
        changed = EndEntity(common_name="DEPNCE1", manufacturer="Acme")
        assert work.registrations.put(PARTNER.id, [changed, EndEntity(common_name="DE*PNC*E2")], NOW) == 1
        assert work.registrations.known(PARTNER.id, ["DEPNCE1", "DEPNCE9"]) == {"DEPNCE1"}
        assert work.registrations.known("other", ["DEPNCE1"]) == set()
        assert work.registrations.page(PARTNER.id, "", 1) == [changed]
        assert [one.canonical for one in work.registrations.page(PARTNER.id, "DEPNCE1", 9)] == ["DEPNCE2"]
        assert work.registrations.remove(PARTNER.id, ["DEPNCE1"]) == 1


# --- plans


PLANS = {
    "a look-up": "SELECT * FROM provisioning_certificate WHERE pcid = 'WPN1' AND algorithm = 'secp256r1'",
    "expired vehicles": "SELECT pcid FROM provisioning_certificate WHERE valid_to <= 5 ORDER BY valid_to LIMIT 10",
    "expired contracts": "SELECT emaid FROM contract WHERE valid_to <= 5 ORDER BY valid_to LIMIT 10",
    "contracts of a vehicle": "SELECT emaid FROM contract WHERE pcid = 'WPN1'",
    "a row by its certificate": "SELECT pcid FROM provisioning_certificate WHERE certificate_id = 5",
    "a contract by its certificate": "SELECT emaid FROM contract WHERE certificate_id = 5",
}


@pytest.mark.parametrize("name", PLANS)
def test_no_look_up_reads_a_whole_pool(chained, name):
    with chained.transaction() as work:
        connection = work.audit._connection
        if is_postgres(connection):
            connection.execute(text("SET LOCAL enable_seqscan TO OFF"))  # of empty tables it would read all
            plan = "\n".join(row[0] for row in connection.execute(text(f"EXPLAIN {PLANS[name]}")))
            assert "Index" in plan
            assert "Seq Scan" not in plan
        else:
            plan = "\n".join(row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {PLANS[name]}")))
            assert "SEARCH" in plan
