"""`/metrics`: metrics of the whole installation, for Prometheus."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from config.http import database_metrics
from config.http.client_addresses import logged_address
from config.observability import metrics
from config.observability.metrics.counters import STARTED
from config.observability.metrics.process_files import REGISTRY, combined, merge_ended_processes

_FORWARDING = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_VIA",
)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def show_metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics. 403 for a wrong token, 404 for an address that is not allowed."""
    if not _is_allowed(request):
        return HttpResponse(status=404)
    token = settings.METRICS_TOKEN
    if token and not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
        return HttpResponse(status=403)
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    return HttpResponse(generate_latest(_Everything()), content_type=CONTENT_TYPE_LATEST)


def _is_allowed(request: HttpRequest) -> bool:
    """Tell whether the client's address may read the metrics."""
    allowed = settings.METRICS_ALLOWED
    if not allowed and settings.METRICS_TOKEN:
        return True
    is_forwarded = any(name in request.META for name in _FORWARDING)
    try:
        if allowed:
            address = ip_address(logged_address(request))
            return any(address in network for network in allowed)
        return not is_forwarded and ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


class _Everything(Collector):
    """Metrics of all processes, added up, then the gauges of the database."""

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        yield from _with_processes(_counted())
        yield from database_metrics.families()


def _counted() -> Iterable[Metric]:
    folder = metrics.folder
    if folder is None:
        return list(REGISTRY.collect())
    with combined(folder):
        merge_ended_processes(folder)
        collector: Any = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]
        return list(collector.collect())


def _with_processes(counted: Iterable[Metric]) -> Iterator[Metric]:
    """Replace each process's metrics about itself by the kernel's figures for the whole program."""
    programs: dict[str, list[str]] = defaultdict(list)
    for family in counted:
        if family.name != STARTED._name:
            yield family
            continue
        for sample in family.samples:
            programs[sample.labels["program"]].append(sample.labels.get("pid", str(os.getpid())))
    count = GaugeMetricFamily(
        "headrace_processes", "Processes of this machine that live.", labels=["program"]
    )
    totals: Counter[tuple[str, str]] = Counter()
    for program, pids in programs.items():
        count.add_metric([program], len(pids))
        for pid in pids:
            for name, value in _kernel_process_metrics(Path("/proc", pid)).items():
                totals[name, program] += value  # type: ignore[assignment]  # it adds up fractions as well
    yield count
    for name, documentation in _PROCESS.items():
        family = GaugeMetricFamily(name, documentation, labels=["program"])
        for program in programs:
            if (name, program) in totals:
                family.add_metric([program], totals[name, program])
        yield family


_RESIDENT = "headrace_process_resident_bytes"
_CPU = "headrace_process_cpu_seconds"
_DESCRIPTORS = "headrace_process_open_descriptors"
_THREADS = "headrace_process_threads"
_PROCESS = {
    _RESIDENT: "Memory of a program's living processes; pages that they share count each time.",
    _CPU: "Processor time that a program's living processes have used.",
    _DESCRIPTORS: "Files and sockets that a program's living processes have open.",
    _THREADS: "Threads of a program's living processes.",
}


def _kernel_process_metrics(process: Path) -> dict[str, float]:
    """Return memory, CPU time and open files of a process (Linux); none where it has ended."""
    try:
        # After the name, which may hold anything.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        descriptors = len(os.listdir(process / "fd"))
    except OSError:
        return {}
    user, kernel, threads, pages = (int(fields[place]) for place in (11, 12, 17, 21))
    return {
        _RESIDENT: pages * _PAGE,
        _CPU: (user + kernel) / _TICKS,
        _DESCRIPTORS: descriptors,
        _THREADS: threads,
    }
