"""The audit log: what was sealed cannot be edited, deleted, cut off, reordered or added to unnoticed."""

import json
import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from pki_core.model.errors import ConflictError, InvariantError, KeyRejectedError, PkiError, SettingsError
from pki_core.store.audit import AuditEntry
from tests.audit_guards import drop_guards
from tests.journeys.acts import ROOT
from tests.store.connections import connected

pytest_plugins = ["tests.journeys.environments"]


def write(runtime, *details, stream="tests"):
    entries = [AuditEntry(actor="tester", action="test.act", detail=detail) for detail in details]
    with runtime.store.transaction() as work:
        work.audit.append(stream, runtime.clock.now(), entries)


def tamper(runtime, statement):
    with connected(runtime.settings.database_url) as connection:
        drop_guards(connection)
        changed = connection.execute(text(statement)).rowcount
    assert changed, statement


def anchor_of(runtime):
    return runtime.home / "audit" / "checkpoints.jsonl"


def without_line(runtime, number):
    lines = anchor_of(runtime).read_text().splitlines(keepends=True)
    anchor_of(runtime).write_text("".join(line for line in lines if json.loads(line)["number"] != number))


@pytest.fixture
def sealed(any_environment):
    """Three checkpoints over two streams, four rows of ours in the middle one."""
    runtime = any_environment
    runtime.audit_log.seal()
    write(runtime, "one", "two")
    write(runtime, "aside", stream="others")
    write(runtime, "three", "four")
    runtime.audit_log.seal()
    write(runtime, "five")
    runtime.audit_log.seal()
    return runtime


def test_what_nobody_touched_verifies_whole(sealed):
    verified = sealed.audit_log.verify()
    assert verified.faults == ()
    assert (verified.checkpoints, verified.unsealed_rows) == (3, 0)
    with connected(sealed.settings.database_url) as connection:
        assert verified.sealed_rows == connection.scalar(text("SELECT count(*) FROM audit"))


def test_sealing_twice_equals_sealing_once(sealed):
    assert sealed.audit_log.seal().rows == 0
    assert sealed.audit_log.verify().checkpoints == 3


def test_rows_behind_the_last_checkpoint_are_told_as_not_sealed(sealed):
    write(sealed, "six", "seven")
    verified = sealed.audit_log.verify()
    assert (verified.unsealed_rows, verified.faults) == (2, ())
    assert sealed.audit_log.seal().rows == 2


SWAP = """
UPDATE audit SET detail = CASE detail WHEN 'one' THEN 'two' ELSE 'one' END WHERE detail IN ('one', 'two')
"""
INSERTED = """
INSERT INTO audit (id, stream, at, actor, action, detail)
SELECT min(id) - 1000000, 'tests', 1, 'intruder', 'test.act', 'before all' FROM audit
"""

EXTRA = """
INSERT INTO audit_checkpoint SELECT -1, last_id, heads, sealed_at, previous_sha256, key_label, signature
FROM audit_checkpoint WHERE number = 1
"""


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit SET actor = 'somebody else' WHERE detail = 'three'", "stream 'tests' was changed between"),
        ("UPDATE audit SET at = at + 1 WHERE detail = 'one'", "stream 'tests' was changed between"),
        ("UPDATE audit SET detail = NULL WHERE detail = 'four'", "stream 'tests' was changed between"),
        ("DELETE FROM audit WHERE detail = 'two'", "stream 'tests' has 3 rows and not 4"),
        ("UPDATE audit SET stream = 'others' WHERE detail = 'two'", "stream 'others' has 2 rows and not 1"),
        (SWAP, "stream 'tests' was changed between"),
        (INSERTED, "stream 'tests' has 1 rows and not 0"),
        ("DELETE FROM audit WHERE detail = 'five'", "stream 'tests' has 4 rows and not 5"),
        ("DELETE FROM audit_checkpoint WHERE number = 3", "checkpoint 3 was anchored and is gone"),
        ("DELETE FROM audit_checkpoint WHERE number = 2", "checkpoint 3 does not follow the one before it"),
        ("UPDATE audit_checkpoint SET last_id = last_id - 1 WHERE number = 2", "checkpoint 2 has no valid signature"),
        ("UPDATE audit_checkpoint SET sealed_at = sealed_at - 60 WHERE number = 3", "checkpoint 3 is not the one"),
        (EXTRA, "checkpoint -1 does not follow the one before it"),
        ("DELETE FROM audit WHERE action = 'certificate.issued'", "certificates have no audit row of their issuing"),
    ],
    ids=[
        "edit",
        "time",
        "blank",
        "delete",
        "move",
        "reorder",
        "insert",
        "truncate",
        "cut",
        "gap",
        "range",
        "seal time",
        "extra",
        "certificates",
    ],
)
def test_every_kind_of_tampering_is_found(sealed, statement, told):
    tamper(sealed, statement)
    faults = sealed.audit_log.verify().faults
    assert any(told in fault for fault in faults), faults


def test_one_damage_is_told_where_it_is_and_once(sealed):
    tamper(sealed, "UPDATE audit SET actor = 'somebody else' WHERE detail = 'three'")
    (fault,) = sealed.audit_log.verify().faults
    assert fault.endswith("(checkpoint 2)")


