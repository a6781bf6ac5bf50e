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
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BODY = b"x" * 1024
ORIGIN_PORT = 27100
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HEADERS = {
    "user-agent": AGENT,
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
TICKS = os.sysconf("SC_CLK_TCK")


def main():
    options = parse_arguments()
    work = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
    os.chmod(work, 0o755)
    make_certificate(work)
    running = []
    try:
        running.append(start_origin(work))
        contestants = [make(work, options) for make in (Portcullis, Nginx, Haproxy)]
        for contestant in contestants:
            contestant.start()
            running.append(contestant.process)
        rounds = measure(contestants, options)
    finally:
        for process in running:
            stop(process)
        shutil.rmtree(work, ignore_errors=True)
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
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("loopback: needs two cores: one for the contestant, one for the load and the origin")
    options.load_core, options.contestant_core = str(cores[0]), str(cores[1])
    return options


class Contestant:
    """A gateway under test: one process tree, one worker, a plain and a TLS port."""

    name = ""
    base_port = 0

    def __init__(self, work, options):
        self.folder = work / self.name
        self.folder.mkdir()
        self.work = work
        self.options = options
        self.process = None

    @property
    def plain(self):
        return self.base_port

    @property
    def tls(self):
        return self.base_port + 1

    def command(self):
        raise NotImplementedError

    def start(self):
        log = open(self.folder / "output.txt", "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", self.options.contestant_core, *self.command()], stdout=log, stderr=log, cwd=self.folder
        )
        for port in (self.plain, self.tls):
            wait_for(port, self)

    def cpu_seconds(self):
        """User and system time of the process and its living children."""
        return sum(process_cpu(pid) for pid in tree(self.process.pid))


class Portcullis(Contestant):
    name = "portcullis"
    base_port = 27110

    def command(self):
        (self.folder / "rules").mkdir()
        (self.folder / "rules" / "rules.toml").write_text(
            """
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
        )
        (self.folder / "portcullis.toml").write_text(
            f"""
rules = ["rules/*.toml"]
workers = 1

[[listen]]
address = "127.0.0.1:{self.plain}"

[[listen]]
address = "127.0.0.1:{self.tls}"
tls = true

[geoip]
country = "builtin"

[limits]
connections_per_client = 10000

[upstream.app]
servers = ["http://127.0.0.1:{ORIGIN_PORT}"]

[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
certificates = [{{ cert = "{self.work}/cert.pem", key = "{self.work}/key.pem" }}]

[log]
access = "access.log"
"""
        )
        return [self.options.portcullis.resolve(), "-c", self.folder / "portcullis.toml", "run"]


class Nginx(Contestant):
    name = "nginx"
    base_port = 27120

    def command(self):
        path = self.folder / "nginx.conf"
        path.write_text(
            f"""
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {self.folder}/access.log combined buffer=64k flush=1s;
    keepalive_requests 1000000000;
    client_body_temp_path {self.folder}; proxy_temp_path {self.folder}; fastcgi_temp_path {self.folder};
    uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
    ssl_certificate {self.work}/cert.pem;
    ssl_certificate_key {self.work}/key.pem;
    upstream origin {{ server 127.0.0.1:{ORIGIN_PORT}; keepalive 128; keepalive_requests 1000000000; }}
    geo $blocked {{ default 0; 192.0.2.0/24 1; }}
    map $http_user_agent $bad_agent {{ default 0; ~*sqlmap 1; ~*nikto 1; }}
    server {{
        listen 127.0.0.1:{self.plain};
        listen 127.0.0.1:{self.tls} ssl http2;
        location / {{
            if ($blocked) {{ return 403; }}
            if ($bad_agent) {{ return 403; }}
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
        location /refused {{ allow 203.0.113.0/24; deny all; }}
        location ~ \\.(jpg|png)$ {{
            valid_referers none server_names localhost;
            if ($invalid_referer) {{ return 403; }}
            proxy_pass http://origin;
        }}
    }}
}}
"""
        )
        return [shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-c", path, "-p", self.folder]


class Haproxy(Contestant):
    name = "haproxy"
    base_port = 27130

    def command(self):
        pem = self.folder / "both.pem"
        pem.write_text((self.work / "cert.pem").read_text() + (self.work / "key.pem").read_text())
        path = self.folder / "haproxy.cfg"
        path.write_text(
            f"""
global
    nbthread 1
    maxconn 4096
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{self.plain}
    bind 127.0.0.1:{self.tls} ssl crt {pem} alpn h2,http/1.1
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
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    option forwardfor
    default_backend origin
backend origin
    http-reuse always
    server one 127.0.0.1:{ORIGIN_PORT} pool-max-conn 256
"""
        )
        return [shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"), "-W", "-db", "-f", path]


def start_origin(work):
    folder = work / "origin"
    folder.mkdir()
    (folder / "root").mkdir()
    (folder / "root" / "index.html").write_bytes(BODY)
    (folder / "nginx.conf").write_text(
        f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    open_file_cache max=10;
    server {{ listen 127.0.0.1:{ORIGIN_PORT}; root {folder}/root; }}
}}
"""
    )
    os.chmod(folder, 0o755)
    core = str(sorted(os.sched_getaffinity(0))[0])
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    process = subprocess.Popen(["taskset", "-c", core, nginx, "-c", folder / "nginx.conf", "-p", folder])
    wait_for(ORIGIN_PORT, None)
    return process


def make_certificate(work):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", work / "key.pem", "-out", work / "cert.pem"],
        check=True, capture_output=True,
    )


def wait_for(port, contestant):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    if contestant:
        print((contestant.folder / "output.txt").read_text(errors="replace"), file=sys.stderr)
        sys.exit(f"loopback: {contestant.name} does not listen on {port}")
    sys.exit(f"loopback: the origin does not listen on {port}")


def stop(process):
    if process and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tree(pid):
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def process_cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


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
        ["taskset", "-c", options.load_core, *arguments, url(contestant, wire, path)], capture_output=True, text=True, timeout=300
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
