# SPDX-License-Identifier: Apache-2.0
"""Published advisories on Glance: what an attacker sends, and beside it the harmless twin that has to go through.

What other tests prove besides (in tests/e2e): A8 test_upload_download::test_cap, A13 test_patch::test_refused,
A25 test_members_access::test_only_admin_publishes, A33 test_upload_download::test_memory_is_flat.
"""
import gzip
import hashlib
import json
import os
import sqlite3
import threading

import pytest

from attack import MIB, SANITIZED, TIMES, chunked, descriptors_of, many_descriptors, memory_of, seconds_of_health
from harness import A, A_READER, ADMIN, B, PATCH_V20, PATCH_V21, Client, Raw, Who, at_once, pattern, wait_for
from sources import REACHABLE, Hostile


def rows_of(server, image):
    db = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True)
    try:
        return [db.execute(f'SELECT * FROM {table} WHERE {column} = ?', (image,)).fetchall()
                for table, column in (('images', 'id'), ('image_locations', 'image_id'), ('image_properties', 'image_id'))]
    finally:
        db.close()


@pytest.mark.parametrize('delayed', ['false', 'true'])
def test_a1_delete_of_another(servers, delayed):
    server = servers({'DEFAULT': {'delayed_delete': delayed}})
    a, b, admin = server.client(A), server.client(B), server.client(ADMIN)
    private, community, public = (a.new(b'x', visibility=v, k='v')['id'] for v in ('private', 'community', 'private'))
    assert admin.patch(public, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code == 200
    images = (private, community, public)
    before = [(a.show(image), rows_of(server, image), (server.images / image).read_bytes()) for image in images]
    assert b.remove(private).status_code == 404
    assert b.remove(community).status_code == b.remove(public).status_code == 403
    assert before == [(a.show(image), rows_of(server, image), (server.images / image).read_bytes()) for image in images]
    server.settle()
    assert [e.short for e in server.events() if 'delete' in e.type] == []
    for image in images:
        assert a.remove(image).status_code == 204
        assert [e.short for e in server.settled_events(image)][-1] == 'image.delete'


@pytest.mark.parametrize('file', [None, '"download_image": "role:admin or role:fetcher"\n'], ids=['default rules', 'policy file'])
def test_a4_a_read_before_is_no_right(servers, tmp_path, file):
    """Whoever may not download may not, however often others have and whatever may be kept of it."""
    config = {}
    if file:
        (tmp_path / 'policy.yaml').write_text(file)
        config = {'oslo_policy': {'policy_file': tmp_path / 'policy.yaml'}}
    server = servers(config)
    fetcher = Who(A.user, A.project, 'member,reader,fetcher')
    refused = server.client(A if file else A_READER)
    a, b, admin = server.client(fetcher), server.client(Who(B.user, B.project, 'member,fetcher')), server.client(ADMIN)
    image = a.new(b'secret')['id']
    assert a.share(image, B.project).status_code == 200
    for _ in range(3):
        for reader in (admin, a, b):
            assert reader.download(image).content == b'secret'
        for headers in ({}, {'Range': 'bytes=0-0'}, {'If-None-Match': '*'}, {'Cache-Control': 'only-if-cached'}):
            r = refused.download(image, headers=headers)
            assert r.status_code == 403 and b'secret' not in r.content
    assert a.delete(f'/v2/images/{image}/members/{B.project}').status_code == 204
    assert b.download(image).status_code == 404
    assert admin.action(image, 'deactivate').status_code == 204
    assert a.download(image).status_code == 403 and admin.download(image).content == b'secret'
    assert admin.action(image, 'reactivate').status_code == 204
    assert a.download(image).content == b'secret'


@pytest.mark.parametrize('headers', [{}, {'X-OpenStack-Image-Size': '1'}], ids=['plain', 'lying about the size'])
def test_a8_more_than_the_cap(servers, headers):
    server = servers({'DEFAULT': {'image_size_cap': MIB}})
    a = server.client(A)
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                 Transfer_Encoding='chunked', **headers)
        try:
            for _ in range(10):
                raw.send(b'100000\r\n' + bytes(MIB) + b'\r\n')
        except OSError:
            pass  # it does not listen any more
        assert raw.answer().status == 413
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                        'image.update(queued)'], image)
    assert a.show(image)['status'] == 'queued' and server.stored_files() == []
    assert a.upload(image, chunked(bytes(MIB)), headers=headers).status_code == 204


