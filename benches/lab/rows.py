"""Figures, each with its spread, its raw rounds and its target; as a table and as Markdown."""

import dataclasses
import operator
import statistics
import typing

AT_MOST, BELOW, AT_LEAST = ("≤", operator.le), ("<", operator.lt), ("≥", operator.ge)


@dataclasses.dataclass
class Target:
    relation: tuple[str, typing.Callable]
    value: float

    def holds(self, value):
        return self.relation[1](value, self.value)

    def __str__(self):
        return f"{self.relation[0]} {self.value:g}"


@dataclasses.dataclass
class Row:
    """One figure: the median of its rounds, unless `value` says otherwise. Without any it is missing, and a target missed."""

    part: str
    measure: str
    unit: str
    rounds: list[float]
    target: Target | None = None
    value: float | None = None
    # Of a ratio: to whom.
    against: str | None = None

    def __post_init__(self):
        if self.value is None and self.rounds:
            self.value = statistics.median(self.rounds)

    @property
    def holds(self):
        if self.target is None:
            return None
        return self.value is not None and self.target.holds(self.value)

    def as_json(self):
        low, _, high = quartiles(self.rounds)
        return {
            "measure": f"{self.part}: {self.measure}", "value": self.value, "unit": self.unit,
            "target": str(self.target) if self.target else None, "holds": self.holds,
            "min": min(self.rounds, default=None), "lower_quartile": low, "upper_quartile": high,
            "max": max(self.rounds, default=None), "rounds": self.rounds, "against": self.against,
        }

    def cells(self):
        low, _, high = quartiles(self.rounds)
        spread = f"{figure(low)} to {figure(high)}" if len(self.rounds) > 1 else ""
        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        measure = f"{self.measure}, to {self.against}" if self.against else self.measure
        return [measure, figure(self.value), self.unit, spread, str(self.target or ""), holds]


HEADINGS = ["measure", "median", "unit", "middle half", "target", "holds"]


def ratio(part, measure, over, under, target=None):
    """Of two series of one run: round by round, so that a noisy second is on both sides."""
    return Row(part, measure, "times", [a / b for a, b in zip(over, under, strict=True)], target)


def difference(part, measure, unit, over, under, target=None):
    return Row(part, measure, unit, [a - b for a, b in zip(over, under, strict=True)], target)


def quartiles(rounds):
    if not rounds:
        return [None] * 3
    return statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else [rounds[0]] * 3


def figure(value):
    """Three significant digits, and no fewer than the integer part."""
    if value is None:
        return "missing"
    if value == int(value):
        return f"{int(value):,}"
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def table(rows):
    widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *(row.cells() for row in rows))]
    text, part = line(HEADINGS, widths), None
    for row in rows:
        if row.part != part:
            part = row.part
            text += f"\n-- {part}\n"
        text += line(row.cells(), widths)
    return text


def line(cells, widths):
    left = {0, 2, 4, 5}
    padded = (cell.ljust(width) if n in left else cell.rjust(width) for n, (cell, width) in enumerate(zip(cells, widths)))
    return "  ".join(padded).rstrip() + "\n"


def markdown(rows):
    text, part = "", None
    for row in rows:
        if row.part != part:
            part = row.part
            text += f"\n**{part}**\n\n| {' | '.join(HEADINGS)} |\n|---|--:|---|--:|---|---|\n"
        text += "| " + " | ".join(row.cells()).replace("<", "&lt;") + " |\n"
    return text
