# SPDX-License-Identifier: Apache-2.0
"""Locations: what an attacker names, and beside it the harmless twin that has to go through.

  A3  no header of an answer says where data lies       A17  ports of machines that are not the attacker's
  A9  files of the host, in every spelling              A19  qcow2 that points outside itself
  A14 other data under the same id                      A21  redirects and numbers that lead inside
  C1  secrets in the URL of a location"""
import json
import socket
import sqlite3
import struct
import time

import pytest

from harness import A, ADMIN, B, Who, make_server, message_of, pattern, wait_for
from sources import Hostile

DATA = pattern(1_500_000)
SERVICE = Who('5' * 32, '6' * 32, 'service,member,reader')
REFUSED = 'The URL is not one that may be downloaded from here.'
SCHEMES = ['file:///etc/passwd', 'FILE:///etc/passwd', 'File:/etc/passwd', 'file:/etc/passwd', '%66ile:///etc/passwd',
           ' file:///etc/passwd', 'filesystem:///etc/passwd', 'FileSystem:///etc/passwd', 'swift+config://a/b/c',
           'SWIFT+CONFIG://a/b',
           'cinder://5e0a4a3b-6a38-4e24-8b09-8c3a3a5a5a5a', 'rbd://a/b/c/d', 'vsphere://h/p', 's3://k:s@h/b/o', 'ftp://h/x',
           'gopher://h/x', 'nosuch://x', 'sheepdog://;id', 'https:/etc/passwd', 'http:', '/etc/passwd', 'x', '\tfile:///etc/passwd',
           'file://%(store)s']


def config(root, allowed):
    return {'DEFAULT': {'enabled_backends': 'fs:file,web:http', 'show_multiple_locations': 'true', 'http_retries': 0,
                        'show_image_direct_url': 'true', 'debug': 'true', 'metadata_encryption_key': 'k' * 32,
                        'enabled_import_methods': 'web-download'},
            'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None},
            'fs': {'filesystem_store_datadir': root / 'images'},
            'import_filtering_opts': {'allowed_ports': ''},
            'glint': {'web_download_allow_networks': allowed, 'web_download_stall_timeout': '2', 'web_download_max_resumes': '0',
                      'max_location_reads_per_project': '8'}}


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """One that may go to one address of this machine, 127.0.0.1, and to none else."""
    root = tmp_path_factory.mktemp('located')
    s = make_server(root, config(root, '127.0.0.1/32')).start()
    yield s
    s.errors_expected = True
    s.stop()
    assert all(' 503 ' in line for line in s.service_errors())


@pytest.fixture(scope='module')
def closed(tmp_path_factory):
    """One that may go nowhere inside."""
    root = tmp_path_factory.mktemp('closed')
    s = make_server(root, config(root, '')).start()
    yield s
    s.stop()


@pytest.fixture
def web():
    h = Hostile(DATA)
    yield h
    h.close()


def add(url):
    return {'op': 'add', 'path': '/locations/-', 'value': {'url': url, 'metadata': {}}}


def ways(client, image, url):
    """Each way to name a location."""
    yield client.patch(image, add(url))
    yield client.patch(image, {'op': 'replace', 'path': '/locations', 'value': [{'url': url, 'metadata': {}}]})
    yield client.post(f'/v2/images/{image}/locations', {'url': url})


def unchanged(client, image):
    shown = client.show(image)
    return shown['status'] == 'queued' and shown['locations'] == []


@pytest.mark.parametrize('who', [A, ADMIN, SERVICE], ids=['member', 'admin', 'service'])
def test_a9_files_of_the_host(server, web, who):
    client = server.client(who)
    victim = client.new(b'victim')['id']
    for url in SCHEMES:
        url = url % {'store': server.images / victim} if '%(' in url else url
        image = client.new()['id']
        for r in ways(client, image, url):
            assert r.status_code == 400 and 'root:' not in r.text, (url, r.text)
        assert unchanged(client, image)
        assert client.remove(image).status_code == 204
    assert (server.images / victim).read_bytes() == b'victim'
    image = client.new()['id']
    assert client.patch(image, add(web.url + '/good')).status_code == 200
    assert client.download(image).content == DATA


