# SPDX-License-Identifier: Apache-2.0
"""Images whose data lies on web servers: by PATCH /locations, by POST /locations, and what is served of it."""
import hashlib
import json
import os
import signal
import threading

import pytest

from harness import A, ADMIN, B, Raw, Who, at_once, make_server, message_of, pattern, wait_for
from sources import REACHABLE, Hostile
from test_import import events_of, tasks_of, wait_task

pytestmark = [pytest.mark.glint_only]

DATA = pattern(3_300_000)
MIB = 1 << 20
SERVICE = Who('5' * 32, '6' * 32, 'service,member,reader')
OTHER = 'The data at the location does not have the os_hash_value'


def config(root, **more):
    c = {'DEFAULT': {'enabled_backends': 'fs:file,web:http', 'enabled_import_methods': 'web-download,copy-image',
                     'node_staging_uri': f'file://{root}/staging', 'show_multiple_locations': 'true',
                     'show_image_direct_url': 'true', 'image_location_quota': 3, 'http_retries': 1},
         'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None},
         'fs': {'filesystem_store_datadir': root / 'images'},
         'web': {'store_description': 'elsewhere', 'weight': '5'},
         **{section: dict(options) for section, options in REACHABLE.items()}}
    c['glint'].update({'web_download_stall_timeout': '2', 'web_download_max_resumes': '1', 'max_location_reads': '3',
                       'max_far': '3', 'crowded_timeout': '1', 'shutdown_timeout': '10'})
    for section, options in more.items():
        c.setdefault(section, {}).update(options)
    return c


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('locations')
    s = make_server(root, config(root)).start()
    yield s
    s.errors_expected = True
    s.stop()
    assert all(' 503 ' in line for line in s.service_errors())  # what could not be had, and no other trouble


@pytest.fixture
def web():
    h = Hostile(DATA)
    yield h
    h.close()


@pytest.fixture
def a(server):
    return server.client(A)


@pytest.fixture
def admin(server):
    return server.client(ADMIN)


def add(url, **more):
    return {'op': 'add', 'path': '/locations/-', 'value': {'url': url, 'metadata': {}, **more}}


def located(client, url, **attributes):
    """An active image of what is at `url`."""
    image = client.new(**attributes)['id']
    r = client.patch(image, add(url))
    assert r.status_code == 200, r.text
    return image


def sha512(data):
    return {'os_hash_algo': 'sha512', 'os_hash_value': hashlib.sha512(data).hexdigest()}


def post(client, image, url, **more):
    return client.post(f'/v2/images/{image}/locations', {'url': url, **more})


def run(server, client, image, url, **more):
    r = post(client, image, url, **more)
    assert r.status_code == 202 and r.text == '', r.text
    return wait_task(server, client, image)


# -- by PATCH --------------------------------------------------------------------------------------------------

def test_a_location_makes_an_image_active(server, web, a):
    image = a.new()['id']
    r = a.patch(image, add(web.url + '/good', metadata={'mine': 'x'}), {'op': 'replace', 'path': '/name', 'value': 'n'})
    assert r.status_code == 200, r.text
    shown = a.show(image)
    assert r.json() == shown
    assert (shown['status'], shown['size'], shown['name']) == ('active', len(DATA), 'n')
    assert shown['checksum'] == hashlib.md5(DATA).hexdigest() and shown['virtual_size'] == len(DATA)
    assert {k: shown[k] for k in sha512(DATA)} == sha512(DATA)
    assert shown['locations'] == [{'url': web.url + '/good', 'metadata': {'mine': 'x', 'store': 'web'}}]
    assert shown['direct_url'] == web.url + '/good' and shown['stores'] == 'web'
    r = a.download(image)
    assert r.status_code == 200 and r.content == DATA and r.headers['Content-MD5'] == shown['checksum']
    assert events_of(server, image) == ['image.create', 'image.activate', 'image.update(active)']
    assert a.remove(image).status_code == 204


