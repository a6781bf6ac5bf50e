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
import subprocess
import sys
import urllib.error
import urllib.request

from lab.contestants import BODY, LOAD_ADDRESS, Haproxy, Lab, Nginx, Portcullis
from lab.rows import AT_MOST, BELOW, Row, Target, ratio

RULES, LISTED, AGENT_PATTERNS = 10_000, 100_000, 300
HOST = "www.example.com"
CPU_WITH_RULES = "CPU per allowed request, with the rules"
FIXTURES = pathlib.Path(__file__).parents[2] / "tests/fixtures/geo"
PAGE = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "cache-control": "max-age=0",
    "priority": "u=0, i",
    "referer": f"https://{HOST}/products?category=lamps",
    "sec-fetch-dest": "document",
    "sec-fetch-mode": "navigate",
    "sec-fetch-site": "same-origin",
    "upgrade-insecure-requests": "1",
}
IMAGE = {"accept": "image/avif,image/webp,*/*;q=0.8", "sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"}
FOREIGN = {"referer": "https://evil.example/", "sec-fetch-site": "cross-site"}
SETTINGS = f"""
[client_ip]
trusted_proxies = ["{LOAD_ADDRESS}"]

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
        patterns = json.loads((tools.agents / "patterns.json").read_text())
        self.patterns = [pattern for pattern in patterns if is_plain(pattern[0])][:AGENT_PATTERNS]
        configuration = Portcullis(lab, "inputs-check", 27140, self.mixed, SETTINGS)
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
                head = image(dice) if number % 5 == 4 else page(dice)
                out.write(as_sent(*head, agent + suffix, client).encode())
        return Load(name, path, refused)

    def nginx_patterns(self):
        escaped = (re.escape(text).replace("/", "\\/") if literal else text for text, literal in self.patterns)
        return "".join(f'"~*{text}" 1;\n' for text in escaped)


def absolute_list(rules, folder):
    return rules.replace('file = "blocked.txt"', f'file = "{folder}/blocked.txt"')


def is_plain(text):
    """Written the same in every contestant's file."""
    return not re.search(r'["\\]["\\trn]|"|^\s|\s$|^#|\\s|\\S', text)


def page(dice):
    target = f"/products/lamps/desk-lamp-{dice.randrange(10_000)}?color=black&size=m&page={dice.randrange(50)}"
    return target, PAGE, f"session={dice.randrange(16**20):020x}; theme=dark; consent=necessary%2Cstatistics; cart=18"


def image(dice):
    return f"/media/lamps/{dice.randrange(10_000)}.jpg", PAGE | IMAGE, f"session={dice.randrange(16**20):020x}; theme=dark"


def as_sent(target, headers, cookie, agent, client):
    lines = {"host": HOST, "user-agent": agent, **headers, "cookie": cookie, "x-forwarded-for": client}
    return f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"


def field(lab, inputs):
    """Each gateway without rules and with the same filters; Portcullis with mixed rules too."""
    frontend = f"http-request set-src req.hdr(x-forwarded-for) if {{ src {LOAD_ADDRESS} }}"
    real_ip = f"set_real_ip_from {LOAD_ADDRESS}; real_ip_header X-Forwarded-For;"
    return [
        Portcullis(lab, "portcullis", 27110, settings=SETTINGS),
        Portcullis(lab, "portcullis, mixed rules", 27112, inputs.mixed, SETTINGS),
        Portcullis(lab, "portcullis, filters", 27114, portcullis_filters(inputs), SETTINGS),
        Nginx(lab, "nginx", 27120, real_ip),
        Nginx(lab, "nginx, filters", 27122, *nginx_filters(inputs, real_ip)),
        Haproxy(lab, "haproxy", 27130, frontend),
        Haproxy(lab, "haproxy, filters", 27132, haproxy_filters(inputs, frontend)),
    ]


def portcullis_filters(inputs):
    # A JSON string is a TOML one too.
    texts = json.dumps([text for text, literal in inputs.patterns if literal])
    regexes = json.dumps([f"(?i){text}" for text, literal in inputs.patterns if not literal])
    return f"""
[list.blocked]
kind = "ip"
file = "{inputs.folder}/blocked.txt"

[[ip_access]]
id = "listed"
action = "block"
ip = ["$blocked"]

[[user_agent]]
id = "agents"
action = "block"
contains = {texts}
matches = {regexes}

[[hotlink]]
id = "images"
extensions = ["jpg", "png"]
"""


def nginx_filters(inputs, real_ip):
    networks = inputs.folder / "nginx-geo.conf"
    networks.write_text("".join(f"{line} 1;\n" for line in (inputs.folder / "blocked.txt").read_text().splitlines()))
    http = f"""
    {real_ip}
    map_hash_max_size 8192;
    geo $blocked {{ default 0; include "{networks}"; }}
    map $http_user_agent $bad_agent {{ default 0; {inputs.nginx_patterns()} }}
"""
    checks = "if ($blocked) { return 403; } if ($bad_agent) { return 403; }"
    locations = f"""
        location ~ \\.(jpg|png)$ {{
            {checks}
            valid_referers none {HOST};
            if ($invalid_referer) {{ return 403; }}
            proxy_pass http://origin;
        }}
"""
    return http, checks, locations


def haproxy_filters(inputs, frontend):
    for name, wanted in (("texts", True), ("regexes", False)):
        chosen = (text for text, literal in inputs.patterns if literal == wanted)
        (inputs.folder / name).write_text("".join(text + "\n" for text in chosen))
    return f"""
    {frontend}
    acl blocked src -f {inputs.folder}/blocked.txt
    acl agent req.hdr(user-agent) -m sub -i -f {inputs.folder}/texts
    acl agent req.hdr(user-agent) -m reg -i -f {inputs.folder}/regexes
    acl image path_end .jpg .png
    acl own req.hdr(referer) -m beg https://{HOST}/
    acl referred req.hdr(referer) -m found
    http-request deny if blocked
    http-request deny if agent
    http-request deny if image referred !own
"""


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
    command = ["taskset", "-c", lab.load_core, "wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "--timeout", "30s", "-s", script,
               f"http://127.0.0.1:{contestant.plain}/", "--", load.path]
    before = contestant.cpu_seconds()
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    spent = contestant.cpu_seconds() - before
    found = re.search(r"^RESULT (.*)$", result.stdout, re.MULTILINE)
    answers = json.loads(found[1]) if found else {}
    right = found and answers["failed"] == 0 and answers["refused"] == (answers["requests"] if load.refused else 0)
    if not right or not answers["requests"]:
        sys.exit(f"{contestant.name}, {load.name}: wrong answers\n{result.stdout}{result.stderr}")
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
    part = f"8. side by side: {LISTED:,} networks, {AGENT_PATTERNS} user agents, referers"
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
