"""Gateways under test, each a process tree with one worker on a core of its own, and the origin behind them.

A contestant is given its rules in its own words; all that is not rules is here, the same for every benchmark.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from lab import machine

BODY = b"x" * 1024
ORIGIN_PORT = 27100
# Whom contestants believe the client's address, where a benchmark sends more than one.
LOAD_ADDRESS = "127.0.0.1"
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


class Lab:
    """The folder, the cores, and everything that runs until the benchmark ends."""

    def __init__(self, program):
        self.program = program.resolve()
        self.load_core, self.contestant_core = machine.two_cores()
        self.running = []

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
        os.chmod(self.folder, 0o755)
        make_certificate(self.folder)
        self.start(Origin(self), core=self.load_core)
        return self

    def __exit__(self, *_):
        for process in self.running:
            stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, contestant, core=None):
        log = open(contestant.folder / "output.txt", "wb")
        command = ["taskset", "-c", core or self.contestant_core, *contestant.command()]
        contestant.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=contestant.folder)
        self.running.append(contestant.process)
        for port in contestant.ports:
            wait_for(port, contestant)


class Contestant:
    """A process, with its folder and its ports."""

    def __init__(self, lab, name, ports):
        self.lab = lab
        self.name = name
        self.ports = ports
        self.folder = lab.folder / name.replace(", ", "-").replace(" ", "-")
        self.folder.mkdir()
        os.chmod(self.folder, 0o755)
        self.process = None

    def command(self):
        raise NotImplementedError

    def cpu_seconds(self):
        return machine.cpu_seconds(self.process.pid)

    def resident_kib(self):
        return machine.resident_kib(self.process.pid)


class Gateway(Contestant):
    """A contestant with a plain and a TLS port."""

    def __init__(self, lab, name, port):
        super().__init__(lab, name, (port, port + 1))
        self.plain, self.tls = self.ports


class Portcullis(Gateway):
    def __init__(self, lab, name, port, rules="may_be_empty = true\n", settings=""):
        super().__init__(lab, name, port)
        self.rules = rules
        self.settings = settings

    def command(self):
        (self.folder / "rules.toml").write_text(self.rules)
        (self.folder / "portcullis.toml").write_text(
            f"""
rules = ["rules.toml"]
workers = 1

[[listen]]
address = "127.0.0.1:{self.plain}"

[[listen]]
address = "127.0.0.1:{self.tls}"
tls = true

[limits]
connections_per_client = 10000

[upstream.app]
servers = ["http://127.0.0.1:{ORIGIN_PORT}"]

[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
certificates = [{{ cert = "{self.lab.folder}/cert.pem", key = "{self.lab.folder}/key.pem" }}]

[log]
access = "access.log"

{self.settings or '[geoip]' + chr(10) + 'country = "builtin"'}
"""
        )
        return [self.lab.program, "-c", self.folder / "portcullis.toml", "run"]


class Nginx(Gateway):
    """`http` stands beside the servers, `checks` in the location that is forwarded, `locations` beside it."""

    def __init__(self, lab, name, port, http="", checks="", locations=""):
        super().__init__(lab, name, port)
        self.http, self.checks, self.locations = http, checks, locations

    def command(self):
        return nginx(
            self.folder,
            f"""
    access_log {self.folder}/access.log combined buffer=64k flush=1s;
    ssl_certificate {self.lab.folder}/cert.pem;
    ssl_certificate_key {self.lab.folder}/key.pem;
    upstream origin {{ server 127.0.0.1:{ORIGIN_PORT}; keepalive 128; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    {self.http}
    server {{
        listen 127.0.0.1:{self.plain};
        listen 127.0.0.1:{self.tls} ssl http2;
        location / {{ {self.checks} proxy_pass http://origin; }}
        {self.locations}
    }}
""",
        )


class Haproxy(Gateway):
    """`frontend` holds its rules."""

    def __init__(self, lab, name, port, frontend=""):
        super().__init__(lab, name, port)
        self.frontend = frontend

    def command(self):
        both = self.folder / "both.pem"
        both.write_text("".join((self.lab.folder / name).read_text() for name in ("cert.pem", "key.pem")))
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
    bind 127.0.0.1:{self.tls} ssl crt {both} alpn h2,http/1.1
    {self.frontend}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    option forwardfor
    default_backend origin
backend origin
    http-reuse always
    server one 127.0.0.1:{ORIGIN_PORT} pool-max-conn 256
"""
        )
        return [shutil.which("haproxy", path=SYSTEM_PATH), "-W", "-db", "-f", path]


class Origin(Contestant):
    """nginx, which answers every request with the same 1 KiB."""

    def __init__(self, lab):
        super().__init__(lab, "origin", (ORIGIN_PORT,))

    def command(self):
        (self.folder / "index.html").write_bytes(BODY)
        server = f"listen 127.0.0.1:{ORIGIN_PORT}; root {self.folder}; location / {{ try_files /index.html =500; }}"
        options = "access_log off; keepalive_timeout 300s; open_file_cache max=10;"
        return nginx(self.folder, f"{options} server {{ {server} }}")


def nginx(folder, http):
    """The command, with all that every nginx here has in common."""
    path = folder / "nginx.conf"
    temporary = "".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path.write_text(
        f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
pcre_jit on;
events {{ worker_connections 4096; }}
http {{
    keepalive_requests 1000000000;
    {temporary}
    {http}
}}
"""
    )
    return [shutil.which("nginx", path=SYSTEM_PATH), "-c", path, "-p", folder]


def make_certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )


def wait_for(port, contestant):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and contestant.process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    print((contestant.folder / "output.txt").read_text(errors="replace"), file=sys.stderr)
    sys.exit(f"{contestant.name} does not listen on {port}")


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