def test_ranges_cost_the_pieces_they_touch(web, a):
    image = located(a, web.url + '/parts')
    for first, last in [(0, 0), (MIB - 1, MIB), (2 * MIB + 5, 2 * MIB + 9), (len(DATA) - 10, len(DATA) - 1), (0, len(DATA) - 1)]:
        web.sent = 0
        r = a.download(image, {'Range': f'bytes={first}-{last}'})
        assert r.status_code == 206 and r.content == DATA[first:last + 1]
        assert r.headers['Content-Range'] == f'bytes {first}-{last}/{len(DATA)}'
        pieces = last // MIB - first // MIB + 1
        assert web.sent <= pieces * MIB
    assert a.download(image, {'Range': f'bytes={len(DATA)}-'}).status_code == 416


def test_sources_that_do_not_send_parts(web, a):
    image = located(a, web.url + '/good')
    r = a.download(image, {'Range': f'bytes={2 * MIB}-{2 * MIB + 3}'})
    assert r.status_code == 206 and r.content == DATA[2 * MIB:2 * MIB + 4]


def test_an_empty_one(web, a):
    web.data = b''
    image = located(a, web.url + '/good')
    r = a.download(image)
    assert r.status_code == 200 and r.content == b'' and a.show(image)['size'] == 0


def test_what_changes_is_not_served(server, web, a):
    """Not an octet of it: neither all of it, nor behind the part that is the same."""
    image = located(a, web.url + '/parts')
    web.data = DATA[:2 * MIB] + bytes(100) + DATA[2 * MIB + 100:]
    r = a.download(image, {'Range': 'bytes=0-99'})
    assert r.content == DATA[:100]
    r = a.download(image, {'Range': f'bytes={2 * MIB}-{2 * MIB + 9}'})
    assert r.status_code == 503, r.text
    raw = Raw(server)
    raw.send(raw_get(image))
    got = raw_until_end(raw)
    assert got == DATA[:2 * MIB]
    web.data = DATA[:-1]
    assert a.download(image, {'Range': f'bytes={3 * MIB}-'}).status_code == 503
    web.data = DATA
    assert a.download(image).content == DATA
    assert web.url not in a.download('0' * 8 + image[8:]).text


def raw_get(image):
    headers = ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items())
    return f'GET /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n'.encode()


def raw_until_end(raw):
    data = b''
    with raw:
        raw.sock.settimeout(60)
        while True:
            try:
                more = raw.sock.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            data += more
    return data.split(b'\r\n\r\n', 1)[1]


def test_the_next_location_serves_what_the_first_does_not(server, web, a, admin):
    other = Hostile(DATA)
    try:
        image = located(a, web.url + '/parts')
        assert a.patch(image, add(other.url + '/parts')).status_code == 200
        web.data = DATA[:MIB] + bytes(len(DATA) - MIB)
        assert a.download(image).content == DATA  # from the middle on it is the other's
        assert '/parts' in other.seen
        # no location is removed but by an admin, and never the last one
        assert a.patch(image, {'op': 'remove', 'path': '/locations/0'}).status_code == 403
        assert admin.patch(image, {'op': 'remove', 'path': '/locations/5'}).status_code == 400
        r = admin.patch(image, {'op': 'remove', 'path': '/locations/0'})
        assert r.status_code == 200 and [l['url'] for l in r.json()['locations']] == [other.url + '/parts']
        assert admin.patch(image, {'op': 'remove', 'path': '/locations/0'}).status_code == 403
        assert a.download(image).content == DATA
    finally:
        other.close()


def test_a_second_location_has_the_same_data(server, web, a):
    image = a.new(DATA)['id']
    before = a.show(image)
    r = a.patch(image, add(web.url + '/good'))
    assert r.status_code == 200, r.text
    assert r.json()['stores'] == 'fs,web' and len(r.json()['locations']) == 2
    assert {**a.show(image), 'updated_at': 0, 'locations': 0, 'stores': 0} == \
        {**before, 'updated_at': 0, 'locations': 0, 'stores': 0}
    web.data = DATA[::-1]
    r = a.patch(image, add(web.url + '/parts'))
    assert r.status_code == 409 and OTHER in message_of(r)
    assert len(a.show(image)['locations']) == 2
    assert a.download(image).content == DATA  # from here: the web is first, and has something else by now


