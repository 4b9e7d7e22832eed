"""Counters of answers, by route family and status, in the text form Prometheus reads (OpenMetrics 1.0 section 5).

Each process counts for itself and once a second leaves its figures as a file in a directory all of them share; who
is asked adds them up. Figures of processes that ended stay: a counter never goes down. Nothing names a partner, a
certificate or an address: a family is one of a fixed few words.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

METRICS_VARIABLE: Final = "PNCPKI_METRICS"  # the directory; not set = one process, which keeps its figures

_FAMILIES = {
    **{word: word for word in ("ocsp", "crl", "aia", "pki", "opnc", "oauth")},
    ".well-known": "est",
    "v1": "rest",
    "docs": "docs",
    "openapi.json": "docs",
}
_PROBES = {"healthz", "readyz", "metrics"}  # not counted: they would drown the rest
_BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # seconds
_WRITE_EVERY = 1.0

Figures = dict[str, list[float]]  # "family status" -> [answers, seconds, answers below each bound ...]


class Metrics:
    """What this process has answered, and what all of them have."""

    def __init__(self, directory: Path | None = None) -> None:
        self._file = directory / f"{os.getpid()}-{time.time_ns()}.json" if directory else None
        self._figures: Figures = {}
        self._lock = Lock()
        self._is_new = False
        if self._file is not None:
            Thread(target=self._keep_writing, daemon=True, name="metrics").start()

    def count(self, path: str, status: str, seconds: float) -> None:
        """Count one answer; ``status`` begins with the three digits of RFC 9110 15."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        if first in _PROBES:
            return
        key = f"{_FAMILIES.get(first, 'other')} {status[:3]}"
        below = next((position for position, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))
        with self._lock:
            row = self._figures.get(key)
            if row is None:
                row = self._figures[key] = [0.0] * (2 + len(_BOUNDS) + 1)
            row[0] += 1
            row[1] += seconds
            row[2 + below] += 1
            self._is_new = True

    def total(self) -> Figures:
        """Add up the figures of all processes, this one's as they are now."""
        with self._lock:
            figures = {key: list(row) for key, row in self._figures.items()}
        if self._file is None:
            return figures
        for file in sorted(self._file.parent.glob("*.json")):
            if file == self._file:
                continue
            try:
                others: Figures = json.loads(file.read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue  # being replaced, or the directory is going away
            for key, row in others.items():
                mine = figures.setdefault(key, [0.0] * len(row))
                figures[key] = [ours + theirs for ours, theirs in zip(mine, row, strict=True)]
        return figures

    def _keep_writing(self) -> None:
        while True:
            time.sleep(_WRITE_EVERY)
            if self._is_new and not self._write():
                return

    def _write(self) -> bool:
        if self._file is None:
            return False
        with self._lock:
            text, self._is_new = json.dumps(self._figures), False
        part = self._file.with_suffix(".part")
        try:
            part.write_text(text, encoding="ascii")
            part.replace(self._file)
        except OSError:
            return False  # the directory is gone, and the server with it
        return True


class Measured:
    """A WSGI application whose answers are counted."""

    def __init__(self, app: Any, metrics: Metrics) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app
        self._metrics = metrics

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, and count what was answered and how long it took to begin."""
        begun = time.perf_counter()
        status = "500"

        def noting(line: str, *arguments: Any) -> Any:  # noqa: ANN401  # as the server's own
            nonlocal status
            status = line
            return start_response(line, *arguments)

        try:
            answer: Iterable[bytes] = self._app(environ, noting)
        finally:
            self._metrics.count(environ.get("PATH_INFO", ""), status, time.perf_counter() - begun)
        return answer


def exposition(figures: Figures, gauges: Mapping[str, Mapping[str, float]]) -> str:
    """Return all figures as text; ``gauges`` are values by label set, for each name."""
    lines = ["# TYPE pncpki_answers_total counter"]
    ordered = sorted(figures.items())
    for key, row in ordered:
        lines.append(f"pncpki_answers_total{{{_labels(key)}}} {row[0]:.0f}")
    lines.append("# TYPE pncpki_answer_seconds histogram")
    for key, row in ordered:
        labels, sum_below = _labels(key), 0.0
        for bound, number in zip((*map(str, _BOUNDS), "+Inf"), row[2:], strict=True):
            sum_below += number
            lines.append(f'pncpki_answer_seconds_bucket{{{labels},le="{bound}"}} {sum_below:.0f}')
        lines.append(f"pncpki_answer_seconds_sum{{{labels}}} {row[1]:.6f}")
        lines.append(f"pncpki_answer_seconds_count{{{labels}}} {row[0]:.0f}")
    for name, values in gauges.items():
        lines.append(f"# TYPE {name} gauge")
        lines += [
            f"{name}{{{labels}}} {value:.0f}" if labels else f"{name} {value:.0f}" for labels, value in values.items()
        ]
    return "\n".join([*lines, ""])


def _labels(key: str) -> str:
    family, status = key.split(" ")
    return f'family="{family}",status="{status}"'
