# SPDX-License-Identifier: Apache-2.0
"""The life of an image, step by step as Glance was measured (data/): status, headers and body of every
answer and every notification are the same, apart from what is listed here."""
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from harness import A, ADMIN, TARGET, Raw, Who, make_server, message_of, pattern, wait_for, without

DATA = Path(__file__).parent / 'data'

CONFIG = {
    'DEFAULT': {'default_publisher_id': 'image.localhost', 'enabled_backends': 'fs:file'},
    'glance_store': {'filesystem_store_datadir': None, 'default_backend': 'fs'},
}

# Not compared, and why:
#   openstack-image-import-methods, -store-ids   they list what the installation has
#   content-length, content-type of errors       the text is another; errors are JSON here
#   content-type of an answer without a body     there is nothing to describe
SKIPPED_HEADERS = {'openstack-image-import-methods', 'openstack-image-store-ids'}
BODY_HEADERS = {'content-length', 'content-type'}


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """A named store `fs`, as the captures have it."""
    root = tmp_path_factory.mktemp('server')
    config = {**CONFIG, 'fs': {'filesystem_store_datadir': root / 'images'}}
    s = make_server(root, config).start()
    yield s
    s.stop()


def normal(text):
    text = re.sub(r'req-[0-9a-f-]{36}', '<request-id>', text)
    text = re.sub(r'(?!c0ffee00-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', text)
    text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', '<time>', text)
    text = re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?"', '<stamp>"', text)
    return re.sub(r'http://127\.0\.0\.1:\d+', '<endpoint>', text)


def sorted_tags(text):
    """The tags are a set: their order says nothing."""
    return re.sub(r'("tags": )(\[[^]]*\])', lambda m: m[1] + json.dumps(sorted(json.loads(m[2]))), text)


def with_destination(text):
    """glint's image.send has the address of the receiver, at the end."""
    if TARGET != 'glance' and '"event_type": "image.send"' in text:
        return text.replace('}, "timestamp"', ', "destination_ip": "127.0.0.1"}, "timestamp"')
    return text


def play(server, step):
    """Sends one step. Returns the answer and the notifications it has caused."""
    who = Who(step['user'], step['project'], step['roles'])
    before = len(server.events())
    if step['what'] == 'download, stored file has 100 of 190 octets':
        image = step['path'].split('/')[3]
        os.truncate(server.images / image, 100)
        return who, download_until_it_breaks(server, who, step), before
    if step['what'] == 'ranged download, beyond what is stored':
        return who, download_until_it_breaks(server, who, step), before
    if step['what'] == 'download, stored file missing':
        (server.images / step['path'].split('/')[3]).unlink()
    return who, server.client(who).call(step['method'], step['path'], headers=step['headers'],
                                        data=step.get('body')), before


def download_until_it_breaks(server, who, step):
    """The body is shorter than announced: only a raw socket shows status and octets."""
    with Raw(server) as raw:
        raw.head(step['method'], step['path'], who=who, Connection='close',
                 **{k.replace('-', '_'): v for k, v in step['headers'].items()})
        return raw.answer()


def check_answer(step, answer):
    if not hasattr(answer, 'status_code'):  # a broken download
        assert (answer.status, answer.complete) == (step['status'], False)
        assert answer.body == step['answer'].encode()
        return
    assert answer.status_code == step['status'], answer.text
    skipped = set(SKIPPED_HEADERS)
    if step['status'] >= 400 or not step['answer']:
        skipped |= BODY_HEADERS
    wanted = without(step['answer_headers'], *skipped)
    got = {k.lower(): normal(v) for k, v in answer.headers.items()}
    assert {k: got.get(k) for k in wanted} == wanted
    if step['status'] >= 400:
        if step['method'] != 'HEAD':
            message_of(answer)
    elif '/file' in step['path']:
        assert answer.text == step['answer']
    else:
        assert sorted_tags(normal(answer.text)) == sorted_tags(step['answer'])


def check_events(server, step, before):
    server.settle()
    found = server.events()[before:-1]  # without settle()'s own
    assert [(e.level, e.logger) for e in found] == [(e['level'], e['logger']) for e in step['events']]
    for event, wanted in zip(found, step['events']):
        assert normal(event.context) == wanted['context']
        assert sorted_tags(normal(event.text)) == sorted_tags(with_destination(wanted['document']))


def scenario_names():
    return sorted(p.stem for p in DATA.glob('*.json'))


@pytest.mark.parametrize('name', scenario_names())
def test_as_measured(server, name):
    for step in json.loads((DATA / f'{name}.json').read_text())['steps']:
        who, answer, before = play(server, step)
        try:
            check_answer(step, answer)
            wait_for_sends(server, step, before)
            check_events(server, step, before)
        except AssertionError as e:
            raise AssertionError(f"{name}, step '{step['what']}': {e}") from e


def wait_for_sends(server, step, before):
    """image.send follows when the last octet is out, maybe after the client has it."""
    if any(e['logger'].endswith('image.send') for e in step['events']):
        wait_for(lambda: len(server.events()) > before, server.root, 'image.send')


