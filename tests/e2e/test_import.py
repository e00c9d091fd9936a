# SPDX-License-Identifier: Apache-2.0
"""Staging, imports and tasks over HTTP: what clients see, what is told, and what is left on the disk."""
import hashlib
import json
import sqlite3
import subprocess

import pytest

import commands
from broker import Certificates
from harness import A, ADMIN, B, Raw, make_server, message_of, pattern, wait_for
from sources import REACHABLE, Hostile, Nginx

pytestmark = [pytest.mark.glint_only]

DATA = pattern(3_000_000)
TASK = ['task.create', 'task.run', 'task.processing']
IMPORTED = ['image.update(importing)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)',
            'image.update(active)']
METHODS = 'glance-direct,web-download,copy-image'


def config(root, **more):
    """Two stores with names, and the net within reach."""
    c = {'DEFAULT': {'enabled_backends': 'fs:file,fs2:file', 'enabled_import_methods': METHODS,
                     'node_staging_uri': f'file://{root}/staging'},
         'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None},
         'fs': {'filesystem_store_datadir': root / 'images', 'store_description': 'the first'},
         'fs2': {'filesystem_store_datadir': root / 'second', 'weight': '10', 'filesystem_thin_provisioning': True},
         **{section: dict(options) for section, options in REACHABLE.items()}}
    c['glint']['allow_task_import'] = 'true'
    for section, options in more.items():
        c.setdefault(section, {}).update(options)
    return c


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('import')
    s = make_server(root, config(root)).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def nginx(tmp_path_factory):
    n = Nginx(tmp_path_factory.mktemp('nginx'))
    n.disk = n.put('disk', DATA)
    yield n
    n.close()


@pytest.fixture
def hostile():
    h = Hostile(DATA)
    yield h
    h.close()


@pytest.fixture
def a(server):
    return server.client(A)


@pytest.fixture
def admin(server):
    return server.client(ADMIN)


def stage(client, image, data=DATA):
    return client.put(f'/v2/images/{image}/stage', data=data, headers={'Content-Type': 'application/octet-stream'})


def ask(client, image, name, **more):
    method = {'name': name, **({'uri': more.pop('uri')} if 'uri' in more else {})}
    return client.post(f'/v2/images/{image}/import', {'method': method, **more})


def tasks_of(client, image):
    r = client.get(f'/v2/images/{image}/tasks')
    assert r.status_code == 200, r.text
    return r.json()['tasks']


def wait_task(server, client, image):
    """The newest task of the image, once it has ended."""
    def ended():
        task = tasks_of(client, image)[0]
        return task if task['status'] in ('success', 'failure') else None
    return wait_for(ended, server.root, f'end of the import of {image}')


def run(server, client, image, name, **more):
    r = ask(client, image, name, **more)
    assert r.status_code == 202 and r.text == '', r.text
    return wait_task(server, client, image)


def events_of(server, subject):
    """Straight from the journal, where they are when the change is."""
    rows = [row for row in server.journal() if row['subject'] == subject]
    assert [row['seq'] for row in rows] == list(range(1, len(rows) + 1))
    out = []
    for row in (row for row in rows if row['event_type'] != 'image.send'):
        text = row['event_type'] if row['priority'] == 'INFO' else f"{row['priority']} {row['event_type']}"
        out.append(text + (f"({row['payload']['status']})" if row['event_type'] == 'image.update' else ''))
    return out


def files(server, directory):
    return {p.name for p in (server.root / directory).iterdir() if p.name != '.glint-work'}


def nothing_left(server, image):
    for directory in ('images', 'second', 'staging'):
        wait_for(lambda: image not in files(server, directory), server.root / directory, 'disappearance')
        assert not [name for name in files(server, directory) if image in name]


# -- what goes well ------------------------------------------------------------------------------------

