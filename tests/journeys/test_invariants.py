"""The checker of the crash tests sees each kind of damage: a check that cannot fail proves nothing."""

import shutil
from functools import reduce

import pytest

from tests.audit_guards import drop_guards
from tests.invariants import check_books, connected
from tests.journeys.crash_faults import sign_all

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = pytest.mark.slow

VALUES = {
    "{serial}": "(SELECT serial FROM certificate WHERE id = {one})",
    "{one}": "(SELECT min(certificate_id) FROM batch_verdict)",
    "{other}": "(SELECT max(certificate_id) FROM batch_verdict)",
}
DAMAGES = {
    "not one verdict": "DELETE FROM batch_verdict WHERE seq = 9",
    "certificates and verdicts differ": "DELETE FROM batch_verdict WHERE seq = 3",
    "certificates in two verdicts": "UPDATE batch_verdict SET certificate_id = {other} WHERE seq = 3",
    "another row's key": (
        "UPDATE batch_item SET csr_der = "
        "(SELECT csr_der FROM batch_item WHERE batch_number = 1 AND seq = 4) WHERE seq = 3"
    ),
    "names": "UPDATE batch_verdict SET common_name = 'DEPNCC000000001' WHERE seq = 3",
    "rows of 80 are stored": "DELETE FROM batch_item WHERE seq = 79",
    "the code": "UPDATE batch_verdict SET code = 'key.weak' WHERE seq = 3",
    "good serials and certificates": "DELETE FROM certificate WHERE id = {one}",
    "good serials and DER": "DELETE FROM certificate_der WHERE id = {one}",
    "settled in part": "INSERT INTO certificate_status VALUES (1, '01ff', {other} + 99, 9, 1, NULL, NULL)",
    "neither good nor void": "INSERT INTO certificate_status VALUES (1, '01ff', 1, 2, 1, NULL, NULL)",
    "reserved serials and stored": "INSERT INTO certificate_status VALUES (1, '01ff', 1, 0, 1, NULL, NULL)",
    "reservations left": "INSERT INTO reservation VALUES (99999, 1, 1, 'somebody', 0, 0)",
    "reserved serials and": "INSERT INTO intent VALUES (1, '01ff', x'3000')",
    "audit rows differ": "UPDATE audit SET certificate_sha256 = x'00' WHERE serial = {serial}",
    "audit rows differ from": "DELETE FROM audit WHERE serial = {serial}",
    "2 audit rows batch.done": (
        "INSERT INTO audit (stream, at, actor, action, detail) "
        "SELECT stream, at, actor, action, detail FROM audit WHERE action = 'batch.done'"
    ),
    "the chunks count": "UPDATE batch_chunk SET issued = issued + 1 WHERE first_seq = 0",
    "the chunks do not cover": "DELETE FROM batch_chunk WHERE first_seq = 70",
    "chunks that are not done": "UPDATE batch_chunk SET state = 'open' WHERE first_seq = 0",
    "is running": "UPDATE batch SET state = 'running'",
    "items of batches": "INSERT INTO batch_item VALUES (7, 0, 'a', x'00', '')",
    "good certificates of contracts that nobody has": (
        "INSERT INTO audit (stream, at, actor, action, detail, certificate_sha256) "
        "SELECT stream, at, actor, 'pool.ccp_published', detail, certificate_sha256 FROM audit WHERE serial = {serial}"
    ),
    "another serial": (
        "UPDATE certificate_der SET der = (SELECT der FROM certificate_der WHERE id = {other}) WHERE id = {one}"
    ),
}


@pytest.mark.parametrize("faulty", ["sqlite"], indirect=True)
def test_every_damage_is_found_and_named(faulty, opened, tmp_path):
    runtime = opened()
    sign_all(runtime, faulty.batch_id)
    runtime.close()
    check_books(faulty.url, faulty.batch_id)
    for name, damage in DAMAGES.items():
        statement = reduce(lambda text, value: text.replace(*value), VALUES.items(), damage)
        damaged = tmp_path / "damaged.db"
        shutil.copyfile(faulty.home / "store.db", damaged)
        url = f"sqlite:///{damaged}"
        with connected(url) as connection:
            drop_guards(connection)
            assert connection.exec_driver_sql(statement).rowcount == 1, statement
        with pytest.raises(AssertionError, match=name):
            check_books(url, faulty.batch_id)
