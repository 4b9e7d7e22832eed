"""CRLs over HTTP: headers, conditional requests, HEAD, long lists, what is not there and what is too old (L20)."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from pki_core.model.errors import StoreUnavailableError
from pki_core.services.crls import Approval
from tests.journeys.acts import rows
from tests.journeys.crl_acts import LABEL, der_of, leaf, opened, published, revoke
from webapp import create_app

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(home):
    with opened(home) as runtime:
        yield runtime


@pytest.fixture
def client(runtime):
    return create_app(runtime).test_client()


def test_l20_a_crl_is_served_with_its_type_length_tag_and_times(runtime, client):
    answer = client.get(f"/crl/{LABEL}.crl", headers={"Accept-Encoding": "gzip"})
    record = published(runtime)
    assert (answer.status_code, answer.data) == (200, der_of(runtime, LABEL))
    assert answer.headers["Content-Type"] == "application/pkix-crl"
    assert answer.headers["ETag"] == f'"{record.sha256}"'
    assert answer.headers["Content-Length"] == str(record.octets) == str(len(answer.data))
    assert answer.headers["Last-Modified"] == format_datetime(record.this_update, usegmt=True)
    assert answer.headers["Cache-Control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert "Content-Encoding" not in answer.headers


def test_l20_head_says_the_same_without_the_list(client):
    whole, head = client.get(f"/crl/{LABEL}.crl"), client.head(f"/crl/{LABEL}.crl")
    assert (head.status_code, head.data) == (200, b"")
    names = ("ETag", "Content-Length", "Content-Type", "Last-Modified", "Cache-Control")
    assert [head.headers[name] for name in names] == [whole.headers[name] for name in names]


def test_l20_who_has_the_list_already_is_told_so(runtime, client):
    record = published(runtime)
    tag, since = f'"{record.sha256}"', format_datetime(record.this_update, usegmt=True)
    before = format_datetime(record.this_update - timedelta(seconds=1), usegmt=True)
    cases = [
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": f'"other", W/{tag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": since}, 304),
        ({"If-Modified-Since": before}, 200),
        ({"If-Modified-Since": "no date"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": since}, 200),  # RFC 9110 13.1.3: the tag decides
    ]
    for headers, status in cases:
        answer = client.get(f"/crl/{LABEL}.crl", headers=headers)
        assert answer.status_code == status, headers
        assert answer.headers["ETag"] == tag
        assert bool(answer.data) is (status == 200)


def test_a_date_does_not_tell_two_lists_of_one_second_apart(runtime, client):
    date = client.get(f"/crl/{LABEL}.crl").headers["Last-Modified"]
    runtime.clock.moment = published(runtime).this_update
    serial, _ = leaf(runtime)
    revoke(runtime, serial)
    runtime.crls.publish(LABEL)
    answer = client.get(f"/crl/{LABEL}.crl", headers={"If-Modified-Since": date})
    assert (answer.status_code, answer.headers["Last-Modified"]) == (200, date)
    assert answer.data == der_of(runtime, LABEL)
    runtime.clock.advance(seconds=1)
    runtime.crls.publish(LABEL)  # the only one of its second
    date = client.get(f"/crl/{LABEL}.crl").headers["Last-Modified"]
    assert client.get(f"/crl/{LABEL}.crl", headers={"If-Modified-Since": date}).status_code == 304


def test_who_has_a_list_of_a_clock_that_ran_ahead_gets_what_took_its_place(runtime, client):
    right = Approval(guards=frozenset({"g4"}))
    runtime.clock.advance(hours=3)
    runtime.crls.publish(LABEL)
    ahead = runtime.clock.now()
    date = client.get(f"/crl/{LABEL}.crl").headers["Last-Modified"]
    wrong = client.get(f"/crl/{LABEL}.crl").data
    runtime.clock.advance(hours=-3)
    serial, _ = leaf(runtime)
    revoke(runtime, serial)
    runtime.crls.publish(LABEL, approval=right)
    moments = [runtime.clock.now() + timedelta(minutes=minutes) for minutes in (0, 30, 60, 90)]
    for moment in [*moments, ahead]:  # in the end a right list of the very second the wrong one was of
        runtime.clock.moment = moment
        runtime.crls.publish(LABEL)
        answer = client.get(f"/crl/{LABEL}.crl", headers={"If-Modified-Since": date})
        assert answer.status_code == 200
        assert answer.data == der_of(runtime, LABEL) != wrong
    assert answer.headers["Last-Modified"] == date
    for minutes in (1, 2, 3, 4):
        runtime.clock.moment = ahead + timedelta(minutes=minutes)
        runtime.crls.publish(LABEL)
    assert len(rows(runtime, f"SELECT id FROM crl WHERE issuer_id = {published(runtime).issuer_id}")) == 3  # noqa: S608


def test_a_date_behind_that_of_the_list_tells_nothing_of_it(runtime, client):
    later = format_datetime(published(runtime).this_update + timedelta(seconds=1), usegmt=True)
    assert client.get(f"/crl/{LABEL}.crl", headers={"If-Modified-Since": later}).status_code == 200


def test_a_new_list_is_served_at_once(runtime, client):
    first = client.get(f"/crl/{LABEL}.crl")
    serial, _ = leaf(runtime)
    revoke(runtime, serial)
    runtime.crls.publish(LABEL)
    second = client.get(f"/crl/{LABEL}.crl", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.data == der_of(runtime, LABEL) != first.data


def test_l20_no_cache_keeps_a_list_past_its_next_update(runtime, client):
    runtime.clock.moment = published(runtime).next_update - timedelta(minutes=5)
    assert client.get(f"/crl/{LABEL}.crl").headers["Cache-Control"].startswith("max-age=299,")


def test_a_list_past_its_next_update_is_not_served(runtime, client):
    runtime.clock.moment = published(runtime).next_update
    answer = client.get(f"/crl/{LABEL}.crl", headers={"If-None-Match": "*"})
    assert answer.status_code == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert int(answer.headers["Retry-After"]) > 0
    runtime.crls.publish(LABEL)
    assert client.get(f"/crl/{LABEL}.crl").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/crl/nobody.crl",
        "/crl/mo-sub2-07.crl",
        "/crl/mo-sub2-delta.crl",
        "/crl/mo-sub2",
        "/crl/mo-sub2.CRL",
        "/crl/" + "a" * 5000 + ".crl",
        "/crl/%00.crl",
        "/crl/..%2Fmo-sub2.crl",
        "/crl/-00.crl",
        "/crl/.crl",
    ],
)
def test_what_is_not_there_is_not_found_in_plain_text(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_nothing_can_be_written(client):
    assert client.post(f"/crl/{LABEL}.crl", data=b"x").status_code == 405


def test_shards_and_deltas_have_addresses_of_their_own(home):
    with opened(home, certificates="crl_shards = 2", crl="delta_minutes = 15") as runtime:
        runtime.crls.publish("cpo-sub2")
        client = create_app(runtime).test_client()
        names = [f"cpo-sub2{shard}{kind}" for shard in ("", "-00", "-01") for kind in ("", "-delta")]
        found = {name: client.get(f"/crl/{name}.crl") for name in names}
        assert {name: answer.status_code for name, answer in found.items()} == dict.fromkeys(names, 200)
        assert len({answer.data for answer in found.values()}) == len(names)


def test_an_issuer_whose_label_ends_in_two_digits_is_found(client, runtime):
    assert client.get("/crl/mo-sub2-20.crl").data == der_of(runtime, "mo-sub2-20")


def test_a_long_list_is_streamed_in_pieces(home, monkeypatch):
    from pki_core.services import crl_scope, crl_shelf
    from pki_core.store import crls

    for module in (crl_scope, crl_shelf, crls):
        monkeypatch.setattr(module, "PIECE_OCTETS", 100)
    with opened(home) as runtime:
        serial, _ = leaf(runtime)
        revoke(runtime, serial)
        correction = Approval(guards=frozenset({"g5"}))  # the one before was stored in longer pieces
        runtime.crls.publish(LABEL, approval=correction)
        answer = create_app(runtime).test_client().get(f"/crl/{LABEL}.crl", buffered=False)
        pieces = list(answer.response)
        assert len(pieces) > 2
        assert b"".join(pieces) == der_of(runtime, LABEL)
        assert answer.headers["Content-Length"] == str(len(der_of(runtime, LABEL)))
        found = runtime.crl_shelf.find(LABEL)
        assert b"".join(runtime.crl_shelf.octets(found.record)) == b"".join(pieces)
        reading = crl_shelf.CrlShelf(runtime.store, runtime.clock).octets(found.record)  # of a process without pieces
        next(reading)
        for _ in range(4):
            runtime.crls.publish(LABEL)
        with pytest.raises(StoreUnavailableError):  # a body cut short by its length, never half of two lists
            list(reading)


def test_a_store_that_is_away_answers_503(runtime, client, monkeypatch):
    def away(*_args):
        raise StoreUnavailableError("the database did not answer")

    monkeypatch.setattr(runtime.crl_shelf, "find", away)
    answer = client.get(f"/crl/{LABEL}.crl")
    assert answer.status_code == 503
    assert b"database" not in answer.data