def test_glance_direct(server, a):
    image = a.new()['id']
    assert stage(a, image).status_code == 204
    assert a.show(image)['status'] == 'uploading' and files(server, 'staging') == {image}
    assert (server.root / 'staging').stat().st_mode & 0o077 == 0
    task = run(server, a, image, 'glance-direct')
    shown = a.show(image)
    assert (task['status'], task['type'], task['image_id']) == ('success', 'api_image_import', image)
    assert task['result'] == {'image_id': image} and task['message'] == 'Copied 2 MiB'
    assert task['input'] == {'image_id': image, 'import_req': {'method': {'name': 'glance-direct'}}, 'backend': ['fs']}
    assert (shown['status'], shown['size'], shown['virtual_size']) == ('active', len(DATA), len(DATA))
    assert shown['checksum'] == hashlib.md5(DATA).hexdigest() and shown['stores'] == 'fs'
    assert shown['os_hash_value'] == hashlib.sha512(DATA).hexdigest()
    assert shown['os_glance_importing_to_stores'] == '' and shown['os_glance_failed_import'] == ''
    assert 'os_glance_import_task' not in shown
    assert a.download(image).content == DATA
    assert events_of(server, image) == ['image.create', 'image.update(uploading)', 'image.update(uploading)'] + IMPORTED
    assert events_of(server, task['id']) == TASK + ['task.success']
    wait_for(lambda: image not in files(server, 'staging'), server.root / 'staging', 'empty staging')


def test_web_download(server, a, nginx):
    for name in ('disk', 'moved'):
        image = a.new()['id']
        task = run(server, a, image, 'web-download', uri=f'{nginx.url}/{name}')
        assert task['status'] == 'success', task['message']
        assert a.show(image)['checksum'] == hashlib.md5(DATA).hexdigest()
        assert events_of(server, image) == ['image.create'] + IMPORTED


def test_several_stores(server, a, admin, nginx):
    image = a.new()['id']
    assert run(server, a, image, 'web-download', uri=nginx.disk, stores=['fs2', 'fs'])['status'] == 'success'
    assert a.show(image)['stores'] == 'fs2,fs'
    prepared = [row['payload'] for row in server.journal() if row['subject'] == image and row['event_type'] == 'image.prepare']
    assert [p['backend'] for p in prepared] == ['fs2', 'fs']
    assert prepared[0]['os_glance_importing_to_stores'] == ['fs', 'fs2'] and prepared[0]['os_glance_failed_import'] == []
    (server.root / 'second' / image).unlink()  # the heavier one: the other has it, too
    assert a.download(image).content == DATA
    assert admin.delete(f'/v2/stores/fs2/{image}').status_code == 204
    assert a.show(image)['stores'] == 'fs'
    assert admin.delete(f'/v2/stores/fs/{image}').status_code == 403
    assert admin.delete(f'/v2/stores/fs2/{image}').status_code == 403
    assert admin.delete(f'/v2/stores/nowhere/{image}').status_code == 409
    assert a.delete(f'/v2/stores/fs/{image}').status_code == 403
    assert admin.delete(f'/v2/stores/fs/{"0" * 8}-0000-4000-8000-{"0" * 12}').status_code == 404


def test_the_heavier_store_is_read(server, a, nginx):
    image = a.new()['id']
    assert run(server, a, image, 'web-download', uri=nginx.disk, all_stores=True)['status'] == 'success'
    (server.root / 'second' / image).write_bytes(b'x' * len(DATA))
    assert a.download(image).content == b'x' * len(DATA)


def test_copy_image(server, a, admin, nginx):
    image = a.new(DATA)['id']
    assert ask(a, image, 'copy-image', stores=['fs2']).status_code == 403
    assert ask(admin, image, 'copy-image', stores=['fs']).status_code == 400
    assert ask(admin, image, 'copy-image', stores=['none']).status_code == 409
    assert run(server, admin, image, 'copy-image', stores=['fs2'])['status'] == 'success'
    assert a.show(image)['stores'] == 'fs,fs2'
    assert (server.root / 'second' / image).read_bytes() == DATA
    n = len(tasks_of(admin, image))
    assert ask(admin, image, 'copy-image', all_stores=True).status_code == 202
    assert len(tasks_of(admin, image)) == n  # nothing was to do
    queued = a.new()['id']
    assert ask(admin, queued, 'copy-image', stores=['fs2']).status_code == 409


