# SPDX-License-Identifier: Apache-2.0
"""Quotas: to the octet, whoever races for the last one, whatever dies in between; and the usage they go by."""
import sqlite3
import uuid
from contextlib import contextmanager

import pytest

from harness import A, ADMIN, Glint, Raw, Who, at_once, make_server, wait_for, write_config
from real_glance import Glance
from sources import REACHABLE, Nginx

pytestmark = [pytest.mark.glint_only]

KIB = 1 << 10
MIB = 1 << 20
QUOTA = 10 * MIB
RACERS = 64
REFUSED = 'Image exceeds the storage quota: The size of the data'


def config(root):
    c = {'DEFAULT': {'enabled_backends': 'fs:file,fs2:file', 'user_storage_quota': '10MB',
                     'enabled_import_methods': 'glance-direct,web-download,copy-image',
                     'node_staging_uri': f'file://{root}/staging'},
         'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None},
         'fs': {'filesystem_store_datadir': root / 'images'}, 'fs2': {'filesystem_store_datadir': root / 'second'}}
    return {**c, **{section: dict(options) for section, options in REACHABLE.items()}}


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('quotas')
    s = make_server(root, config(root)).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def nginx(tmp_path_factory):
    n = Nginx(tmp_path_factory.mktemp('nginx'))
    yield n
    n.close()


@pytest.fixture
def me():
    """Somebody whose project has nothing yet."""
    return Who(uuid.uuid4().hex, uuid.uuid4().hex, 'member,reader')


def usage(server, who, check=True):
    """(stored, staged, images, uploading) as they are kept, and are the same when counted."""
    if check:
        server.run('db', 'usage', '--check')
    rows = [line.split() for line in server.run('db', 'usage').stdout.splitlines()]
    return next((tuple(map(int, row[1:5])) for row in rows if row[0] == who.project), (0, 0, 0, 0))


def on_disk(server, ids, *directories):
    """Octets of the files of these images, temporary ones included."""
    return sum(p.stat().st_size for d in directories or ('images', 'second')
               for p in (server.root / d).rglob('*') if p.is_file() and any(i in p.name for i in ids))


def chunks(n, size=64 * KIB):
    while n > 0:
        yield bytes(min(n, size))
        n -= size


def refused(r):
    return r.status_code == 413 and REFUSED in r.text and 'bytes remaining.' in r.text


def race(server, who, send, n=RACERS):
    """What each of them is answered, and the ids."""
    makers = [server.client(who) for _ in range(n)]
    ids = [c.new()['id'] for c in makers]
    answers = at_once(*[lambda c=c, i=i: send(c, i) for c, i in zip(makers, ids)])
    assert all(r.status_code == 204 or refused(r) for r in answers), {r.text for r in answers}
    return answers, ids


def shown(client, ids):
    return [client.show(i)['status'] for i in ids]


# -- races ---------------------------------------------------------------------------------------------

def test_sized_ones_race_for_the_last_octet(server, me):
    answers, ids = race(server, me, lambda c, i: c.upload(i, bytes(512 * KIB)))
    assert sum(r.status_code == 204 for r in answers) == QUOTA // (512 * KIB)
    assert usage(server, me) == (QUOTA, 0, RACERS, 0)
    assert on_disk(server, ids) == QUOTA
    c = server.client(me)
    assert shown(c, ids).count('active') == 20 and shown(c, ids).count('queued') == RACERS - 20
    one = next(i for i, r in zip(ids, answers) if r.status_code == 413)
    told = [(row['priority'], row['event_type']) for row in server.journal() if row['subject'] == one]
    assert ('ERROR', 'image.upload') in told and told[-1] == ('INFO', 'image.update')
    assert not any(event in ('image.activate', 'image.delete') for _, event in told)
    # given back: exactly as much as was deleted can come
    gone = next(i for i, r in zip(ids, answers) if r.status_code == 204)
    assert refused(c.upload(one, b'x'))
    assert c.remove(gone).status_code == 204
    assert refused(c.upload(one, bytes(512 * KIB + 1)))
    assert c.upload(one, bytes(512 * KIB)).status_code == 204


def test_chunked_ones_race_for_the_last_octet(server, me):
    answers, ids = race(server, me, lambda c, i: c.upload(i, chunks(300 * KIB)))
    n = sum(r.status_code == 204 for r in answers)
    assert n <= QUOTA // (300 * KIB)
    assert usage(server, me) == (n * 300 * KIB, 0, RACERS, 0)
    assert on_disk(server, ids) == n * 300 * KIB
    left = QUOTA - n * 300 * KIB
    c = server.client(me)
    last = c.new()['id']
    assert refused(c.upload(last, chunks(left + 1)))
    assert c.upload(last, chunks(left)).status_code == 204


