# SPDX-License-Identifier: Apache-2.0
"""PATCH /v2/images/{id}: both media types, every operation, every refusal; all or nothing."""
import json
import threading

import pytest

from harness import A, B, PATCH_V20, PATCH_V21, Client, message_of, without, write_config


@pytest.fixture
def image(a):
    return a.new(name='before', tags=['t'], colour='blue', empty='')['id']


def add(path, value):
    return {'op': 'add', 'path': path, 'value': value}


def replace(path, value):
    return {'op': 'replace', 'path': path, 'value': value}


def remove(path):
    return {'op': 'remove', 'path': path}


def send(client, image, body, media=PATCH_V21):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return client.call('PATCH', f'/v2/images/{image}', data=data, headers={'Content-Type': media} if media else {})


def refused(client, image, status, body, media=PATCH_V21):
    """Refused with one sentence, and nothing changed."""
    before = client.show(image)
    r = send(client, image, body, media)
    assert r.status_code == status, r.text[:500]
    sentence = message_of(r)
    assert client.show(image) == before
    return sentence


# -- what goes -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('step, key, value', [
    (replace('/name', 'after'), 'name', 'after'),
    (replace('/name', None), 'name', None),
    (add('/name', 'after'), 'name', 'after'),
    (replace('/name', 'ä ☃'), 'name', 'ä ☃'),
    (replace('/name', ''), 'name', ''),
    (replace('/name', 'n' * 255), 'name', 'n' * 255),
    (replace('/min_ram', 64), 'min_ram', 64),
    (replace('/min_disk', 2147483647), 'min_disk', 2147483647),
    (replace('/protected', True), 'protected', True),
    (replace('/os_hidden', True), 'os_hidden', True),
    (replace('/visibility', 'private'), 'visibility', 'private'),
    (replace('/visibility', 'community'), 'visibility', 'community'),
    (replace('/disk_format', 'qcow2'), 'disk_format', 'qcow2'),
    (replace('/disk_format', None), 'disk_format', None),
    (replace('/container_format', 'ovf'), 'container_format', 'ovf'),
    (replace('/tags', ['b', 'a', 'b']), 'tags', ['a', 'b']),
    (replace('/tags', []), 'tags', []),
    (add('/new_key', 'v'), 'new_key', 'v'),
    (add('/colour', 'red'), 'colour', 'red'),
    (replace('/colour', 'red'), 'colour', 'red'),
    (add('/key~1with~0signs', 'v'), 'key/with~signs', 'v'),
    (add('/schlüssel', 'wert'), 'schlüssel', 'wert'),
    (add('/with blank', 'v'), 'with blank', 'v'),
    (add('/' + 'k' * 255, 'v'), 'k' * 255, 'v'),
    (add('/long', 'v' * 65535), 'long', 'v' * 65535),
])
def test_one_step(a, image, step, key, value):
    before = a.show(image)
    r = send(a, image, [step])
    assert r.status_code == 200, r.text[:500]
    assert r.headers['Content-Type'].split(';')[0] == 'application/json'
    after = r.json()
    if key == 'tags':
        after['tags'] = sorted(after['tags'])
    assert after[key] == value
    assert without(after, key, 'updated_at') == without(before, key, 'updated_at')
    assert without(a.show(image), 'tags') == without(r.json(), 'tags')


def test_remove(a, image):
    r = send(a, image, [remove('/colour')])
    assert r.status_code == 200 and 'colour' not in r.json() and 'empty' in r.json()


def test_removed_and_set_again(a, image):
    assert send(a, image, [remove('/colour')]).status_code == 200
    assert send(a, image, [add('/colour', 'red')]).json()['colour'] == 'red'
    assert a.show(image)['colour'] == 'red'


def test_several_in_order(a, image):
    r = send(a, image, [add('/x', '1'), replace('/x', '2'), add('/y', '3'), remove('/x'), replace('/name', 'z')])
    body = r.json()
    assert r.status_code == 200 and 'x' not in body and (body['y'], body['name']) == ('3', 'z')


def test_nothing_to_do(a, image):
    before = a.show(image)
    assert send(a, image, []).json() == before


def test_updated_at_moves_and_created_at_stays(a, image):
    before = a.show(image)
    after = send(a, image, [replace('/name', 'x')]).json()
    assert after['created_at'] == before['created_at'] and after['updated_at'] >= before['updated_at']


def test_admin_changes_owner_and_visibility(admin, image):
    body = send(admin, image, [replace('/owner', B.project), replace('/visibility', 'public')]).json()
    assert (body['owner'], body['visibility']) == (B.project, 'public')