def test_one_of_the_stores_fails(server, a, nginx):
    for must in (True, False):
        image = a.new()['id']
        (server.root / 'second' / image).write_bytes(b'in the way')
        task = run(server, a, image, 'web-download', uri=nginx.disk, all_stores=True, all_stores_must_succeed=must)
        shown = a.show(image)
        assert task['status'] == ('failure' if must else 'success')
        assert (shown['status'], shown['os_glance_failed_import']) == ('queued' if must else 'active', 'fs2')
        assert shown['os_glance_importing_to_stores'] == ''
        assert (image in files(server, 'images')) == (not must)
        (server.root / 'second' / image).unlink()


def test_task_of_type_import(server, admin, nginx):
    r = admin.post('/v2/tasks', {'type': 'import', 'input': {
        'import_from': nginx.disk, 'import_from_format': 'raw',
        'image_properties': {'name': 'by task', 'disk_format': 'raw', 'container_format': 'bare'}}})
    assert r.status_code == 201, r.text
    made = r.json()
    assert r.headers['Location'].endswith(f"/v2/tasks/{made['id']}")
    assert (made['status'], made['message'], made['result']) == ('pending', '', None)

    def ended():
        task = admin.get(f"/v2/tasks/{made['id']}").json()
        return task if task['status'] in ('success', 'failure') else None
    task = wait_for(ended, server.root, 'end of the task')
    assert task['status'] == 'success' and task['message'] == '' and 'image_id' not in task
    image = task['result']['image_id']
    shown = admin.show(image)
    assert (shown['name'], shown['status'], shown['size'], shown['owner']) == ('by task', 'active', len(DATA), ADMIN.project)
    assert events_of(server, task['id']) == TASK + ['task.success']
    assert events_of(server, image) == ['image.create', 'image.update(saving)', 'image.prepare', 'image.upload',
                                        'image.activate', 'image.update(active)']


def test_order_between_task_and_image(server, a, nginx):
    image = a.new()['id']
    task = run(server, a, image, 'web-download', uri=nginx.disk)['id']
    told = [row['event_type'] for row in server.journal() if row['subject'] in (image, task)]
    assert told == ['image.create', 'task.create', 'task.run', 'task.processing', 'image.update', 'image.prepare',
                    'image.upload', 'image.activate', 'image.update', 'image.update', 'task.success']


def test_payload_of_tasks(server, a, nginx):
    image = a.new()['id']
    ask(a, image, 'web-download', uri=nginx.disk + '?signature=S3CR3T')
    task = wait_task(server, a, image)
    rows = [row for row in server.journal() if row['subject'] == task['id']]
    keys = ['id', 'type', 'status', 'result', 'owner', 'message', 'expires_at', 'created_at', 'updated_at', 'deleted',
            'deleted_at', 'task_id', 'task_type', 'task_input']
    assert all(list(row['payload']) == keys for row in rows)
    assert [row['payload']['status'] for row in rows] == ['pending', 'pending', 'processing', 'success']
    assert [row['payload']['result'] for row in rows] == [None, None, None, {'image_id': image}]
    assert all(row['payload']['message'] is None and row['payload']['task_id'] == task['id'] for row in rows)
    assert rows[0]['payload']['task_input']['import_req']['method']['uri'] == nginx.disk + '?***'
    assert all(row['user_id'] == A.user and row['project_id'] == A.project for row in rows)
    for told in (json.dumps(rows), server.log.read_text(), a.get(f'/v2/images/{image}/tasks').text):
        assert 'S3CR3T' not in told
    db = sqlite3.connect(server.database)
    assert not [row for row in db.execute('SELECT input FROM task_info') if row[0] and 'S3CR3T' in row[0]]
    db.close()


# -- what goes wrong -----------------------------------------------------------------------------------

@pytest.mark.parametrize('path, reason', [
    ('missing', 'answered 404'), ('broken', 'answered 500'), ('short', 'sent 3000000 octets'), ('gzip', 'encoded'),
    ('loop', 'redirects more than'), ('inside', 'not one that may be downloaded'), ('changed', 'something else now'),
    ('file', 'not one that may be downloaded')])
