"""What the rounds of `compare` say: measures with their targets, and a table of everything beside them."""

import dataclasses
import statistics

from lab import rows
from lab.rows import AT_LEAST, AT_MOST, Row, Target, figure

CONTESTANTS = ["portcullis", "nginx", "haproxy"]
NETWORKS = [0, 10, 1_000, 10_000, 100_000]
CONNECTIONS = [100, 1_000, 10_000]
WIRES = ["h1 plain", "h1 TLS", "h2 TLS"]
# What the parts of the table of measures are called.
ALLOWED = "allowed, shipped rules: CPU per request, to the better peer"
HEAVY = "heavy rules on all, 20,000 agents: CPU per request, to the better peer"
FEW_AGENTS = "heavy rules on all, 500 agents: CPU per request, to the better peer"
HANDICAP = "heavy rules on Portcullis, none on the better peer: CPU per request"
REFUSED = "refused: CPU per request, to the better peer's refusal"
HANDSHAKES = "full TLS handshakes with one request each: CPU each, to the better peer"
NEW_CONNECTIONS = "a new TCP connection for every request: CPU per request"
LARGE = "answers of 100 KiB: bytes per CPU second, to the better peer"
LATENCY = "p99 latency at 70 % of the better peer's top throughput, to the better peer"
MEMORY = "memory with idle TLS keep-alive connections, to the better peer"
CURVE = "CPU per request over rules: 10,000 networks against none"


def networks(count):
    return f"{count:,} networks"


def rules_name(name):
    if name == "none":
        return "no rules"
    return name if name.endswith("networks") else f"{name} rules"


@dataclasses.dataclass(frozen=True)
class Work:
    """What all contestants do in turn. Paced: by h2load, at a rate that all can keep."""

    part: str
    wire: str
    rules: str
    load: str
    agents: int = 20_000
    paced: bool = False

    @property
    def name(self):
        what = {"allowed": "allowed", "large": "allowed, 100 KiB", "locked": "refused by URL", "listed": "refused by address"}[self.load]
        few = f", {self.agents} agents" if self.agents != 20_000 else ""
        paced = ", paced" if self.paced else ""
        return f"{self.wire}, {rules_name(self.rules)}, {what}{few}{paced}"

    def as_json(self):
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, record):
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls)})


