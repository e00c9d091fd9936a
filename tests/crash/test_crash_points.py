# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every step that a disk remembers: before and after each write, sync, rename, unlink and
creation of a file that a deed consists of, its delivery, the clean-up behind it and the next start included.

After each, the service is started again and left alone until it has nothing to do. Then

(1) a deed that was answered is done; one that was not is done, not done, or begun and given up, never half:
    the journal has exactly the events of one of these, in order, seq without a gap;
(2) each record says what was told last of it, the stores and the staging area have the bytes of the images,
    whole, and nothing else; no image is stuck, no task is left;
(3) the log file has every message_id of the journal, in its order, and no other.

CRASH_ALL=1 takes every point; otherwise CRASH_SEED (printed) chooses KILLS / 20 of each deed, those first that
are not one of many writes to the same file."""
import os
import random
import select
import time

import pytest

from deeds import DATA, DEEDS
from harness import ADMIN, DEADLINE, Watch, wait_for
from leftovers import Snapshot, check_start, leave_everything_half_done
from sources import Hostile
from test_crash import KILLS, SEED
from victim import (DURABLE, KILL_AFTER, KILL_BEFORE, NEVER, check_house, check_records, last_offset, merge, news,
                    sample, two_stores)

ALL = os.environ.get('CRASH_ALL') == '1'
N_POINTS = max(2, KILLS // 20)


@pytest.fixture(scope='module')
def source():
    s = Hostile(DATA)
    yield s
    s.close()


def config(root):
    c = two_stores(root)
    c['DEFAULT']['image_size_cap'] = 1_000_000
    return c


# -- points --------------------------------------------------------------------------------------------

class Point:
    """The n-th step, before or after which it dies."""

    def __init__(self, how, n):
        self.how, self.n = how, n

    def __str__(self):
        return f"{'before' if self.how == KILL_BEFORE else 'after'} step {self.n}"

    def name(self, trace):
        """'after fsync ID.part (steps before: ...)', as it really was: threads take their steps as they come."""
        steps = trace[:self.n + 1]
        when = 'before' if self.how == KILL_BEFORE else 'after'
        return f"{when} step {self.n}, {steps[-1] if steps else '?'} (steps before it: {', '.join(merge(steps[:-1])[-5:])})"


def choose(steps, rng):
    """Before or after, as chance has it; or every point there is."""
    if ALL:
        return [Point(how, n) for n in range(len(steps)) for how in (KILL_BEFORE, KILL_AFTER)]
    return [Point(rng.choice((KILL_BEFORE, KILL_AFTER)), n) for n in sample(steps, rng, N_POINTS)]


def wait_dead_or_idle(server):
    """What a deed leaves to others goes on behind the answer; the point may be there."""
    watch, end = Watch(server.root), time.monotonic() + 60
    pidfd = os.pidfd_open(server.pid)
    try:
        while not server.faults.struck() and not server.is_idle():
            assert time.monotonic() < end, 'neither dead nor idle'
            if select.select([watch.fd, pidfd], [], [], 0.1)[0]:
                watch.wait(0)
        if server.faults.struck():
            assert select.select([pidfd], [], [], DEADLINE)[0], 'struck, and it lives'
    finally:
        os.close(pidfd)
        watch.close()
    return server.died()


# -- a deed --------------------------------------------------------------------------------------------

def begin(server, deed, source):
    deed.prepare(server.client(ADMIN), source)
    wait_for(server.is_idle, server.root, 'rest')
    return last_offset(server)


def clear(server, deed):
    for image in deed.images(server):
        assert server.client(ADMIN).remove(image).status_code == 204
    wait_for(server.is_idle, server.root, 'rest')


def check(server, deed, since):
    check_house(server)
    told = news(server, since)
    assert told in [tuple(m) for m in deed.may_be_told()], f'told: {told}; answer: {deed.answer}'
    check_records(server)
    for subject, in server.rows('SELECT DISTINCT subject FROM glint_events WHERE offset > ?', since):
        server.told(subject)  # has an eye on seq


def rehearse(server, deed, source):
    """All its steps, when nobody is killed."""
    since = begin(server, deed, source)
    server.faults.arm(DURABLE, 0, NEVER, how=KILL_AFTER)
    deed.try_it(server)
    assert not wait_dead_or_idle(server)
    server.faults.disarm()
    steps = server.faults.trace()
    check(server, deed, since)
    clear(server, deed)
    return steps


def kill_at(server, deed, source, point):
    """False if the deed was over before it came that far."""
    since = begin(server, deed, source)
    server.faults.arm(DURABLE, 0, point.n, how=point.how)
    deed.try_it(server)
    dead = wait_dead_or_idle(server)
    server.faults.disarm()
    trace = server.faults.trace()
    if dead:
        server.start()
    try:
        check(server, deed, since)
    except AssertionError as e:
        raise AssertionError(f'{type(deed).__name__}, killed {point.name(trace)}: {e}') from e
    clear(server, deed)
    return dead


@pytest.mark.parametrize('kind', DEEDS, ids=lambda d: d.__name__)
def test_c7_points_of(victims, source, kind):
    print(f'CRASH_SEED={SEED}')
    server, rng = victims(config).start(), random.Random(f'{SEED} {kind.__name__}')
    steps = rehearse(server, kind(), source)
    print('\n'.join(merge(steps)))
    n_dead = sum(kill_at(server, kind(), source, point) for point in choose(steps, rng))
    assert n_dead > 0 or kind.__name__ == 'Download'


# -- the start -----------------------------------------------------------------------------------------

def start_until(server, snapshot, how, n):
    """A start with a kill in it; False if it was through before."""
    snapshot.put_back()
    server.faults.arm(DURABLE, 0, n, how=how)
    server.spawn()
    dead = wait_dead_or_idle(server)
    server.faults.disarm()
    if not dead:
        server.kill9()
    return dead


def test_c7_points_of_a_start(victims, tmp_path):
    """What recovery does can be cut off and done again."""
    print(f'CRASH_SEED={SEED}')
    source = Hostile(DATA)
    server = victims(config).start()
    expected = leave_everything_half_done(server, source)
    snapshot = Snapshot(server)
    assert not start_until(server, snapshot, KILL_AFTER, NEVER)
    steps = server.faults.trace()
    print('\n'.join(merge(steps)))
    for point in choose(steps, random.Random(f'{SEED} start')):
        start_until(server, snapshot, point.how, point.n)
        trace = server.faults.trace()
        try:
            check_start(server, expected)
        except AssertionError as e:
            raise AssertionError(f'a start killed {point.name(trace)}: {e}') from e
    source.close()