def imports(root):
    """What an import needs; source and staging area in reach."""
    return {'DEFAULT': {'image_size_cap': MIB, 'node_staging_uri': f'file://{root}/staging',
                        'enabled_import_methods': 'glance-direct,web-download'},
            'image_import_opts': {'image_import_plugins': '[image_decompression]'}, **REACHABLE}


@pytest.fixture
def importer(servers, tmp_path):
    return servers(imports(tmp_path / 'importer'), name='importer')


def import_(server, a, url, container='bare'):
    """The image and its task, once that has ended."""
    image = a.new(container_format=container)['id']
    r = a.post(f'/v2/images/{image}/import', {'method': {'name': 'web-download', 'uri': url}})
    assert r.status_code == 202, r.text

    def ended():
        task, = a.get(f'/v2/images/{image}/tasks').json()['tasks']
        return task if task['status'] in ('success', 'failure') else None
    return a.show(image), wait_for(ended, server.root, 'end of the import')


def nothing_stored(server):
    staged = [p for p in (server.root / 'staging').rglob('*') if p.is_file()]
    return staged == [] and server.stored_files() == []


def test_a8_more_than_the_cap_staged(importer):
    a = importer.client(A)
    image = a.new()['id']
    with Raw(importer) as raw:
        raw.head('PUT', f'/v2/images/{image}/stage', who=A, Content_Type='application/octet-stream',
                 Transfer_Encoding='chunked', X_OpenStack_Image_Size='1')
        try:
            for _ in range(10):
                raw.send(b'100000\r\n' + bytes(MIB) + b'\r\n')
        except OSError:
            pass  # it does not listen any more
        assert raw.answer().status == 413
    assert a.show(image)['status'] == 'queued' and nothing_stored(importer)
    assert 'ERROR image.upload' in [e.short for e in importer.settled_events(image)]
    r = a.put(f'/v2/images/{image}/stage', data=chunked(bytes(MIB)), headers={'Content-Type': 'application/octet-stream'})
    assert r.status_code == 204 and a.show(image)['size'] == MIB


@pytest.mark.parametrize('path, container', [('good', 'bare'), ('endless', 'bare'), ('good', 'compressed')],
                         ids=['sized', 'without an end', 'unpacked'])
def test_a8_more_than_the_cap_from_elsewhere(importer, path, container):
    a = importer.client(A)
    for size, end in ((10 * MIB, 'failure'), (MIB, 'success')):
        data = bytes(size)
        source = Hostile(gzip.compress(data) if container == 'compressed' else data)
        try:
            image, task = import_(importer, a, f'{source.url}/{path if end == "failure" else "good"}', container)
        finally:
            source.close()
        assert task['status'] == end, task['message']
        shown = a.show(image['id'])
        if end == 'success':
            assert shown['size'] == MIB and a.download(image['id']).content == data
            continue
        assert shown['status'] == 'queued' and shown['size'] is None
        wait_for(lambda: nothing_stored(importer), importer.root, 'empty stores')
        kinds = [e.short for e in importer.settled_events(image['id'])]
        assert ('ERROR image.upload' in kinds) == ('image.prepare' in kinds) and 'image.activate' not in kinds
        assert [e for e in importer.events() if e.type == 'task.failure' and task['id'] in e.text]


