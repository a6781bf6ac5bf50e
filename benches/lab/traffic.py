"""What is asked, and the lists that it meets: networks, countries, clients, user agents, and prepared requests of all kinds.

Everything is generated from fixed seeds, but for user agents and patterns, which come from published packages.
"""

import bisect
import ipaddress
import json
import pathlib
import random
import re

from lab import streams

HOST = "www.example.com"
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
AGENT_PATTERNS = 300
# Of every hundred networks and clients.
IPV6_SHARE = 20
CLIENTS = 20_000
COUNTRY_BLOCKS = 60_000
COUNTRIES = ["AT", "BR", "CA", "CN", "DE", "ES", "FR", "GB", "IN", "IR", "IT", "JP", "KP", "NL", "PL", "SE", "US", "ZA"]
EMBARGOED = ["IR", "KP"]


def page(dice):
    target = f"/products/lamps/desk-lamp-{dice.randrange(10_000)}?color=black&size=m&page={dice.randrange(50)}"
    return target, PAGE, f"session={dice.randrange(16**20):020x}; theme=dark; consent=necessary%2Cstatistics; cart=18"


def image(dice):
    return f"/media/lamps/{dice.randrange(10_000)}.jpg", PAGE | IMAGE, f"session={dice.randrange(16**20):020x}; theme=dark"


def as_sent(target, headers):
    return f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"


def is_plain(text):
    """Written the same in every contestant's file."""
    return not re.search(r'["\\]["\\trn]|"|^\s|\s$|^#|\\s|\\S', text)


def patterns(agents):
    """[text, whether it is only a text], of crawlers."""
    found = json.loads((agents / "patterns.json").read_text())
    return [pattern for pattern in found if is_plain(pattern[0])][:AGENT_PATTERNS]


class Networks:
    """Networks that neither overlap nor touch, most of them IPv4, in clusters as blocklists have them."""

    def __init__(self, networks):
        self.networks = networks
        self.starts = {version: sorted(int(n[0]) for n in networks if n.version == version) for version in (4, 6)}
        self.ends = {int(n[0]): int(n[-1]) for n in networks}

    @classmethod
    def made(cls, count):
        dice = random.Random(100)
        v6 = count * IPV6_SHARE // 100
        return cls([*spread(count - v6, dice, cluster_v4, (20, 32), 32), *spread(v6, dice, cluster_v6, (36, 64), 128)])

    def some(self, count):
        return Networks(random.Random(count).sample(self.networks, count))

    def __contains__(self, address):
        starts = self.starts[address.version]
        at = bisect.bisect_right(starts, int(address))
        return at > 0 and self.ends[starts[at - 1]] >= int(address)

    def write(self, path):
        path.write_text("".join(f"{network}\n" for network in self.networks))
        return path


def cluster_v4(dice):
    # 11.0.0.0 to 126.255.0.0: none of them special.
    return dice.randrange(11, 100) << 24 | dice.randrange(256) << 16


def cluster_v6(dice):
    return 0x2A00 << 112 | dice.randrange(1 << 14) << 98


def spread(count, dice, cluster, lengths, bits):
    clusters = [cluster(dice) for _ in range(max(1, count // 40))]
    found, taken = {}, []
    inside = bits - (16 if bits == 32 else 30)
    while len(found) < count:
        length = dice.randint(*lengths)
        start = dice.choice(clusters) + (dice.randrange(1 << inside) >> bits - length << bits - length)
        end = start + (1 << bits - length) - 1
        at = bisect.bisect(taken, (start,))
        near = taken[max(0, at - 1): at + 1]
        if all(end + 1 < other[0] or other[1] + 1 < start for other in near):
            taken.insert(at, (start, end))
            found[start, length] = None
    make = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return [make((start, length)) for start, length in found]


class Countries:
    """Which country an address is in, the same table for every contestant: addresses in blocks, as registries assign them."""

    def __init__(self):
        dice = random.Random(249)
        v6 = COUNTRY_BLOCKS * IPV6_SHARE // 100
        weights = [1 if country in EMBARGOED else 20 for country in COUNTRIES]
        chosen = dice.choices(COUNTRIES, weights, k=COUNTRY_BLOCKS)
        starts = [(11 << 24) + (number << 15) for number in range(COUNTRY_BLOCKS - v6)]
        blocks = [ipaddress.IPv4Network((start, 17)) for start in starts if start >> 24 < 127]
        blocks += [ipaddress.IPv6Network(((0x2A00 << 112) + (number << 99), 29)) for number in range(v6)]
        self.blocks = list(zip(blocks, chosen))
        self.v4 = {int(block[0]) >> 15: country for block, country in self.blocks if block.version == 4}
        self.v6 = {int(block[0]) >> 99: country for block, country in self.blocks if block.version == 6}

    def of(self, address):
        return self.v4.get(int(address) >> 15, "XX") if address.version == 4 else self.v6.get(int(address) >> 99, "XX")

    def write(self, path, line):
        path.write_text("".join(line(block, country) for block, country in self.blocks))
        return path


class Traffic:
    """Files of prepared requests, made when they are first asked for."""

    def __init__(self, folder, agents):
        self.folder = folder
        folder.mkdir()
        self.agents = agents
        self.listed, self.countries = Networks.made(100_000), Countries()
        self.patterns = patterns(agents)
        dice = random.Random(20_000)
        self.allowed_clients = [str(address) for address in self.strangers(dice)]
        self.listed_clients = [str(dice.choice(self.listed.networks)[0]) for _ in range(CLIENTS)]
        self.browsers = {20_000: lines(agents / "load.txt"), 500: lines(agents / "base.txt")}
        self.made = {}

    def strangers(self, dice):
        """Clients that are in no list and in no country that is kept out."""
        found = []
        while len(found) < CLIENTS:
            if dice.randrange(100) < IPV6_SHARE:
                address = ipaddress.IPv6Address(cluster_v6(dice) | dice.randrange(1 << 98))
            else:
                address = ipaddress.IPv4Address(cluster_v4(dice) | dice.randrange(1 << 16))
            if address not in self.listed and self.countries.of(address) not in EMBARGOED:
                found.append(address)
        return found

    def requests(self, kind, agents=20_000):
        """Heads as dictionaries; `kind` is one of allowed, large, locked, listed. Every fifth that passes is an image."""
        dice = random.Random(f"{kind} {agents}")
        browsers = self.browsers[agents]
        for number in range(len(self.browsers[20_000])):
            refused = kind in ("locked", "listed")
            target, headers, cookie = image(dice) if number % 5 == 4 and not refused else page(dice)
            client = dice.choice(self.listed_clients if kind == "listed" else self.allowed_clients)
            prefix = {"large": "/large", "locked": "/admin"}.get(kind, "")
            fields = {"host": HOST, "user-agent": browsers[number % len(browsers)], **headers, "cookie": cookie}
            yield {"target": prefix + target, "headers": fields | {"x-forwarded-for": client}}

    def file(self, kind, agents=20_000, form="heads"):
        """`form`: heads, closing (heads that ask for the end of the connection), or blocks (of HTTP/2)."""
        name = f"{kind}-{agents}-{form}"
        if name not in self.made:
            path = self.folder / name
            requests = self.requests(kind, agents)
            if form == "blocks":
                streams.prepare(list(requests), path)
            else:
                closing = {"connection": "close"} if form == "closing" else {}
                path.write_text("".join(as_sent(each["target"], each["headers"] | closing) for each in requests))
            self.made[name] = path
        return self.made[name]


def lines(path):
    return pathlib.Path(path).read_text().splitlines()
