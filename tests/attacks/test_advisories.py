# SPDX-License-Identifier: Apache-2.0
"""Published advisories on Glance: what an attacker sends, and beside it the harmless twin that has to go through.

What other tests prove besides (in tests/e2e): A8 test_upload_download::test_cap, A13 test_patch::test_refused,
A25 test_members_access::test_only_admin_publishes, A33 test_upload_download::test_memory_is_flat.
"""
import re
import resource
import sqlite3
import time

import pytest

from attack import MIB, TIMES, at_once, chunked, descriptors_of
from harness import A, ADMIN, B, Client, Raw, wait_for


def test_a1_delete_of_another(server, a, b):
    private = a.new(b'x', visibility='private')['id']
    community = a.new(b'x', visibility='community')['id']
    before = a.show(private), a.show(community)
    assert b.remove(private).status_code == 404
    assert b.remove(community).status_code == 403
    assert (a.show(private), a.show(community)) == before
    assert a.download(private).content == b'x' == a.download(community).content
    assert [e.type for e in server.settled_events(private) if 'delete' in e.type] == []
    assert a.remove(private).status_code == 204 == a.remove(community).status_code


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


def test_a10_delete_while_uploading(servers):
    """Twenty clients that stream on and on into images that are gone: nothing stays on the disk."""
    server = servers()
    size = MIB

    def life():
        a = Client(server, A)
        image = a.new()['id']
        with Raw(server) as raw:
            raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                     Content_Length=str(8 * size))
            raw.send(bytes(size))
            server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
            assert a.remove(image).status_code == 204
            try:
                for _ in range(7):
                    raw.send(bytes(size))
            except OSError:
                pass
            answer = raw.answer()
        return image, answer.status if answer else None

    for image, status in at_once(*[life] * 20 * TIMES):
        assert status == 410
        kinds = [e.short for e in server.settled_events(image)]
        assert kinds[-1] == 'image.delete' and 'image.activate' not in kinds and 'ERROR image.upload' in kinds
    wait_for(lambda: server.stored_files() == [], server.images, 'empty store')
    assert server.client(A).new(b'x')


def test_a13_status_by_header(server, a):
    forged = {'x-image-meta-status': 'active', 'x-image-meta-checksum': 'f' * 32, 'x-image-meta-size': '7',
              'x-image-meta-is_public': 'True', 'x-image-meta-owner': B.project, 'x-image-meta-property-k': 'v'}
    r = a.call('POST', '/v2/images', json={'disk_format': 'raw', 'container_format': 'bare'}, headers=forged)
    image = r.json()
    assert (image['status'], image['visibility'], image['owner']) == ('queued', 'shared', A.project)
    assert 'k' not in image and image['size'] is None
    assert a.upload(image['id'], b'x', headers=forged).status_code == 204
    for path in ('', '/file'):
        a.get(f"/v2/images/{image['id']}{path}", headers=forged)
    shown = a.show(image['id'])
    assert shown['size'] == 1 and shown['checksum'] == '9dd4e461268c8034f5c8564e155c67a6'
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
    assert b.answer_share(image, B.project, 'accepted').status_code == 200
    assert image in b.list('limit=1000')[0]


def test_a25_public_by_anybody(server, a, admin):
    image = a.new()['id']
    for visibility in ('public', 'PUBLIC', ' public'):
        assert a.create(visibility=visibility).status_code in (400, 403)
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


def test_a32_idle_connections(servers):
    """They are many, say nothing, and stop nobody; those that have spoken once end by themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        server = servers({'glint': {'idle_timeout': 3}})
        raws = [Raw(server) for _ in range(min(1000 * TIMES, hard - 200))]
        spent = []
        for _ in range(20):
            began = time.monotonic()
            assert server.client().get('/healthcheck').status_code == 200
            spent.append(time.monotonic() - began)
        assert sorted(spent)[10] < 0.1
        for raw in raws:
            assert raw.ended()
            raw.sock.close()
        wait_for(lambda: descriptors_of(server) < 60, server.root, 'closed descriptors')
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
