"""The whole API under requests made from its own document, by callers of every role: no answer but what is told there.

``make test`` sends some thousand requests, always the same; ``make soak`` sends others each time, and many more.
"""

import pytest
from schemathesis import GenerationMode

from tests.journeys.acts import copy_home
from tests.journeys.api_acts import CALLERS, NOBODY, world_of
from tests.journeys.api_cases import Effort, Findings, operation_id, operations_of, try_edges, try_operation
from tests.journeys.rest_acts import api_of

pytest_plugins = ["tests.journeys.rest_environments"]
# hypothesis describes a strategy when nothing can be drawn from it; ours hold the whole document.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr:hypothesis.errors.HypothesisWarning")
UPLOAD = "batches.submit"
EXPENSIVE = {UPLOAD: 1, "batches.result": 3}  # these start processes
EXAMPLES = 5


@pytest.fixture(scope="module")
def world(rest_home, tmp_path_factory):
    home, secrets = rest_home
    with api_of(copy_home(home, tmp_path_factory.mktemp("world") / "home"), secrets) as api:
        yield world_of(api)


@pytest.fixture(scope="module")
def operations(world):
    return operations_of(world)


def one_that_may(operation):
    """A caller of a role that the operation is for."""
    role = next(iter(operation.definition.raw.get("x-roles", [])), "mo")
    return "alice" if role == "operator" else role


def fruitless(findings, operations):
    """Operations that did nothing for anybody."""
    done = {name for name, _, status in findings.answers if status < 300}
    return {operation_id(operation) for operation in operations} - done


@pytest.mark.slow
def test_every_answer_is_one_the_document_tells_of_and_holds_nothing_of_others(world, operations):
    findings = Findings()
    for operation in operations:
        name = operation_id(operation)
        effort = Effort(examples=EXPENSIVE.get(name, EXAMPLES), callers=(NOBODY, "cpo") if name == UPLOAD else CALLERS)
        try_operation(world, operation, findings, effort)
    assert not findings.texts, "\n\n".join(findings.texts)
    # A run in which nothing is found, or nobody reads what is his, proves nothing.
    assert len(fruitless(findings, operations)) < len(operations) / 4
    read = {mark for mark, readers in findings.seen.items() if readers}
    assert {mark for mark in world.marks if mark.startswith("only-for-")} <= read


@pytest.mark.slow
def test_what_the_document_does_not_allow_is_refused_as_it_tells(world, operations):
    findings = Findings()
    for operation in operations:
        if operation_id(operation) not in EXPENSIVE:
            try_edges(world, operation, findings, (NOBODY, one_that_may(operation)))
    assert not findings.texts, "\n\n".join(findings.texts)


@pytest.mark.soak
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_document_holds_for_hours(world, mode):
    findings = Findings()
    for operation in operations_of(world, with_aliases=True):
        is_expensive = operation_id(operation) in EXPENSIVE
        try_edges(world, operation, findings, (NOBODY, one_that_may(operation)) if is_expensive else CALLERS)
        examples = 20 if is_expensive else 200
        try_operation(world, operation, findings, Effort(examples=examples, mode=mode, is_repeatable=False))
        assert not findings.texts, "\n\n".join(findings.texts)
