# SPDX-License-Identifier: Apache-2.0
"""Imports, tasks and stores, with the n-th call that a disk or the memory can fail made to fail: n = 0, 1, 2 ...
until the deed goes through untouched, its delivery and the clean-up behind it included. Here most of the work comes
after the answer, so what fails is tried again by the service itself, or ends the task with a failure that says why.

After each n: (1) the client got a clear error and nothing happened, or the deed is done, or the task has failed and
its image is as before; (2) the journal has exactly the events of one of these, and the log file the same; (3) no
byte, row or lock is left of what failed; (4) the same after a restart.

FAULTS_ALL=1 takes each n; otherwise FAULTS_SEED (printed) chooses some."""
import os
import random

import pytest

from deeds import DATA, DEEDS, TASK, Import, ImportTask
from harness import ADMIN, wait_for
from sources import Hostile
from test_faults import ALL, with_memory
from victim import (EIO, ENOMEM, ENOSPC, FAIL, FILES, GAVE_UP, KILL_AFTER, MEMORY, NEVER, SAVING, SHORT, WRITE,
                    check_house, check_records, last_offset, news, sample, two_stores)

SEED = int(os.environ.get('FAULTS_SEED', str(random.SystemRandom().getrandbits(32))))
N_STEPS = 5
KINDS = [d for d in DEEDS if issubclass(d, Import) or d.__name__ in (
    'Unstore', 'Stage', 'DeleteStaged', 'Reactivate', 'AcceptMember', 'RemoveMember', 'UploadTooLarge')]


@pytest.fixture(scope='module')
def source():
    s = Hostile(DATA)
    yield s
    s.close()


def config(root):
    c = two_stores(root)
    c['DEFAULT']['image_size_cap'] = 1_000_000
    return c


# -- what may be told of a deed that failed ------------------------------------------------------------

def is_failed_import(deed, images, tasks):
    """The task ran into it: at its very beginning, after one or both image.prepare, or with one store."""
    if tasks[:3] != TASK or tasks[-1] != 'task.failure':
        return False
    before = 'image.update(importing)' if deed.status == 'queued' else 'image.update(active)'
    after = 'image.update(queued)' if deed.status == 'queued' else 'image.update(active)'
    middle = images[1:-1]
    prepared = [e for e in middle if e == 'image.prepare']
    return images[:1] == [before] and images[-1:] == [after] and \
        middle in ([], prepared + ['ERROR image.upload'])


def is_failed_task(images, tasks):
    """The image that it made is gone with it."""
    made = ['image.create', *SAVING, *GAVE_UP, 'image.delete']
    return tasks == TASK + ['task.failure'] and images in ([], ['image.create', 'image.delete'], made)


def is_partly_done(images, tasks):
    """One of two stores failed, the other one is enough; which one is said by a property."""
    return tasks == TASK + ['task.success'] and images[0] == 'image.update(importing)' and \
        'image.activate' in images and images[-1] == 'image.update(active)'


def is_possible(deed, told, struck, lenient):
    answered = deed.answer is not None and deed.answer.status_code in deed.answer_status
    if told == deed.done:
        return answered or lenient or told == deed.given_up  # of a memory that ends behind the commit the client may hear
    if not struck:
        return False
    if not answered:
        return told in (([], []), deed.given_up)
    if isinstance(deed, ImportTask):
        return is_failed_task(*told) or told == deed.at_the_second_go
    return isinstance(deed, Import) and (is_failed_import(deed, *told) or is_partly_done(*told))


# -- one attempt ---------------------------------------------------------------------------------------

def check_answer(deed):
    r = deed.answer
    if r is None or r.status_code in deed.answer_status:
        return
    assert r.status_code in (413, 500, 503), f'{r.status_code}: {r.text}'
    assert not r.content or r.json()['error']['message']


def attempt(server, deed, source, kinds, error, n, how):
    """True if the fault struck."""
    deed.prepare(server.client(ADMIN), source)
    wait_for(server.is_idle, server.root, 'rest')
    since = last_offset(server)
    server.faults.arm(kinds, error, n, how=how)
    deed.try_it(server)
    wait_for(server.is_idle, server.root, 'rest', 60)
    struck = server.faults.disarm() > 0
    assert server.process.poll() is None, f'the service ended: {server.said()}'
    check_answer(deed)
    check_house(server)
    images, tasks = news(server, since)
    told = [e for e in images if e != 'WARN image.delete'], tasks
    assert is_possible(deed, told, struck, kinds == MEMORY), f'told: {told}; answer: {deed.answer}'
    check_records(server)
    for image in deed.images(server):
        assert server.client(ADMIN).remove(image).status_code == 204
    return struck


def rehearse(server, deed, source, kinds):
    """The numbers of the steps to fail: what it takes when nothing does."""
    deed.prepare(server.client(ADMIN), source)
    wait_for(server.is_idle, server.root, 'rest')
    server.faults.arm(kinds, 0, NEVER, how=KILL_AFTER)
    deed.try_it(server)
    wait_for(server.is_idle, server.root, 'rest', 60)
    server.faults.disarm()
    n = NEVER - server.faults.countdown()
    rng = random.Random(f'{SEED} {type(deed).__name__} {kinds}')
    if ALL:
        return range(n)
    return sample(server.faults.trace(), rng, N_STEPS) if kinds != MEMORY else sorted(rng.sample(range(n), min(n, 2 * N_STEPS)))


def campaign(server, kind, source, kinds, error=0, how=FAIL):
    print(f'FAULTS_SEED={SEED}')
    n_struck = 0
    for n in rehearse(server, kind(), source, kinds):
        try:
            n_struck += attempt(server, kind(), source, kinds, error, n, how)
        except AssertionError as e:
            raise AssertionError(f'{kind.__name__}, n={n}: {e}') from e
    assert n_struck > 0
    server.restart()
    check_house(server)


@pytest.mark.parametrize('error', [ENOSPC, EIO], ids=['ENOSPC', 'EIO'])
@pytest.mark.parametrize('kind', KINDS, ids=lambda d: d.__name__)
def test_c6_disk(victims, source, kind, error):
    campaign(victims(config).start(), kind, source, FILES, error)


@with_memory
@pytest.mark.parametrize('kind', KINDS, ids=lambda d: d.__name__)
def test_memory_of(victims, source, kind):
    campaign(victims(config).start(), kind, source, MEMORY, ENOMEM)


@pytest.mark.parametrize('kind', DEEDS, ids=lambda d: d.__name__)
def test_short_writes(victims, source, kind):
    """Half of what was to be written is, which is no error: nobody notices."""
    server = victims(config).start()
    deed = kind()
    deed.prepare(server.client(ADMIN), source)
    wait_for(server.is_idle, server.root, 'rest')
    since = last_offset(server)
    server.faults.arm(WRITE, 0, 0, sticky=True, how=SHORT)
    deed.try_it(server)
    wait_for(server.is_idle, server.root, 'rest', 60)
    assert server.faults.disarm() > 0 or kind.__name__ == 'Download'
    check_house(server)
    assert deed.answer.status_code in deed.answer_status and news(server, since) in deed.may_be_told()
    check_records(server)
