"""TLS connections that have made a request each and then stay open and silent, as many as each line of standard input says."""

import argparse
import socket
import sys

from lab import loops, machine

# From several addresses: neither ports nor what one client may have run out.
SOURCES = [f"127.0.1.{number}" for number in range(1, 65)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("requests")
    options = parser.parse_args()
    heads, context, connections = loops.heads(options.requests), loops.context("http/1.1"), []
    for line in sys.stdin:
        wanted = int(line)
        if machine.allow_open_files(wanted + 100) < wanted + 100:
            sys.exit(f"{wanted} connections need more open files than this process may have")
        while len(connections) < wanted:
            number = len(connections)
            connections.append(opened(context, options.port, SOURCES[number % len(SOURCES)], heads[number % len(heads)]))
        print(f"open {len(connections)}", flush=True)


def opened(context, port, source, head):
    plain = socket.socket()
    plain.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    plain.settimeout(20)
    plain.bind((source, 0))
    plain.connect((loops.HOST, port))
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall(head)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += read(connection)
    start, _, body = answer.partition(b"\r\n\r\n")
    missing = next(int(line[15:]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")) - len(body)
    while missing > 0:
        missing -= len(read(connection))
    if not start.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"wrong answer: {start[:200]!r}")
    return connection


def read(connection):
    more = connection.recv(65536)
    if not more:
        sys.exit("the server closed a connection")
    return more


if __name__ == "__main__":
    main()