def test_a9_where_locations_are_not_shown(servers, web):
    server = servers({'glance_store': {'stores': 'file,http'}})
    for who in (A, ADMIN, SERVICE):
        client = server.client(who)
        image = client.new()['id']
        for url in SCHEMES[:8]:
            assert [r.status_code for r in ways(client, image, url)] == [403, 403, 400]
        assert client.show(image)['status'] == 'queued'


def test_a14_other_data_under_the_same_id(server, web):
    a, admin = server.client(A), server.client(ADMIN)
    evil = Hostile(DATA[:-1] + b'!')
    try:
        image = a.new()['id']
        assert a.patch(image, add(web.url + '/parts')).status_code == 200
        before = a.show(image)
        for client in (a, admin):
            r = client.patch(image, add(evil.url + '/parts'))
            assert r.status_code == 409, r.text
            assert client.patch(image, {'op': 'replace', 'path': '/locations', 'value': []}).status_code == 403
            assert client.patch(image, {'op': 'remove', 'path': '/locations/0'}).status_code == 403
            both = client.patch(image, add(evil.url + '/parts'), {'op': 'remove', 'path': '/locations/0'})
            assert both.status_code in (403, 409)
            assert client.post(f'/v2/images/{image}/locations', {'url': evil.url + '/parts'}).status_code == 409
        assert a.show(image) == before and a.download(image).content == DATA
        good, web.data = web.data, evil.data  # the server itself turns evil, by one octet at the end
        r = a.download(image, {'Range': 'bytes=-10'})
        assert r.status_code == 503
        web.data = good
        assert a.download(image).content == DATA
        evil.data = DATA
        assert a.patch(image, add(evil.url + '/parts')).status_code == 200
    finally:
        evil.close()


def test_a14_data_that_is_longer_than_it_was(server, web):
    a = server.client(A)
    image = a.new()['id']
    assert a.patch(image, add(web.url + '/parts')).status_code == 200
    web.data = DATA + b'more'
    assert a.download(image).content == DATA
    web.data = DATA[:1_000_000]
    assert a.download(image, {'Range': 'bytes=1200000-1200009'}).status_code == 503


INSIDE = ['http://127.0.0.1:%d/good', 'http://2130706433:%d/good', 'http://0x7f000001:%d/good', 'http://0177.0.0.1:%d/good',
          'http://127.1:%d/good', 'http://[::ffff:127.0.0.1]:%d/good', 'http://[::1]:%d/good', 'http://localhost:%d/good',
          'http://169.254.169.254/latest', 'http://10.0.0.1:%d/', 'http://u:p@127.0.0.1:%d/good', 'http://u@example.org/']


def test_a17_a21_what_is_inside(closed, server, web):
    """The same words whether something listens or not, and nothing is connected to."""
    a, port = closed.client(A), web.server_address[1]
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        free = s.getsockname()[1]
        texts = set()
        for url in INSIDE:
            for p in (port, free):
                image = a.new()['id']
                began = time.monotonic()
                *answers, asked = ways(a, image, url % p if '%d' in url else url)
                for r in answers:
                    assert r.status_code == 400, (url, r.text)
                    texts.add(message_of(r))
                if asked.status_code == 202:  # a name: it is only known where it leads once it is asked
                    wait_for(lambda: a.show(image)['status'] == 'queued' and 'os_glance_import_task' not in a.show(image),
                             closed.root, 'end of the task')
                else:
                    assert asked.status_code == 400
                assert time.monotonic() - began < 20
        assert texts == {REFUSED}
    assert web.seen == []
    image = server.client(A).new()['id']
    assert server.client(A).patch(image, add(INSIDE[0] % port)).status_code == 200


def test_a21_redirects(server, web):
    a = server.client(A)
    for path in ('/inside', '/file', '/loop'):
        image = a.new()['id']
        r = a.patch(image, add(web.url + path))
        assert r.status_code == 400 and unchanged(a, image)
    image = a.new()['id']
    assert a.patch(image, add(web.url + '/good')).status_code == 200
    web.RequestHandlerClass.at_turned = web.RequestHandlerClass.at_good
    turned = a.new()['id']
    assert a.patch(turned, add(web.url + '/turned')).status_code == 200
    web.RequestHandlerClass.at_turned = web.RequestHandlerClass.at_inside
    assert a.download(turned).status_code == 503  # each hop of each read is judged