class DiskUse(threading.Thread):
    """The most that there ever was in a directory while this ran."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.directory, self.most, self.over = directory, 0, threading.Event()

    def look(self):
        total = 0
        for entry in os.scandir(self.directory):
            try:
                total += entry.stat().st_blocks * 512
            except FileNotFoundError:
                pass
        self.most = max(self.most, total)

    def run(self):
        while not self.over.wait(0.005):
            self.look()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.join()


def test_a10_delete_while_uploading(servers):
    """Twenty clients at once that stream on and on into images that are gone. What is on the disk is what they had
    sent before, and in the end nothing."""
    server = servers({'DEFAULT': {'image_size_cap': 10 * MIB}})
    at_a_time, in_flight = 20, 2 * MIB

    def life():
        a = Client(server, A)
        image = a.new()['id']
        with Raw(server) as raw:
            raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                     Content_Length=str(8 * MIB))
            raw.send(bytes(MIB))
            server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
            assert a.remove(image).status_code == 204
            try:
                for _ in range(7):
                    raw.send(bytes(MIB))
            except OSError:
                pass
            answer = raw.answer()
        return image, answer.status if answer else None

    with DiskUse(server.images) as disk:
        ends = [end for _ in range(2 * TIMES) for end in at_once(*[life] * at_a_time)]
    assert 0 < disk.most <= at_a_time * in_flight
    for image, status in ends:
        assert status == 410
        kinds = [e.short for e in server.settled_events(image)]
        assert kinds[-1] == 'image.delete' and 'image.activate' not in kinds and 'ERROR image.upload' in kinds
    wait_for(lambda: server.stored_files() == [], server.images, 'empty store')
    assert server.client(A).new(b'x')


@pytest.mark.parametrize('path', ['file', 'stage'])
def test_a10_delete_while_an_upload_stalls(importer, path):
    """It hears of it at once, with all that it holds, not with its next octet."""
    a = importer.client(A)
    image = a.new()['id']
    with Raw(importer) as raw, Raw(importer) as other:
        twin = a.new()['id']
        for connection, which in ((raw, image), (other, twin)):
            connection.head('PUT', f'/v2/images/{which}/{path}', who=A, Content_Type='application/octet-stream',
                            Content_Length='1000')
            connection.send(b'x' * 10)
        started = 'image.prepare' if path == 'file' else 'image.update(uploading)'
        for which in (image, twin):
            wait_for(lambda: started in [e.short for e in importer.events(which)], importer.root, 'upload')
        assert a.remove(image).status_code == 204
        assert raw.answer().status == 410 and raw.ended()
        wait_for(lambda: not [p for p in importer.root.rglob(f'*{image}*')], importer.root, 'removal')
        other.send(b'x' * 990)
        assert other.answer().status == 204


def test_a13_status_by_header(server, a):
    forged = {'x-image-meta-status': 'active', 'x-image-meta-checksum': 'f' * 32, 'x-image-meta-size': '7',
              'x-image-meta-is_public': 'True', 'x-image-meta-owner': B.project, 'x-image-meta-property-k': 'v'}
    r = a.call('POST', '/v2/images', json={'disk_format': 'raw', 'container_format': 'bare'}, headers=forged)
    image = r.json()
    assert (image['status'], image['visibility'], image['owner']) == ('queued', 'shared', A.project)
    assert 'k' not in image and image['size'] is None
    assert a.upload(image['id'], b'x', headers=forged).status_code == 204
    for method, path, more in (
            ('GET', '', {}), ('GET', '/file', {}), ('HEAD', '/file', {}), ('PUT', '/tags/t', {}), ('DELETE', '/tags/t', {}),
            ('POST', '/members', {'json': {'member': B.project}}), ('GET', '/members', {}),
            ('PATCH', '', {'data': '[{"op": "add", "path": "/n", "value": "v"}]'})):
        media = {'Content-Type': PATCH_V21} if method == 'PATCH' else {}
        r = a.call(method, f"/v2/images/{image['id']}{path}", headers={**forged, **media}, **more)
        assert r.status_code in (200, 204, 405), (method, path, r.text)
    shown = a.show(image['id'])
    assert (shown['status'], shown['visibility'], shown['owner'], shown['n']) == ('active', 'shared', A.project, 'v')
    assert 'k' not in shown and shown['size'] == 1 and shown['checksum'] == '9dd4e461268c8034f5c8564e155c67a6'
    assert a.create(status='active').status_code == 403
    for op in ('add', 'replace'):
        assert a.patch(image['id'], {'op': op, 'path': '/status', 'value': 'queued'}).status_code == 403
    assert a.upload(image['id'], b'another').status_code == 409
    assert Client(server, ADMIN).action(image['id'], 'deactivate').status_code == 204
    assert a.upload(image['id'], b'another').status_code == 409
    assert Client(server, ADMIN).download(image['id']).content == b'x'


def test_a23_unsolicited_sharing(a, b):
    image = a.new()['id']
    assert a.share(image, B.project).status_code == 200
    assert image not in b.list('limit=1000')[0]
    assert image in b.list('limit=1000&visibility=shared&member_status=pending')[0]
    assert b.answer_share(image, B.project, 'accepted').status_code == 200
    assert image in b.list('limit=1000')[0]
    assert b.answer_share(image, B.project, 'rejected').status_code == 200
    assert image not in b.list('limit=1000')[0]


def protections(root, *sections):
    """A file of (expression, who)."""
    root.mkdir(exist_ok=True)
    file = root / 'protections.conf'
    file.write_text(''.join(f'[{e}]\ncreate = {w}\nread = {w}\nupdate = {w}\ndelete = {w}\n' for e, w in sections))
    return {'DEFAULT': {'property_protection_file': file}}


def test_a24_the_first_rule_counts(servers, tmp_path):
    """A later rule that allows more opens nothing; what is kept is in no answer, no list and no event of others."""
    server = servers(protections(tmp_path, ('^billing_', 'biller'), ('^bill', '@'), ('.*', '@')))
    biller, a = server.client(Who(A.user, A.project, 'member,reader,biller')), server.client(A)
    image = biller.new(billing_code='CANARY', bill='open', other='open')['id']
    n = len(server.settled_events(image))
    for op in ('add', 'replace', 'remove'):
        r = a.patch(image, {'op': op, 'path': '/billing_code', 'value': 'mine'})
        assert r.status_code in (403, 409) and 'CANARY' not in r.text
    assert a.create(billing_code='mine').status_code == 403
    for path in ('/billing~1code', '/Billing_code', '/bill'):  # the names of others
        assert a.patch(image, {'op': 'add', 'path': path, 'value': 'open'}).status_code == 200
    answers = [a.get(f'/v2/images/{image}').text]
    answers += [str(a.list(query)[1]['images']) for query in ('', 'billing_code=CANARY', 'sort=name:asc&other=open')]
    assert a.list('billing_code=CANARY')[0] == [] and a.list('bill=open')[0] == [image]
    assert biller.show(image)['billing_code'] == 'CANARY' and biller.list('billing_code=CANARY')[0] == [image]
    assert a.upload(image, b'x').status_code == 204 and a.put(f'/v2/images/{image}/tags/t').status_code == 204
    events = server.settled_events(image)
    assert 'CANARY' in events[0].text and len(events) > n + 5  # its own maker's
    for text in answers + [e.text for e in events[n:]]:
        assert 'CANARY' not in text and 'billing_code' not in text


RESERVED = ['os_glance_stage_host', 'os_glance_import_task', 'os_glance_importing_to_stores', 'os_glance_failed_import',
            'os_glance_anything', 'os_glance_', 'os_glance']


@pytest.mark.parametrize('protected', [False, True], ids=['', 'protections allow it'])
def test_a24_reserved_properties(servers, tmp_path, protected):
    """stage_host would make another node send its token to whoever is named there."""
    config = protections(tmp_path, ('.*', '@')) if protected else {}
    server = servers({**config, 'glint': {'allow_task_import': 'true'}, **{k: v for k, v in REACHABLE.items() if k != 'glint'}})
    for who in (A, ADMIN, Who('9' * 32, A.project, 'service,admin,member')):
        c = server.client(who)
        image = c.new(os_distro='x', my_os_glance_x='x', OS_GLANCE_X='x')['id']  # twins
        for name in RESERVED:
            assert c.create(**{name: 'http://evil/'}).status_code == 403, name
            for op in ('add', 'replace', 'remove'):
                assert c.patch(image, {'op': op, 'path': f'/{name}', 'value': 'x'}).status_code == 403, name
                step = json.dumps([{op: f'/{name}', 'value': 'x'}])
                r = c.call('PATCH', f'/v2/images/{image}', data=step, headers={'Content-Type': PATCH_V20})
                assert r.status_code == 403, name
            assert c.patch(image, {'op': 'add', 'path': '/ok', 'value': 'x'},
                           {'op': 'add', 'path': f'/ {name} ', 'value': 'x'}).status_code == 403
        assert [k for k in c.show(image) if k.startswith('os_glance')] == [] and 'ok' not in c.show(image)
        assert c.patch(image, {'op': 'add', 'path': '/my_os_glance_y', 'value': 'x'}).status_code == 200


def test_a24_reserved_properties_of_a_task(servers):
    server = servers({**REACHABLE, 'glint': {**REACHABLE['glint'], 'allow_task_import': 'true'}})
    admin, source = server.client(ADMIN), Hostile(b'x')
    try:
        for name, end in (('os_glance_stage_host', 'failure'), ('os_distro', 'success')):
            task = admin.post('/v2/tasks', {'type': 'import', 'input': {
                'import_from': f'{source.url}/good', 'import_from_format': 'raw', 'image_properties': {
                    'disk_format': 'raw', 'container_format': 'bare', name: 'evil'}}})
            if task.status_code >= 400:
                assert end == 'failure' and task.status_code in (400, 403)
                continue

            def ended():
                found = admin.get(f"/v2/tasks/{task.json()['id']}").json()
                return found if found['status'] in ('success', 'failure') else None
            assert wait_for(ended, server.root, 'end of the task')['status'] == end
    finally:
        source.close()
    images = admin.list('visibility=all')[1]['images']
    assert [i.get('os_distro') for i in images] == ['evil'] and 'os_glance' not in str(images)


def test_a25_public_by_anybody(server, a, admin):
    image = a.new()['id']
    assert a.create(visibility='public').status_code == 403
    for visibility in ('PUBLIC', ' public'):
        assert a.create(visibility=visibility).status_code == 400
    assert a.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code == 403
    assert a.patch(image, {'op': 'add', 'path': '/is_public', 'value': 'true'}).status_code in (200, 403)
    assert a.show(image)['visibility'] == 'shared'
    assert admin.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code == 200


def test_a26_verbs_and_request_ids(server, a):
    image = a.new(b'x')['id']
    r = a.delete(f'/v2/images/{image}/file')
    assert r.status_code == 405 and 'PUT' in r.headers['Allow']
    assert a.download(image).content == b'x'
    for size, status in ((64, 200), (65, 431), (15_000, 431), (100_000, 431)):
        mark = f'mark{size}-'
        with Raw(server) as raw:
            try:
                raw.head('GET', f'/v2/images/{image}', who=A, X_OpenStack_Request_ID=mark.ljust(size, 'q'))
            except OSError:
                pass
            assert raw.answer().status == status, size
        if status != 200:
            assert mark not in server.log.read_text()


def test_a29_no_id_twice(servers):
    server = servers()
    image = server.client(A).new(b'x')['id']
    assert server.client(A).remove(image).status_code == 204
    for _ in range(2):
        for who in (A, B, ADMIN):
            assert server.client(who).create(id=image).status_code == 409
            assert server.client(who).create(id=image.upper()).status_code in (400, 409)
        server.stop()
        server.run('db', 'purge', '--age-in-days', '0', check=False)
        db = sqlite3.connect(server.database)
        with db:
            db.execute("UPDATE images SET deleted_at = '2001-01-01 00:00:00.000000' WHERE id = ?", (image,))
        db.close()
        server.run('db', 'purge')
        server.start()
    assert server.client(A).create().status_code == 201


METADEFS = ['', '/namespaces', '/namespaces/OS::A', '/namespaces/OS::A/objects', '/namespaces/OS::A/objects/o',
            '/namespaces/OS::A/properties', '/namespaces/OS::A/properties/p', '/namespaces/OS::A/tags', '/namespaces/OS::A/tags/t',
            '/namespaces/OS::A/resource_types', '/resource_types']


def test_a30_no_metadefs(server, a, admin):
    """There are none: nobody can fill the database with them, nobody read another's. Nothing says that there are any."""
    before = count_metadefs(server)
    for c in (a, admin):
        for path in METADEFS:
            assert c.get(f'/v2/metadefs{path}').status_code == 404, path
            for method in ('POST', 'PUT', 'DELETE'):
                r = c.call(method, f'/v2/metadefs{path}', json={'namespace': 'OS::A', 'visibility': 'private', 'name': 'x'})
                assert r.status_code == 404, (method, path)
        for name in ('namespace', 'namespaces', 'object', 'objects', 'property', 'properties', 'tag', 'tags', 'resource_type'):
            assert c.get(f'/v2/schemas/metadefs/{name}').status_code == 404
        assert 'metadef' not in c.get('/versions').text + c.get('/').text
    assert count_metadefs(server) == before
    assert a.get('/v2/schemas/image').status_code == 200


