"""Requests made from the API document (schemathesis), each sent by every caller, and what must hold for the answers."""

import contextlib
import gzip
from dataclasses import dataclass, field

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.journeys.api_acts import CALLERS, NOBODY
from webapp.app import wsgi_application
from webapp.upload_stream import SUFFIXES

_CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
_ORDER = ("get", "post", "put", "delete")
_FAULT, _AWAY = 500, 503
_TURNED_AWAY = {401, 403}
_OCTETS = (
    *("application/pkcs10", "application/ocsp-request", "application/octet-stream"),
    *(kind for kind in SUFFIXES if kind != "text/csv"),  # schemathesis writes CSV itself
)


@schemathesis.serializer(*_OCTETS)
def _octets(_context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode(errors="replace")}


@dataclass
class Findings:
    """What was wrong, and how much was asked."""

    texts: list = field(default_factory=list)
    answers: dict = field(default_factory=dict)  # (operation, caller, status) -> number
    seen: dict = field(default_factory=dict)  # mark -> who read it


def operations_of(world, *, with_aliases=False):
    """Every operation of the document, OCSP included, which is answered ahead of Flask; what removes comes last."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app=_closing(wsgi_application(world.runtime)))
    found = [one.ok() for one in schema.get_all_operations()]
    found = [one for one in found if with_aliases or "x-alias-of" not in one.definition.raw]
    return sorted(found, key=lambda one: _ORDER.index(one.method.lower()))


def _closing(application):
    """An application whose answers are read and closed at once; the client of schemathesis leaves files open."""

    def closed(environ, start_response):
        answer = application(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            if hasattr(answer, "close"):
                answer.close()

    return closed


@dataclass(frozen=True)
class Effort:
    """How many requests, of what kind, and by whom."""

    examples: int
    callers: tuple = CALLERS
    mode: GenerationMode = GenerationMode.POSITIVE
    is_repeatable: bool = True


def try_operation(world, operation, findings, effort):
    """Send cases of one operation, each by every caller."""

    @settings(
        max_examples=effort.examples,
        deadline=None,
        database=None,
        derandomize=effort.is_repeatable,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases_of(world, operation, effort.mode))
    def run(case):
        for caller in effort.callers:
            send(world, case, caller, findings)

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters has no bad ones
        run()


def try_edges(world, operation, findings, callers=CALLERS):
    """Send the cases at the edges of what the document allows, and beyond: lengths, bounds, types, methods."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    config = operation.schema.config.generation_for(operation=operation, phase="coverage")
    for case in operation.schema.iter_coverage_cases(operation, generation_modes=modes, generation_config=config):
        for caller in callers:
            send(world, case, caller, findings)


@st.composite
def cases_of(draw, world, operation, mode=GenerationMode.POSITIVE):
    """Cases of schemathesis, most of them with names of things that are there, and some that are good requests."""
    case = draw(operation.as_strategy(mode))
    for parameters in (case.path_parameters, case.query):
        for name in list(parameters or {}):
            if name in world.values and draw(st.integers(0, 4)):
                parameters[name] = draw(st.sampled_from(world.values[name]))
    recipes = world.recipes.get(operation_id(operation))
    if recipes and draw(st.integers(0, 2)):
        _follow(case, *draw(st.sampled_from(recipes)))
    return case


def _follow(case, parameters, body, media_type):
    """Make a case the request of a recipe."""
    in_path = case.path_parameters or {}
    in_path.update((name, value) for name, value in parameters.items() if name in in_path)
    case.query = {name: value for name, value in parameters.items() if name not in in_path}
    if body is not None:
        case.media_type, case.body = media_type, body


def operation_id(operation):
    return operation.definition.raw["operationId"]


def send(world, case, caller, findings):
    """Send a case as somebody, and note what is wrong with the answer."""
    headers = {**world.api.headers_of(caller)}
    more = {}
    if isinstance(case.body, bytes):
        more["data"] = case.body
        headers["Content-Type"] = case.media_type
    response = case.call(headers=headers, **more)
    name = operation_id(case.operation)
    key = (name, caller, response.status_code)
    findings.answers[key] = findings.answers.get(key, 0) + 1
    place = f"{caller}: {case.method} {response.request.url[:500]} ({name}): {response.status_code}"
    if response.status_code in {_FAULT, _AWAY}:
        findings.texts.append(f"{place} {response.content[:300]!r}")
    try:
        case.validate_response(response, checks=_CHECKS)
    except FailureGroup as group:
        findings.texts.append(f"{place}\n{group}")
    # NUL is refused ahead of everything else; the URL that is told leaves out a name whose value is {}, which is sent.
    is_nul = "%00" in response.request.url or "\\x00" in repr(case.query)
    if caller == NOBODY and _is_closed(case) and not is_nul and response.status_code not in _TURNED_AWAY:
        findings.texts.append(f"{place}: nobody is told {response.content[:300]!r}")
    _look_for_marks(world, caller, response, place, findings)


def _is_closed(case):
    """Tell whether credentials are looked at before anything else; EST may find an enrolment code in the request."""
    declared = case.operation.definition.raw
    return "security" in declared and "EST" not in declared["tags"] and case.method == case.operation.method.upper()


def _look_for_marks(world, caller, response, place, findings):
    content = response.content
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    for mark, allowed in world.marks.items():
        if mark.encode() in content:
            findings.seen.setdefault(mark, set()).add(caller)
            if caller not in allowed:
                findings.texts.append(f"{place}: reads {mark[:60]}")
