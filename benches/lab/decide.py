"""What judging costs: all parts in one run, one table, each figure with its spread and its target.

Contestants take turns in rounds, so that a noisy second hits them all. All that is asked is generated from fixed seeds, but
for user agents and their patterns, which come from packages of fixed versions. Figures mean something beside their peers of
the same run; the table says which targets are missed.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

from lab import gateways, judge, machine, rows

TIMED = ["mixed", "listed", "agents", "others"]
PARTS = [*TIMED, "load", "allocations", "gateway"]


def main():
    options = parse_arguments()
    described, start = machine.description(), time.monotonic()
    found, adaptations = measure(options)
    described["seconds"] = round(time.monotonic() - start)
    text = rows.table(found)
    print(f"{described['processor']}, {described['cores']} cores, load {described['load_at_start']:.2f} at start; "
          f"{options.rounds} rounds, {options.gateway_rounds} of the gateways\n\n{text}\nadaptations:")
    print("".join(f"- {each}\n" for each in adaptations))
    write(options, described, found, adaptations)
    missed = "".join(f"- {row.part}: {row.measure}\n" for row in found if row.holds is False)
    print(f"missed:\n{missed or '- none'}\nwritten: {options.out}/decide.json, {options.out}/decide.md")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--timing", required=True, type=pathlib.Path)
    parser.add_argument("--memory", required=True, type=pathlib.Path)
    parser.add_argument("--portcullis", required=True, type=pathlib.Path)
    parser.add_argument("--agents", required=True, type=pathlib.Path)
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--gateway-rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="of a gateway's turn")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.gateway_rounds, options.seconds = 7, 3, 1
    options.only = options.only or PARTS
    return options


def measure(options):
    """All rows in the order of the parts, and what was adapted."""
    tools = judge.Tools(options)
    series, adaptations = {}, []
    for part in (part for part in TIMED if part in options.only):
        progress(part)
        series[part], of_peer = tools.time([part], options.rounds)
        adaptations = of_peer if part == "mixed" else adaptations
    of_gateways = []
    if "gateway" in options.only:
        progress("gateway")
        of_gateways, more = gateways.measure(options, tools)
        adaptations = adaptations + more
    sources = json.loads((options.agents / "sources.json").read_text())
    found = timed_rows(series, of_gateways, sources) + counted_rows(options, tools) + of_gateways
    if "others" in series:
        found += judge.other_rows(series["others"])
    return found, [*adaptations, f"user agents and patterns: {json.dumps(sources)}"]


def progress(part):
    print(f"measuring: {part}", file=sys.stderr)


def timed_rows(series, of_gateways, sources):
    found = []
    if mixed := series.get("mixed"):
        cpu = [row.rounds for row in of_gateways if row.measure == gateways.CPU_WITH_RULES]
        found += judge.mixed_rows(mixed) + [judge.share_row(mixed, rounds) for rounds in cpu] + judge.peer_rows(mixed)
    if listed := series.get("listed"):
        found += judge.listed_rows(listed)
    if agents := series.get("agents"):
        found += judge.agent_rows(agents, sources)
    return found


def counted_rows(options, tools):
    found = []
    if "load" in options.only:
        progress("load")
        with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
            found += judge.load_rows(tools, pathlib.Path(folder), max(3, options.rounds // 4))
    if "allocations" in options.only:
        progress("allocations")
        found += judge.allocation_rows(tools)
    return found


def write(options, described, found, adaptations):
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"machine": described, "rows": [row.as_json() for row in found], "adaptations": adaptations}
    (options.out / "decide.json").write_text(json.dumps(document, indent=1, ensure_ascii=False))
    notes = "".join(f"- {each}\n" for each in adaptations)
    place = f"{described['processor']}, {described['cores']} cores, kernel {described['kernel']}"
    (options.out / "decide.md").write_text(f"{place}\n{rows.markdown(found)}\n{notes}")


if __name__ == "__main__":
    main()