def test_bad_sources(server, a, hostile, nginx, path, reason):
    image = a.new()['id']
    task = run(server, a, image, 'web-download', uri=f'{hostile.url}/{path}')
    assert task['status'] == 'failure' and reason in task['message'], task['message']
    shown = a.show(image)
    assert (shown['status'], shown['size'], shown['checksum']) == ('queued', None, None)
    assert shown['os_glance_failed_import'] == 'fs' and 'os_glance_import_task' not in shown
    assert events_of(server, task['id']) == TASK + ['task.failure']
    failed = events_of(server, image)[1:]
    assert failed in (['image.update(importing)', 'image.update(queued)'],
                      ['image.update(importing)', 'image.prepare', 'ERROR image.upload', 'image.update(queued)'])
    nothing_left(server, image)
    assert run(server, a, image, 'web-download', uri=nginx.disk)['status'] == 'success'


def test_a_broken_download_goes_on(server, a, hostile):
    image = a.new()['id']
    assert run(server, a, image, 'web-download', uri=f'{hostile.url}/cut')['status'] == 'success'
    assert a.show(image)['checksum'] == hashlib.md5(DATA).hexdigest()
    assert hostile.seen.count('/cut') == 3


def test_slow_and_endless_sources(servers, tmp_path, hostile):
    root = tmp_path / 'slow'
    s = servers(config(root, DEFAULT={'image_size_cap': str(8 << 20)}, glint={'web_download_stall_timeout': '1'}), name='slow')
    a = s.client(A)
    for path, reason in (('stalled', 'too slow'), ('silent', 'too slow'), ('endless', 'more than 8388608 octets')):
        image = a.new()['id']
        task = run(s, a, image, 'web-download', uri=f'{hostile.url}/{path}')
        assert task['status'] == 'failure' and reason in task['message'], task['message']
        assert a.show(image)['status'] == 'queued'
        nothing_left(s, image)
    assert stage(a, a.new()['id'], b'x' * ((8 << 20) + 1)).status_code == 413
    assert files(s, 'staging') == set()


def test_certificates(servers, tmp_path):
    """Chain and name are verified, and nothing switches that off."""
    own = Certificates(tmp_path / 'own')
    https = Hostile(DATA, own.server)
    https.name_of_another = https.url.replace('localhost', '127.0.0.1')
    try:
        for ca, url, reason in ((own.ca, https.url, None), (own.ca, https.name_of_another, 'certificate'),
                                (None, https.url, 'certificate')):
            name = f'tls-{reason}-{bool(ca)}'
            s = servers(config(tmp_path / name, glint={'web_download_ca_file': ca} if ca else {}), name=name)
            a = s.client(A)
            image = a.new()['id']
            task = run(s, a, image, 'web-download', uri=f'{url}/good')
            if reason:
                assert task['status'] == 'failure' and reason in task['message'], task['message']
            else:
                assert task['status'] == 'success' and a.download(image).content == DATA
    finally:
        https.close()


def test_what_is_refused(server, a, admin, nginx):
    image, bare = a.new()['id'], a.create().json()['id']
    b = server.client(B)
    assert ask(a, image, 'glance-direct').status_code == 409
    assert ask(a, bare, 'web-download', uri=nginx.disk).status_code == 409
    assert ask(a, image, 'nonsense').status_code == 400
    assert ask(a, image, 'web-download').status_code == 400
    assert ask(a, image, 'web-download', uri=nginx.disk, stores=['none']).status_code == 409
    assert ask(a, image, 'web-download', uri=nginx.disk, stores=['os_glance_staging_store']).status_code == 409
    assert ask(b, image, 'web-download', uri=nginx.disk).status_code == 404
    assert stage(b, image).status_code == 404
    assert a.put(f'/v2/images/{image}/stage', data=b'x', headers={'Content-Type': 'text/plain'}).status_code == 415
    for uri in ('file:///etc/passwd', 'ftp://host/x', 'http://', 'nonsense', 'http://169.254.169.254/', 'http://10.0.0.1/',
                'http://[::1]/', 'http://0x0a000001/'):
        r = ask(a, image, 'web-download', uri=uri)
        assert r.status_code == 400, uri
        message_of(r)
    r = ask(a, image, 'web-download', uri=nginx.disk.replace('http://', 'http://user:S3CR3T@'))
    assert r.status_code == 400 and 'S3CR3T' not in r.text
    for key in ('os_glance_import_task', 'os_glance_stage_host', 'os_glance_anything'):
        assert a.create(**{key: 'x'}).status_code == 403
        assert a.patch(image, {'op': 'add', 'path': f'/{key}', 'value': 'x'}).status_code == 403
    assert events_of(server, image) == ['image.create'] and tasks_of(a, image) == []
    assert run(server, a, image, 'web-download', uri=nginx.disk)['status'] == 'success'
    assert ask(a, image, 'web-download', uri=nginx.disk).status_code == 409
    assert stage(a, image).status_code == 409


