"""Gateways under test, each a process tree with one worker on a core of its own, and the origin behind them.

A contestant is given its rules in its own words; all that is not rules is here, the same for every benchmark. Every one keeps
its connections to the origin, and writes an access log: a JSON object a request, with the same facts on all.
"""

import os
import shutil
import signal
import socket
import subprocess

from lab import machine, rules
from lab.processes import LOOPBACK, Contestant, Processes

BODY, LARGE_BODY = b"x" * 1024, b"y" * 100 * 1024
# Whom contestants believe the client's address, where a benchmark sends more than one.
LOAD_ADDRESS = LOOPBACK
# Connections to the origin that a contestant may have and keep: more than the load has requests under way.
TO_ORIGIN = 1024
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
# At once, of clients; a gateway may need as many again to the origin.
CONNECTIONS = 11_000
ADAPTATIONS = [
    "all: one worker on one core, keep-alive to the origin, TLS 1.2 and 1.3 with an ECDSA P-256 key, the client's address from "
    "X-Forwarded-For, which the load generator's address is believed, with rules and without",
    "access logs, a JSON object a request in a file: nginx through its buffer of 64 KiB, HAProxy through its standard output, "
    "Portcullis as it comes; the peers' have what Portcullis' has but for what only Portcullis knows (rule, site, request id, country)",
    "nginx: upstream keepalive, buffers for a whole answer of 100 KiB and no temporary files; HAProxy: http-reuse always",
]


class Lab(Processes):
    """With the origin, and the certificate of all contestants."""

    def __init__(self, program):
        super().__init__()
        self.program = program.resolve()

    def prepare(self):
        self.open_files = machine.allow_open_files(2 * CONNECTIONS + 1000)
        make_certificate(self.folder)
        self.origin = Origin(self)
        self.start(self.origin, core=self.load_core)


class Gateway(Contestant):
    """A contestant with a plain and a TLS port, and a rule set."""

    kind = None
    # How its access log calls what all of them tell.
    log_names = {}
    # What a line has whose connection resumed a TLS session.
    log_resumed = None

    def __init__(self, lab, name, rule_set):
        super().__init__(lab, name, 2)
        self.plain, self.tls = self.ports
        self.rules = rule_set
        self.log = self.folder / "access.log"
        # Where the lines of this run begin in it.
        self.log_start = 0

    def port(self, tls):
        return self.tls if tls else self.plain

    def forget_log(self):
        """Contestants append, so that the next line is the first."""
        os.truncate(self.log, 0)


class Portcullis(Gateway):
    kind = "portcullis"
    stop_signal = signal.SIGINT
    log_names = {
        "status": "http.response.status_code", "client": "client.ip", "method": "http.request.method", "target": "url.original",
        "agent": "user_agent.original", "bytes": "http.response.body.bytes", "duration": "event.duration", "host": "url.domain",
        "time": "@timestamp", "version": "http.version", "referrer": "http.request.referrer", "scheme": "url.scheme",
    }

    def command(self):
        if self.rules.portcullis is not None:
            (self.folder / "rules.toml").write_text(self.rules.portcullis)
        (self.folder / "refused.html").write_text(rules.REFUSED)
        (self.folder / "portcullis.toml").write_text(
            f"""
rules = ["{self.rules.rule_files}"]
workers = 1

[[listen]]
address = "127.0.0.1:{self.plain}"

[[listen]]
address = "127.0.0.1:{self.tls}"
tls = true

[client_ip]
trusted_proxies = ["{LOAD_ADDRESS}"]

[limits]
connections = {CONNECTIONS}
connections_per_client = {CONNECTIONS}
keepalive_timeout = "300s"
upstream_connections = {TO_ORIGIN}

[upstream.app]
servers = ["http://127.0.0.1:{self.lab.origin.ports[0]}"]
max_idle = {TO_ORIGIN}

[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
certificates = [{{ cert = "{self.lab.folder}/cert.pem", key = "{self.lab.folder}/key.pem" }}]
pages = {{ html = "refused.html" }}

[log]
access = "{self.log}"

{self.rules.settings}
"""
        )
        return [self.lab.program, "-c", self.folder / "portcullis.toml", "run"]


