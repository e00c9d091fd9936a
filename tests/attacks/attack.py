# SPDX-License-Identifier: Apache-2.0
"""What the attacks share. ATTACKS=n sends n times as much."""
import contextlib
import os
import resource
import time

from harness import BINARY

TIMES = int(os.environ.get('ATTACKS', '1'))
SANITIZED = any(name in open(BINARY, 'rb').read() for name in (b'__asan_init', b'__tsan_init')) \
    if os.path.exists(BINARY) else False
NO_IMAGE = '00000000-0000-4000-8000-000000000000'
MIB = 1 << 20


def lines_of(who):
    return ''.join(f'{k}: {v}\r\n' for k, v in who.headers().items())


def memory_of(server):
    """Resident octets."""
    with open(f'/proc/{server.pid}/statm') as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def descriptors_of(server):
    return len(os.listdir(f'/proc/{server.pid}/fd'))


def chunked(*pieces):
    for piece in pieces:
        yield piece


@contextlib.contextmanager
def many_descriptors():
    """As many as we and the servers started within may have; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_of(server):
    """Seconds of processor time that the service has used."""
    return time.clock_gettime(~server.pid << 3 | 2)


def least_cost(server, ask):
    """An answer, and the processor time that it took: the least of three, because the same work costs more while others
    have the caches and the other half of the core."""
    spent = []
    for _ in range(3):
        before = cpu_of(server)
        answer = ask()
        spent.append(cpu_of(server) - before)
    return answer, min(spent)


def seconds_of_health(server, n):
    """How long each of `n` health checks took."""
    spent = []
    for _ in range(n):
        began = time.monotonic()
        assert server.client().get('/healthcheck').status_code == 200
        spent.append(time.monotonic() - began)
    return spent
