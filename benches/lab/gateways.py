"""What rules cost a gateway: its CPU per request over its own pass-through.

The same requests for all, over plain HTTP/1.1 by wrk, from thousands of client addresses and user agents: a gateway that
remembers its last answers has to look again. Addresses come in X-Forwarded-For, which every contestant believes of the
load generator, with and without rules. Plain HTTP makes requests cheap, and so the share of the rules large.
"""

import dataclasses
import json
import pathlib
import random
import re
import sys
import urllib.error
import urllib.request

from lab import rules, traffic
from lab.contestants import BODY, Haproxy, Lab, Nginx, Portcullis
from lab.rows import AT_MOST, BELOW, Row, Target, ratio
from lab.traffic import FOREIGN, HOST, IMAGE, PAGE

RULES, LISTED = 10_000, 100_000
CPU_WITH_RULES = "CPU per allowed request, with the rules"
FIXTURES = pathlib.Path(__file__).parents[2] / "tests/fixtures/geo"
SETTINGS = f"""
[geoip]
country = "builtin"
asn = "{FIXTURES}/asn.mmdb"
"""
ADAPTATIONS = [
    "nginx: geo block, map of the user agent by regular expressions (pcre_jit on), valid_referers, real_ip",
    "HAProxy: ACL files; patterns that are texts by `-m sub -i`, the others by `-m reg -i`; its pattern cache as it comes",
    "all: one worker, access log on, the client's address from X-Forwarded-For with and without rules; "
    "every fifth request is an image with a referer of the site",
]


@dataclasses.dataclass
class Load:
    """One kind of requests: how it is called, the file that holds them, and whether they are refused."""

    name: str
    path: pathlib.Path
    refused: bool


def measure(options, tools):
    """The rows, and what was adapted."""
    with Lab(options.portcullis) as lab:
        inputs = Inputs(lab, tools)
        contestants = field(lab, inputs)
        for contestant in contestants:
            lab.start(contestant)
        check_answers(contestants, inputs)
        rounds = run_rounds(lab, contestants, inputs, options)
        memory = {contestant.name: contestant.resident_kib() / 1024 for contestant in contestants}
    return rows(rounds, memory), ADAPTATIONS