def test_formats_are_frozen_with_the_data(a):
    image = a.new(b'x')['id']
    for step in (replace('/disk_format', 'qcow2'), replace('/container_format', 'ovf'), add('/disk_format', 'iso')):
        refused(a, image, 403, [step])
    assert send(a, image, [replace('/min_ram', 1)]).status_code == 200


# -- what does not -------------------------------------------------------------------------------------

@pytest.mark.parametrize('status, body', [
    (400, {}),
    (400, 'not json'),
    (400, ''),
    (400, '[{"op": "add", "path": "/x", "value": "1"}'),
    (400, '[{"op": "add", "path": "/x", "value": "1"}] trailing'),
    (400, [1]),
    (400, ['x']),
    (400, [[]]),
    (400, [None]),
    (400, [{}]),
    (400, [{'path': '/name', 'value': 'x'}]),
    (400, [{'op': 'move', 'path': '/name', 'from': '/x'}]),
    (400, [{'op': 'copy', 'path': '/name', 'from': '/x'}]),
    (400, [{'op': 'test', 'path': '/name', 'value': 'x'}]),
    (400, [{'op': 'ADD', 'path': '/name', 'value': 'x'}]),
    (400, [{'op': 'replace', 'value': 'x'}]),
    (400, [{'op': 'add', 'path': '/x'}]),
    (400, [{'op': 'replace', 'path': '/name'}]),
    (400, [replace('name', 'x')]),
    (400, [replace('', 'x')]),
    (400, [add('/name//first', 'x')]),
    (400, [add('/x//', 'x')]),
    (400, [replace('/name/', 'x')]),
    (400, [add('/name/first', 'x')]),
    (400, [add('/tags/-', 'x')]),
    (400, [add('/a/b/c', 'x')]),
    (400, [add('/x~2', 'x')]),
    (400, [add('/x~', 'x')]),
    (400, [replace('/min_ram', -1)]),
    (400, [replace('/min_ram', 'x')]),
    (400, [replace('/min_disk', 2147483648)]),
    (400, [replace('/min_disk', 1.5)]),
    (400, [replace('/protected', 'yes')]),
    (400, [replace('/protected', None)]),
    (400, [replace('/os_hidden', 1)]),
    (400, [replace('/visibility', 'secret')]),
    (400, [replace('/visibility', None)]),
    (400, [replace('/disk_format', 'floppy')]),
    (400, [replace('/container_format', 'box')]),
    (400, [replace('/name', 7)]),
    (400, [replace('/name', 'n' * 256)]),
    (400, [replace('/tags', 'x')]),
    (400, [replace('/tags', [1])]),
    (400, [replace('/tags', ['t' * 256])]),
    (400, [add('/number', 1)]),
    (400, [add('/list', [])]),
    (400, [add('/object', {})]),
    (400, [add('/null', None)]),
    pytest.param(400, [add('/' + 'k' * 256, 'v')], marks=pytest.mark.glint_only),
    (403, [remove('/name')]),
    (403, [remove('/tags')]),
    (403, [remove('/visibility')]),
    (403, [remove('/disk_format')]),
    (403, [remove('/protected')]),
    (403, [replace('/id', '00000000-0000-4000-8000-000000000000')]),
    (403, [replace('/status', 'active')]),
    (403, [add('/checksum', 'x')]),
    (403, [replace('/os_hash_value', 'x')]),
    (403, [replace('/size', 1)]),
    (403, [replace('/virtual_size', 1)]),
    (403, [replace('/created_at', '2020-01-01T00:00:00Z')]),
    (403, [replace('/updated_at', '2020-01-01T00:00:00Z')]),
    (403, [replace('/file', 'x')]),
    (403, [replace('/schema', 'x')]),
    (403, [replace('/self', 'x')]),
    (403, [replace('/direct_url', 'x')]),
    (403, [add('/location', 'x')]),
    (403, [add('/deleted', 'x')]),
    (403, [add('/deleted_at', 'x')]),
    (403, [add('/os_glance_import_task', 'x')]),
    (403, [add('/os_glance_anything', 'x')]),
    (403, [replace('/owner', B.project)]),
    (403, [replace('/visibility', 'public')]),
    (403, [add('/locations/-', {'url': 'file:///etc/passwd', 'metadata': {}})]),
    (403, [remove('/locations/0')]),
    (409, [replace('/missing', 'x')]),
    (409, [remove('/missing')]),
], ids=lambda v: json.dumps(v)[:60] if not isinstance(v, int) else str(v))
def test_refused(a, image, status, body):
    refused(a, image, status, body)


