"""Results of `compare` for readers: tables between the markers of docs/performance.md, and plots beside it."""

import pathlib
import re
import statistics

from lab import findings, plots, rows
from lab.findings import CONNECTIONS, CONTESTANTS, NETWORKS

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"
BEGIN, END = "<!-- compare: written by benches/run compare --write-docs -->", "<!-- compare: end -->"

# In the plot.
SHORTER = {
    "answers of 100 KiB": "answers of 100 KiB, bytes per CPU second", " with one request each: CPU each": "",
    " at 70 % of the better peer's top throughput": " at 70 %",
}


def write(found):
    rows_with_targets = [row for row in found.rows() if row.target]
    ratios = [row for row in rows_with_targets if row.value is not None]
    images = DOCS / "images"
    said = "Portcullis' figure divided by the peer's: less is better, but for bytes per CPU second; the mark is the target"
    (images / "compare-measures.svg").write_text(plots.bars("Portcullis against its targets", said, [bar(row) for row in ratios]))
    plotted = ["![Portcullis against its targets](images/compare-measures.svg)"]
    if curve := lines(NETWORKS, lambda name, count: found.values(findings.curve_work(count), name, "cpu_us")):
        (images / "compare-rules.svg").write_text(plots.lines(
            "CPU per request over the number of rules", "networks that are blocked", "µs", [f"{count:,}" for count in NETWORKS], curve))
        plotted.append("![CPU per request over the number of rules](images/compare-rules.svg)")
    if memory := lines(CONNECTIONS, found.memory):
        (images / "compare-memory.svg").write_text(plots.lines(
            "Memory over idle TLS connections", "connections that are open and silent", "MiB", [f"{count:,}" for count in CONNECTIONS], memory,
            logarithmic=True))
        plotted.append("![Memory over idle TLS connections](images/compare-memory.svg)")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.name} lacks the markers between which results belong")
    PAGE.write_text(before + BEGIN + "\n" + results(found, rows_with_targets, plotted) + END + after)
    print(f"written: {PAGE}")


def bar(row):
    name = re.sub(r": (CPU|bytes) per (CPU )?(request|second)|, to the better peer.*", "", row.part)
    for long, short in SHORTER.items():
        name = name.replace(long, short)
    return f"{name}: {row.measure}", row.value, row.target.value, row.holds


def lines(points, values):
    """{contestant: medians}, of those that have all points."""
    measured = {name: [values(name, point) for point in points] for name in CONTESTANTS}
    return {name: [statistics.median(each) for each in found] for name, found in measured.items() if all(found)}


def results(found, rows_with_targets, plotted):
    document = found.document
    machine, versions = document["machine"], document["versions"]
    missed = [row for row in rows_with_targets if not row.holds]
    quick = " (a quick run)" if document["quick"] else ""
    return f"""
{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB, kernel {machine["kernel"]}; Portcullis {versions["portcullis"]}, nginx \
{versions["nginx"]}, HAProxy {versions["haproxy"]}, wrk {versions["wrk"]}, h2load {versions["h2load"]}, OpenSSL {versions["openssl"]}. Medians of \
{document["rounds_wanted"]} rounds of {document["seconds_of_a_turn"]} s{quick}; handshakes: {document["handshake"]}. \
{voids(document["void"])} Of {len(rows_with_targets)} measures {len(rows_with_targets) - len(missed)} hold.

{plots_of(plotted)}
{measures(rows_with_targets)}
**CPU per request and speed**

CPU is user + system, in µs (least to most of the rounds); requests per second are those of a core that the load generator and the origin leave to
the contestant, so they say little where the contestant is not the slowest of the three.

| work | | CPU | least to most | user | system | requests/s | p50 ms | p99 ms | memory MiB | Portcullis to it |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
{costs(found)}
{memory(found)}
**How contestants were made comparable**

{"".join(f"- {each}" + chr(10) for each in document["adaptations"])}
"""


def plots_of(plotted):
    """What a run did not measure has no plot."""
    return "\n\n".join(plotted)


def voids(faults):
    rounds = {(each.get("part"), each.get("wire"), each.get("rules"), each.get("load"), each["round"]) for each in faults}
    if not rounds:
        return "No round was void."
    return f"{len(rounds)} rounds were void and repeated."


def measures(rows_with_targets):
    """A part's name stands in its first row alone."""
    text, part = "\n| what must hold | of | median | middle half | target | holds |\n|---|---|--:|---|---|---|\n", None
    for row in rows_with_targets:
        measure, median, _, spread, target, holds = row.cells()
        name = "" if row.part == part else row.part
        part = row.part
        text += f"| {name} | {measure} | {median} | {spread} | {target} | {holds} |\n"
    return text + "\n"


def costs(found):
    text = ""
    for work in found.works:
        for name in CONTESTANTS:
            cells = found.cost_line(work, name)
            text += "| " + " | ".join([*cells[:9], *cells[10:]]) + " |\n"
    return text


def memory(found):
    wanted = ("peak memory under load", "memory with idle TLS keep-alive connections")
    lines = "".join(f"| {row.part}: {row.measure} | {rows.figure(row.value)} {'' if row.unit == 'MiB' else row.unit} |\n"
                    for row in found.rows() if row.part in wanted)
    return f"**Memory**\n\n| | MiB |\n|---|--:|\n{lines}" if lines else ""