@pytest.mark.parametrize('steps, status', [
    ([{'op': 'replace', 'path': '/locations', 'value': []}], 403),
    ([{'op': 'add', 'path': '/locations/x', 'value': {'url': 'http://x/', 'metadata': {}}}], 400),
    ([{'op': 'add', 'path': '/locations/-', 'value': {'url': '', 'metadata': {}}}], 400),
    ([{'op': 'add', 'path': '/locations/-', 'value': {'url': 'http://x/'}}], 400),
    ([{'op': 'remove', 'path': '/locations/0'}], 403)])
def test_bad_steps(a, steps, status):
    image = a.new()['id']
    r = a.patch(image, *steps)
    assert r.status_code == status, r.text
    assert a.show(image)['status'] == 'queued'


def test_replacing_nothing_by_some(web, a):
    image = a.new()['id']
    step = {'op': 'replace', 'path': '/locations', 'value': [{'url': web.url + p, 'metadata': {}} for p in ('/good', '/parts')]}
    r = a.patch(image, step)
    assert r.status_code == 200 and [l['url'] for l in r.json()['locations']] == [web.url + '/good', web.url + '/parts']
    assert a.patch(image, step).status_code == 400
    assert a.patch(image, add(web.url + '/good')).status_code == 400  # it is there already
    assert a.patch(image, add(web.url + '/cut')).status_code == 200
    r = a.patch(image, add(web.url + '/held'))
    assert r.status_code == 413 and '/held' not in web.seen, r.text


def test_validation_data(web, a):
    good = sha512(DATA)
    for data, status in [({**good, 'checksum': hashlib.md5(DATA).hexdigest()}, 200), (good, 200),
                         ({**good, 'os_hash_value': good['os_hash_value'].upper()}, 200),
                         ({'os_hash_value': good['os_hash_value']}, 400), ({**good, 'x': 'y'}, 400),
                         ({'os_hash_algo': 'sha512', 'os_hash_value': 'ab'}, 409),
                         ({'os_hash_algo': 'sha512', 'os_hash_value': 'x' * 128}, 409),
                         ({'os_hash_algo': 'sha256', 'os_hash_value': hashlib.sha256(DATA).hexdigest()}, 409),
                         ({**good, 'checksum': '0'}, 400), ({**good, 'checksum': '0' * 32}, 409),
                         (sha512(b'something else'), 409)]:
        image = a.new()['id']
        r = a.patch(image, add(web.url + '/good', validation_data=data))
        assert r.status_code == status, (data, r.text)
        shown = a.show(image)
        assert (shown['status'], shown['os_hash_value']) == (('active', good['os_hash_value']) if status == 200 else
                                                             ('queued', None))
    image = a.new(DATA)['id']
    assert a.patch(image, add(web.url + '/good', validation_data=good)).status_code == 200
    r = a.patch(image, add(web.url + '/parts', validation_data=sha512(b'')))
    assert r.status_code == 409 and '/parts' not in web.seen


@pytest.mark.parametrize('path', ['/missing', '/broken', '/short', '/stalled', '/gzip', '/inside', '/file', '/loop'])
def test_sources_that_fail(server, web, a, path):
    image = a.new()['id']
    r = a.patch(image, add(web.url + path))
    assert r.status_code == 400, r.text
    assert web.url not in r.text and a.show(image)['status'] == 'queued'
    assert events_of(server, image) == ['image.create']


def test_formats(web, a):
    image = a.create().json()['id']
    assert a.patch(image, add(web.url + '/good')).status_code == 400
    assert web.seen == []
    assert a.patch(image, {'op': 'replace', 'path': '/disk_format', 'value': 'raw'},
                   {'op': 'replace', 'path': '/container_format', 'value': 'bare'}, add(web.url + '/good')).status_code == 200
    image = a.new(disk_format='qcow2')['id']
    r = a.patch(image, add(web.url + '/good'))
    assert r.status_code == 415 and a.show(image)['status'] == 'queued', r.text


