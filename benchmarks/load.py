"""A load generator that costs little: raw keep-alive sockets, one request at a time each."""

import argparse
import json
import socket
import statistics
import sys
import threading
import time
from dataclasses import dataclass


@dataclass
class Job:
    """Requests to repeat on `connections` sockets for some seconds."""

    port: int
    # One for all requests, or one for each body.
    path: str | list[str]
    key: str
    bodies: list[bytes]
    seconds: float
    connections: int


def run(job: Job) -> dict[str, float]:
    """Return requests/s, the median and the 95th percentile of the latency in ms, and the failures."""
    latencies: list[list[float]] = [[] for _ in range(job.connections)]
    failures = [0] * job.connections
    deadline = time.perf_counter() + job.seconds
    threads = [
        threading.Thread(target=_send, args=(job, place, latencies[place], failures, deadline))
        for place in range(job.connections)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    times = sorted(latency for each in latencies for latency in each)
    return {
        "per_second": len(times) / elapsed,
        "p50_ms": statistics.median(times) * 1000 if times else 0.0,
        "p95_ms": times[int(len(times) * 0.95)] * 1000 if times else 0.0,
        "p99_ms": times[int(len(times) * 0.99)] * 1000 if times else 0.0,
        "seconds": elapsed,
        "failures": sum(failures),
    }


def _send(job: Job, place: int, latencies: list[float], failures: list[int], deadline: float) -> None:
    paths = [job.path] * len(job.bodies) if isinstance(job.path, str) else job.path
    whole = [_request(job, path, body) for path, body in zip(paths, job.bodies, strict=True)]
    requests = whole[place :: job.connections] or whole
    connection = socket.create_connection(("127.0.0.1", job.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    turn = 0
    with connection:
        while (now := time.perf_counter()) < deadline:
            connection.sendall(requests[turn % len(requests)])
            status = _read_response(connection)
            latencies.append(time.perf_counter() - now)
            failures[place] += not 200 <= status < 300
            turn += 1


def _request(job: Job, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {job.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _read_response(connection: socket.socket) -> int:
    data = connection.recv(65536)
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    received = len(body)
    while received < length:
        received += len(connection.recv(1 << 20))
    return int(head[9:12])


def main() -> None:
    """Read a job as JSON from standard input, print its result."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    job = json.load(sys.stdin)
    job["bodies"] = [body.encode() for body in job["bodies"]]
    print(json.dumps(run(Job(**job))))


if __name__ == "__main__":
    main()
