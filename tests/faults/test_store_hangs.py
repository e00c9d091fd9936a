# SPDX-License-Identifier: Apache-2.0
"""A store that does not come back (an NFS server that is gone, say): whoever needs its bytes waits or hears why
not, and nobody else notices. Every call of the server on a file in the store hangs until the test lets go.

There are far more requests for the store than the server has threads for requests, so that one thread held by
the store, of those that are for everybody, would be found out."""
import os
import signal
import threading
import time

import pytest
import requests

from harness import ADMIN, DEADLINE, Client, pattern, wait_for
from sources import Hostile
from victim import (FILES, GAVE_UP, HANG, NAME, OPEN, READ, SAVING, SYNC, UPLOADED, WRITE, check_house, check_records,
                    two_stores)

pytestmark = pytest.mark.quiet

DATA = pattern(2 << 20)
N = 24  # requests for the store
WORKERS, TASKS = 8, 4
FOREVER = 1 << 62
PATIENCE = 2 * DEADLINE


def config(root):
    c = two_stores(root)
    c['glint'].update({'max_workers': WORKERS, 'shutdown_timeout': 1})
    c['taskflow_executor'] = {'max_workers': TASKS}
    return c


class Hung:
    """While it is entered, `kinds` of calls on files of the store hang."""

    def __init__(self, server, kinds=FILES | READ, store='one'):
        self.server, self.kinds, self.below = server, kinds, server.root / store

    def __enter__(self):
        self.server.faults.arm(self.kinds, 0, 0, sticky=True, how=HANG, below=self.below)
        return self

    def __exit__(self, *exc):
        self.server.faults.disarm()

    def wait(self, n):
        wait_for(lambda: self.server.faults.hanging() >= n, self.server.root, f'{n} calls that hang')


class Asked(threading.Thread):
    """A request that may take as long as the store does."""

    def __init__(self, fn):
        super().__init__(daemon=True)
        self.fn, self.answer = fn, None
        self.start()

    def run(self):
        try:
            self.answer = self.fn()
        except requests.RequestException as e:
            self.answer = e

    def end(self):
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.answer


def took(fn, statuses=(200, 201, 204)):
    began = time.monotonic()
    r = fn()
    assert r.status_code in statuses, r.text
    return time.monotonic() - began