def test_names_without_a_store_id(servers):
    """One nameless store: image.prepare has no `backend`."""
    server = servers()
    image = server.client().new(b'x')['id']
    prepare = server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'image.upload',
                                  'image.activate', 'image.update(active)'], image)[2]
    assert list(prepare.payload)[-2:] == ['os_glance_importing_to_stores', 'os_glance_failed_import']


def test_store_asked_for(server, admin):
    """A client may name the store; one that is not there is a mistake, and nothing has begun."""
    image = admin.new()['id']
    r = admin.upload(image, b'x', headers={'X-Image-Meta-Store': 'nosuch'})
    assert r.status_code == 400
    message_of(r)
    assert admin.show(image)['status'] == 'queued'
    assert [e.short for e in server.settled_events(image)] == ['image.create']
    assert admin.upload(image, b'x', headers={'X-Image-Meta-Store': 'fs'}).status_code == 204


def test_named_store_is_shown(server, admin):
    image = admin.new()['id']
    assert 'stores' not in admin.show(image)
    assert admin.upload(image, b'x').status_code == 204
    assert admin.show(image)['stores'] == 'fs'
    assert admin.create(stores='fs').status_code == 403


def test_a_whole_life(server):
    """Through every state and back, with the bytes on disk and the answers of each."""
    me = server.client(A)
    data = pattern(100_000)
    image = me.new(name='whole life', tags=['x'], colour='blue')
    assert (image['status'], image['size'], image['owner']) == ('queued', None, A.project)
    assert me.upload(image['id'], data).status_code == 204
    active = me.show(image['id'])
    assert (active['status'], active['size']) == ('active', len(data))
    assert (server.images / image['id']).read_bytes() == data
    assert me.download(image['id']).content == data
    admin = server.client(ADMIN)
    assert admin.action(image['id'], 'deactivate').status_code == 204
    assert me.show(image['id'])['status'] == 'deactivated'
    assert me.download(image['id']).status_code == 403
    assert admin.action(image['id'], 'reactivate').status_code == 204
    assert me.download(image['id']).content == data
    assert me.remove(image['id']).status_code == 204
    assert me.get(f"/v2/images/{image['id']}").status_code == 404
    assert not (server.images / image['id']).exists()


def test_hashes(server, admin):
    data = pattern(3_000_001)
    image = admin.show(admin.new(data)['id'])
    assert image['checksum'] == hashlib.md5(data).hexdigest()
    assert (image['os_hash_algo'], image['os_hash_value']) == ('sha512', hashlib.sha512(data).hexdigest())


def test_another_hash(servers):
    server = servers({'DEFAULT': {'hashing_algorithm': 'sha256'}})
    client = server.client()
    image = client.show(client.new(b'some data')['id'])
    assert (image['os_hash_algo'], image['os_hash_value']) == ('sha256', hashlib.sha256(b'some data').hexdigest())


def test_survives_a_restart(servers):
    server = servers()
    client = server.client()
    image = client.new(b'kept', name='kept', tags=['t'], colour='blue')['id']
    assert client.share(image, A.project).status_code == 200
    before = client.show(image)
    server.restart()
    client = server.client()
    after = client.show(image)
    assert after == before
    assert client.download(image).content == b'kept'
    assert [m['member_id'] for m in client.get(f'/v2/images/{image}/members').json()['members']] == [A.project]


def test_an_id_is_given_out_once(server, admin):
    image = admin.new()['id']
    assert admin.create(id=image).status_code == 409
    assert admin.remove(image).status_code == 204
    assert admin.create(id=image).status_code == 409


def test_deleting_an_image_removes_its_bytes(server, admin):
    image = admin.new(b'x' * 1000)['id']
    assert image in server.stored_files()
    assert admin.remove(image).status_code == 204
    assert image not in server.stored_files()
    assert admin.remove(image).status_code == 404


def test_protected(server, admin):
    image = admin.new(b'x', protected=True)['id']
    r = admin.remove(image)
    assert r.status_code == 403 and image in message_of(r)
    assert admin.patch(image, {'op': 'replace', 'path': '/protected', 'value': False}).status_code == 200
    assert admin.remove(image).status_code == 204


@pytest.mark.parametrize('verb', ['deactivate', 'reactivate'])
def test_action_on_a_queued_image(server, admin, verb):
    image = admin.new()['id']
    assert admin.action(image, verb).status_code in (400, 403)  # 403 where it was measured
    assert [e.short for e in server.settled_events(image)] == ['image.create']


def test_unknown_action(admin):
    assert admin.action(admin.new()['id'], 'detonate').status_code == 404


def test_unknown_images(admin):
    nobody = '00000000-0000-4000-8000-000000000000'
    for method, tail in [('GET', ''), ('DELETE', ''), ('GET', '/file'), ('GET', '/members'),
                         ('PUT', '/tags/x'), ('DELETE', '/tags/x'), ('POST', '/actions/deactivate')]:
        r = admin.call(method, f'/v2/images/{nobody}{tail}')
        assert r.status_code == 404, (method, tail)
        message_of(r)
    assert admin.patch(nobody, {'op': 'replace', 'path': '/name', 'value': 'x'}).status_code == 404
    assert admin.upload(nobody, b'x').status_code == 404