def test_tasks_are_for_admins(server, a, admin):
    body = {'type': 'import', 'input': {'import_from': 'http://a/'}}
    assert a.post('/v2/tasks', body).status_code == 403
    assert a.get('/v2/tasks').status_code == 403
    for bad in ([], {'type': 'import'}, {'type': 'export', 'input': {}}, {'type': 'import', 'input': []},
                {'type': 'import', 'input': {'import_from': 'file:///etc/passwd'}},
                {'type': 'api_image_import', 'input': {'image_id': 'x'}}):
        assert admin.post('/v2/tasks', bad).status_code == 400
    assert admin.get('/v2/tasks/nonsense').status_code == 404
    r = admin.delete('/v2/tasks/nonsense')
    assert r.status_code == 405 and r.headers['Allow'] == 'GET'
    task = admin.post('/v2/tasks', body).json()['id']

    def failed():
        t = admin.get(f'/v2/tasks/{task}').json()
        return t if t['status'] == 'failure' else None
    assert "'import_from_format'" in wait_for(failed, server.root, 'failure')['message']
    assert events_of(server, task) == TASK + ['ERROR task.run', 'task.failure']


def test_making_tasks_is_off_by_default(servers):
    s = servers()
    r = s.client(ADMIN).post('/v2/tasks', {'type': 'import', 'input': {}})
    assert r.status_code == 403 and 'allow_task_import' in message_of(r)
    assert s.client(ADMIN).get('/v2/tasks').json()['tasks'] == []


def test_paging_of_tasks(server, admin):
    for _ in range(5):
        admin.post('/v2/tasks', {'type': 'import', 'input': {'import_from': 'http://a/'}})
    seen, url = [], '/v2/tasks?limit=2&type=import'
    while url:
        page = admin.get(url).json()
        assert len(page['tasks']) <= 2 and page['first'] == '/v2/tasks?limit=2&type=import'
        seen += [t['id'] for t in page['tasks']]
        url = page.get('next')
    everything = [t['id'] for t in admin.get('/v2/tasks?limit=1000&type=import').json()['tasks']]
    assert seen == everything and len(seen) >= 5 and len(set(seen)) == len(seen)
    assert admin.get('/v2/tasks?status=done').status_code == 400
    assert admin.get('/v2/tasks?marker=00000000-0000-4000-8000-000000000000').status_code == 400


# -- deleted, stopped, killed --------------------------------------------------------------------------

def test_deleted_while_staged(server, a):
    image = a.new()['id']
    stage(a, image)
    assert a.remove(image).status_code == 204
    nothing_left(server, image)
    assert events_of(server, image)[-1] == 'image.delete'


def test_deleted_while_it_is_being_staged(server, a):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/stage', who=A, Content_Type='application/octet-stream', Content_Length='9')
        raw.send(b'x')
        wait_for(lambda: a.show(image)['status'] == 'uploading', server.root, 'staging')
        assert ask(a, image, 'glance-direct').status_code == 409  # half of it is not to be imported
        assert a.remove(image).status_code == 204
        raw.send(b'12345678')
        assert raw.answer().status == 410
    nothing_left(server, image)
    assert events_of(server, image) == ['image.create', 'image.update(uploading)', 'ERROR image.upload', 'image.delete']