def test_rows_and_checkpoints_cut_off_together_are_missed_at_the_anchor(sealed):
    tamper(sealed, "DELETE FROM audit WHERE detail = 'five'")
    tamper(sealed, "DELETE FROM audit_checkpoint WHERE number = 3")
    assert sealed.audit_log.verify().faults == ("checkpoint 3 was anchored and is gone",)


def test_what_cannot_be_read_keeps_nothing_else_from_being_judged(sealed):
    tamper(sealed, "UPDATE audit_checkpoint SET heads = '{' WHERE number = 1")
    tamper(sealed, "UPDATE audit_checkpoint SET previous_sha256 = 'zz' WHERE number = 2")
    tamper(sealed, "UPDATE audit_checkpoint SET key_label = 'mine' WHERE number = 3")
    tamper(sealed, "UPDATE audit SET actor = 'somebody else' WHERE detail = 'five'")
    faults = sealed.audit_log.verify().faults
    assert faults[:3] == (
        "checkpoint 1 cannot be read",
        "checkpoint 2 cannot be read",
        "checkpoint 3 names the key 'mine', which is not there",
    )
    assert faults[3].startswith("stream 'tests' was changed")
    tamper(sealed, "UPDATE audit_checkpoint SET heads = '{\"tests\"\\:5}' WHERE number = 3")
    assert "checkpoint 3 cannot be read" in sealed.audit_log.verify().faults
    with pytest.raises(InvariantError, match="checkpoint 3 cannot be read"):
        sealed.audit_log.seal()


def test_an_emptied_log_is_not_mistaken_for_a_new_one(sealed):
    tamper(sealed, "DELETE FROM audit")
    tamper(sealed, "DELETE FROM audit_checkpoint")
    anchor_of(sealed).unlink()
    faults = sealed.audit_log.verify().faults
    assert any("there is no checkpoint" in fault for fault in faults), faults
    assert any("certificates have no audit row" in fault for fault in faults), faults


def test_a_lost_anchor_is_a_fault_of_every_checkpoint(sealed):
    kept = anchor_of(sealed).read_text()
    anchor_of(sealed).unlink()
    lost = tuple(f"checkpoint {number} has no line in the anchor" for number in (1, 2, 3))
    assert sealed.audit_log.verify().faults == lost
    anchor_of(sealed).write_text(kept + "not a line\n" + kept.splitlines()[0].replace('"sha256": "', '"sha256": "00'))
    assert sealed.audit_log.verify().faults == (
        "line 4 of checkpoints.jsonl cannot be read",
        "line 5 of checkpoints.jsonl names another checkpoint 1 than one before it",
    )


def test_an_end_cut_off_everywhere_here_is_missed_in_what_was_collected_elsewhere(sealed, tmp_path):
    collected = tmp_path / "collected.log"
    lines = anchor_of(sealed).read_text().splitlines()
    collected.write_text("".join(f"2026-11-23 INFO audit checkpoint {line}\n" for line in lines))
    assert sealed.audit_log.verify(collected).faults == ()
    tamper(sealed, "DELETE FROM audit WHERE detail = 'five'")
    tamper(sealed, "DELETE FROM audit_checkpoint WHERE number = 3")
    without_line(sealed, 3)
    assert sealed.audit_log.verify().faults == ()  # nothing is left here that could tell
    assert sealed.audit_log.verify(collected).faults == ("checkpoint 3 was anchored and is gone",)


def test_the_database_itself_refuses_to_change_or_remove_a_row(sealed):
    for statement in (
        "UPDATE audit SET at = at",
        "DELETE FROM audit",
        "UPDATE audit_checkpoint SET last_id = last_id",
        "DELETE FROM audit_checkpoint",
    ):
        with pytest.raises(ConflictError), sealed.store.transaction() as work:
            work.audit._connection.execute(text(statement))
    assert sealed.audit_log.verify().faults == ()


def test_nothing_is_sealed_over_a_log_that_was_cut(sealed):
    tamper(sealed, "DELETE FROM audit_checkpoint WHERE number = 3")
    with pytest.raises(InvariantError, match="checkpoint 3 that was anchored"):
        sealed.audit_log.seal()


def test_a_checkpoint_whose_anchor_was_lost_in_a_power_cut_is_anchored_by_the_next_run(sealed):
    without_line(sealed, 3)
    assert sealed.audit_log.verify().faults == ("checkpoint 3 has no line in the anchor",)
    sealed.audit_log.seal()
    assert [json.loads(line)["number"] for line in anchor_of(sealed).read_text().splitlines()] == [1, 2, 3]
    assert sealed.audit_log.verify().faults == ()