def test_staging_is_raced_for(server, me):
    answers, ids = race(server, me, lambda c, i: c.put(f'/v2/images/{i}/stage', data=bytes(MIB), headers={
        'Content-Type': 'application/octet-stream'}))
    assert sum(r.status_code == 204 for r in answers) == QUOTA // MIB
    assert usage(server, me) == (0, QUOTA, RACERS, QUOTA // MIB)
    assert on_disk(server, ids, 'staging') == QUOTA


def wait_all(server, client, ids):
    """The newest task of each, once all have ended."""
    def ended():
        tasks = [client.get(f'/v2/images/{i}/tasks').json()['tasks'][0] for i in ids]
        return tasks if all(t['status'] in ('success', 'failure') for t in tasks) else None
    return wait_for(ended, server.root, 'end of the imports', 60)


def test_imports_race_for_the_last_octet(server, me, nginx):
    """Several stores: each copy counts. What is staged counts apart and not again when it is imported."""
    c = server.client(me)
    uri = nginx.put('piece', bytes(MIB))
    ids = [c.new()['id'] for _ in range(16)]
    for n, i in enumerate(ids):
        method = {'name': 'web-download', 'uri': uri}
        if n % 4 == 0:
            assert c.put(f'/v2/images/{i}/stage', data=bytes(MIB), headers={
                'Content-Type': 'application/octet-stream'}).status_code == 204
            method = {'name': 'glance-direct'}
        r = c.post(f'/v2/images/{i}/import', {'method': method, 'stores': ['fs', 'fs2']})
        assert r.status_code == 202, r.text
    tasks = wait_all(server, c, ids)
    assert sum(t['status'] == 'success' for t in tasks) == QUOTA // (2 * MIB)
    assert usage(server, me) == (QUOTA, 0, 16, 0)
    assert on_disk(server, ids) == QUOTA
    for t, i in zip(tasks, ids):
        if t['status'] == 'failure':
            assert REFUSED in t['message']
            assert c.show(i)['status'] == 'queued'
            told = [row for row in server.journal() if row['subject'] == i and row['priority'] == 'ERROR']
            assert [row['event_type'] for row in told] == ['image.upload'] and REFUSED in told[0]['payload']


def test_a_copy_counts(server, me):
    c, admin = server.client(me), server.client(ADMIN)
    image = c.new(bytes(6 * MIB))['id']
    r = admin.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs2']})
    assert r.status_code == 202, r.text
    assert [t['status'] for t in wait_all(server, admin, [image])] == ['failure']
    assert usage(server, me) == (6 * MIB, 0, 1, 0) and c.show(image)['status'] == 'active'
    small = c.new(bytes(2 * MIB))['id']
    r = admin.post(f'/v2/images/{small}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs2']})
    assert r.status_code == 202, r.text
    assert [t['status'] for t in wait_all(server, admin, [small])] == ['success']
    assert usage(server, me) == (QUOTA, 0, 2, 0)
    assert admin.delete(f'/v2/stores/fs2/{small}').status_code == 204
    assert usage(server, me) == (8 * MIB, 0, 2, 0)


# -- what is under way ---------------------------------------------------------------------------------

