"""What judging costs, without a gateway around it: rows from the series that the bench's own binaries print."""

import json
import pathlib
import statistics
import subprocess

from lab import machine
from lab.rows import AT_LEAST, AT_MOST, BELOW, Row, Target, difference, ratio

FIXTURES = pathlib.Path(__file__).parents[2] / "tests/fixtures/geo"


class Tools:
    """The bench's own binaries, on the core on which contestants run."""

    def __init__(self, options):
        self.timing, self.memory, self.agents = options.timing, options.memory, options.agents
        self.core = machine.two_cores()[1]

    def run(self, program, *arguments):
        command = ["taskset", "-c", self.core, program, *map(str, arguments)]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
        return json.loads(result.stdout) if result.stdout else None

    def time(self, measures, rounds):
        """The series by name, and what was adapted."""
        found = self.run(self.timing, "time", "--agents", self.agents, "--rounds", rounds, *measures)
        return {series["name"]: series["rounds"] for series in found["series"]}, found["adaptations"]

    def write(self, rules, v4, v6, folder):
        self.run(self.timing, "write", "--rules", rules, "--v4", v4, "--v6", v6, folder)

    def clients(self, v4, v6, count, config):
        return self.run(self.timing, "clients", "--v4", v4, "--v6", v6, "--count", count, config)

    def load(self, config):
        return self.run(self.timing, "load", config)

    def bytes_kept(self, config):
        return self.run(self.memory, "load", config)["bytes"]

    def allocations(self):
        return self.run(self.memory, "decide", "--agents", self.agents)["allocations"]


def mixed_rows(series):
    part = "1. an allowed browser request: mixed rules and a list of 100,000"
    whole = {count: series[f"head_to_decision/{count}"] for count in (10, 1000, 10_000)}
    found = [ns(part, "building facts alone", series["facts"])]
    for count, rounds in whole.items():
        found.append(ns(part, f"decide alone, {count:,} rules", series[f"decide/{count}"]))
        target = Target(AT_MOST, 1000) if count == 10_000 else None
        found.append(ns(part, f"from the head to the decision, {count:,} rules", rounds, target))
    found.append(ratio(part, "10,000 rules against 1,000", whole[10_000], whole[1000], Target(AT_MOST, 2)))
    return found


def share_row(series, cpu):
    """What 10,000 rules cost more than 10, of all that the gateway does for a request."""
    part = "1. an allowed browser request: mixed rules and a list of 100,000"
    spent = statistics.median(cpu) * 1000
    pairs = zip(series["head_to_decision/10000"], series["head_to_decision/10"], strict=True)
    rounds = [(many - few) / spent * 100 for many, few in pairs]
    return Row(part, "10,000 rules more than 10, of the gateway's CPU per request", "%", rounds, Target(AT_MOST, 5))


def peer_rows(series):
    part = "2. beside wirefilter-engine 0.6.1, the same rules and list"
    found = []
    for count, least in ((10, 1), (1000, None), (10_000, 100)):
        peer, ours = series[f"wirefilter/{count}"], series[f"decide/{count}"]
        found.append(ns(part, f"wirefilter, {count:,} rules", peer))
        found.append(ns(part, f"of that filling its context, {count:,} rules", series[f"wirefilter_filling/{count}"]))
        target = Target(AT_LEAST, least) if least else None
        found.append(ratio(part, f"decide is faster at {count:,} rules", peer, ours, target))
    return found


def listed_rows(series):
    part = "3. refused by a list: 100,000 addresses in it, half of them IPv6"
    short, long = series["listed/1000"], series["listed/1000000"]
    return [
        ns(part, "list of 1,000", short),
        ns(part, "list of 1,000,000", long),
        ratio(part, "list of 1,000,000 against 1,000", long, short, Target(AT_MOST, 3)),
    ]


def agent_rows(series, sources):
    real, invented = sources["patterns"], sources["invented_patterns"]
    part = f"4. user agents: {real:,} real patterns and {invented:,} invented ones"
    browsers, in_turn = series["agents/browsers/with"], series["agents/real_in_turn/with"]
    no_browser, no_turn = series["agents/browsers/without"], series["agents/real_in_turn/without"]
    by_string = [statistics.median(rounds) for rounds in zip(*series["agents/each"], strict=True)]
    slowest = by_string.index(max(by_string))
    of_slowest = [each[slowest] for each in series["agents/each"]]
    middle = [statistics.median(each) for each in series["agents/each"]]
    blocked = series["agents/real_blocked"][0]
    name = f"slowest of {len(by_string)} real strings, {blocked} of which are blocked"
    return [
        difference(part, "the patterns alone, browsers, no match", "ns", browsers, no_browser, Target(BELOW, 300)),
        ns(part, "the whole decide, browsers", browsers),
        ns(part, "the whole decide, browsers, without any pattern", no_browser),
        difference(part, f"the patterns alone, {name}", "ns", of_slowest, no_turn, Target(BELOW, 500)),
        ns(part, f"the whole decide, {name}", of_slowest),
        ns(part, "the whole decide, median of them", middle),
        ns(part, "the whole decide, all of them in turn", in_turn),
        ns(part, "the whole decide, all of them in turn, without any pattern", no_turn),
    ]


def load_rows(tools, folder, rounds):
    part = "5. loading 10,000 rules and a list of 1,000,000"
    both = configuration(tools, folder / "both", 10_000, 500_000, 500_000)
    loads = [tools.load(both) for _ in range(rounds)]
    few = tools.bytes_kept(configuration(tools, folder / "few", 10, 10, 10))
    of_v4 = tools.bytes_kept(configuration(tools, folder / "v4", 10, 1_000_000, 10))
    of_v6 = tools.bytes_kept(configuration(tools, folder / "v6", 10, 10, 1_000_000))
    return [
        Row(part, "time on one core", "s", [load["seconds"] for load in loads], Target(BELOW, 3)),
        Row(part, "memory at its peak", "MiB", [load["peak_kib"] / 1024 for load in loads], Target(BELOW, 400)),
        Row(part, "kept at rest of an IPv4 entry", "bytes", [(of_v4 - few) / 1e6], Target(BELOW, 24)),
        Row(part, "kept at rest of an IPv6 entry", "bytes", [(of_v6 - few) / 1e6], Target(BELOW, 48)),
    ]


def configuration(tools, folder, rules, v4, v6):
    """A folder as an operator would have it."""
    tools.write(rules, v4, v6, folder)
    path = folder / "portcullis.toml"
    path.write_text(
        f"""
rules = ["rules.toml"]

[[listen]]
address = "127.0.0.1:8080"

[geoip]
country = "builtin"
asn = "{FIXTURES}/asn.mmdb"

[upstream.app]
servers = ["http://127.0.0.1:3000"]

[[site]]
hosts = ["*"]
upstream = "app"
"""
    )
    return path


def allocation_rows(tools):
    part = "6. allocations in decide, 10,000 rules, once warm"
    return [Row(part, each["kind"], "a decide", [each["most"]], Target(AT_MOST, 0)) for each in tools.allocations()]


def other_rows(series):
    part = "others: what reading a head costs, and the checkout's own rules"
    return [ns(part, name.replace("/", ", ").replace("_", " "), rounds) for name, rounds in series.items()]


def ns(part, measure, rounds, target=None):
    return Row(part, measure, "ns", rounds, target)
