"""Portcullis, nginx and HAProxy at the same work: what each costs, how fast it answers, what it keeps.

Each has one worker on one core; the load and the origin share another. In every round the contestants take turns at each
work, so that a noisy second hits them all. A round counts when all answered as they should and wrote a line of log for every
request; otherwise it is void and repeated. Only the ratios mean anything beyond the machine.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import select
import signal
import statistics
import subprocess
import sys
import time

from lab import checks, contestants, findings, load, machine, performance_page, rules, traffic
from lab.contestants import GATEWAYS, Lab
from lab.findings import CONNECTIONS, NETWORKS, Work

PARTS = ["allowed", "refused", "large", "handshakes", "connections", "latency", "memory", "curve"]
SIDE_BY_SIDE = ["h1 plain", "h1 TLS", "h2 TLS"]
ATTEMPTS = 3
# Of the better peer's best.
PACE = 0.7
# A paced run takes at least so long: its beginning and its end do not count.
PACED_SECONDS = 3
# After the last request of an idle connection, until its memory is looked at.
SETTLE_SECONDS = 1.0


def main():
    options = parse_arguments()
    if options.from_file:
        document = json.loads(options.from_file.read_text())
    else:
        document = measure(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
    found = findings.Findings(document)
    document["rows"] = [row.as_json() for row in found.rows()]
    if not options.from_file:
        options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False))
    print(found.text())
    if options.write_docs:
        performance_page.write(found)
    print(f"written: {options.from_file or options.out}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--portcullis", required=True, type=pathlib.Path)
    parser.add_argument("--agents", required=True, type=pathlib.Path)
    parser.add_argument("--only", type=parts, default=PARTS, metavar="PART[,PART]", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="7, or 3 with --quick")
    parser.add_argument("--seconds", type=int, help="of a contestant's turn: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, and not every combination")
    parser.add_argument("--write-docs", action="store_true", help="put tables and plots into docs/")
    parser.add_argument("--from", dest="from_file", type=pathlib.Path, metavar="FILE", help="measure nothing, tell what a run wrote")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench/compare.json"))
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (1 if options.quick else 3)
    return options


def parts(text):
    found = text.split(",")
    if unknown := [part for part in found if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return found


def measure(options):
    described, start = machine.description(), time.monotonic()
    with Lab(options.portcullis) as lab:
        bench = Bench(lab, options)
        bench.run()
    described["seconds"] = round(time.monotonic() - start)
    return {
        "machine": described, "versions": versions(options.portcullis), "handshake": bench.handshake, "quick": options.quick,
        "parts": options.only, "rounds_wanted": options.rounds, "seconds_of_a_turn": options.seconds,
        "adaptations": contestants.ADAPTATIONS + rules.ADAPTATIONS,
        "void": bench.void, "rounds": bench.records, "memory": bench.memory,
    }


def versions(program):
    """What each program calls itself."""
    found = {}
    asked = {"portcullis": [program, "version"], "nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "wrk": ["wrk", "-v"],
             "h2load": ["h2load", "--version"], "openssl": ["openssl", "version"]}
    for name, command in asked.items():
        environment = os.environ | {"PATH": contestants.SYSTEM_PATH}
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment)
        version = re.search(r"\d+\.[\d.]+[\w.+-]*", told.stdout + told.stderr)
        found[name] = version[0] if version else "unknown"
    return found


def works(options):
    """What is measured side by side, part by part."""
    quick, chosen = options.quick, []
    for wire in SIDE_BY_SIDE:
        chosen += [Work("allowed", wire, of, "allowed") for of in ("none", "shipped", "heavy")]
        chosen.append(Work("allowed", wire, "heavy", "allowed", agents=500))
        chosen += [Work("refused", wire, "shipped", "locked"), *([] if quick else [Work("refused", wire, "heavy", "listed")])]
        chosen += [Work("large", wire, of, "large") for of in (("shipped",) if quick else ("none", "shipped", "heavy"))]
    chosen += [Work("handshakes", "handshakes", of, "allowed") for of in (("shipped",) if quick else ("none", "shipped", "heavy"))]
    if not quick:
        chosen += [Work("handshakes", "handshakes", "shipped", "locked"), Work("handshakes", "handshakes", "heavy", "listed")]
    chosen += [Work("connections", "new connections", of, "allowed") for of in (("shipped",) if quick else ("none", "shipped", "heavy"))]
    chosen += [Work("latency", wire, "shipped", "allowed", paced=True) for wire in (SIDE_BY_SIDE[1:2] if quick else SIDE_BY_SIDE)]
    return [work for work in chosen if work.part in options.only]


class Bench:
    def __init__(self, lab, options):
        self.lab, self.options = lab, options
        progress("preparing lists and requests")
        self.traffic = traffic.Traffic(lab.folder / "traffic", options.agents)
        self.files = rules.Files(lab.folder / "rule-files", self.traffic.countries)
        self.facts = {
            "client": set(self.traffic.allowed_clients) | set(self.traffic.listed_clients) | {load.PACED_HEADERS["x-forwarded-for"]},
            "agent": {*self.traffic.browsers[20_000], *self.traffic.browsers[500], load.PACED_HEADERS["user-agent"]},
            "target": lambda target: target.startswith(("/products/", "/media/", "/large/", "/admin/")),
        }
        self.records, self.void, self.memory, self.paces = [], [], [], {}
        self.handshake = "not looked at"

    def run(self):
        side_by_side = works(self.options)
        if side_by_side:
            self.take_turns(side_by_side, {name: getattr(self, name) for name in dict.fromkeys(work.rules for work in side_by_side)})
        if "curve" in self.options.only:
            curve = [Work("curve", "h1 plain", findings.networks(count), "allowed") for count in NETWORKS]
            made = {findings.networks(count): lambda count=count: self.networks(count) for count in NETWORKS}
            self.take_turns(curve, made)
        if "memory" in self.options.only:
            for number in range(1 if self.options.quick else min(3, self.options.rounds)):
                self.idle_connections(number)

    def none(self):
        return rules.none()

    def shipped(self):
        return self.files.shipped(self.lab)

    def heavy(self):
        return self.files.heavy(self.traffic.listed, self.traffic.patterns)

    def networks(self, count):
        return dataclasses.replace(self.files.networks_alone(self.traffic.listed.some(count)), name=findings.networks(count))

    def take_turns(self, chosen, rule_sets):
        gateways = {name: self.field(make(), checked=chosen[0].part != "curve") for name, make in rule_sets.items()}
        given_up = set()
        # One of a kind is enough to fill pools and caches.
        for work in {(work.rules, "" if self.options.quick else work.wire): work for work in reversed(chosen)}.values():
            self.turn(work, gateways[work.rules], None, seconds=1)
        for number in range(self.options.rounds):
            for work in chosen:
                if work not in given_up and not self.round(work, gateways[work.rules], number):
                    given_up.add(work)
            progress(f"{', '.join(dict.fromkeys(work.part for work in chosen))}: round {number + 1} of {self.options.rounds}")
        for field in gateways.values():
            for gateway in field:
                self.lab.stop(gateway)

    def field(self, rule_set, checked):
        """All contestants with a rule set, once they are known to answer the same."""
        progress(f"starting: {findings.rules_name(rule_set.name)}")
        found = [self.lab.start(kind(self.lab, name, rule_set)) for name, kind in GATEWAYS.items()]
        if checked:
            self.handshake = checks.check_handshakes(found)
            checks.check(found, self.traffic)
        else:
            checks.check_networks(found, rule_set, self.traffic.allowed_clients)
        return found

    def round(self, work, gateways, number):
        """Whether it counts, at last."""
        first = number % len(gateways)
        for _ in range(ATTEMPTS):
            if self.turn(work, gateways[first:] + gateways[:first], number, self.options.seconds):
                return True
        progress(f"given up: {work.name}")
        return False

    def turn(self, work, gateways, number, seconds):
        """Each contestant once; without a number only to warm up, and then nothing counts."""
        found, wrong = [], []
        if work.paced and work.wire not in self.paces:
            self.paces[work.wire] = self.pace(work, gateways)
        for gateway in gateways:
            try:
                figures, faults = load.measure(self.lab, gateway, work.wire, work.load, self.facts, self.sender(work, gateway, seconds))
            except OSError as error:
                # A contestant that is gone must not take along what was measured of the others.
                figures, faults = {}, [f"{type(error).__name__}: {error}"]
            found.append({**work.as_json(), "contestant": gateway.name, "round": number, **figures})
            wrong += [{**work.as_json(), "contestant": gateway.name, "round": number, "fault": fault} for fault in faults]
        if number is None:
            return True
        self.void += wrong
        for each in wrong:
            progress(f"void: {work.name}, {each['contestant']}: {each['fault']}")
        if not wrong:
            self.records += found
        return not wrong

    def sender(self, work, gateway, seconds):
        if work.paced:
            rate = self.paces[work.wire]
            requests = int(rate * max(seconds, PACED_SECONDS))
            return lambda halfway: load.paced(self.lab, gateway, work.wire, requests, rate, halfway)
        path = self.traffic.file(work.load, work.agents, load.WIRES[work.wire][1])
        return lambda halfway: load.send(self.lab, gateway, work.wire, path, seconds, halfway)

    def pace(self, work, gateways):
        """Of the better peer's best, with the same generator of load."""
        best = 0
        for gateway in gateways:
            if gateway.kind != "portcullis":
                runs = [load.paced(self.lab, gateway, work.wire, self.options.seconds * 15_000, None) for _ in range(3)]
                best = max(best, statistics.median(run.requests / run.seconds for run in runs))
        progress(f"pace over {work.wire}: {best * PACE:.0f} requests/s")
        return best * PACE

    def idle_connections(self, number):
        """Memory over idle TLS connections, of fresh processes."""
        rule_set = self.shipped()
        kinds = list(GATEWAYS.items())
        for name, kind in kinds[number % 3:] + kinds[: number % 3]:
            gateway = self.lab.start(kind(self.lab, name, rule_set))
            self.memory.append({"contestant": name, "connections": 0, "round": number, "mib": gateway.proportional_kib() / 1024})
            opener = Opener(self.lab, gateway, self.traffic.file("allowed"))
            for wanted in CONNECTIONS:
                if not opener.open(wanted):
                    self.void.append({"part": "memory", "contestant": name, "round": number, "fault": opener.fault()})
                    progress(f"void: {wanted} idle connections, {name}: {self.void[-1]['fault']}")
                    break
                time.sleep(SETTLE_SECONDS)
                self.memory.append({"contestant": name, "connections": wanted, "round": number, "mib": gateway.proportional_kib() / 1024})
            opener.close()
            self.lab.stop(gateway)
        progress(f"memory: round {number + 1}")


class Opener:
    """The process that holds the idle connections."""

    PATIENCE = 400

    def __init__(self, lab, gateway, requests):
        command = ["taskset", "-c", lab.load_core, sys.executable, "-m", "lab.idle", str(gateway.tls), requests]
        self.lab = lab
        self.process = lab.spawn(command, signal.SIGKILL, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def open(self, count):
        try:
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        ready, _, _ = select.select([self.process.stdout], [], [], self.PATIENCE)
        return bool(ready) and self.process.stdout.readline() == f"open {count}\n"

    def fault(self):
        self.process.kill()
        return self.process.stderr.read()[-500:] or "took too long"

    def close(self):
        self.lab.end(self.process)


def progress(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