def check_others(server, rounds=5):
    """Whoever does not need the store notices nothing of it."""
    c = Client(server, ADMIN)
    image = c.new(name='other')['id']
    health, rest = [], []
    for n in range(rounds):
        health += [took(lambda: c.get('/healthcheck')) for _ in range(5)]
        rest += [took(lambda: c.get(f'/v2/images/{image}')), took(lambda: c.get('/v2/images?limit=5')),
                 took(lambda: c.create(name='more')), took(lambda: c.get('/metrics')), took(lambda: c.get('/v2/tasks')),
                 took(lambda: c.patch(image, {'op': 'add', 'path': f'/key{n}', 'value': 'v'})),
                 took(lambda: c.put(f'/v2/images/{image}/tags/t{n}')), took(lambda: c.share(image, f'p{n}')),
                 took(lambda: c.post(f'/v2/images/{image}/import', {'method': {'name': 'glance-direct'}}), (409,))]
    health.sort()
    assert health[len(health) // 2] < 0.5 and health[-1] < 5, health
    assert max(rest) < 5, rest
    assert c.remove(image).status_code == 204
    server.delivered()


@pytest.fixture
def server(victims):
    return victims(config).start()


def test_downloads_wait_alone(server):
    """Those that do not get as far as the file, too."""
    image = server.client(ADMIN).new(DATA)['id']
    with Hung(server) as hung:
        downloads = [Asked(lambda: Client(server, ADMIN).download(image)) for _ in range(N)]
        hung.wait(WORKERS)
        check_others(server)
    assert all(d.end().content == DATA for d in downloads)


def test_bytes_that_stop_coming(server):
    """The file is open, and then nothing is read from it any more."""
    image = server.client(ADMIN).new(DATA)['id']
    with Hung(server, READ) as hung:
        downloads = [Asked(lambda: Client(server, ADMIN).download(image)) for _ in range(N)]
        hung.wait(4)
        check_others(server)
    assert all(d.end().content == DATA for d in downloads)


@pytest.mark.parametrize('kinds', [OPEN, WRITE, SYNC, NAME], ids=['open', 'write', 'sync', 'rename'])
def test_uploads_wait_alone(server, kinds):
    """And go on when the store does; each of them is told of as if nothing had been."""
    images = [server.client(ADMIN).new()['id'] for _ in range(N)]
    with Hung(server, kinds) as hung:
        uploads = [Asked(lambda image=image: Client(server, ADMIN).upload(image, DATA)) for image in images]
        hung.wait(N)
        check_others(server)
    assert [u.end().status_code for u in uploads] == [204] * N
    check_house(server)
    assert all(server.told(i) == ['image.create', *SAVING, *UPLOADED] for i in images)


def test_uploads_that_are_deleted_meanwhile(server):
    """The delete waits for nobody."""
    images = [server.client(ADMIN).new()['id'] for _ in range(WORKERS)]
    with Hung(server, SYNC) as hung:
        uploads = [Asked(lambda image=image: Client(server, ADMIN).upload(image, DATA)) for image in images]
        hung.wait(WORKERS)
        assert max(took(lambda image=image: Client(server, ADMIN).remove(image)) for image in images) < 5
        check_others(server)
    assert [u.end().status_code for u in uploads] == [410] * WORKERS
    check_house(server)
    assert all(server.told(i) == ['image.create', *SAVING, 'ERROR image.upload', 'image.delete'] for i in images)


def test_deletes_do_not_wait_long(server):
    """The first few give the store a moment, the others not even that; the bytes go later."""
    c = server.client(ADMIN)
    images = [c.new(b'x')['id'] for _ in range(N)]
    with Hung(server, NAME) as hung:
        first = Asked(lambda: Client(server, ADMIN).remove(images[0]))
        hung.wait(1)
        check_others(server)
        assert first.end().status_code == 204
        assert max(took(lambda image=image: c.remove(image)) for image in images[1:]) < 1.9
        check_others(server)
        assert all((server.root / 'one' / image).exists() for image in images)
    check_house(server)
    assert all(server.told(i) == ['image.create', *SAVING, *UPLOADED, 'image.delete'] for i in images)


def test_imports_wait_alone(server):
    source = Hostile(DATA)
    c = server.client(ADMIN)
    images = [c.new()['id'] for _ in range(2 * TASKS)]
    with Hung(server, SYNC) as hung:
        for image in images:
            r = c.post(f'/v2/images/{image}/import', {'method': {'name': 'web-download', 'uri': f'{source.url}/good'},
                                                      'stores': ['one', 'two']})
            assert r.status_code == 202, r.text
        hung.wait(TASKS)
        check_others(server)
    check_house(server)
    check_records(server)
    assert {c.show(image)['status'] for image in images} == {'active'}
    source.close()


def test_import_that_dies_with_its_image_deleted(server):
    """Its bytes have their name already; the next start finds the task, no image, and what is to go."""
    source, c = Hostile(DATA), server.client(ADMIN)
    image = c.new()['id']
    server.faults.arm(SYNC, 0, 1, sticky=True, how=HANG, below=server.root / 'one')  # of the directory, after the rename
    r = c.post(f'/v2/images/{image}/import', {'method': {'name': 'web-download', 'uri': f'{source.url}/good'},
                                              'stores': ['one']})
    assert r.status_code == 202, r.text
    wait_for(server.faults.hanging, server.root, 'sync of the directory')
    assert (server.root / 'one' / image).exists()
    assert c.remove(image).status_code == 204
    server.kill9()
    server.faults.disarm()
    server.start()
    check_house(server)
    check_records(server)
    assert server.told(image)[-2:] == ['ERROR image.upload', 'image.delete']
    source.close()


def stop_in_time(server):
    """SIGTERM, and it is over in shutdown_timeout and the ten seconds that it allows itself."""
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    server.process.wait(60)
    assert time.monotonic() - began < 25
    status, server.process, server.torn = server.process.returncode, None, True
    return status


def test_a_stop_that_the_store_would_hold_up(server):
    """It says so and ends; the next start finds nothing amiss."""
    source = Hostile(DATA)
    c = server.client(ADMIN)
    read, deleted, uploaded, imported = c.new(DATA)['id'], c.new(DATA)['id'], c.new()['id'], c.new()['id']
    asks = [lambda c: c.download(read), lambda c: c.remove(deleted), lambda c: c.upload(uploaded, DATA),
            lambda c: c.post(f'/v2/images/{imported}/import', {
                'method': {'name': 'web-download', 'uri': f'{source.url}/good'}, 'stores': ['one']})]
    with Hung(server) as hung:
        asked = [Asked(lambda ask=ask: ask(Client(server, ADMIN))) for ask in asks]
        hung.wait(len(asks))
        assert stop_in_time(server) == 1
        assert any('does not come back' in line for line in server.service_errors())
    for a in asked:
        a.end()
    server.start()
    check_house(server)
    check_records(server)
    assert server.told(deleted)[-1] == 'image.delete'
    assert server.told(uploaded) == ['image.create', *SAVING, *GAVE_UP]
    assert server.told(imported)[-3:] == ['image.activate', 'image.update(active)', 'image.update(active)']
    source.close()