@contextmanager
def slow_upload(server, who, image, sent, size=None):
    """Has sent so much and goes no further. The server has taken it once the file is that long."""
    with Raw(server) as raw:
        length = {'Content_Length': size} if size else {'Transfer_Encoding': 'chunked'}
        raw.head('PUT', f'/v2/images/{image}/file', who, Content_Type='application/octet-stream', **length)
        raw.send(bytes(sent) if size else b''.join(b'%x\r\n' % n + bytes(n) + b'\r\n' for n in [MIB] * (sent // MIB)))
        wait_for(lambda: any(image in p.name and p.stat().st_size >= sent // 2
                             for p in (server.root / 'images').rglob('*')), server.root / 'images', 'octets on the disk')
        yield raw


def test_what_is_under_way_counts(server, me):
    c = server.client(me)
    slow, other = c.new()['id'], c.new()['id']
    with slow_upload(server, me, slow, 2 * MIB, 8 * MIB) as raw:
        assert refused(c.upload(other, bytes(2 * MIB + 1)))
        assert c.upload(other, bytes(1), headers={'X-OpenStack-Image-Size': '1'}).status_code == 204
        raw.reset()
    wait_for(lambda: c.show(slow)['status'] == 'queued', server.root, 'end of the upload')
    assert c.upload(slow, bytes(QUOTA - 1)).status_code == 204


def test_others_have_quotas_of_their_own(server, me):
    assert server.client(me).new(bytes(QUOTA))
    somebody = Who('x', uuid.uuid4().hex, 'member,reader')
    assert server.client(somebody).new(bytes(QUOTA))
    boss = Who('y', me.project, 'admin,member,reader')  # no exception for admins
    assert refused(server.client(boss).upload(server.client(boss).new()['id'], b'x'))


def test_deleting_while_uploading_gains_nothing(server, me):
    """OSSA-2015-003: create, upload, delete, and keep streaming."""
    c = server.client(me)
    images = [c.new()['id'] for _ in range(5)]
    raws = []
    for image in images[:2]:
        raw = Raw(server)
        raw.head('PUT', f'/v2/images/{image}/file', me, Content_Type='application/octet-stream', Content_Length=5 * MIB)
        raw.send(bytes(3 * MIB))
        raws.append(raw)
    wait_for(lambda: on_disk(server, images[:2]) >= 4 * MIB, server.root / 'images', 'octets on the disk')
    assert refused(c.upload(images[2], b'x'))
    for image in images[:2]:
        assert c.remove(image).status_code == 204
    for raw in raws:
        answer = raw.answer()
        assert answer is None or answer.status == 410
        raw.sock.close()
    wait_for(lambda: on_disk(server, images[:2]) == 0, server.root / 'images', 'end of the bytes')
    assert c.upload(images[2], bytes(QUOTA)).status_code == 204
    assert usage(server, me) == (QUOTA, 0, 3, 0)


def test_kill_9_in_between(servers, me):
    server = servers({'DEFAULT': {'user_storage_quota': str(QUOTA)}})
    c = server.client(me)
    kept = c.new(bytes(MIB))['id']
    images = [c.new()['id'] for _ in range(3)]
    with slow_upload(server, me, images[0], 2 * MIB), slow_upload(server, me, images[1], 2 * MIB, 3 * MIB):
        server.kill9()
    server.start()
    c = server.client(me)
    assert usage(server, me) == (MIB, 0, 4, 0)
    assert shown(c, images) == ['queued'] * 3
    assert refused(c.upload(images[0], bytes(9 * MIB + 1)))
    assert c.upload(images[0], bytes(9 * MIB)).status_code == 204
    assert c.remove(kept).status_code == 204
    assert c.upload(images[1], bytes(MIB)).status_code == 204
    assert usage(server, me) == (QUOTA, 0, 3, 0)


# -- the usage -----------------------------------------------------------------------------------------

def test_what_glance_does_counts(tmp_path):
    """The real one, on the same database, while glint's triggers are in it; then its count is what glint goes by."""
    glint, glance = Glint(tmp_path, {'DEFAULT': {'user_storage_quota': '10MB'}}), Glance(tmp_path)
    glint.config_file, glance.config_file = tmp_path / 'glint.conf', tmp_path / 'glance.conf'
    write_config(glint.config_file, glint.config)
    write_config(glance.config_file, glance.config)
    glance.sync()
    glint.start()
    first = glint.client(A).new(bytes(3 * MIB))['id']
    glint.stop()
    glance.start()
    try:
        c = glance.client(A)
        assert c.new(bytes(4 * MIB))
        gone = c.new(bytes(2 * MIB))['id']
        assert c.remove(gone).status_code == 204
        assert c.new()
        staged = c.new()['id']
        assert c.put(f'/v2/images/{staged}/stage', data=bytes(MIB), headers={
            'Content-Type': 'application/octet-stream'}).status_code == 204
    finally:
        glance.stop()
    assert usage(glint, A) == (7 * MIB, MIB, 4, 1)
    glint.start()
    try:
        c = glint.client(A)
        assert glint.log.read_text().count('has been counted') == 1  # not again: the triggers were there
        assert refused(c.upload(c.new()['id'], bytes(3 * MIB + 1)))
        assert c.remove(first).status_code == 204
        assert c.new(bytes(6 * MIB))
        assert usage(glint, A) == (QUOTA, MIB, 5, 1)
    finally:
        glint.stop()


def test_the_count_can_be_switched(servers, me):
    server = servers()
    c = server.client(me)
    c.new(bytes(1000))
    for word in '--on', '--off':
        r = server.run('db', 'usage', word, check=False)
        assert r.returncode == 1 and 'another glint serve' in r.stderr
    server.stop()
    assert usage(server, me) == (1000, 0, 1, 0)
    server.run('db', 'usage', '--off')
    db = sqlite3.connect(server.database)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone() == (0,)
    with db:
        db.execute('UPDATE images SET size = 5')
    db.close()
    r = server.run('db', 'usage', '--check', check=False)
    assert r.returncode == 1 and 'if counted' in r.stdout and '1 project' in r.stderr
    server.start()
    assert usage(server, me) == (5, 0, 1, 0)
    server.stop()
    server.run('db', 'usage', '--on')
    assert usage(server, me) == (5, 0, 1, 0)


@pytest.mark.parametrize('value,octets', [('7', 7), ('7B', 7), ('1KB', KIB), ('1MB', MIB), ('0', None)])
def test_units(servers, value, octets):
    c = servers({'DEFAULT': {'user_storage_quota': value}}).client(A)
    image = c.new()['id']
    if octets:
        assert refused(c.upload(image, bytes(octets + 1)))
    assert c.upload(image, bytes(octets or 1000)).status_code == 204


@pytest.mark.parametrize('value', ['-1', '10 GB', '10gb', '1.5GB', 'much', '9999999999999TB', '99999999999999999999'])
def test_values_that_are_none(servers, value):
    server = servers({'DEFAULT': {'user_storage_quota': value}}, start=False)
    r = server.run('config', 'check', check=False)
    assert r.returncode != 0 and 'user_storage_quota' in r.stderr