def test_who_may(server, web, a, admin):
    image = located(a, web.url + '/good', visibility='private')
    assert server.client(B).patch(image, add(web.url + '/parts')).status_code == 404
    shared = located(admin, web.url + '/good', visibility='public')
    r = a.patch(shared, add(web.url + '/parts'))
    assert r.status_code == 403
    shown = a.show(shared)  # visible, but not where it lies
    assert shown['locations'] == [] and 'direct_url' not in shown
    assert len(admin.show(shared)['locations']) == 1
    ids, body = a.list('visibility=public')
    assert all(i['locations'] == [] and 'direct_url' not in i for i in body['images'])
    mine = next(i for i in a.list(f'id=in:{image}')[1]['images'])
    assert mine == a.show(image)
    assert admin.action(shared, 'deactivate').status_code == 204
    assert admin.show(shared)['locations'] == []
    assert admin.patch(shared, add(web.url + '/parts')).status_code == 409


def test_reading_ends_with_the_client_or_the_image(server, web, a):
    image = a.new()['id']
    body = json.dumps([add(web.url + '/held')]).encode()
    head = ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items())
    raw = Raw(server)
    raw.send(f'PATCH /v2/images/{image} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{head}'
             'Content-Type: application/openstack-images-v2.1-json-patch\r\n\r\n'.encode() + body)
    assert web.waiting.wait(30)
    raw.sock.close()
    other = a.new()['id']
    answers = []
    web.waiting.clear()
    t = threading.Thread(target=lambda: answers.append(a.patch(other, add(web.url + '/held'))))
    t.start()
    assert web.waiting.wait(30)
    assert server.client(A).remove(other).status_code == 204
    t.join(30)
    assert answers[0].status_code == 410, answers[0].text

    def slots_are_free():
        """Two of a project's may be under way, and neither of them is any more."""
        r = a.patch(image, add(web.url + '/good'))
        return r if r.status_code != 503 else None
    assert wait_for(slots_are_free, server.root, 'the readings to end').status_code == 200
    assert events_of(server, image) == ['image.create', 'image.activate', 'image.update(active)']


def test_reading_is_bounded(server, web, a):
    images = [a.new()['id'] for _ in range(3)]
    held = [threading.Thread(target=server.client(A).patch, args=(i, add(web.url + '/held'))) for i in images[:2]]
    for i, t in enumerate(held):
        t.start()
        wait_for(lambda: web.seen.count('/held') > i, server.root, 'a reading')
    r = a.patch(images[2], add(web.url + '/good'))
    assert r.status_code == 503 and '/good' not in web.seen
    b = server.client(B)
    assert b.patch(b.new()['id'], add(web.url + '/good')).status_code == 200
    web.gate.set()
    for t in held:
        t.join(60)
    assert [a.show(i)['status'] for i in images] == ['active', 'active', 'queued']
    assert a.patch(images[2], add(web.url + '/good')).status_code == 200


def test_two_who_say_different_things(server, web, a):
    """One of them makes the image active; the other one's data is not its data."""
    other = Hostile(DATA[::-1])
    try:
        image = a.new()['id']
        results = at_once(lambda: server.client(A).patch(image, add(web.url + '/good')),
                          lambda: server.client(A).patch(image, add(other.url + '/good')))
        assert sorted(r.status_code for r in results) == [200, 409], [r.text for r in results]
        content = a.download(image).content
        assert hashlib.sha512(content).hexdigest() == a.show(image)['os_hash_value']
        assert len(a.show(image)['locations']) == 1
    finally:
        other.close()


# -- by POST ---------------------------------------------------------------------------------------------------

def test_a_task_adds_a_location(server, web, a, admin):
    image = a.new()['id']
    task = run(server, a, image, web.url + '/good')
    assert task['status'] == 'success' and task['type'] == 'location_import', task
    shown = a.show(image)
    assert shown['status'] == 'active' and shown['os_hash_value'] == sha512(DATA)['os_hash_value']
    assert 'os_glance_import_task' not in shown
    assert a.download(image).content == DATA
    assert events_of(server, image) == ['image.create', 'image.update(importing)', 'image.activate', 'image.update(active)']
    assert events_of(server, task['id']) == ['task.create', 'task.run', 'task.processing', 'task.success']
    r = server.client(SERVICE).get(f'/v2/images/{located(admin, web.url + "/good", visibility="public")}/locations')
    assert r.status_code == 200 and r.json() == [{'url': web.url + '/good', 'metadata': {'store': 'web'}}]
    assert admin.get(f'/v2/images/{image}/locations').json() == [{'url': web.url + '/good', 'metadata': {'store': 'web'}}]
    assert a.get(f'/v2/images/{image}/locations').status_code == 403
    assert server.client(B).get(f'/v2/images/{image}/locations').status_code == 404
    r = post(a, image, web.url + '/good')
    assert r.status_code == 409, r.text