@pytest.mark.parametrize(
    "torn",
    [
        lambda line: line[:1],
        lambda line: line[: len(line) // 2],
        lambda line: line[:-1],
        lambda line: line[:20] + b"\0" * 90,
    ],
    ids=["one octet", "half", "all but its end", "zeros"],
)
def test_a_line_that_a_power_cut_tore_is_told_and_mended_by_the_next_run(sealed, torn):
    *kept, last = anchor_of(sealed).read_bytes().splitlines(keepends=True)
    anchor_of(sealed).write_bytes(b"".join(kept) + torn(last))
    if torn(last) != last[:-1]:
        assert sealed.audit_log.verify().faults == (
            "line 3 of checkpoints.jsonl cannot be read",
            "checkpoint 3 has no line in the anchor",
        )
    assert sealed.audit_log.seal().number == 3
    assert anchor_of(sealed).read_bytes() == b"".join([*kept, last])
    write(sealed, "six")
    assert sealed.audit_log.seal().number == 4
    assert sealed.audit_log.verify().faults == ()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda lines: [lines[0], lines[1][:60] + b"\n", lines[2]],
        lambda lines: [lines[0], lines[1], lines[2][:-10] + b"\n"],
        lambda lines: [lines[0], lines[1], lines[2][:30].replace(b"3", b"4")],
        lambda lines: [*lines, lines[2][:40]],
        lambda lines: [*lines, b"\0\0"],
    ],
    ids=["in the middle", "ended", "of no checkpoint", "twice", "behind"],
)
def test_a_line_that_no_power_cut_tore_is_mended_by_nobody(sealed, damaged):
    changed = b"".join(damaged(anchor_of(sealed).read_bytes().splitlines(keepends=True)))
    anchor_of(sealed).write_bytes(changed)
    with pytest.raises(SettingsError, match="the anchor of the audit log is damaged"):
        sealed.audit_log.seal()
    assert anchor_of(sealed).read_bytes() == changed
    assert any("cannot be read" in fault for fault in sealed.audit_log.verify().faults)


def test_a_last_line_of_another_checkpoint_is_mended_by_nobody(sealed):
    *kept, last = anchor_of(sealed).read_text().splitlines(keepends=True)
    for end in ("\n", ""):
        anchor_of(sealed).write_text("".join(kept) + last.rstrip().replace('"sha256": "', '"sha256": "00') + end)
        with pytest.raises(InvariantError, match="checkpoint 3 that was anchored"):
            sealed.audit_log.seal()
        assert sealed.audit_log.verify().faults == ("checkpoint 3 is not the one that was anchored",)


def test_a_line_behind_one_without_an_end_is_a_line_of_its_own(sealed):
    without_line(sealed, 3)
    anchor_of(sealed).write_text(anchor_of(sealed).read_text().rstrip())  # put back by hand
    sealed.audit_log.seal()
    assert sealed.audit_log.verify().faults == ()


def test_an_anchor_is_on_the_disk_before_its_seal_is_told(any_environment, monkeypatch):
    honest, synced = os.fsync, {}

    def watched(descriptor):
        honest(descriptor)
        synced[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    write(any_environment, "one")
    monkeypatch.setattr(os, "fsync", watched)
    any_environment.audit_log.seal()
    anchor = anchor_of(any_environment).stat()
    assert synced[anchor.st_ino] == anchor.st_size


def test_checkpoints_are_not_signed_by_a_new_key_when_theirs_is_gone(sealed):
    (sealed.home / "keys" / "audit.pem").unlink()
    sealed.key_store.close()
    write(sealed, "six")
    with pytest.raises(KeyRejectedError):
        sealed.audit_log.seal()


def test_a_row_whose_transaction_commits_late_is_not_missed(any_environment):
    """Its id is smaller than the newest one: the sealer waits for it."""
    runtime = any_environment
    runtime.audit_log.seal()
    written, committed = threading.Event(), threading.Event()

    def slow():
        with runtime.store.transaction() as work:
            work.audit.append("tests", runtime.clock.now(), [AuditEntry(actor="slow", action="test.act")])
            written.set()
            committed.wait(0.5)

    thread = threading.Thread(target=slow)
    thread.start()
    written.wait(5)
    if runtime.settings.database_url.startswith("postgres"):
        write(runtime, "quick")  # SQLite lets nobody write beside another
    runtime.audit_log.seal()
    thread.join()
    verified = runtime.audit_log.verify()
    assert (verified.faults, verified.unsealed_rows) == ((), 0)


def test_two_sealers_at_once_do_no_harm(any_environment):
    runtime = any_environment
    write(runtime, *map(str, range(50)))
    failures = []

    def seal():
        try:
            runtime.audit_log.seal()
        except PkiError as error:
            failures.append(type(error).__name__)

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(failures) <= {"ConstraintError", "InvariantError"}
    runtime.audit_log.seal()
    assert runtime.audit_log.verify().faults == ()


@pytest.mark.slow
def test_the_command_tells_and_ends_with_4_when_something_was_changed(environment):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "flows", "audit", *arguments, "--json", "--home", environment.home],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert json.loads(run("seal").stdout)["number"] == 1
    good = run("verify")
    assert (good.returncode, json.loads(good.stdout)["ok"]) == (0, True)
    tamper(environment, "UPDATE audit SET actor = 'x' WHERE id = (SELECT min(id) FROM audit)")
    bad = run("verify")
    assert (bad.returncode, json.loads(bad.stdout)["ok"]) == (4, False)