def test_deleted_in_the_middle(server, a, hostile):
    image = a.new()['id']
    assert ask(a, image, 'web-download', uri=f'{hostile.url}/held').status_code == 202
    assert hostile.waiting.wait(60)
    task = tasks_of(a, image)[0]
    assert task['status'] == 'processing' and a.show(image)['status'] == 'importing'
    assert ask(a, image, 'web-download', uri=f'{hostile.url}/good').status_code == 409
    assert a.upload(image, b'x').status_code == 409
    wait_for(lambda: 'image.prepare' in events_of(server, image), server.root, 'image.prepare')
    assert a.remove(image).status_code == 204
    admin = server.client(ADMIN)
    wait_for(lambda: admin.get(f"/v2/tasks/{task['id']}").json()['status'] == 'failure', server.root, 'failure')
    nothing_left(server, image)
    assert events_of(server, image) == ['image.create', 'image.update(importing)', 'image.prepare', 'ERROR image.upload',
                                        'image.delete']
    assert events_of(server, task['id']) == TASK + ['task.failure']


@pytest.mark.parametrize('how', ['killed', 'stopped'])
def test_goes_on_after_the_end_of_the_process(servers, tmp_path, hostile, how):
    root = tmp_path / 'again'
    s = servers(config(root, glint={'shutdown_timeout': '0'}), name='again')
    a = s.client(A)
    image = a.new()['id']
    ask(a, image, 'web-download', uri=f'{hostile.url}/held')
    assert hostile.waiting.wait(60)
    wait_for(lambda: 'image.prepare' in events_of(s, image), s.root, 'image.prepare')
    s.kill9() if how == 'killed' else s.stop()
    hostile.gate.set()
    s.start()
    a = s.client(A)
    assert wait_task(s, a, image)['status'] == 'success'
    assert a.download(image).content == DATA
    assert events_of(s, image) == ['image.create'] + IMPORTED
    assert events_of(s, tasks_of(a, image)[0]['id']) == TASK + ['task.success']


def test_no_more_at_a_time_than_told(servers, tmp_path, hostile):
    root = tmp_path / 'few'
    s = servers(config(root, taskflow_executor={'max_workers': '2'}), name='few')
    a = s.client(A)
    images = [a.new()['id'] for _ in range(5)]
    for image in images:
        assert ask(a, image, 'web-download', uri=f'{hostile.url}/held').status_code == 202
    wait_for(lambda: hostile.seen.count('/held') == 2, s.root, 'two downloads')
    assert [tasks_of(a, i)[0]['status'] for i in images] == ['processing'] * 2 + ['pending'] * 3
    assert a.remove(images[4]).status_code == 204  # it waits
    hostile.gate.set()
    for image in images[:4]:
        assert wait_task(s, a, image)['status'] == 'success'
    nothing_left(s, images[4])
    assert hostile.seen.count('/held') == 4
    assert events_of(s, images[4]) == ['image.create', 'image.delete']


def test_many_in_the_queue(servers, tmp_path, nginx):
    root = tmp_path / 'many'
    s = servers(config(root, taskflow_executor={'max_workers': '2'}), name='many')
    a = s.client(A)
    images = [a.new()['id'] for _ in range(30)]
    for image in images:
        assert ask(a, image, 'web-download', uri=nginx.disk).status_code == 202
    for image in images:
        assert wait_task(s, a, image)['status'] == 'success'
    assert files(s, 'images') == set(images)