def test_tasks_that_fail(server, web, a):
    for url, more in [('/missing', {}), ('/short', {}), ('/stalled', {}), ('/inside', {}),
                      ('/good', {'validation_data': sha512(b'other')})]:
        image = a.new()['id']
        task = run(server, a, image, web.url + url, **more)
        assert task['status'] == 'failure' and web.url not in task['message'], task
        shown = a.show(image)
        assert shown['status'] == 'queued' and shown['locations'] == [] and shown['os_hash_value'] is None
        assert 'os_glance_import_task' not in shown
        assert events_of(server, image) == ['image.create', 'image.update(importing)', 'image.update(queued)']
        assert run(server, a, image, web.url + '/good', validation_data=sha512(DATA))['status'] == 'success'
    assert web.seen.count('/stalled') >= 2  # once more, as http_retries says
    image = a.new(disk_format='qcow2')['id']
    assert run(server, a, image, web.url + '/good')['status'] == 'failure' and a.show(image)['status'] == 'queued'


def test_bad_requests(web, a, server):
    image = a.new()['id']
    for body in [[], {}, {'url': 5}, {'url': ''}, {'url': web.url + '/good', 'x': 1}, {'url': web.url, 'validation_data': 'x'}]:
        assert a.post(f'/v2/images/{image}/locations', body).status_code == 400, body
    for data in [{'os_hash_algo': 'sha256', 'os_hash_value': 'ab' * 32}, {'os_hash_algo': 'sha512', 'os_hash_value': 'x'}]:
        assert post(a, image, web.url + '/good', validation_data=data).status_code == 409
    assert post(server.client(B), image, web.url + '/good').status_code == 404
    assert post(a, a.create().json()['id'], web.url + '/good').status_code == 409  # no formats
    assert web.seen == [] and a.show(image)['status'] == 'queued'


def test_nothing_else_gets_in_meanwhile(server, web, a):
    image = a.new()['id']
    assert post(a, image, web.url + '/held').status_code == 202
    assert web.waiting.wait(30)
    assert a.show(image)['status'] == 'importing'
    assert post(a, image, web.url + '/good').status_code == 409
    assert a.patch(image, add(web.url + '/good')).status_code == 409
    assert a.upload(image, DATA).status_code == 409
    assert a.patch(image, {'op': 'replace', 'path': '/disk_format', 'value': 'qcow2'}).status_code == 403
    assert a.patch(image, {'op': 'replace', 'path': '/disk_format', 'value': None}).status_code == 403
    web.gate.set()
    assert wait_task(server, a, image)['status'] == 'success'
    assert '/good' not in web.seen


def test_deleted_meanwhile(server, web, a):
    image = a.new()['id']
    assert post(a, image, web.url + '/held').status_code == 202
    assert web.waiting.wait(30)
    task = tasks_of(a, image)[0]['id']
    assert a.remove(image).status_code == 204
    admin = server.client(ADMIN)
    wait_for(lambda: admin.get(f'/v2/tasks/{task}').json()['status'] == 'failure', server.root, 'the end of the task')
    assert events_of(server, image) == ['image.create', 'image.update(importing)', 'image.delete']


# -- with the rest ---------------------------------------------------------------------------------------------

def test_copied_into_a_store(server, web, a, admin):
    image = located(a, web.url + '/good')
    r = admin.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs']})
    assert r.status_code == 202, r.text
    assert wait_task(server, admin, image)['status'] == 'success'
    assert sorted(a.show(image)['stores'].split(',')) == ['fs', 'web']
    web.data = b'gone'
    assert a.download(image).content == DATA
    r = admin.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['web']})
    assert r.status_code == 409, r.text
    assert admin.delete(f'/v2/stores/web/{image}').status_code == 204
    assert admin.show(image)['stores'] == 'fs'
    changed = located(a, web.url + '/good')
    web.data = b'else'
    admin.post(f'/v2/images/{changed}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs']})
    assert wait_task(server, admin, changed)['status'] == 'failure'
    assert admin.show(changed)['stores'] == 'web'