class Nginx(Gateway):
    kind = "nginx"
    log_resumed = '"resumed":"r"'
    log_names = {name: name for name in Portcullis.log_names}

    def command(self):
        return nginx(
            self.folder,
            f"""
    log_format facts escape=json '{{"time":"$time_iso8601","client":"$remote_addr","source":"$realip_remote_addr",'
        '"port":"$realip_remote_port","method":"$request_method","version":"$server_protocol","scheme":"$scheme","host":"$host",'
        '"target":"$request_uri","path":"$uri","query":"$args","status":$status,"bytes":$body_bytes_sent,"duration":$request_time,'
        '"referrer":"$http_referer","agent":"$http_user_agent","tls":"$ssl_protocol","name":"$ssl_server_name",'
        '"resumed":"$ssl_session_reused","upstream":"$upstream_addr","upstream_duration":"$upstream_header_time"}}';
    access_log {self.log} facts buffer=64k flush=250ms;
    default_type text/html;
    keepalive_timeout 300s;
    ssl_certificate {self.lab.folder}/cert.pem;
    ssl_certificate_key {self.lab.folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    set_real_ip_from {LOAD_ADDRESS};
    real_ip_header X-Forwarded-For;
    upstream origin {{ server 127.0.0.1:{self.lab.origin.ports[0]}; keepalive {TO_ORIGIN}; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
    proxy_max_temp_file_size 0;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    {self.rules.nginx_http}
    server {{
        listen 127.0.0.1:{self.plain};
        listen 127.0.0.1:{self.tls} ssl http2;
        location / {{ {self.rules.nginx_checks} proxy_pass http://origin; }}
        {self.rules.nginx_locations}
    }}
""",
        )


class Haproxy(Gateway):
    kind = "haproxy"
    log_resumed = '"resumed":1'
    log_names = Nginx.log_names

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.log = self.folder / "stdout.txt"

    def forget_log(self):
        """HAProxy takes O_APPEND from its standard output, and goes on writing where it was, behind a hole."""
        self.log_start = self.log.stat().st_size
        os.truncate(self.log, 0)

    def command(self):
        both = self.folder / "both.pem"
        both.write_text("".join((self.lab.folder / name).read_text() for name in ("cert.pem", "key.pem")))
        path = self.folder / "haproxy.cfg"
        path.write_text(
            f"""
global
    nbthread 1
    maxconn {CONNECTIONS}
    ulimit-n {self.lab.open_files}
    no strict-limits
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    log global
    option dontlognull
    timeout connect 5s
    timeout client 300s
    timeout server 300s
frontend front
    bind 127.0.0.1:{self.plain}
    bind 127.0.0.1:{self.tls} ssl crt {both} alpn h2,http/1.1
    maxconn {CONNECTIONS}
    http-request capture req.hdr(host) len 128
    http-request capture req.fhdr(user-agent) len 512
    http-request capture req.fhdr(referer) len 512
    log-format '{{"time":"%tr","client":"%ci","port":%cp,"method":"%HM","version":"%HV",\
"scheme":"%[ssl_fc,iif(https,http)]","host":"%[capture.req.hdr(0),json(utf8s)]","target":"%[capture.req.uri,json(utf8s)]",\
"status":%ST,"bytes":%B,"duration":%Ta,"referrer":"%[capture.req.hdr(2),json(utf8s)]","agent":"%[capture.req.hdr(1),json(utf8s)]",\
"tls":"%sslv","name":"%[ssl_fc_sni]","resumed":%[ssl_fc_is_resumed],"upstream":"%s","upstream_duration":%Tr,"ending":"%tsc"}}'
    http-request set-src req.hdr(x-forwarded-for) if {{ src {LOAD_ADDRESS} }}
    {self.rules.haproxy}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    default_backend origin
backend origin
    http-reuse always
    server one 127.0.0.1:{self.lab.origin.ports[0]} pool-max-conn {TO_ORIGIN}
"""
        )
        return [shutil.which("haproxy", path=SYSTEM_PATH), "-W", "-db", "-f", path]


GATEWAYS = {each.kind: each for each in (Portcullis, Nginx, Haproxy)}


class Origin(Contestant):
    """nginx, which answers every request with the same 1 KiB, or with 100 KiB; it tells what it was asked, and how it was reached."""

    def __init__(self, lab):
        super().__init__(lab, "origin", 1)

    def command(self):
        for name, body in (("small.html", BODY), ("large.html", LARGE_BODY)):
            (self.folder / name).write_bytes(body)
        seen = "$connection|$http_host|$http_x_forwarded_for|$http_x_forwarded_proto|$http_connection"
        return nginx(
            self.folder,
            f"""
    access_log off;
    keepalive_timeout 300s;
    open_file_cache max=10;
    root {self.folder};
    default_type text/html;
    types {{ }}
    server {{
        listen 127.0.0.1:{self.ports[0]} backlog=4096;
        location / {{ try_files /small.html =500; }}
        location /large/ {{ try_files /large.html =500; }}
        location = /seen {{ return 200 "{seen}"; }}
        location = /connections {{ stub_status; }}
    }}
""",
        )

    def connections_accepted(self):
        with socket.create_connection((LOAD_ADDRESS, self.ports[0]), timeout=10) as connection:
            connection.sendall(b"GET /connections HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        return int(answer.split(b"requests\n")[1].split()[0])


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
events {{ worker_connections {CONNECTIONS}; }}
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
