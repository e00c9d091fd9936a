# SPDX-License-Identifier: Apache-2.0
"""Races, scarcity and a hostile directory: what must hold when it gets tight."""
import os
import resource
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import A, ADMIN, B, Client, Raw, at_once, pattern, wait_for, write_config

pytestmark = pytest.mark.glint_only
UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']


def told_in_order(server, image):
    """The journal has the events of one possible life: nothing after the deletion, no gap."""
    rows = [r for r in server.journal() if r['subject'] == image]
    assert [r['seq'] for r in rows] == list(range(1, len(rows) + 1))
    kinds = [r['event_type'] for r in rows]
    assert 'image.delete' not in kinds[:-1]
    return kinds


# -- races ---------------------------------------------------------------------------------------------

def test_patch_against_delete(server, a):
    for _ in range(20):
        image = a.new()['id']
        patched, deleted = at_once(
            lambda: Client(server, A).patch(image, {'op': 'add', 'path': '/k', 'value': 'v'}).status_code,
            lambda: Client(server, A).remove(image).status_code)
        assert deleted == 204 and patched in (200, 404)
        assert told_in_order(server, image) == ['image.create'] + (patched == 200) * ['image.update'] + ['image.delete']


def test_accept_against_unshare(server, a):
    for _ in range(20):
        image = a.new()['id']
        a.share(image, B.project)
        accepted, removed = at_once(lambda: Client(server, B).answer_share(image, B.project, 'accepted').status_code,
                                    lambda: Client(server, A).delete(f'/v2/images/{image}/members/{B.project}').status_code)
        assert removed == 204 and accepted in (200, 404)
        assert a.get(f'/v2/images/{image}/members').json()['members'] == []


def test_the_same_id_many_times(server, a):
    for n in range(5):
        image = f'c0ffee00-dddd-4000-8000-{n:012x}'
        codes = at_once(*[lambda: Client(server, A).create(id=image).status_code] * 8)
        assert sorted(codes) == [201] + 7 * [409]
        assert told_in_order(server, image) == ['image.create']


def test_the_same_member_many_times(server, a):
    image = a.new()['id']
    assert sorted(at_once(*[lambda: Client(server, A).share(image, B.project).status_code] * 8)) == [200] + 7 * [409]


def test_deactivate_many_times(server, admin):
    image = admin.new(b'x')['id']
    assert set(at_once(*[lambda: Client(server, ADMIN).action(image, 'deactivate').status_code] * 8)) == {204}
    assert told_in_order(server, image)[6:] == ['image.update']


def test_delete_many_times(server, a):
    image = a.new(b'x')['id']
    assert sorted(at_once(*[lambda: Client(server, A).remove(image).status_code] * 8)) == [204] + 7 * [404]
    assert told_in_order(server, image)[-1] == 'image.delete'


def test_member_quota_cannot_be_overrun(servers):
    server = servers({'DEFAULT': {'image_member_quota': 5}})
    image = server.client(A).new()['id']
    codes = at_once(*[lambda n=n: Client(server, A).share(image, f'm{n}').status_code for n in range(16)])
    assert sorted(codes) == 5 * [200] + 11 * [413]


def test_many_clients_one_journal(server):
    """Everything that 16 clients do at once is told, once, in an order that makes sense."""
    images = []

    def life():
        client = Client(server, A)
        for _ in range(5):
            image = client.new(b'some data')['id']
            images.append(image)
            client.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'})
            client.remove(image)
    at_once(*[life] * 16)
    server.settle()
    told = {}
    for event in server.events():
        told.setdefault(event.image, []).append(event.short)
    for image in images:
        assert told[image] == ['image.create', *UPLOADED, 'image.update(active)', 'image.delete']


# -- scarcity ------------------------------------------------------------------------------------------

