"""That every contestant gives the same answers, before anything is measured: status, body, headers that matter, over each wire."""

import http.client
import re
import subprocess
import sys

from lab import loops, rules, traffic
from lab.contestants import BODY, LARGE_BODY, LOAD_ADDRESS

SAME = {200: ("content-type", "content-length", "last-modified", "etag"), 403: ("content-type", "content-length", "cache-control")}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def check(gateways, made):
    """`gateways` hold the same rule set. Ends the benchmark at the first difference."""
    for question in questions(gateways[0].rules.name, made):
        for wire in ["h1 plain", "h1 TLS", "h2 TLS"] if question.everywhere else ["h1 plain"]:
            answers = {gateway.name: question.ask(gateway, wire) for gateway in gateways}
            if len(set(answers.values())) > 1:
                differ = "\n".join(f"{name}: {answer}" for name, answer in answers.items())
                sys.exit(f"{question.target} over {wire}, {gateways[0].rules.name} rules: different answers\n{differ}")
    for gateway in gateways:
        check_forwarding(gateway, made.allowed_clients[0])


def check_networks(gateways, rule_set, strangers):
    for gateway in gateways:
        for client in strangers[:50]:
            Question("/browsed", client, 200).ask(gateway, "h1 plain")
        for client in rule_set.listed:
            Question("/listed", client, 403).ask(gateway, "h1 plain")


def questions(rule_set, made):
    stranger, image = made.allowed_clients[0], traffic.PAGE | traffic.IMAGE
    shipped, heavy = rule_set == "shipped", rule_set == "heavy"
    embargoed = next(block for block, country in made.countries.blocks if country in traffic.EMBARGOED and block[0] not in made.listed)
    yield Question("/products/lamps?color=black", stranger, 200, everywhere=True)
    yield Question("/large/lamps?color=black", stranger, 200, everywhere=True)
    yield Question("/admin/users?page=1", stranger, 403 if shipped else 200, everywhere=True)
    yield Question("/listed", made.listed_clients[0], 403 if heavy else 200, everywhere=True)
    yield Question("/media/lamps/1.jpg", stranger, 200, image)
    if shipped or heavy:
        yield Question("/embargoed", str(embargoed[0]), 403)
        yield Question("/media/lamps/1.jpg", stranger, 403, image | traffic.FOREIGN)
    if shipped:
        yield Question("/.git/config", stranger, 404)
        yield Question("/blog/xmlrpc.php", stranger, 404)
        for text in rules.scanners():
            yield Question("/scanned", stranger, 403, agent=f"x {text.upper()} y")
    if heavy:
        for text in (text for text, literal in made.patterns if literal):
            yield Question("/crawled", stranger, 403, agent=f"x {text.upper()} y")
        for client in made.listed_clients[:50]:
            yield Question("/listed", client, 403)
    for client, agent in zip(made.allowed_clients[:50], made.browsers[20_000]):
        yield Question("/browsed", client, 200, agent=agent)


class Question:
    def __init__(self, target, client, status, headers=traffic.PAGE, agent=BROWSER, everywhere=False):
        self.target, self.status, self.everywhere = target, status, everywhere
        self.headers = headers | {"host": traffic.HOST, "user-agent": agent, "x-forwarded-for": client}

    def ask(self, gateway, wire):
        """What must be the same."""
        over = over_h2 if wire == "h2 TLS" else over_h1
        status, headers, body = over(gateway, wire == "h1 TLS", self.target, self.headers)
        if not self.headers["accept"].startswith("text/html") and status == self.status != 200:
            # Portcullis has a document for those who do not ask for a page.
            return (status,)
        wanted = {404: None, 403: rules.REFUSED.encode()}.get(status, LARGE_BODY if self.target.startswith("/large/") else BODY)
        if status != self.status or (wanted is not None and body != wanted):
            sys.exit(f"{gateway.name}, {gateway.rules.name} rules, answered {status} and {body[:80]!r} to {self.target} over {wire}, "
                     f"not {self.status}, with {self.headers}")
        return status, *((name, normal(headers.get(name))) for name in SAME.get(status, ()))


def normal(value):
    """`text/html; charset=utf-8` is as good as `text/html` here."""
    return value and value.split(";")[0].lower()


def over_h1(gateway, tls, target, headers):
    port = gateway.port(tls)
    if tls:
        connection = http.client.HTTPSConnection(LOAD_ADDRESS, port, timeout=10, context=loops.context("http/1.1"))
    else:
        connection = http.client.HTTPConnection(LOAD_ADDRESS, port, timeout=10)
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def over_h2(gateway, _, target, headers):
    command = ["nghttp", f"https://{LOAD_ADDRESS}:{gateway.tls}{target}"]
    for name, value in headers.items():
        command += ["-H", f"{':authority' if name == 'host' else name}: {value}"]
    body = subprocess.run(command, capture_output=True, timeout=20).stdout
    told = subprocess.run([*command, "-nv"], capture_output=True, text=True, timeout=20).stdout
    found = dict(re.findall(r"recv \(stream_id=\d+\) (:?[\w-]+): (.*?)(?:\x1b.*)?$", told, re.MULTILINE))
    return int(found.get(":status", 0)), found, body


def check_forwarding(gateway, client):
    """The origin is told the same by all, over a connection that is kept."""
    headers = traffic.PAGE | {"host": traffic.HOST, "user-agent": BROWSER, "x-forwarded-for": client}
    seen = [over_h1(gateway, tls, "/seen", headers)[2].decode().split("|") for tls in (False, True)]
    told = [each[1:] for each in seen]
    right = all(each[0] == traffic.HOST and each[1].split(",")[0] == client and each[2] == proto for each, proto in zip(told, ("http", "https")))
    if not right or any("close" in each for each in told):
        sys.exit(f"{gateway.name} tells the origin {told}")
    if seen[0][0] != seen[1][0]:
        sys.exit(f"{gateway.name} does not keep its connection to the origin")


def negotiated(gateway):
    """Version, cipher, key exchange and signature of a handshake as OpenSSL's client makes it."""
    command = ["openssl", "s_client", "-connect", f"{LOAD_ADDRESS}:{gateway.tls}", "-servername", "localhost", "-alpn", "http/1.1"]
    told = subprocess.run(command, input="", capture_output=True, text=True, timeout=20).stdout
    wanted = (r"^New, (.*)$", r"^Server Temp Key: (.*)$", r"^Peer signature type: (.*)$", r"^Server public key is (.*)$")
    return tuple(match[1] for pattern in wanted if (match := re.search(pattern, told, re.MULTILINE)))


def check_handshakes(gateways):
    """That all agree with the client on the same, and do not make one handshake cheaper than another."""
    found = {gateway.name: negotiated(gateway) for gateway in gateways}
    if len(set(found.values())) > 1 or len(found[gateways[0].name]) < 4:
        sys.exit(f"different handshakes: {found}")
    return ", ".join(found[gateways[0].name])
