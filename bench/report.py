"""Figures with their targets, as a table for people and as JSON for programs."""

import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}
_NAME, _NUMBER, _RANGE, _UNIT, _TARGET = 58, 10, 22, 9, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity: every run's value; the median is what counts."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: str = ""  # "<= 2.5"
    note: str = ""

    @property
    def median(self) -> float:
        """The value that is held against the target."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None when there is none."""
        if not self.target:
            return None
        comparison, _, limit = self.target.partition(" ")
        return _COMPARISONS[comparison](self.median, float(limit))

    def line(self) -> str:
        """Return the figure as a row of the table."""
        spread = f"{_number(min(self.values))} .. {_number(max(self.values))}" if len(self.values) > 1 else ""
        verdict = {None: "", True: "met", False: "NOT met"}[self.is_met]
        row = (
            f"  {self.name:<{_NAME}}{_number(self.median):>{_NUMBER}} {self.unit:<{_UNIT}}"
            f"{spread:>{_RANGE}}  {self.target:<{_TARGET}}{verdict:<9}{self.note}"
        )
        return row.rstrip()


@dataclass(slots=True)
class Report:
    """Every figure of a run, by part. Lines are said as they come: a long run shows where it is."""

    say: Callable[[str], None]
    parts: dict[str, list[Figure]] = field(default_factory=dict)
    _part: str = ""

    def begin(self, part: str, how: str) -> None:
        """Start a part; ``how`` says how it is measured."""
        self._part = part
        self.parts.setdefault(part, [])
        self.say(f"\n{part}\n  ({how})")

    def add(self, name: str, unit: str, values: Sequence[float], target: str = "", note: str = "") -> Figure:
        """Add a figure to the part and show it."""
        figure = Figure(name=name, unit=unit, values=tuple(values), target=target, note=note)
        self.parts[self._part].append(figure)
        self.say(figure.line())
        return figure

    def missed(self) -> list[tuple[str, Figure]]:
        """Return what did not reach its target."""
        return [(part, figure) for part, figures in self.parts.items() for figure in figures if figure.is_met is False]

    def as_json(self) -> dict[str, list[dict[str, object]]]:
        """Return the figures as plain values."""
        return {
            part: [
                {
                    "name": figure.name,
                    "unit": figure.unit,
                    "median": figure.median,
                    "values": list(figure.values),
                    "target": figure.target,
                    "met": figure.is_met,
                    "note": figure.note,
                }
                for figure in figures
            ]
            for part, figures in self.parts.items()
        }


def heading() -> str:
    """Return the head of the table."""
    return (
        f"  {'':<{_NAME}}{'median':>{_NUMBER}} {'unit':<{_UNIT}}{'min .. max':>{_RANGE}}  {'target':<{_TARGET}}verdict"
    )


def _number(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3  # noqa: PLR2004  # three digits that count
    return f"{value:,.{digits}f}"