def test_few_descriptors(servers):
    """256 descriptors and 600 clients: those beyond wait their turn, and nothing breaks."""
    server = servers(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    server.errors_expected = True
    raws = []
    for _ in range(600):
        try:
            raws.append(Raw(server, timeout=5))
        except OSError:
            break
        raws[-1].sock.settimeout(60)
    for raw in raws[:50]:
        raw.head('GET', '/healthcheck', who=None, Connection='close')
        assert raw.answer().status == 200
    for raw in raws:
        raw.sock.close()
    image = server.client(A).new(b'x')['id']
    assert server.client(A).download(image).content == b'x'


def test_thousands_of_idle_connections(server, a):
    """They cost memory, not answers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        raws = [Raw(server) for _ in range(min(4000, hard - 500))]
        began = time.monotonic()
        assert a.get('/healthcheck').status_code == 200
        assert a.create().status_code == 201
        assert time.monotonic() - began < 10
        threads = len(os.listdir(f'/proc/{server.pid}/task'))
        assert threads < 200
        for raw in raws:
            raw.sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_readers_stop_nobody(server, a):
    """Fifty clients that have asked for much and read nothing."""
    image = a.new(pattern(8 << 20))['id']
    raws = []
    for _ in range(50):
        raw = Raw(server)
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        raws.append(raw)
    began = time.monotonic()
    assert a.new(b'x')['id'] and a.get('/healthcheck').status_code == 200
    assert a.download(image, headers={'Range': 'bytes=0-9'}).status_code == 206
    assert time.monotonic() - began < 10
    for raw in raws:
        raw.reset()


@pytest.mark.skipif(os.geteuid() != 0, reason='mounting needs root')
def test_no_room_for_the_database(servers):
    """A change that cannot be recorded is refused as a whole: no change without its event."""
    server = servers(start=False)
    small = server.root / 'small'
    small.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small], capture_output=True).returncode:
        pytest.skip('no mounting here')
    try:
        server.database = small / 'db.sqlite'
        server.config['database']['connection'] = f'sqlite:///{server.database}'
        write_config(server.config_file, server.config)
        server.errors_expected = True
        server.start()
        a = server.client(A)
        made, refused = [], 0
        for n in range(400):
            r = a.create(name=f'n{n}', **{f'k{i}': 'v' * 1000 for i in range(10)})
            if r.status_code == 201:
                made.append(r.json()['id'])
            else:
                assert r.status_code in (500, 503, 507), r.text
                refused += 1
                if refused == 3:
                    break
        assert made and refused == 3
        assert a.get('/healthcheck').status_code in (200, 503)
        assert len(a.list('limit=1000')[0]) == len(made)
        server.kill9()
        (small / 'room').touch()
        subprocess.run(['mount', '-o', 'remount,size=64m', small], check=True)
        server.start()
        assert {r['subject'] for r in server.journal()} == set(made)
        assert set(server.client(A).list('limit=1000')[0]) == set(made)
        server.stop()
    finally:
        if server.process:
            server.kill9()
        subprocess.run(['umount', small], check=True)


def test_database_locked_by_another(servers):
    """Somebody's shell holds the database for a moment: requests wait, and go through."""
    server = servers()
    a = server.client(A)
    image = a.new()['id']
    db = sqlite3.connect(server.database, timeout=60, isolation_level=None)
    db.execute('BEGIN IMMEDIATE')
    answers = []
    t = threading.Thread(target=lambda: answers.append(Client(server, A).create(name='waits').status_code))
    t.start()
    assert a.show(image)['id'] == image  # reading goes on
    t.join(0.3)
    db.execute('ROLLBACK')
    t.join(30)
    assert answers in ([201], [503])
    assert a.create(name='after').status_code == 201
    db.close()


# -- the directory of the images -----------------------------------------------------------------------

def test_modes(server, a):
    image = a.new(b'x')['id']
    mode = (server.images / image).stat().st_mode & 0o777
    assert mode & 0o027 == 0
    assert server.database.stat().st_mode & 0o007 == 0 and server.log.stat().st_mode & 0o007 == 0


def test_a_planted_link_is_not_followed(server, a):
    """Whoever can write into the directory must not make the service read or remove what is elsewhere."""
    victim = server.root / 'victim'
    victim.write_bytes(b'secret')
    server.errors_expected = True
    read = a.new(b'x' * 6)['id']
    (server.images / read).unlink()
    (server.images / read).symlink_to(victim)
    r = a.download(read)
    assert b'secret' not in r.content
    assert a.remove(read).status_code == 204
    assert victim.read_bytes() == b'secret'
    written = a.new()['id']
    (server.images / written).symlink_to(victim)
    a.upload(written, b'overwritten')
    assert victim.read_bytes() == b'secret'


def test_locations_that_point_elsewhere(servers):
    """A record whose location is not in the store (a hand in the database): not served, not removed."""
    server = servers()
    server.errors_expected = True
    a = server.client(A)
    victim = server.root / 'victim'
    victim.write_bytes(b'secret')
    made = [a.new(b'123456')['id'] for _ in range(3)]
    urls = [f'file://{victim}', f'file://{server.images}/../victim', 'file:///etc/hostname']
    server.stop()
    db = sqlite3.connect(server.database)
    with db:
        for image, url in zip(made, urls):
            db.execute('UPDATE image_locations SET value = ? WHERE image_id = ?', (url, image))
    db.close()
    server.start()
    a = server.client(A)
    for image in made:
        r = a.download(image)
        assert r.status_code != 200 and b'secret' not in r.content
        assert a.remove(image).status_code == 204
    assert victim.read_bytes() == b'secret' and os.path.exists('/etc/hostname')


def test_unfinished_objects_go_at_the_start(servers):
    """What an upload that was killed has left is removed; what belongs to others is not."""
    server = servers()
    image = server.client(A).new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream', Content_Length='1000000')
        raw.send(b'x' * 700_000)
        server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
        wait_for(lambda: sum(p.stat().st_size for p in server.images.rglob('*') if p.is_file()) > 100_000, server.images,
                 'bytes on disk')
        server.kill9()
    (server.images / 'README').write_text('of the operator')
    assert len(server.stored_files()) == 2
    server.start()
    assert server.stored_files() == ['README']
    assert server.client(A).show(image)['status'] == 'queued'
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                        'image.update(queued)'], image)
