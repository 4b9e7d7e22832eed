"""The gate before a module: many callers, or one alone, and nobody waits for ever."""

import threading

import pytest

from pki_core.hsm.gate import Gate
from pki_core.model.errors import HsmUnavailableError


def test_many_are_inside_at_once():
    gate = Gate(0.05)
    for _ in range(3):
        gate.enter()
    for _ in range(3):
        gate.leave()
    with gate.alone():
        pass


def test_alone_waits_until_the_last_has_left_and_keeps_new_ones_out():
    gate = Gate(10)
    story = []
    gate.enter()

    def be_alone():
        with gate.alone():
            story.append("alone")

    def come_later():
        gate.enter()
        story.append("later")
        gate.leave()

    first = threading.Thread(target=be_alone)
    first.start()
    while not gate._closed:
        pass
    second = threading.Thread(target=come_later)
    second.start()
    second.join(0.05)
    assert story == []
    gate.leave()
    first.join()
    second.join()
    assert story == ["alone", "later"]


def test_a_caller_that_never_leaves_is_reported_and_the_others_go_on():
    gate = Gate(0.05)
    gate.enter()
    with pytest.raises(HsmUnavailableError, match="does not return"), gate.alone():
        pytest.fail("not alone")
    gate.enter()


def test_one_that_stays_alone_for_ever_is_reported_to_those_who_wait():
    gate = Gate(0.05)
    with gate.alone():
        with pytest.raises(HsmUnavailableError, match="does not answer"):
            gate.enter()
        with pytest.raises(HsmUnavailableError, match="does not answer"):
            gate.close()
    gate.enter()
