"""The benchmark itself: verdicts on figures, the table, and an instrument that measures what it says."""

import gc
import importlib
import sys
import time
import types

import pytest

from bench.parts import PARTS
from bench.report import Figure, Report
from bench.speed import Speed
from bench.stages import POINTS, Stopwatch


def figure(*values, target=""):
    return Figure(name="rate", unit="/s", values=values, target=target)


@pytest.mark.parametrize(
    ("values", "target", "met"),
    [
        ((2000,), ">= 2000", True),
        ((1999,), ">= 2000", False),
        ((250,), "<= 250", True),
        ((251,), "<= 250", False),
        ((0.3,), "< 0.3", False),
        ((0.29,), "< 0.3", True),
        ((1,), "", None),
    ],
)
def test_a_figure_is_held_against_its_target(values, target, met):
    assert figure(*values, target=target).is_met is met


def test_the_median_counts_and_not_the_best_run():
    one = figure(1.0, 9.0, 2.0, target=">= 3")
    assert one.median == 2.0
    assert one.is_met is False


def test_a_row_of_the_table_says_median_range_target_and_verdict():
    row = figure(1.0, 9.0, 2.0, target=">= 3").line().split()
    assert row == ["rate", "2.00", "/s", "1.00", "..", "9.00", ">=", "3", "NOT", "met"]


def test_a_report_names_what_was_missed_and_keeps_every_value():
    said = []
    report = Report(say=said.append)
    report.begin("part", "how")
    report.add("good", "s", [1.0], "<= 2")
    report.add("bad", "s", [3.0, 5.0, 4.0], "<= 2")
    report.add("plain", "s", [7.0])
    assert [(part, one.name) for part, one in report.missed()] == [("part", "bad")]
    assert [one["met"] for one in report.as_json()["part"]] == [True, False, None]
    assert report.as_json()["part"][1]["values"] == [3.0, 5.0, 4.0]
    assert len(said) == 4


@pytest.mark.parametrize(
    ("speed", "rate", "milliseconds"),
    [((1, 1), "3000", "8"), ((2, 1), "3360", "7.96"), ((1, 2), "4941", "4.04"), ((0.5, 0.5), "1500", "16")],
)
def test_of_a_target_signatures_are_scaled_by_the_token_and_the_rest_by_nginx(speed, rate, milliseconds):
    one = Speed(*speed)
    assert one.at_least(3000, 1) == (f">= {rate}", "3,000/s on the machine of the targets")
    assert one.at_most(8, 1) == (f"<= {milliseconds}", "8 ms on the machine of the targets")
    assert one.seconds_at_most(1.5).limit == f"<= {1.5 / speed[1]:.3g}"


@pytest.fixture
def module_under_watch(monkeypatch):
    module = types.ModuleType("module_under_watch")

    def inner():
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    def outer():
        module.inner()

    module.inner, module.outer = inner, outer
    monkeypatch.setitem(sys.modules, "module_under_watch", module)
    points = [("module_under_watch", "outer", "outside"), ("module_under_watch", "inner", "inside")]
    monkeypatch.setattr("bench.stages.POINTS", points)
    return module


def test_what_an_inner_stage_takes_does_not_count_for_the_outer_one(module_under_watch):
    inner, watch = module_under_watch.inner, Stopwatch()
    with watch.running():
        module_under_watch.outer()
    assert watch.cpu["inside"] >= 0.019
    assert watch.cpu["outside"] < 0.01
    assert (watch.calls["inside"], watch.calls["outside"]) == (1, 1)
    assert module_under_watch.inner is inner


def test_garbage_collection_is_a_stage_of_its_own(module_under_watch):
    module_under_watch.inner = gc.collect
    watch = Stopwatch()
    with watch.running():
        module_under_watch.outer()
    assert watch.calls["garbage collection"] >= 1
    assert watch.cpu["inside"] < watch.cpu["garbage collection"]


def test_a_stage_that_the_code_no_longer_has_is_reported(module_under_watch):
    del module_under_watch.inner
    watch = Stopwatch()
    with watch.running():
        pass
    assert watch.missing == ["module_under_watch.inner"]


def test_every_stage_of_the_profile_is_a_function_of_the_code():
    missing = []
    for module, path, _ in POINTS:
        owner = importlib.import_module(module)
        for name in path.split("."):
            owner = getattr(owner, name, None)
        if not callable(owner):
            missing.append(f"{module}.{path}")
    assert missing == []


def test_sizes_come_last_because_they_leave_a_full_store():
    assert list(PARTS)[-1] == "sizes"