def test_one_bad_step_undoes_the_good_ones(a, image):
    refused(a, image, 409, [replace('/name', 'x'), add('/new', 'v'), remove('/colour'), replace('/missing', 'x')])
    refused(a, image, 403, [replace('/name', 'x'), replace('/status', 'active')])


@pytest.mark.parametrize('media', [None, 'application/json', 'text/plain', 'application/json-patch+json',
                                   'application/openstack-images-v2.2-json-patch'])
def test_other_media_types(a, image, media):
    r = send(a, image, [replace('/name', 'x')], media)
    assert r.status_code == 415
    assert PATCH_V21 in r.headers['Accept-Patch'] and PATCH_V20 in r.headers['Accept-Patch']
    assert a.show(image)['name'] == 'before'


def test_media_type_with_a_parameter(a, image):
    r = send(a, image, [replace('/name', 'x')], PATCH_V21 + '; charset=utf-8')
    assert r.status_code == 200


# -- the older form ------------------------------------------------------------------------------------

def test_v20(a, image):
    r = send(a, image, [{'replace': '/name', 'value': 'x'}, {'add': '/new', 'value': 'v'}, {'remove': '/colour'}],
             PATCH_V20)
    assert r.status_code == 200, r.text[:500]
    body = r.json()
    assert (body['name'], body['new']) == ('x', 'v') and 'colour' not in body


@pytest.mark.parametrize('status, body', [
    (409, [{'add': '/colour', 'value': 'x'}]),
    (409, [{'replace': '/missing', 'value': 'x'}]),
    (400, [{'op': 'replace', 'path': '/name', 'value': 'x'}]),
    (400, [{'add': '/x', 'remove': '/y', 'value': 'x'}]),
    (400, [{'value': 'x'}]),
    (400, [{'replace': '/name'}]),
    (403, [{'remove': '/name'}]),
], ids=lambda v: json.dumps(v)[:60] if not isinstance(v, int) else str(v))
def test_v20_refused(a, image, status, body):
    refused(a, image, status, body, PATCH_V20)


# -- quotas --------------------------------------------------------------------------------------------

def test_property_quota(servers):
    server = servers({'DEFAULT': {'image_property_quota': 3}})
    client = server.client(A)
    image = client.new(a='1', b='2', c='3')['id']
    refused(client, image, 413, [add('/d', '4')])
    assert send(client, image, [remove('/a'), add('/d', '4')]).status_code == 200
    assert client.create(a='1', b='2', c='3', d='4').status_code == 413


def test_tag_quota(servers):
    server = servers({'DEFAULT': {'image_tag_quota': 2}})
    client = server.client(A)
    image = client.new(tags=['1', '2'])['id']
    refused(client, image, 413, [replace('/tags', ['1', '2', '3'])])
    assert client.put(f'/v2/images/{image}/tags/3').status_code == 413
    assert client.put(f'/v2/images/{image}/tags/1').status_code == 204
    assert client.create(tags=['1', '2', '3']).status_code == 413


def test_quota_lowered_below_what_is_there(servers, tmp_path):
    server = servers({'DEFAULT': {'image_property_quota': 10}}, name='first')
    client = server.client(A)
    image = client.new(a='1', b='2', c='3')['id']
    server.stop()
    server.config['DEFAULT']['image_property_quota'] = 1
    write_config(server.config_file, server.config)
    server.start()
    client = server.client(A)
    assert send(client, image, [remove('/a')]).status_code == 200
    refused(client, image, 413, [add('/d', '4')])
    assert send(client, image, [replace('/name', 'x')]).status_code in (200, 413)


# -- who -----------------------------------------------------------------------------------------------

def test_others_may_not(server, a, b, admin):
    image = a.new()['id']
    assert send(b, image, [replace('/name', 'x')]).status_code == 404
    assert send(admin, image, [replace('/visibility', 'public')]).status_code == 200
    assert send(b, image, [replace('/name', 'x')]).status_code == 403
    assert a.show(image)['name'] is None


@pytest.mark.glint_only
def test_two_at_once_lose_nothing(server, a, image):
    """Patches of different attributes that run together all take effect."""

    def one(n):
        r = send(Client(server, A), image, [add(f'/key{n}', str(n))])
        assert r.status_code == 200, r.text[:500]
    threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = a.show(image)
    assert [after.get(f'key{n}') for n in range(16)] == [str(n) for n in range(16)]
