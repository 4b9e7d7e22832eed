"""The OCSP cache: what is kept, what is evicted, and what is not taken because it came too late."""

from pki_core.model.ocsp import Answer, OcspStatus, StatusRecord
from pki_core.model.states import CertificateState
from pki_core.services.ocsp_cache import Entry, Fact, OcspCache

ONE, OTHER = (1, "01"), (1, "02")
FACT = Fact(StatusRecord("01", CertificateState.GOOD, 1, None, None), 60)
CHANGED = Fact(StatusRecord("01", CertificateState.REVOKED, 1, 1, None), 70)


def entry(key=b"k", *certificates, this_update=0, next_update=100):
    answer = Answer(status=OcspStatus.SUCCESSFUL, der=key, this_update=this_update, next_update=next_update)
    return Entry(key, answer, dict.fromkeys(certificates or (ONE,), FACT))


def test_an_answer_is_kept_for_half_its_life():
    assert entry(this_update=100, next_update=200).renew_at == 150


def test_a_change_evicts_every_answer_that_names_the_certificate():
    cache = OcspCache(10)
    first, second, third = entry(b"1"), entry(b"2", OTHER, ONE), entry(b"3", OTHER)
    for one in (first, second, third):
        cache.put(one, 0)
        cache.remember(one.key, one)
    cache.put_fact(ONE, FACT, 0)
    cache.evict(ONE, 1)
    assert [cache.get(key) for key in (b"1", b"2", b"3")] == [None, None, third]
    assert (first.dropped, second.dropped, third.dropped) == (True, True, False)
    assert cache.fact(ONE, 0) is None


def test_an_answer_made_before_the_change_is_not_taken_after_it():
    cache = OcspCache(10)
    cache.evict(ONE, 5)
    cache.put(entry(), 4)
    cache.put_fact(ONE, FACT, 4)
    assert (cache.get(b"k"), cache.fact(ONE, 0)) == (None, None)
    cache.put(entry(), 5)
    cache.put_fact(ONE, FACT, 5)
    assert cache.get(b"k") is not None
    assert cache.fact(ONE, 0) == FACT


def test_clearing_forgets_all_and_refuses_what_was_begun_before():
    cache = OcspCache(10)
    kept = entry()
    cache.put(kept, 0)
    cache.remember(b"r", kept)
    cache.put_fact(ONE, FACT, 0)
    cache.clear(3)
    assert (cache.get(b"k"), cache.fact(ONE, 0), cache.by_request, kept.dropped) == (None, None, {}, True)
    cache.put(entry(b"late", OTHER), 2)
    assert cache.get(b"late") is None


def test_the_least_recently_used_goes_first_and_a_dropped_one_leads_nowhere():
    cache = OcspCache(2)
    first, second = entry(b"1"), entry(b"2")
    cache.put(first, 0)
    cache.put(second, 0)
    cache.get(b"1")
    cache.put(entry(b"3"), 0)
    assert cache.get(b"2") is None
    assert second.dropped
    assert cache.get(b"1") is first
    cache.remember(b"r", second)
    assert cache.by_request == {}


def test_requests_and_facts_are_bounded_too():
    cache = OcspCache(3)
    kept = entry()
    cache.put(kept, 0)
    for number in range(10):
        cache.remember(bytes((number,)), kept)
        cache.put_fact((1, str(number)), FACT, 0)
    assert len(cache.by_request) <= 3
    assert [cache.fact((1, str(number)), 0) for number in range(10)].count(FACT) == 3


def test_evictions_are_forgotten_without_letting_old_answers_in(monkeypatch):
    monkeypatch.setattr("pki_core.services.ocsp_cache._MOST_EVICTIONS", 2)
    cache = OcspCache(10)
    for number in range(1, 5):
        cache.evict((1, str(number)), number)
    cache.put(entry(b"k", (1, "1")), 0)
    assert cache.get(b"k") is None


def test_a_new_answer_takes_the_place_of_the_old_one():
    cache = OcspCache(10)
    old, new = entry(), entry()
    cache.put(old, 0)
    cache.put(new, 0)
    assert old.dropped
    assert cache.get(b"k") is new
    cache.evict(ONE, 1)
    assert new.dropped


def test_a_fact_is_believed_for_its_time_and_an_answer_no_longer_than_any_of_its_facts():
    cache = OcspCache(10)
    cache.put_fact(ONE, FACT, 0)
    assert (cache.fact(ONE, 59), cache.fact(ONE, 60)) == (FACT, None)
    answer = Answer(status=OcspStatus.SUCCESSFUL, der=b"k", this_update=0, next_update=200)
    assert Entry(b"k", answer, {ONE: FACT, OTHER: CHANGED}).believed_until == 60
    assert Entry(b"k", answer, {ONE: FACT._replace(until=500)}).believed_until == 100  # half its life


def test_answers_that_say_otherwise_go_when_the_store_says_something_new():
    cache = OcspCache(10)
    first, same, other = entry(b"1"), entry(b"2", OTHER, ONE), entry(b"3", OTHER)
    for one in (first, same, other):
        cache.put(one, 0)
    cache.put_fact(ONE, FACT._replace(until=90), 0)
    assert not first.dropped
    cache.put_fact(ONE, CHANGED, 0)
    assert (first.dropped, same.dropped, other.dropped) == (True, True, False)


def test_an_answer_that_was_confirmed_is_believed_for_longer_but_not_past_half_its_life():
    cache = OcspCache(10)
    kept = entry(next_update=160)
    cache.put(kept, 0)
    cache.confirm(kept, 70, 0)
    assert kept.believed_until == 70
    cache.confirm(kept, 500, 0)
    assert kept.believed_until == 80


def test_what_is_in_doubt_is_believed_again_only_by_a_look_that_began_behind_the_doubt():
    cache = OcspCache(10)
    kept = entry()
    cache.put(kept, 0)
    cache.put_fact(ONE, FACT, 0)
    cache.doubt(3)
    assert kept.is_doubted
    assert cache.get(b"k") is kept
    assert cache.fact(ONE, 0) is None
    cache.confirm(kept, 40, 2)
    cache.put_fact(ONE, FACT, 2)
    cache.put(entry(b"late"), 2)
    assert kept.is_doubted
    assert (cache.fact(ONE, 0), cache.get(b"late")) == (None, None)
    cache.confirm(kept, 40, 3)
    assert not kept.is_doubted


def test_an_answer_that_took_anothers_place_stays_when_that_one_is_dropped():
    cache = OcspCache(10)
    old, new = entry(), entry()
    cache.put(old, 0)
    cache.put(new, 0)
    cache.drop(old)
    assert cache.get(b"k") is new