def test_nothing_is_stored_there(server, a, admin):
    image = a.new()['id']
    assert a.upload(image, DATA, {'X-Image-Meta-Store': 'web'}).status_code == 400
    stores = {s['id']: s for s in a.get('/v2/info/stores').json()['stores']}
    assert stores['web'] == {'id': 'web', 'description': 'elsewhere', 'read-only': 'true'} and 'read-only' not in stores['fs']
    detail = {s['id']: s for s in admin.get('/v2/info/stores/detail').json()['stores']}
    assert detail['web']['type'] == 'http' and detail['web']['properties'] == {}


def test_what_is_advertised(a):
    versions = [v['id'] for v in a.get('/versions').json()['versions']]
    assert versions[0] == 'v2.17' and a.get('/versions').json()['versions'][0]['status'] == 'CURRENT'


def test_slow_readers_give_way(server, web, a):
    """Three have all the threads; they take nothing, and those who wait are served."""
    web.data = pattern(40_000_000)
    image = located(a, web.url + '/parts')
    slow = [Raw(server) for _ in range(3)]
    for raw in slow:
        raw.send(raw_get(image))
    assert a.download(image, {'Range': 'bytes=0-9'}).content == web.data[:10]
    for raw in slow:
        raw.sock.close()


def test_silent_sources_give_way(server, web, a):
    """Three downloads wait for a source that says nothing; they end for one whose source does."""
    image, fine = located(a, web.url + '/good'), located(a, web.url + '/parts')
    web.RequestHandlerClass.at_good, good = web.RequestHandlerClass.at_silent, web.RequestHandlerClass.at_good
    try:
        before = web.seen.count('/good')
        waiting = [Raw(server) for _ in range(3)]
        for raw in waiting:
            raw.send(raw_get(image))
        wait_for(lambda: web.seen.count('/good') == before + 3, server.root, 'all three to wait')
        assert a.download(fine, {'Range': 'bytes=0-9'}).content == DATA[:10]
        assert any(b'"code": 503' in raw_until_end(raw) for raw in waiting)
    finally:
        web.RequestHandlerClass.at_good = good


def test_a_client_that_has_said_all(server, web, a):
    image = located(a, web.url + '/parts')
    raw = Raw(server)
    raw.send(raw_get(image))
    raw.half_close()
    assert raw_until_end(raw) == DATA


def test_locations_that_glance_added(server, web, a):
    """Nobody has noted what is there: it is read before the first octet goes out, and has to be what the hash says."""
    import sqlite3
    image = located(a, web.url + '/parts')
    with sqlite3.connect(server.database) as db:
        assert db.execute('DELETE FROM glint_pieces WHERE image_id = ?', (image,)).rowcount == 1
    web.data = DATA[::-1]
    assert a.download(image).status_code == 503
    web.data = DATA
    assert a.download(image, {'Range': 'bytes=5-9'}).content == DATA[5:10]
    web.data = DATA[::-1]
    assert a.download(image).status_code == 503


def test_killed(tmp_path, web):
    server = make_server(tmp_path / 's', config(tmp_path / 's')).start()
    try:
        a = server.client(A)
        image, patched = a.new()['id'], a.new()['id']
        assert post(a, image, web.url + '/held').status_code == 202
        assert web.waiting.wait(30)
        t = threading.Thread(target=lambda: pytest.raises(Exception, a.patch, patched, add(web.url + '/held')))
        t.start()
        wait_for(lambda: web.seen.count('/held') > 1, server.root, 'a second reading')
        server.kill9()
        t.join(30)
        server.start()
        web.gate.set()
        a = server.client(A)
        assert wait_task(server, a, image)['status'] == 'success'
        assert a.show(image)['status'] == 'active' and a.download(image).content == DATA
        assert a.show(patched)['status'] == 'queued' and a.patch(patched, add(web.url + '/good')).status_code == 200
    finally:
        server.stop()


