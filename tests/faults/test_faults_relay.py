# SPDX-License-Identifier: Apache-2.0
"""What stands behind a change when its disk is full or broken: the database, and the log of the notifications.
A change is refused before it begins, or told of, sooner or later; the start does what it can."""
import random

import pytest

from deeds import DATA, DEEDS
from harness import ADMIN, wait_for
from leftovers import Snapshot, check_start, leave_everything_half_done
from sources import Hostile
from test_faults import ALL, starts
from test_faults_import import SEED, config
from victim import (EIO, ENOSPC, FILES, KILL_AFTER, NEVER, SYNC, WRITE, check_house, check_records, last_offset, news,
                    sample)

N_STARTS = 6


@pytest.fixture(scope='module')
def source():
    s = Hostile(DATA)
    yield s
    s.close()


@pytest.mark.parametrize('kind', [d for d in DEEDS if d.__name__ != 'Download'], ids=lambda d: d.__name__)
def test_c6_database_full(victims, source, kind):
    """503 before anything has changed; reads are answered; with the next octet of room it goes on."""
    server = victims(config).start()
    deed, again = kind(), kind()
    deed.prepare(server.client(ADMIN), source)
    again.prepare(server.client(ADMIN), source)
    wait_for(server.is_idle, server.root, 'rest')
    since = last_offset(server)
    server.faults.arm(WRITE, ENOSPC, 0, sticky=True, below=f'{server.database}-wal')
    deed.try_it(server)
    assert deed.answer.status_code == 503 and deed.answer.json()['error']['message'], deed.answer.text
    assert server.client(ADMIN).get('/v2/images').status_code == 200
    assert news(server, since) == ([], [])
    assert server.faults.disarm() > 0
    check_house(server)
    check_records(server)
    assert news(server, since) == ([], [])
    again.try_it(server)
    assert again.answer.status_code in again.answer_status
    check_house(server)
    assert news(server, since) in again.may_be_told()


@pytest.mark.parametrize('kinds', [WRITE, SYNC], ids=['write', 'sync'])
@pytest.mark.parametrize('error', [ENOSPC, EIO], ids=['ENOSPC', 'EIO'])
def test_log_that_takes_nothing(victims, kinds, error):
    """Nobody who asks notices; it is said that events wait; when it can be written again they all come, in order."""
    server = victims().start()
    c = server.client(ADMIN)
    c.new()
    server.delivered()
    server.faults.arm(kinds, error, 0, sticky=True, below=server.log)
    images = [c.new(b'x')['id'] for _ in range(5)]

    def in_trouble():
        return server.rows("SELECT 1 FROM glint_cursors WHERE driver = 'log' AND problem != ''")
    wait_for(in_trouble, server.root, 'trouble of the relay')
    assert all(c.show(image)['status'] == 'active' for image in images)
    assert server.faults.disarm() > 0
    check_house(server)
    check_records(server)
    assert not in_trouble()


@pytest.mark.parametrize('error', [ENOSPC, EIO], ids=['ENOSPC', 'EIO'])
def test_start_with_everything_half_done(victims, error):
    """It comes up and does what it can, or says why not; the next start does the rest."""
    print(f'FAULTS_SEED={SEED}')
    source = Hostile(DATA)
    server = victims(config).start()
    expected = leave_everything_half_done(server, source)
    snapshot = Snapshot(server)
    server.faults.arm(FILES, 0, NEVER, how=KILL_AFTER)
    server.start()
    wait_for(server.is_idle, server.root, 'rest', 60)
    server.faults.disarm()
    steps = server.faults.trace()
    server.kill9()
    for n in range(len(steps)) if ALL else sample(steps, random.Random(f'{SEED} {error}'), N_STARTS):
        snapshot.put_back()
        up, _ = starts(server, FILES, error, n)
        if up:
            wait_for(server.is_idle, server.root, f'rest after failed step {n}', 60)
            server.kill9()
        check_start(server, expected, may_fail=True)
    source.close()