class Inputs:
    """Rules, lists, patterns, and the requests that meet them."""

    def __init__(self, lab, tools):
        self.folder = lab.folder / "inputs"
        tools.write(RULES, LISTED // 2, LISTED // 2, self.folder)
        self.mixed = absolute_list((self.folder / "rules.toml").read_text(), self.folder)
        self.patterns = traffic.patterns(tools.agents)
        configuration = Portcullis(lab, "inputs-check", rules.RuleSet("mixed", self.mixed, settings=SETTINGS))
        configuration.command()
        clients = tools.clients(LISTED // 2, LISTED // 2, 20_000, configuration.folder / "portcullis.toml")
        self.allowed_clients, self.refused_clients = clients["allowed"], clients["refused"]
        self.browsers = (tools.agents / "load.txt").read_text().splitlines()
        self.blocked_text = next(text for text, literal in self.patterns if literal)
        self.mixed_text = re.findall(r'^contains = \["(.*)"\]', self.mixed, re.MULTILINE)[-1]
        dice = random.Random(1)
        self.allowed = self.load("allowed", False, dice)
        self.by_address = self.load("refused by address", True, dice, clients=self.refused_clients)
        self.by_agent = self.load("refused by user agent", True, dice, suffix=f" {self.blocked_text}")
        self.by_mixed_agent = self.load("refused by user agent", True, dice, suffix=f" {self.mixed_text}", file="mixed")

    def load(self, name, refused, dice, clients=None, suffix="", file=""):
        path = self.folder / f"{file}{name}.requests"
        with path.open("wb") as out:
            for number, agent in enumerate(self.browsers):
                client = dice.choice(clients or self.allowed_clients)
                target, headers, cookie = traffic.image(dice) if number % 5 == 4 else traffic.page(dice)
                lines = {"host": HOST, "user-agent": agent + suffix, **headers, "cookie": cookie, "x-forwarded-for": client}
                out.write(traffic.as_sent(target, lines).encode())
        return Load(name, path, refused)


def absolute_list(rules, folder):
    return rules.replace('file = "blocked.txt"', f'file = "{folder}/blocked.txt"')


def field(lab, inputs):
    """Each gateway without rules and with the same filters; Portcullis with mixed rules too."""
    files = rules.Files(lab.folder / "rule-files", traffic.Countries())
    bare = dataclasses.replace(rules.none(), settings=SETTINGS)
    mixed = rules.RuleSet("mixed", inputs.mixed, settings=SETTINGS)
    filters = files.filters("filters", inputs.folder / "blocked.txt", inputs.patterns)
    filters.settings = SETTINGS
    return [
        Portcullis(lab, "portcullis", bare),
        Portcullis(lab, "portcullis, mixed rules", mixed),
        Portcullis(lab, "portcullis, filters", filters),
        Nginx(lab, "nginx", bare),
        Nginx(lab, "nginx, filters", filters),
        Haproxy(lab, "haproxy", bare),
        Haproxy(lab, "haproxy, filters", filters),
    ]


def check_answers(contestants, inputs):
    """All must answer the same before their cost means anything."""
    browser, stranger = inputs.browsers[0], inputs.allowed_clients[0]
    texts = [text for text, literal in inputs.patterns if literal]
    for contestant in contestants:
        mixed, filters = contestant.name.endswith("rules"), contestant.name.endswith("filters")
        for address in inputs.allowed_clients[:50]:
            expect(contestant, 200, "/", PAGE, browser, address)
            expect(contestant, 200, "/a.jpg", PAGE | IMAGE, browser, address)
        for address in inputs.refused_clients[:50]:
            expect(contestant, 403 if mixed or filters else 200, "/", PAGE, browser, address)
        for text in texts:
            expect(contestant, 403 if filters else 200, "/", PAGE, f"x {text.upper()} y", stranger)
        expect(contestant, 403 if mixed else 200, "/", PAGE, f"x {inputs.mixed_text} y", stranger)
        expect(contestant, 403 if filters else 200, "/a.jpg", PAGE | IMAGE | FOREIGN, browser, stranger)


def expect(contestant, status, target, headers, agent, client):
    lines = headers | {"host": HOST, "user-agent": agent, "x-forwarded-for": client}
    request = urllib.request.Request(f"http://127.0.0.1:{contestant.plain}{target}", headers=lines)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            got, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        got, body = error.code, None
    if got != status or (status == 200 and body != BODY):
        sys.exit(f"{contestant.name} answered {got}, not {status}, to {target} from {client} with {agent!r}")


def run_rounds(lab, contestants, inputs, options):
    """{(load, contestant): µs of CPU a request, one entry a round}"""
    work = [(inputs.allowed, contestant) for contestant in contestants]
    for contestant in contestants:
        if contestant.name.endswith("rules"):
            work += [(load, contestant) for load in (inputs.by_address, inputs.by_mixed_agent)]
        elif contestant.name.endswith("filters"):
            work += [(load, contestant) for load in (inputs.by_address, inputs.by_agent)]
    for load, contestant in work:
        send(lab, load, contestant, 1)
    found = {}
    for number in range(options.gateway_rounds):
        turn = number % len(work)
        for load, contestant in work[turn:] + work[:turn]:
            cost = send(lab, load, contestant, options.seconds)
            found.setdefault((load.name, contestant.name), []).append(cost)
        print(f"gateways: round {number + 1} of {options.gateway_rounds}", file=sys.stderr)
    return found


def send(lab, load, contestant, seconds):
    """µs of the contestant's CPU a request."""
    script = pathlib.Path(__file__).with_name("requests.lua")
    command = ["wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "--timeout", "30s", "-s", script,
               f"http://127.0.0.1:{contestant.plain}/", "--", load.path]
    contestant.forget_log()
    before = contestant.cpu_seconds()
    out, messages = lab.run(command, seconds, seconds + 60)
    spent = contestant.cpu_seconds() - before
    found = re.search(r"^RESULT (.*)$", out, re.MULTILINE)
    answers = json.loads(found[1]) if found else {}
    right = found and answers["failed"] == 0 and answers["refused"] == (answers["requests"] if load.refused else 0)
    if not right or not answers["requests"]:
        sys.exit(f"{contestant.name}, {load.name}: wrong answers\n{out}{messages}")
    return spent / answers["requests"] * 1e6


def rows(rounds, memory):
    return mixed_rows(rounds) + filter_rows(rounds, memory)


def mixed_rows(rounds):
    part = f"7. gateway over loopback: {RULES:,} mixed rules and a list of {LISTED:,}"
    name = "portcullis, mixed rules"
    allowed, bare = rounds["allowed", name], rounds["allowed", "portcullis"]
    found = [
        Row(part, "CPU per allowed request, no rules", "µs", bare),
        Row(part, CPU_WITH_RULES, "µs", allowed),
        ratio(part, "allowed, with the rules against without", allowed, bare, Target(AT_MOST, 1.10)),
    ]
    for kind in ("refused by address", "refused by user agent"):
        found.append(ratio(part, f"{kind} against allowed", rounds[kind, name], allowed, Target(BELOW, 1)))
    return found


def filter_rows(rounds, memory):
    part = f"8. side by side: {LISTED:,} networks, {traffic.AGENT_PATTERNS} user agents, referers"
    found = []
    for name in ("portcullis", "nginx", "haproxy"):
        bare, filtered = rounds["allowed", name], rounds["allowed", f"{name}, filters"]
        found.append(Row(part, f"{name}: CPU per allowed request, pass-through", "µs", bare))
        found.append(Row(part, f"{name}: CPU per allowed request, with the filters", "µs", filtered))
        found.append(ratio(part, f"{name}: allowed, with the filters against pass-through", filtered, bare))
        for kind in ("refused by address", "refused by user agent"):
            found.append(ratio(part, f"{name}: {kind} against pass-through", rounds[kind, f"{name}, filters"], bare))
        added = memory[f"{name}, filters"] - memory[name]
        found.append(Row(part, f"{name}: memory that the filters take", "MiB", [added]))
    return found