# -- plugins -------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def plugged(tmp_path_factory):
    root = tmp_path_factory.mktemp('plugged')
    s = make_server(root, config(root, image_import_opts={'image_import_plugins':
                                                          '[inject_image_metadata, image_decompression, image_conversion]'},
                                 inject_metadata_properties={'ignore_user_roles': 'admin', 'inject': '"colour":"blue"'
                                                             .replace('"', '') + ', size: XL'},
                                 DEFAULT={'image_size_cap': str(64 << 20)})).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def disks(tmp_path_factory):
    """Images as qemu-img makes them, of the same disk."""
    d = tmp_path_factory.mktemp('disks')
    (d / 'raw').write_bytes(pattern(1 << 20) + bytes(1 << 20))
    for args in (['convert', '-O', 'qcow2', 'raw', 'qcow2'], ['convert', '-O', 'vmdk', 'raw', 'vmdk'],
                 ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/passwd', 'backed', '1M']):
        subprocess.run(['/usr/bin/qemu-img', *args], cwd=d, check=True, capture_output=True)
    for name in ('raw', 'qcow2'):
        subprocess.run(['gzip', '-k', name], cwd=d, check=True)
    return d


def test_plugins(plugged, disks, nginx):
    a, admin = plugged.client(A), plugged.client(ADMIN)
    raw = (disks / 'raw').read_bytes()
    for name, kind, container in (('qcow2', 'qcow2', 'bare'), ('vmdk', 'vmdk', 'bare'), ('raw', 'raw', 'bare'),
                                  ('raw.gz', 'raw', 'compressed'), ('qcow2.gz', 'qcow2', 'compressed')):
        image = a.new(disk_format=kind, container_format=container)['id']
        task = run(plugged, a, image, 'web-download', uri=nginx.put(name, (disks / name).read_bytes()))
        assert task['status'] == 'success', task['message']
        shown = a.show(image)
        assert (shown['disk_format'], shown['container_format'], shown['size']) == ('raw', 'bare', len(raw))
        assert shown['virtual_size'] == len(raw) and (shown['colour'], shown['os_glance_failed_import']) == ('blue', '')
        assert a.download(image).content == raw
    image = admin.new()['id']
    assert run(plugged, admin, image, 'web-download', uri=nginx.put('raw', raw))['status'] == 'success'
    assert 'colour' not in admin.show(image)
    assert list((plugged.root / 'staging' / '.glint-work').iterdir()) == []


def test_plugins_refuse(plugged, disks, nginx):
    a = plugged.client(A)
    bomb = subprocess.run('head -c 100000000 /dev/zero | gzip', shell=True, capture_output=True, check=True).stdout
    for name, data, kind, container, reason in (
            ('backed', (disks / 'backed').read_bytes(), 'qcow2', 'bare', 'backing file'),
            ('as-raw', (disks / 'qcow2').read_bytes(), 'raw', 'bare', 'its data is qcow2'),
            ('cut.gz', (disks / 'raw.gz').read_bytes()[:-100], 'raw', 'compressed', 'cut off'),
            ('bomb.gz', bomb, 'raw', 'compressed', 'unpacks to more'), ('plain', b'plain', 'raw', 'compressed', 'neither')):
        image = a.new(disk_format=kind, container_format=container)['id']
        task = run(plugged, a, image, 'web-download', uri=nginx.put(name, data))
        assert task['status'] == 'failure' and reason in task['message'], (name, task['message'])
        shown = a.show(image)
        assert (shown['status'], shown['disk_format'], shown['container_format']) == ('queued', kind, container)
        nothing_left(plugged, image)
    assert list((plugged.root / 'staging' / '.glint-work').iterdir()) == []


# -- what is on offer ----------------------------------------------------------------------------------

def test_info(server, a, admin):
    assert a.get('/v2/info/import').json()['import-methods']['value'] == METHODS.split(',')
    assert a.get('/v2/info/stores').json() == {'stores': [{'id': 'fs', 'description': 'the first', 'default': 'true'},
                                                          {'id': 'fs2'}]}
    assert a.get('/v2/info/stores/detail').status_code == 403
    detail = admin.get('/v2/info/stores/detail').json()['stores']
    assert [(s['id'], s['type'], s['weight']) for s in detail] == [('fs', 'file', 0), ('fs2', 'file', 10)]
    assert detail[1]['properties']['data_dir'] == str(server.root / 'second')
    assert [s['properties']['thin_provisioning'] for s in detail] == [False, True]
    r = a.create(disk_format='raw', container_format='bare')
    assert r.headers['OpenStack-image-import-methods'] == METHODS and r.headers['OpenStack-image-store-ids'] == 'fs,fs2'
    ids = [v['id'] for v in a.get('/versions').json()['versions']]
    assert ids[0] == 'v2.17' and {'v2.6', 'v2.8', 'v2.12'} <= set(ids)
    image = a.new()['id']
    assert a.upload(image, b'x', headers={'X-Image-Meta-Store': 'fs2'}).status_code == 204
    assert a.show(image)['stores'] == 'fs2'
    assert a.upload(a.new()['id'], b'x', headers={'X-Image-Meta-Store': 'none'}).status_code == 400


def test_one_store_without_a_name(servers):
    a = servers().client(A)
    assert a.get('/v2/info/stores').status_code == 404 and a.get('/v2/info/stores/detail').status_code == 404
    ids = [v['id'] for v in a.get('/versions').json()['versions']]
    assert ids[:2] == ['v2.17', 'v2.15'] and 'v2.8' not in ids
    image = a.new()['id']
    assert stage(a, image).status_code == 204
    r = ask(a, image, 'glance-direct', all_stores_must_succeed=False)
    assert r.status_code == 400, r.text
    assert ask(a, image, 'glance-direct').status_code == 202


# -- real clients --------------------------------------------------------------------------------------



@pytest.fixture(scope='module')
def open_server(tmp_path_factory):
    """Without authentication, for the commands: they can set no identity headers."""
    root = tmp_path_factory.mktemp('open')
    s = make_server(root, config(root, paste_deploy={'flavor': ''})).start()
    yield s
    s.stop()


def command(program, words, **kwargs):
    r = commands.run(program, words, **kwargs)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def wait_active(server, image):
    c = server.client(ADMIN)
    wait_for(lambda: c.show(image)['status'] == 'active', server.root, 'active image')
    return c.show(image)


def test_openstack_commands(open_server, nginx, tmp_path):
    """Debian 12's has no `image import` yet; `create --import` stages and imports."""
    disk = tmp_path / 'disk'
    disk.write_bytes(DATA)

    def osc(*words):
        return command('openstack', ['--os-auth-type', 'none', '--os-endpoint', open_server.url, 'image', *words])
    made = json.loads(osc('create', '--disk-format', 'raw', '--container-format', 'bare', '--import', '--file', disk, '-f',
                          'json', 'imported'))
    assert wait_active(open_server, made['id'])['checksum'] == hashlib.md5(DATA).hexdigest()


def test_glance_commands(open_server, nginx, tmp_path):
    disk = tmp_path / 'disk'
    disk.write_bytes(DATA)

    def glance(*words):
        return command('glance', ['--os-image-url', open_server.url, '--os-auth-token', 'any', *words],
                       stdin=None)  # it would take a standard input for the data

    def made(out):
        return next(line.split('|')[2].strip() for line in out.splitlines() if line.startswith('| id '))
    image = made(glance('image-create-via-import', '--import-method', 'glance-direct', '--file', disk, '--disk-format', 'raw',
                        '--container-format', 'bare', '--name', 'direct'))
    assert wait_active(open_server, image)['size'] == len(DATA)
    image = made(glance('image-create-via-import', '--import-method', 'web-download', '--uri', nginx.disk, '--disk-format',
                        'raw', '--container-format', 'bare', '--name', 'web'))
    assert wait_active(open_server, image)['size'] == len(DATA)
    glance('image-import', image, '--import-method', 'copy-image', '--stores', 'fs2')
    wait_for(lambda: open_server.client(ADMIN).show(image).get('stores') == 'fs,fs2', open_server.root, 'copy')
    assert 'fs2' in glance('stores-info') and 'import-methods' in glance('import-info')
    assert 'api_image_import' in glance('task-list')


def test_sdk(server, nginx):
    import openstack
    from keystoneauth1 import noauth, session
    s = session.Session(auth=noauth.NoAuth(endpoint=server.url), additional_headers=ADMIN.headers())
    sdk = openstack.connection.Connection(session=s, image_endpoint_override=server.url + '/v2', image_api_version='2')
    image = sdk.image.create_image('sdk', disk_format='raw', container_format='bare', wait=False, allow_duplicates=True,
                                   filename=None, validate_checksum=False)
    sdk.image.import_image(image, method='web-download', uri=nginx.disk)
    assert wait_active(server, image.id)['size'] == len(DATA)
    assert any(t.type == 'api_image_import' for t in sdk.image.tasks())
