"""CPU per request of Portcullis, nginx and HAProxy doing the same work in the same run.

The origin (nginx, 1 KiB) and the load generator (h2load) share one core; the contestant has another one to itself, with
one worker. Rounds are interleaved, so that a noisy minute hits everyone. The unit is the contestant's own CPU time, user
and system, over all its processes, from the kernel's accounting; only the ratios mean anything beyond this machine.
Every contestant writes an access log, and must give the answers that the scenario expects before it is measured.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import ssl
import statistics
import subprocess
import sys
import urllib.error
import urllib.request

from lab.contestants import BODY, Haproxy, Lab, Nginx, Portcullis

HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "referer": "https://localhost/start",
    "cookie": "session=6f1b0c64; theme=dark",
    "upgrade-insecure-requests": "1",
    "sec-fetch-dest": "document",
    "sec-fetch-mode": "navigate",
    "sec-fetch-site": "same-origin",
}
# wire: (tls, arguments that make h2load speak it)
WIRES = {
    "h1 plain": (False, ["--h1"]),
    "h1 TLS": (True, ["--h1"]),
    "h2 TLS": (True, ["-m", "8"]),
}
PORTCULLIS_RULES = """
[[ip_access]]
id = "block"
action = "block"
ip = ["192.0.2.0/24"]

[[lockdown]]
id = "admin"
urls = ["/refused", "/refused/*"]
allow = ["203.0.113.0/24"]

[[user_agent]]
id = "agents"
action = "block"
contains = ["sqlmap", "nikto"]

[[hotlink]]
id = "images"
extensions = ["jpg", "png"]
allow_empty_referer = true
"""
NGINX_HTTP = """
    geo $blocked { default 0; 192.0.2.0/24 1; }
    map $http_user_agent $bad_agent { default 0; ~*sqlmap 1; ~*nikto 1; }
"""
NGINX_CHECKS = "if ($blocked) { return 403; } if ($bad_agent) { return 403; }"
NGINX_LOCATIONS = """
        location /refused { allow 203.0.113.0/24; deny all; }
        location ~ \\.(jpg|png)$ {
            valid_referers none server_names localhost;
            if ($invalid_referer) { return 403; }
            proxy_pass http://origin;
        }
"""
HAPROXY_FRONTEND = """
    acl blocked src 192.0.2.0/24
    acl agents req.hdr(user-agent) -m sub -i sqlmap nikto
    acl locked path /refused
    acl locked path_beg /refused/
    acl office src 203.0.113.0/24
    acl image path_end .jpg .png
    acl own req.hdr(referer) -m beg https://localhost/
    acl referred req.hdr(referer) -m found
    http-request deny if blocked
    http-request deny if locked !office
    http-request deny if agents
    http-request deny if image referred !own
"""


def main():
    options = parse_arguments()
    with Lab(options.portcullis) as lab:
        contestants = [
            Portcullis(lab, "portcullis", 27110, PORTCULLIS_RULES),
            Nginx(lab, "nginx", 27120, NGINX_HTTP, NGINX_CHECKS, NGINX_LOCATIONS),
            Haproxy(lab, "haproxy", 27130, HAPROXY_FRONTEND),
        ]
        for contestant in contestants:
            lab.start(contestant)
        rounds = measure(contestants, options)
    report(rounds, options)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--portcullis", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=60_000, help="requests in a round of one scenario")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 20,000 requests")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench/loopback.json"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests = 3, 20_000
    return options


def scenarios():
    for wire in WIRES:
        yield wire, "allowed", "/", 200
        yield wire, "refused", "/refused/x", 403


def url(contestant, wire, path):
    tls = WIRES[wire][0]
    return f"{'https' if tls else 'http'}://localhost:{contestant.tls if tls else contestant.plain}{path}"


def check_answer(contestant, wire, path, status):
    """The contestant must answer what the scenario says before its cost means anything."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url(contestant, wire, path), headers=HEADERS)
    try:
        with urllib.request.urlopen(request, context=unverified, timeout=10) as answer:
            got, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        got, body = error.code, None
    if got != status or (status == 200 and body != BODY):
        sys.exit(f"loopback: {contestant.name} answered {got} to {path} over {wire}, not {status}")


def load(contestant, wire, path, status, options, requests):
    """Sends the requests; returns CPU seconds spent by the contestant and requests per second."""
    arguments = ["h2load", "-n", str(requests), "-c", "64", "-t", "1", *WIRES[wire][1]]
    for name, value in HEADERS.items():
        arguments += ["-H", f"{name}: {value}"]
    before = contestant.cpu_seconds()
    result = subprocess.run(
        ["taskset", "-c", contestant.lab.load_core, *arguments, url(contestant, wire, path)], capture_output=True, text=True, timeout=300
    )
    spent = contestant.cpu_seconds() - before
    text = result.stdout
    done = re.search(r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx", text)
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    right = int(done.group(1 if status == 200 else 2)) if done else 0
    if right != requests:
        sys.exit(f"loopback: {contestant.name} gave {right} right answers of {requests} over {wire}:\n{text}\n{result.stderr}")
    return spent, float(rate.group(1))


def measure(contestants, options):
    for contestant in contestants:
        for wire, _, path, status in scenarios():
            check_answer(contestant, wire, path, status)
            load(contestant, wire, path, status, options, 2_000)  # warm
    rounds = []
    for number in range(options.rounds):
        for wire, what, path, status in scenarios():
            order = contestants[number % len(contestants):] + contestants[: number % len(contestants)]
            for contestant in order:
                spent, rate = load(contestant, wire, path, status, options, options.requests)
                rounds.append(
                    {"round": number, "wire": wire, "what": what, "contestant": contestant.name,
                     "cpu_us_per_request": spent / options.requests * 1e6, "requests_per_second": rate}
                )
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return rounds


def report(rounds, options):
    rows = []
    print(f"\nCPU per request, median of {options.rounds} rounds of {options.requests} requests (least-most); "
          f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"{'work':<20}{'portcullis':>24}{'nginx':>24}{'haproxy':>24}{'to nginx':>10}{'to haproxy':>12}")
    for wire, what, _, _ in scenarios():
        cells, medians = "", {}
        for name in ("portcullis", "nginx", "haproxy"):
            values = [r["cpu_us_per_request"] for r in rounds if (r["wire"], r["what"], r["contestant"]) == (wire, what, name)]
            medians[name] = statistics.median(values)
            cells += f"{f'{medians[name]:.1f} µs ({min(values):.1f}-{max(values):.1f})':>24}"
        ratios = {peer: medians["portcullis"] / medians[peer] for peer in ("nginx", "haproxy")}
        print(f"{wire + ', ' + what:<20}{cells}{ratios['nginx']:>10.2f}{ratios['haproxy']:>12.2f}")
        rows += [{"measure": f"{wire}, {what}, CPU per request to {peer}", "value": round(ratio, 3), "unit": "ratio",
                  "target": None, "holds": None} for peer, ratio in ratios.items()]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rows": rows, "rounds": rounds, "requests": options.requests}, indent=1))
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