def test_one_task_does_not_stand_in_the_way(tmp_path, web):
    """A row that nobody can read any more is tried a few times, and those behind it have their turn."""
    import sqlite3
    server = make_server(tmp_path / 's', config(tmp_path / 's', glint={'shutdown_timeout': '0'})).start()
    server.errors_expected = True
    try:
        a = server.client(A)
        broken, fine = a.new()['id'], a.new()['id']
        assert post(a, broken, web.url + '/held').status_code == 202 and web.waiting.wait(30)
        server.stop()
        with sqlite3.connect(server.database) as db:
            db.execute("UPDATE images SET status = 'odd' WHERE id = ?", (broken,))
        server.start()
        a = server.client(A)
        assert run(server, a, fine, web.url + '/good')['status'] == 'success'
        with sqlite3.connect(server.database) as db:
            db.execute("UPDATE images SET status = 'importing' WHERE id = ?", (broken,))
        assert wait_task(server, a, broken)['status'] == 'failure'
        assert a.show(broken)['status'] == 'queued' and 'os_glance_import_task' not in a.show(broken)
    finally:
        server.stop()


def test_hidden_where_not_shown(tmp_path, web):
    """The default: PATCH is refused, nothing is shown, and POST works."""
    c = {'glance_store': {'stores': 'file,http'}, **{k: dict(v) for k, v in REACHABLE.items()}}
    server = make_server(tmp_path / 's', c).start()
    try:
        a, admin = server.client(A), server.client(ADMIN)
        image = a.new()['id']
        for client in (a, admin):
            assert client.patch(image, add(web.url + '/good')).status_code == 403
        assert web.seen == []
        assert run(server, a, image, web.url + '/good')['status'] == 'success'
        shown = admin.show(image)
        assert 'locations' not in shown and 'direct_url' not in shown and 'stores' not in shown
        assert a.download(image).content == DATA
        assert admin.get(f'/v2/images/{image}/locations').json() == [{'url': web.url + '/good', 'metadata': {}}]
    finally:
        server.stop()


def test_what_else_the_patch_changes(tmp_path, web):
    """A location does not open what is protected, nor does it give an image away."""
    c = config(tmp_path / 's', DEFAULT={'property_protection_file': tmp_path / 'protections.conf'})
    (tmp_path / 'protections.conf').write_text(
        '[^seen$]\ncreate = admin\nread = @\nupdate = admin\ndelete = admin\n'
        '[^hidden$]\ncreate = admin\nread = admin\nupdate = admin\ndelete = admin\n'
        '[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n')
    server = make_server(tmp_path / 's', c).start()
    try:
        a, admin = server.client(A), server.client(ADMIN)
        image = admin.new(owner=A.project, seen='1', hidden='2')['id']
        place, before = add(web.url + '/good'), admin.show(image)
        for step, status in (({'op': 'replace', 'path': '/seen', 'value': 'x'}, 403),
                             ({'op': 'remove', 'path': '/seen'}, 403),
                             ({'op': 'add', 'path': '/hidden', 'value': 'x'}, 403),
                             ({'op': 'replace', 'path': '/hidden', 'value': 'x'}, 409),
                             ({'op': 'remove', 'path': '/hidden'}, 409),
                             ({'op': 'replace', 'path': '/owner', 'value': A.project}, 403),
                             ({'op': 'replace', 'path': '/owner', 'value': B.project}, 403)):
            assert a.patch(image, place, step).status_code == a.patch(image, step).status_code == status, step
        assert admin.show(image) == before and web.seen == []
        assert a.patch(image, place, {'op': 'add', 'path': '/mine', 'value': '3'}).status_code == 200
        assert {k: admin.show(image)[k] for k in ('seen', 'hidden', 'mine')} == {'seen': '1', 'hidden': '2', 'mine': '3'}
        assert 'hidden' not in a.show(image)
    finally:
        server.stop()


def test_none_without_the_store(tmp_path, web):
    server = make_server(tmp_path / 's', {k: dict(v) for k, v in REACHABLE.items()}).start()
    try:
        a = server.client(A)
        image = a.new()['id']
        assert post(a, image, web.url + '/good').status_code == 400 and web.seen == []
    finally:
        server.stop()