def count_metadefs(server):
    db = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True)
    try:
        names = [n for n, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'metadef%'")]
        return [(n, db.execute(f'SELECT count(*) FROM {n}').fetchone()[0]) for n in sorted(names)]
    finally:
        db.close()


@pytest.mark.quiet
def test_a32_idle_connections(servers):
    """Ten thousand say nothing and stop nobody; in time they end by themselves."""
    with many_descriptors() as most:
        server = servers({'glint': {'idle_timeout': 10}})
        raws = [Raw(server) for _ in range(min(10_000, most - 500))]
        wait_for(lambda: descriptors_of(server) > 0.9 * len(raws), server.root, 'connections')
        assert sorted(seconds_of_health(server, 20))[10] < 0.5
        for raw in raws:
            assert raw.ended()
            raw.sock.close()
        wait_for(lambda: descriptors_of(server) < 60, server.root, 'closed descriptors')


def test_a33_memory_while_streaming(servers):
    """Chunks from one octet to 16 MiB: a whole one is never in memory. ATTACKS=160: 20 GiB."""
    server = servers()
    a = server.client(A)
    image = a.new()['id']
    md5, total, most = hashlib.md5(), 0, 0
    pieces = [pattern(n, n) for n in (1, 2, 7, 1000, 4095, 65_537, MIB - 1, 16 * MIB)]
    before = memory_of(server)
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                 Transfer_Encoding='chunked')
        while total < 128 * MIB * TIMES:
            for piece in pieces:
                times = 2000 if len(piece) < 10 else 4
                raw.send((b'%x\r\n' % len(piece) + piece + b'\r\n') * times)
                md5.update(piece * times)
                total += len(piece) * times
                most = max(most, memory_of(server))
        raw.send(b'0\r\n\r\n')
        assert raw.answer().status == 204
    shown = a.show(image)
    assert (shown['size'], shown['checksum']) == (total, md5.hexdigest())
    assert SANITIZED or most - before < 12 * MIB
