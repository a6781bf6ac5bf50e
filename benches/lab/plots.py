"""Plots as SVG, readable on light and on dark ground."""

import math
from html import escape

COLOURS = {"portcullis": "us", "nginx": "first", "haproxy": "second"}
STYLE = """  <style>
    text { fill: #1c2538 } .small { font-size: 12px; fill: #47536d } .head { font-weight: 600; font-size: 16px }
    .grid { stroke: #d5dbe8; stroke-width: 1 } .axis { stroke: #33415c; stroke-width: 1.5 } .mark { stroke: #1c2538; stroke-width: 2.5 }
    .good { fill: #1b7f4d } .bad { fill: #b3261e }
    .us { stroke: #1f5fd0; fill: #1f5fd0 } .first { stroke: #1b7f4d; fill: #1b7f4d } .second { stroke: #b3261e; fill: #b3261e }
    polyline { stroke-width: 2.5; fill: none !important } circle { stroke: none } text.us, text.first, text.second { stroke: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #e7ecf6 } .small { fill: #b2bdd4 } .grid { stroke: #2b3548 } .axis { stroke: #93a4c7 } .mark { stroke: #e7ecf6 }
      .good { fill: #4fc38a } .bad { fill: #ff8a80 }
      .us { stroke: #7ba9ff; fill: #7ba9ff } .first { stroke: #4fc38a; fill: #4fc38a } .second { stroke: #ff8a80; fill: #ff8a80 }
    }
  </style>
"""


def bars(title, said, entries):
    """A bar each: (name, value, where its target is, whether it holds); a line stands at 1."""
    left, width, height, top = 500, 380, 24, 64
    most = max([1.2, *(value for _, value, _, _ in entries), *(target for _, _, target, _ in entries)])
    x = lambda value: left + width * min(value, most) / most  # noqa: E731
    bottom = top + height * len(entries)
    out = [f'<text class="small" x="{x(1):.1f}" y="{top - 6}" text-anchor="middle">1.0</text>']
    for number, (name, value, target, holds) in enumerate(entries):
        y = top + height * number
        out.append(f'<text class="small" x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect class="{"good" if holds else "bad"}" x="{left}" y="{y + 4}" width="{x(value) - left:.1f}" height="{height - 8}" rx="2"/>')
        out.append(f'<line class="mark" x1="{x(target):.1f}" x2="{x(target):.1f}" y1="{y + 1}" y2="{y + height - 1}"/>')
        out.append(f'<text class="small" x="{left + width + 8}" y="{y + 16}">{value:.2f}</text>')
    out.append(f'<line class="axis" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{top}" y2="{bottom}" stroke-dasharray="3 3"/>')
    return drawing(title, said, 950, bottom + 16, out)


def lines(title, below, unit, points, series, logarithmic=False):
    """A line a contestant: {name: values}, over points that are equally far apart."""
    left, right, top, bottom, width = 80, 760, 70, 330, 900
    values = [value for each in series.values() for value in each]
    low, high = (min(values) * 0.8, max(values) * 1.25) if logarithmic else (0, max(values) * 1.1)
    scale = math.log if logarithmic else lambda value: value
    y = lambda value: bottom - (bottom - top) * (scale(value) - scale(low)) / (scale(high) - scale(low))  # noqa: E731
    x = lambda number: left + (right - left) * number / max(1, len(points) - 1)  # noqa: E731
    out = []
    for value in ticks(low, high, logarithmic):
        out.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        out.append(f'<text class="small" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for number, point in enumerate(points):
        out.append(f'<text class="small" x="{x(number):.1f}" y="{bottom + 20}" text-anchor="middle">{point}</text>')
    places = apart([y(each[-1]) for each in series.values()])
    for (name, each), place in zip(series.items(), places):
        path = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in enumerate(each))
        out.append(f'<polyline class="{COLOURS[name]}" points="{path}"/>')
        out += [f'<circle class="{COLOURS[name]}" cx="{x(number):.1f}" cy="{y(value):.1f}" r="3.5"/>' for number, value in enumerate(each)]
        out.append(f'<text class="{COLOURS[name]}" x="{right + 10}" y="{place + 4:.1f}">{name} {each[-1]:.3g}</text>')
    out.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    out.append(f'<text class="small" x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">{escape(below)}</text>')
    return drawing(title, f"{unit}, by contestant" + (", logarithmic" if logarithmic else ""), width, bottom + 56, out)


def ticks(low, high, logarithmic):
    if logarithmic:
        found = [mantissa * 10**power for power in range(-1, 6) for mantissa in (1, 2, 5)]
        return [value for value in found if low <= value <= high]
    step = 10 ** math.floor(math.log10(high))
    step = next(size for size in (step / 5, step / 2, step, step * 2) if high / size <= 6)
    return [step * number for number in range(int(high / step) + 1)]


def apart(places, least=16):
    """The same places, moved down where two would touch."""
    found = dict.fromkeys(range(len(places)))
    last = -math.inf
    for number in sorted(range(len(places)), key=lambda each: places[each]):
        last = found[number] = max(places[number], last + least)
    return list(found.values())


def drawing(title, said, width, height, elements):
    body = "\n".join(f"  {element}" for element in elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d" '
        f'font-family="system-ui, sans-serif" font-size="14">\n  <title id="t">{escape(title)}</title>\n  <desc id="d">{escape(said)}</desc>\n'
        f'{STYLE}  <text class="head" x="16" y="26">{escape(title)}</text>\n  <text class="small" x="16" y="44">{escape(said)}</text>\n{body}\n</svg>\n'
    )
