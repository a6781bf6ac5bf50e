"""The machine: its cores, what it is, and the kernel's accounting of CPU time and memory."""

import dataclasses
import os
import pathlib
import platform
import re
import resource
import sys
import time

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


@dataclasses.dataclass(frozen=True)
class Cpu:
    """Seconds. The total is the scheduler's, exact; how it divides into user and system is what its ticks met."""

    total: float
    user: float
    system: float

    def __sub__(self, other):
        return Cpu(self.total - other.total, self.user - other.user, self.system - other.system)

    def split(self):
        """User and system, which together are the total."""
        ticks = self.user + self.system
        user = self.total * self.user / ticks if ticks else self.total
        return user, self.total - user


def cpu(pid):
    """Of a process and its children: all their threads, and those that ended."""
    spent = [process_cpu(each) for each in tree(pid)]
    return Cpu(*(sum(getattr(each, name) for each in spent) for name in ("total", "user", "system")))


def process_cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    user, system, ended_user, ended_system = (int(each) / TICKS for each in fields[11:15])
    # The clock of another process, as clock_getcpuclockid(3) makes it.
    return Cpu(time.clock_gettime((~pid << 3) | 2) + ended_user + ended_system, user + ended_user, system + ended_system)


def resident_kib(pid):
    """Memory of a process and its living children; what they share counts for each."""
    found = (re.search(r"^VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{each}/status").read_text(), re.MULTILINE) for each in tree(pid))
    return sum(int(match[1]) for match in found if match)


def proportional_kib(pid):
    """Memory of a process and its living children; what they share counts once."""
    found = (re.search(r"^Pss:\s*(\d+)", pathlib.Path(f"/proc/{each}/smaps_rollup").read_text(), re.MULTILINE) for each in tree(pid))
    return sum(int(match[1]) for match in found if match)


def tree(pid):
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def allow_open_files(wanted):
    """Raises the limit as far as it may; says what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, PermissionError):
            wanted = hard
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
