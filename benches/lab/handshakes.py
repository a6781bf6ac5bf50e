"""A TLS connection for every request: full handshakes, request, answer, close; so many at once, one after the other.

That each handshake was a full one is not assumed: no session is offered, and every connection is asked whether it resumed.
"""

import argparse
import collections
import random
import select
import socket
import ssl
import time

from lab import loops

HANDSHAKE, ANSWER = "handshake", "answer"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("requests")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    options = parser.parse_args()
    run = Run(options)
    run.go()
    run.tell()


class Run:
    def __init__(self, options):
        self.options = options
        self.context = loops.context("http/1.1")
        self.heads = loops.heads(options.requests)
        self.dice = random.Random(7)
        self.poll = select.epoll()
        self.open = {}
        self.latencies, self.refused, self.failed, self.resumed, self.bytes = [], 0, 0, 0, 0
        self.negotiated = collections.Counter()

    def go(self):
        self.start = time.monotonic()
        end = self.start + self.options.seconds
        for _ in range(self.options.connections):
            self.connect()
        while self.open:
            for number, _ in self.poll.poll(10):
                connection = self.open[number]
                if self.ended(connection):
                    self.close(connection)
                    if time.monotonic() < end:
                        self.connect()
            if time.monotonic() > end + 20:
                self.failed += len(self.open)
                break
        self.seconds = time.monotonic() - self.start

    @staticmethod
    def ended(connection):
        try:
            return connection.go_on()
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True

    def connect(self):
        connection = Connection(self.context, self.options.port, self.dice.choice(self.heads))
        self.open[connection.number] = connection
        self.poll.register(connection.number, select.EPOLLIN)

    def close(self, connection):
        self.poll.unregister(connection.number)
        del self.open[connection.number]
        status = connection.status()
        if status is None:
            self.failed += 1
        else:
            self.latencies.append(time.monotonic() - connection.started)
            self.refused += status >= 400
            self.resumed += connection.resumed
            self.negotiated[connection.negotiated] += 1
            self.bytes += len(connection.answer)
        connection.socket.close()

    def tell(self):
        loops.tell(
            requests=len(self.latencies), seconds=self.seconds, bytes=self.bytes, refused=self.refused, failed=self.failed,
            resumed=self.resumed, negotiated=dict(self.negotiated),
            p50_us=loops.percentile(self.latencies, 0.5) * 1e6, p99_us=loops.percentile(self.latencies, 0.99) * 1e6,
        )


class Connection:
    def __init__(self, context, port, head):
        self.started = time.monotonic()
        self.head, self.answer, self.shaken = head, b"", False
        # Over loopback this is done when it returns.
        plain = socket.create_connection((loops.HOST, port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        self.socket = context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False)
        self.number = self.socket.fileno()
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            pass

    def go_on(self):
        """Whether it ended."""
        if not self.shaken:
            self.socket.do_handshake()
            self.shaken = True
            self.resumed = bool(self.socket.session_reused)
            self.negotiated = f"{self.socket.version()} {self.socket.cipher()[0]}"
            self.socket.send(self.head)
        while more := self.socket.recv(65536):
            self.answer += more
        return True

    def status(self):
        """Of an answer that came whole."""
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
        if not end or length is None or int(length.split(b":")[1]) != len(body):
            return None
        return int(head.split(b" ", 2)[1])


if __name__ == "__main__":
    main()
