"""The machine: its cores, what it is, and the kernel's accounting of CPU time and memory."""

import os
import pathlib
import platform
import re
import sys

TICKS = os.sysconf("SC_CLK_TCK")


def two_cores():
    """One for the load and the origin, one for the contestant."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores: one for the contestant, one for the load and the origin")
    return str(cores[0]), str(cores[1])


def description():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20),
        "kernel": platform.release(),
        "load_at_start": os.getloadavg()[0],
    }


def cpu_seconds(pid):
    """User and system time of a process and its living children."""
    return sum(process_cpu(each) for each in tree(pid))


def resident_kib(pid):
    """Memory of a process and its living children; what they share counts for each."""
    found = (re.search(r"^VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{each}/status").read_text(), re.MULTILINE) for each in tree(pid))
    return sum(int(match[1]) for match in found if match)


def tree(pid):
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def process_cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