class Findings:
    def __init__(self, document):
        self.document = document
        self.works = list(dict.fromkeys(Work.of(record) for record in document["rounds"]))
        self.series = {}
        for record in document["rounds"]:
            self.series.setdefault((Work.of(record), record["contestant"]), []).append(record)

    def values(self, work, contestant, name):
        """A figure of every round."""
        return [record[name] for record in self.series.get((work, contestant), [])]

    def median(self, work, contestant, name):
        return statistics.median(self.values(work, contestant, name))

    def better(self, work, name, most=False):
        """The peer to compare with."""
        peers = [peer for peer in CONTESTANTS[1:] if self.values(work, peer, name)]
        return (max if most else min)(peers, key=lambda peer: self.median(work, peer, name), default=None)

    def ratio(self, part, measure, work, target, name="cpu_us", peers_work=None, peer=None, inverse=False):
        """Ours to the peer's, round by round. Inverse: of what a second of CPU does, instead of what it costs."""
        peers_work = peers_work or work
        peer = peer or self.better(peers_work, name)
        pairs = zip(self.values(work, "portcullis", name), self.values(peers_work, peer, name))
        return Row(part, measure, "times", [b / a if inverse else a / b for a, b in pairs], target, against=peer)

    def rows(self):
        """All measures of the parts that were run; one that has no rounds is missing, and so missed."""
        ran = self.document["parts"]
        found = []
        for part, of_part in (("allowed", self.allowed_rows), ("refused", self.refused_rows), ("handshakes", self.handshake_rows),
                              ("connections", self.connection_rows), ("large", self.large_rows), ("latency", self.latency_rows),
                              ("memory", self.memory_rows), ("curve", self.curve_rows)):
            if part in ran:
                found += of_part()
        return found + self.peak_rows() + self.cost_rows()

    def allowed_rows(self):
        found = []
        for wire, most in zip(WIRES, (1.0, 0.9, 1.0)):
            found.append(self.ratio(ALLOWED, wire, Work("allowed", wire, "shipped", "allowed"), Target(AT_MOST, most)))
        for part, agents, most in ((HEAVY, 20_000, 0.55), (FEW_AGENTS, 500, 1.0)):
            for wire in WIRES:
                found.append(self.ratio(part, wire, Work("allowed", wire, "heavy", "allowed", agents), Target(AT_MOST, most)))
        for wire in WIRES:
            heavy, none = (Work("allowed", wire, of, "allowed") for of in ("heavy", "none"))
            found.append(self.ratio(HANDICAP, wire, heavy, Target(AT_MOST, 1.05), peers_work=none))
        return found

    def refused_rows(self):
        target = Target(AT_MOST, 0.9)
        found = [self.ratio(REFUSED, f"{wire}, shipped rules", Work("refused", wire, "shipped", "locked"), target) for wire in WIRES]
        if not self.document["quick"]:
            found += [self.ratio(REFUSED, f"{wire}, heavy rules", Work("refused", wire, "heavy", "listed"), target) for wire in WIRES]
        return found

    def handshake_rows(self):
        target = Target(AT_MOST, 0.75)
        return [self.ratio(HANDSHAKES, "shipped rules", Work("handshakes", "handshakes", "shipped", "allowed"), target)]

    def connection_rows(self):
        work, target = Work("connections", "new connections", "shipped", "allowed"), Target(AT_MOST, 1.05)
        return [self.ratio(NEW_CONNECTIONS, "shipped rules", work, target, peer="nginx")]

    def large_rows(self):
        target = Target(AT_LEAST, 0.9)
        return [self.ratio(LARGE, f"{wire}, shipped rules", Work("large", wire, "shipped", "large"), target, inverse=True) for wire in WIRES]

    def latency_rows(self):
        wires = WIRES[1:2] if self.document["quick"] else WIRES
        works = {wire: Work("latency", wire, "shipped", "allowed", paced=True) for wire in wires}
        return [self.ratio(LATENCY, wire, work, Target(AT_MOST, 1.10), "p99_us") for wire, work in works.items()]

    def memory(self, contestant, connections):
        """MiB, of each round."""
        return [each["mib"] for each in self.document["memory"] if (each["contestant"], each["connections"]) == (contestant, connections)]

    def memory_rows(self):
        found = []
        for count in CONNECTIONS:
            measured = {name: self.memory(name, count) for name in CONTESTANTS}
            peer, rounds = None, []
            if all(measured.values()):
                peer = min(CONTESTANTS[1:], key=lambda name: statistics.median(measured[name]))
                rounds = [a / b for a, b in zip(measured["portcullis"], measured[peer])]
            target = Target(AT_MOST, 1.0) if count == CONNECTIONS[-1] else None
            found.append(Row(MEMORY, f"{count:,} connections", "times", rounds, target, against=peer))
        for name in CONTESTANTS:
            for count in [0, *CONNECTIONS]:
                if measured := self.memory(name, count):
                    found.append(Row("memory with idle TLS keep-alive connections", f"{name}, {count:,} connections", "MiB", measured))
            pairs = list(zip(self.memory(name, CONNECTIONS[-1]), self.memory(name, CONNECTIONS[0])))
            if pairs:
                of_one = [(many - few) * 1024 / (CONNECTIONS[-1] - CONNECTIONS[0]) for many, few in pairs]
                found.append(Row("memory with idle TLS keep-alive connections", f"{name}, a connection", "KiB", of_one))
        return found

    def curve_rows(self):
        found = []
        for name in CONTESTANTS:
            base = self.values(curve_work(0), name, "cpu_us")
            for count in NETWORKS[1:]:
                rounds = [a / b for a, b in zip(self.values(curve_work(count), name, "cpu_us"), base)]
                target = Target(AT_MOST, 1.10) if (name, count) == ("portcullis", 10_000) else None
                part = CURVE if target else "CPU per request over rules: networks against none"
                if rounds or target:
                    found.append(Row(part, f"{name}, {count:,}", "times", rounds, target))
        return sorted(found, key=lambda row: row.part != CURVE)

    def peak_rows(self):
        """The most that was seen in the middle of a run."""
        found = []
        for of in ("none", "shipped", "heavy"):
            for name in CONTESTANTS:
                seen = [record["memory_mib"] for record in self.document["rounds"] if (record["rules"], record["contestant"]) == (of, name)]
                if seen:
                    found.append(Row("peak memory under load", f"{name}, {rules_name(of)}", "MiB", seen, value=max(seen)))
        return found

    def cost_rows(self):
        found = []
        for work in self.works:
            for name in CONTESTANTS:
                found.append(Row("CPU per request", f"{work.name}: {name}", "µs", self.values(work, name, "cpu_us")))
            for peer in CONTESTANTS[1:]:
                found.append(self.ratio("CPU per request, Portcullis' to", f"{work.name}: {peer}", work, None, peer=peer))
        for row in found:
            row.against = None
        return found

    def text(self):
        described, found = self.document["machine"], self.rows()
        shown = [row for row in found if not row.part.startswith("CPU per request, ") and row.part != "CPU per request"]
        missed = "".join(f"- {row.part}: {row.cells()[0]}: {figure(row.value)}, not {row.target}\n" for row in found if row.holds is False)
        void = self.document["void"]
        return (
            f"{described['processor']}, {described['cores']} cores, load {described['load_at_start']:.2f} at start; "
            f"{self.document['rounds_wanted']} rounds\n\n{self.costs()}\n{rows.table(shown)}\n"
            f"handshakes: {self.document['handshake']}\n{len(void)} faults made rounds void\nmissed:\n{missed or '- none'}"
        )

    def costs(self):
        """Medians side by side, a line a contestant."""
        if not self.works:
            return ""
        lines = [["work", "", "CPU µs", "least to most", "user", "sys", "req/s", "p50 ms", "p99 ms", "busy", "MiB", "ours/peer's"]]
        for work in self.works:
            for name in CONTESTANTS:
                lines.append(self.cost_line(work, name))
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        left = {0, 1}
        return "".join(
            "  ".join(cell.ljust(width) if n in left else cell.rjust(width) for n, (cell, width) in enumerate(zip(line, widths))).rstrip() + "\n"
            for line in lines
        )

    def cost_line(self, work, name):
        spent = self.values(work, name, "cpu_us")
        shown = ("user_us", "system_us", "requests_per_second", "p50_us", "p99_us", "busy", "memory_mib")
        middle = {key: self.median(work, name, key) for key in shown}
        ratio = "" if name == "portcullis" else f"{self.median(work, 'portcullis', 'cpu_us') / statistics.median(spent):.2f}"
        return [
            work.name if name == CONTESTANTS[0] else "", name, f"{statistics.median(spent):.1f}", f"{min(spent):.1f}-{max(spent):.1f}",
            f"{middle['user_us']:.1f}", f"{middle['system_us']:.1f}", f"{middle['requests_per_second']:,.0f}",
            f"{middle['p50_us'] / 1000:.2f}", f"{middle['p99_us'] / 1000:.2f}", f"{middle['busy'] * 100:.0f} %", f"{middle['memory_mib']:.0f}", ratio,
        ]


def curve_work(count):
    return Work("curve", "h1 plain", networks(count), "allowed")