def qcow2(backing=b'', incompatible=0, name=b''):
    """A disk of 1 MiB without a cluster of data. @name: of a data file, as an extension."""
    header = bytearray(112)
    struct.pack_into('>4sIQIIQIIQQIIQQQQII', header, 0, b'QFI\xfb', 3, 512 if backing else 0, len(backing), 16, 1 << 20, 0, 1,
                     0x30000, 0x10000, 1, 0, 0, incompatible, 0, 0, 4, 104)
    body = bytes(header)[:104]
    if name:
        body += struct.pack('>II', 0x44415441, len(name)) + name + bytes(-len(name) % 8)
    body += struct.pack('>II', 0, 0)
    return (body.ljust(512, b'\0') + backing).ljust(0x40000, b'\0')


@pytest.mark.parametrize('bad', [qcow2(b'/etc/passwd'), qcow2(b'json:{"driver":"file"}'),
                                 qcow2(incompatible=4, name=b'/etc/passwd'), b'no qcow2 at all'],
                         ids=['backing file', 'json', 'data file', 'raw'])
def test_a19_what_points_outside(server, web, bad):
    a = server.client(A)
    web.data = bad
    image = a.new(disk_format='qcow2')['id']
    r = a.patch(image, add(web.url + '/good'))
    assert r.status_code == 415 and unchanged(a, image), r.text
    assert a.post(f'/v2/images/{image}/locations', {'url': web.url + '/good'}).status_code == 202
    wait_for(lambda: a.get(f'/v2/images/{image}/tasks').json()['tasks'][0]['status'] == 'failure', server.root, 'the task')
    assert unchanged(a, image)
    raw = a.new()['id']  # declared as raw
    if bad.startswith(b'QFI'):
        assert a.patch(raw, add(web.url + '/good')).status_code == 415
    web.data = qcow2()
    assert a.patch(image, add(web.url + '/good')).status_code == 200
    assert a.show(image)['virtual_size'] == 1 << 20


def test_a3_c1_secrets_of_a_url(server, web):
    a, b, admin = server.client(A), server.client(B), server.client(ADMIN)
    secret = web.url + '/parts?sig=CANARY-sas'
    answers = []
    for path in ('/parts', '/missing', '/broken', '/inside'):
        image = a.new()['id']
        answers.append(a.patch(image, add(f'{web.url}{path}?sig=CANARY-sas')))
        image = a.new()['id']
        answers.append(a.post(f'/v2/images/{image}/locations', {'url': f'{web.url}{path}?sig=CANARY-sas'}))
        wait_for(lambda: a.get(f'/v2/images/{image}/tasks').json()['tasks'][0]['status'] in ('failure', 'success'),
                 server.root, 'the task')
        answers.append(a.get(f'/v2/images/{image}/tasks'))
    shown = answers[0].json()
    assert shown['locations'][0]['url'] == secret  # its owner is told, and nobody else
    image = shown['id']
    assert a.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'community'}).status_code == 200
    answers = answers[1:] + [b.get(f'/v2/images/{image}'), b.get('/v2/images?visibility=community'), b.download(image),
                             admin.get('/v2/tasks'), admin.get('/metrics'), a.download(image)]
    assert b.download(image).content == DATA
    server.settle()
    sinks = [str(r.headers) + r.content.decode('latin-1') for r in answers]
    sinks += [str(a.get(f'/v2/images/{image}').headers), server.log.read_text(), server.stderr.read_text(),
              json.dumps(server.journal())]
    db = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True)
    try:
        for table in ('glint_events', 'glint_removals', 'glint_jobs', 'image_locations', 'task_info'):
            sinks.append(str(db.execute(f'SELECT * FROM {table}').fetchall()))
    finally:
        db.close()
    for text in sinks:
        assert 'CANARY' not in text, [line for line in text.splitlines() if 'CANARY' in line][:3]
    for r in (b.get(f'/v2/images/{image}'), b.download(image), a.download(image)):
        assert web.url not in str(r.headers)
