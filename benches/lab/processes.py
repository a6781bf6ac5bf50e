"""Processes on cores of their own, which end with the benchmark however it ends, and the folder that they work in."""

import contextlib
import ctypes
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from lab import machine

LOOPBACK = "127.0.0.1"


class Processes:
    """The folder, the cores, and everything that runs until the benchmark ends."""

    def __init__(self):
        self.load_core, self.contestant_core = machine.two_cores()
        self.running = []
        self.next_port = random.randrange(20_000, 30_000)

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
        try:
            # What this process does itself must not meet the contestants.
            os.sched_setaffinity(0, {int(self.load_core)})
            os.chmod(self.folder, 0o755)
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def prepare(self):
        """What must be there before anything else."""

    def __exit__(self, *_):
        # A second Ctrl-C must not leave anything behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for process, number in self.running:
            ask_to_stop(process, number)
        for process, _ in self.running:
            wait_for_end(process)
        shutil.rmtree(self.folder, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def ports(self, count):
        """That nobody listens on, outside of those that the kernel gives to clients."""
        found = []
        while len(found) < count:
            self.next_port += 1
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind((LOOPBACK, self.next_port))
                found.append(self.next_port)
        return tuple(found)

    def start(self, contestant, core=None):
        command = ["taskset", "-c", core or self.contestant_core, *contestant.command()]
        with (contestant.folder / "stdout.txt").open("ab") as out, (contestant.folder / "stderr.txt").open("ab") as messages:
            contestant.process = self.spawn(command, contestant.stop_signal, stdout=out, stderr=messages, cwd=contestant.folder)
        for port in contestant.ports:
            wait_for(port, contestant)
        return contestant

    def spawn(self, command, stop_signal=signal.SIGTERM, **options):
        """Ends with the lab, also when this process is killed."""
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=end_with_parent, **options)
        self.running.append((process, stop_signal))
        return process

    def run(self, command, seconds, most, halfway=None):
        """A generator of load on its core: its output and messages. `halfway` is called in the middle of the expected seconds."""
        command = ["taskset", "-c", self.load_core, *map(str, command)]
        process = self.spawn(command, signal.SIGKILL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if halfway:
                time.sleep(seconds / 2)
                halfway()
            return process.communicate(timeout=most)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()
        finally:
            self.end(process)

    def stop(self, contestant):
        self.end(contestant.process)

    def end(self, process):
        number = next(number for each, number in self.running if each is process)
        ask_to_stop(process, number)
        wait_for_end(process)
        self.running.remove((process, number))


class Contestant:
    """A process, with its folder and its ports."""

    stop_signal = signal.SIGTERM

    def __init__(self, lab, name, ports):
        self.lab = lab
        self.name = name
        self.ports = lab.ports(ports)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=name.replace(", ", "-").replace(" ", "-") + "-", dir=lab.folder))
        os.chmod(self.folder, 0o755)
        self.process = None

    def command(self):
        raise NotImplementedError

    def cpu(self):
        return machine.cpu(self.process.pid)

    def cpu_seconds(self):
        return self.cpu().total

    def resident_kib(self):
        return machine.resident_kib(self.process.pid)

    def proportional_kib(self):
        return machine.proportional_kib(self.process.pid)


def wait_for(port, contestant):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and contestant.process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return
        time.sleep(0.05)
    for name in ("stdout.txt", "stderr.txt"):
        print((contestant.folder / name).read_text(errors="replace")[-4000:], file=sys.stderr)
    sys.exit(f"{contestant.name} does not listen on {port}")


def end_with_parent():
    """prctl(PR_SET_PDEATHSIG, SIGTERM)"""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def ask_to_stop(process, number):
    if process.poll() is None:
        process.send_signal(number)


def wait_for_end(process):
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    # Whatever is left of its group, workers too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
