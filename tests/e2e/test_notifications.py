# SPDX-License-Identifier: Apache-2.0
"""What is emitted, in which order, with what in it, and how the log driver writes it."""
import json
import os
import re
import socket
import uuid

import pytest

from harness import A, ADMIN, B, LINE, TARGET, Raw, message_of, read_events, wait_for

UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']
KEYS = ['id', 'name', 'status', 'created_at', 'updated_at', 'min_disk', 'min_ram', 'protected', 'checksum', 'owner',
        'disk_format', 'container_format', 'size', 'virtual_size', 'is_public', 'visibility', 'properties', 'tags',
        'deleted', 'deleted_at']
SEND_KEYS = ['bytes_sent', 'image_id', 'owner_id', 'receiver_tenant_id', 'receiver_user_id']
if TARGET != 'glance':
    SEND_KEYS.append('destination_ip')


def shorts(events):
    return [e.short for e in events]


# -- order ---------------------------------------------------------------------------------------------

def test_create(server, a):
    image = a.new(name='n', colour='blue', tags=['t'])['id']
    event, = server.wait_events(['image.create'], image)
    assert list(event.payload) == KEYS
    assert (event.payload['status'], event.payload['owner']) == ('queued', A.project)
    assert event.payload['properties'] == {'colour': 'blue'} and event.payload['tags'] == ['t']


def test_upload(server, a):
    image = a.new(b'data')['id']
    events = server.wait_events(['image.create', *UPLOADED], image)
    saving, prepare, upload, activate, active = events[1:]
    assert saving.payload['status'] == prepare.payload['status'] == 'saving'
    assert saving.payload['size'] is None
    for e in (upload, activate, active):
        assert (e.payload['status'], e.payload['size']) == ('active', 4)
        assert e.payload['checksum'] == '8d777f385d3dfec8815d20f7496026dc'
    for e in (prepare, upload):
        assert e.payload['os_glance_importing_to_stores'] == e.payload['os_glance_failed_import'] == []
    assert list(activate.payload) == list(active.payload) == KEYS


def test_patch_is_one_event(server, a):
    image = a.new()['id']
    r = a.patch(image, {'op': 'replace', 'path': '/name', 'value': 'new'},
                {'op': 'add', 'path': '/colour', 'value': 'red'},
                {'op': 'replace', 'path': '/tags', 'value': ['x']})
    assert r.status_code == 200
    event = server.wait_events(['image.create', 'image.update(queued)'], image)[1]
    assert (event.payload['name'], event.payload['tags']) == ('new', ['x'])
    assert event.payload['properties'] == {'colour': 'red'}


def test_patch_that_changes_nothing(server, a):
    image = a.new(name='same')['id']
    assert a.patch(image, {'op': 'replace', 'path': '/name', 'value': 'same'}).status_code == 200
    server.wait_events(['image.create', 'image.update(queued)'], image)
    assert a.patch(image).status_code == 200  # no operation at all
    assert shorts(server.settled_events(image)) == ['image.create', 'image.update(queued)']


def test_refused_patch(server, a):
    image = a.new()['id']
    assert a.patch(image, {'op': 'replace', 'path': '/nothing', 'value': 'x'}).status_code == 409
    assert a.patch(image, {'op': 'replace', 'path': '/status', 'value': 'active'}).status_code == 403
    assert shorts(server.settled_events(image)) == ['image.create']


def test_tags(server, a):
    image = a.new()['id']
    assert a.put(f'/v2/images/{image}/tags/t').status_code == 204
    assert a.put(f'/v2/images/{image}/tags/t').status_code == 204
    assert a.delete(f'/v2/images/{image}/tags/t').status_code == 204
    assert a.delete(f'/v2/images/{image}/tags/t').status_code == 404
    events = server.wait_events(['image.create'] + 3 * ['image.update(queued)'], image)
    assert [e.payload['tags'] for e in events] == [[], ['t'], ['t'], []]
    assert len(server.settled_events(image)) == 4


def test_deactivate_and_reactivate(server, admin):
    image = admin.new(b'x')['id']
    for verb in ('deactivate', 'deactivate', 'reactivate', 'reactivate'):
        assert admin.action(image, verb).status_code == 204
    expected = ['image.create', *UPLOADED, 'image.update(deactivated)', 'image.update(active)']
    if TARGET != 'glance':
        expected.append('image.activate')  # whenever an image becomes active, by whatever way
    server.wait_events(expected, image)
    assert shorts(server.settled_events(image)) == expected


def test_members(server, a, b):
    image = a.new()['id']
    assert a.share(image, B.project).status_code == 200
    assert b.answer_share(image, B.project, 'accepted').status_code == 200
    assert a.delete(f'/v2/images/{image}/members/{B.project}').status_code == 204
    assert a.delete(f'/v2/images/{image}/members/{B.project}').status_code == 404
    expected = ['image.create', 'image.member.create', 'image.member.update', 'image.member.delete']
    events = server.wait_events(expected, image)[1:]
    for e, status in zip(events, ('pending', 'accepted', 'accepted')):
        assert list(e.payload) == ['image_id', 'member_id', 'status', 'created_at', 'updated_at', 'deleted',
                                   'deleted_at']
        assert (e.payload['member_id'], e.payload['status']) == (B.project, status)
    assert [e.payload['deleted'] for e in events] == [False, False, True]
    assert [e.payload['deleted_at'] is None for e in events] == [True, True, False]
    assert len(server.settled_events(image)) == 4


def test_delete_carries_the_whole_image(server, a):
    image = a.new(b'data', colour='blue', tags=['t'])['id']
    assert a.share(image, B.project).status_code == 200
    assert a.remove(image).status_code == 204
    event = server.wait_events(['image.create', *UPLOADED, 'image.member.create', 'image.delete'], image)[-1]
    assert list(event.payload) == KEYS
    assert (event.payload['status'], event.payload['deleted'], event.payload['size']) == ('deleted', True, 4)
    assert event.payload['properties'] == {'colour': 'blue'} and event.payload['tags'] == ['t']
    assert event.payload['deleted_at'] is not None
    assert len(server.settled_events(image)) == 8  # none of its own for the member


def test_refused_and_read_only_requests_are_silent(server, a, b):
    image = a.new(b'data', visibility='private')['id']
    server.wait_events(['image.create', *UPLOADED], image)
    assert a.upload(image, b'again').status_code == 409
    assert b.remove(image).status_code == b.download(image).status_code == 404
    assert b.upload(image, b'x').status_code == 404
    assert a.share(image, B.project).status_code == 403
    assert a.create(id=image).status_code == 409
    a.show(image), a.list(), a.get(f'/v2/images/{image}/members')
    assert a.download(image, headers={'Range': 'bytes=99-'}).status_code == 416
    assert a.call('HEAD', f'/v2/images/{image}/file').status_code == 405
    queued = a.new()['id']
    assert a.download(queued).status_code == 204
    formless = a.create().json()['id']
    assert a.upload(formless, b'x').status_code == 400
    assert shorts(server.settled_events(image)) == ['image.create', *UPLOADED]
    assert shorts(server.events(queued)) == shorts(server.events(formless)) == ['image.create']


# -- image.send ----------------------------------------------------------------------------------------

def test_send(server, a, admin, b):
    image = a.new(b'0123456789')['id']
    assert admin.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code == 200
    expected = ['image.create', *UPLOADED, 'image.update(active)']
    for client, headers, sent in ((a, {}, 10), (b, {}, 10), (b, {'Range': 'bytes=2-4'}, 3),
                                  (a, {'Content-Range': 'bytes 0-1/10'}, 2)):
        assert client.download(image, headers=headers).status_code in (200, 206)
        expected.append('image.send')
        event = server.wait_events(expected, image)[-1]
        assert list(event.payload) == SEND_KEYS
        assert event.payload['bytes_sent'] == sent
        assert event.payload['owner_id'] == A.project
        assert event.payload['receiver_tenant_id'] == client.who.project
        assert event.payload['receiver_user_id'] == client.who.user
        assert event.payload.get('destination_ip', '127.0.0.1') == '127.0.0.1'


@pytest.mark.glint_only
def test_destination_is_the_peer_and_nothing_a_header_says(server, a):
    image = a.new(b'x')['id']
    a.download(image, headers={'X-Forwarded-For': '6.6.6.6', 'Forwarded': 'for=6.6.6.6'})
    event = server.wait_events(['image.create', *UPLOADED, 'image.send'], image)[-1]
    assert event.payload['destination_ip'] == '127.0.0.1'


def test_short_data_is_an_error(server, a):
    image = a.new(b'0123456789')['id']
    os.truncate(server.images / image, 4)
    with Raw(server) as raw:
        raw.head('GET', f'/v2/images/{image}/file', who=A, Connection='close')
        answer = raw.answer()
    assert (answer.body, answer.complete) == (b'0123', False)
    event = server.wait_events(['image.create', *UPLOADED, 'ERROR image.send'], image)[-1]
    assert event.payload['bytes_sent'] == 4 and list(event.payload) == SEND_KEYS
    assert event.level == 'ERROR'


# -- failures ------------------------------------------------------------------------------------------

def test_failed_upload(servers):
    server = servers({'DEFAULT': {'image_size_cap': 1000}})
    client = server.client()
    image = client.new()['id']
    r = client.upload(image, iter([b'x' * 600] * 3))
    assert r.status_code == 413
    message_of(r)
    event = server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                                'image.update(queued)'], image)[3]
    assert isinstance(event.payload, str) and image in event.payload
    assert event.level == 'ERROR'
    assert client.show(image)['status'] == 'queued'
    assert server.stored_files() == []


@pytest.mark.glint_only
def test_bytes_that_will_not_go_are_a_warning(servers):
    """The image is deleted; that its bytes are still there an operator should know."""
    server = servers()
    server.errors_expected = True
    client = server.client()
    image = client.new(b'x')['id']
    path = server.images / image
    path.unlink()
    path.mkdir()
    (path / 'in the way').touch()
    assert client.remove(image).status_code == 204
    events = server.wait_events(['image.create', *UPLOADED, 'image.delete', 'WARN image.delete'], image)
    assert isinstance(events[-1].payload, str) and events[-1].level == 'WARNING'
    assert client.get(f'/v2/images/{image}').status_code == 404
    assert removals(server) == {'pending': 1, 'failed_before': 1}
    (path / 'in the way').unlink()
    path.rmdir()
    wait_for(lambda: removals(server)['pending'] == 0, server.root, 'another attempt', deadline=40)
    assert len(server.settled_events(image)) == 8  # told once


def removals(server):
    return json.loads(server.run('notifications', 'status', '--json').stdout)['removals']


# -- what operators set --------------------------------------------------------------------------------

def all_kinds(server):
    """One image through everything; the names of its events."""
    admin = server.client(ADMIN)
    image = admin.new(b'data')['id']
    assert admin.share(image, B.project).status_code == 200
    assert server.client(B).answer_share(image, B.project, 'accepted').status_code == 200
    assert admin.download(image).content == b'data'
    assert admin.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'}).status_code == 200
    assert admin.delete(f'/v2/images/{image}/members/{B.project}').status_code == 204
    assert admin.remove(image).status_code == 204
    return image


def types_after(server, image, last):
    wait_for(lambda: [e for e in server.events() if e.type == last], server.root, last)
    return {e.type for e in server.events(image)}


@pytest.mark.parametrize('disabled, gone', [
    ('image.update', {'image.update'}),
    ('image.send, image.prepare', {'image.send', 'image.prepare'}),
    pytest.param('image.member', {'image.member.create', 'image.member.update', 'image.member.delete'},
                 marks=pytest.mark.glint_only),
    ('image.member.update,image.upload', {'image.member.update', 'image.upload'}),
])
def test_disabled(servers, disabled, gone):
    server = servers({'DEFAULT': {'disabled_notifications': disabled}})
    everything = {'image.create', 'image.update', 'image.prepare', 'image.upload', 'image.activate', 'image.send',
                  'image.member.create', 'image.member.update', 'image.member.delete', 'image.delete'}
    assert types_after(server, all_kinds(server), 'image.delete') == everything - gone


def test_disabled_group_image(servers):
    server = servers({'DEFAULT': {'disabled_notifications': 'image'}})
    all_kinds(server)
    server.stop()  # drains
    assert server.events() == []


@pytest.mark.parametrize('driver', ['noop', None])
def test_no_driver_writes_nothing(servers, driver):
    server = servers({'oslo_messaging_notifications': {'driver': driver}})
    all_kinds(server)
    if TARGET != 'glance':
        assert server.journal() == []
    server.stop()
    assert server.events() == []


@pytest.mark.glint_only
def test_delete_payload_may_be_the_id(servers):
    server = servers({'glint': {'image_delete_payload': 'id'}})
    client = server.client()
    image = client.new()['id']
    assert client.remove(image).status_code == 204
    wait_for(lambda: len(server.events()) == 2, server.root, 'image.delete')
    event = server.events()[1]
    assert (event.type, event.priority, event.payload) == ('image.delete', 'INFO', image)


def test_publisher(servers):
    server = servers({'DEFAULT': {'default_publisher_id': 'image.host-7'}})
    server.client().new()
    event = wait_for(server.events, server.root, 'event')[0]
    assert event.doc['publisher_id'] == 'image.host-7'


@pytest.mark.glint_only
def test_publisher_is_the_host_by_default(server, admin):
    event, = server.wait_events(['image.create'], admin.new()['id'])
    assert event.doc['publisher_id'] == socket.gethostname()


# -- the document and its line -------------------------------------------------------------------------

def test_document_and_line(server, a):
    r = a.create(name='n')
    event, = server.wait_events(['image.create'], r.json()['id'])
    assert list(event.doc) == ['message_id', 'publisher_id', 'event_type', 'priority', 'payload', 'timestamp']
    assert str(uuid.UUID(event.doc['message_id'])) == event.doc['message_id']
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?', event.doc['timestamp'])
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', event.payload['created_at'])
    line = LINE.match(event.line)
    assert (line['level'], line['logger']) == ('INFO', 'oslo.messaging.notification.image.create')
    request_id = r.headers['X-Openstack-Request-Id']
    assert line['context'] == f'None {request_id} {A.user} {A.project} - - - -'
    assert int(line['pid']) == server.pid
    assert event.text == json.dumps(event.doc)  # the same text as Python's json makes of it


HOSTILE = ['x\n2026-11-22 19:09:39.642 1 CRITICAL fake [-] {"event_type": "fake"}', 'a\r\nb', 'tab\there',
           'esc\x1b[31mred\x1b[0m', '\u2028\u2029\u0085', 'del\x7f', '"\\/', '</script>',
           '\u202eright to left', '%s %n $(id) `id`', "'; drop table images; --", 'Ünï']


@pytest.mark.parametrize('name', HOSTILE)
def test_one_event_is_one_line_whatever_it_contains(server, a, name):
    r = a.create(name=name, tags=[name[:50]], **{'key' + name[:20]: name})
    assert r.status_code == 201 and r.json()['name'] == name
    event, = server.wait_events(['image.create'], r.json()['id'])
    assert event.payload['name'] == name
    assert event.payload['properties'] == {'key' + name[:20]: name} and event.payload['tags'] == [name[:50]]
    assert all(0x20 <= byte < 0x7f for byte in event.line.encode())
    assert event.text == json.dumps(event.doc)


def test_four_octets_are_escaped_or_refused(server, a):
    """Glance refuses what its MySQL could not hold; whoever takes it escapes it as a surrogate pair."""
    r = a.create(name='\U0001f4a3')
    if r.status_code != 400:
        event, = server.wait_events(['image.create'], r.json()['id'])
        assert '"name": "\\ud83d\\udca3"' in event.line


@pytest.mark.glint_only
def test_a_large_event(server, a):
    """Grown over several patches beyond every bound: cut, and it says so; one line, valid, the rest of it whole."""
    image = a.new(name='large')['id']
    for n in range(4):
        assert a.patch(image, *({'op': 'add', 'path': f'/key{n}_{i}', 'value': 'v' * 60_000} for i in range(10))).ok
    events = server.wait_events(['image.create'] + 4 * ['image.update(queued)'], image)
    for event in events[1:]:
        assert len(event.line) < 300_000
        assert event.payload['truncated'] is True and list(event.payload)[:-1] == KEYS
        assert (event.payload['id'], event.payload['name']) == (image, 'large')
    assert 'truncated' not in events[0].payload
    assert len([k for k in a.show(image) if k.startswith('key')]) == 40


@pytest.mark.glint_only
def test_hostile_lines_leave_no_line_of_another_form(server, a):
    for name in HOSTILE:
        a.create(name=name)
    server.settle()
    for line in server.log.read_bytes().split(b'\n')[:-1]:
        m = LINE.match(line.decode())
        assert m and m['level'] in ('DEBUG', 'INFO', 'WARNING', 'ERROR'), line


def test_secrets_are_masked(server, a):
    secrets = {'admin_password': 'canary-1', 'os_auth_token': 'canary-2', 'my_SECRET_key': 'canary-3',
               'note': "password = 'canary-4' and on", 'private_key': 'canary-5'}
    image = a.new(plain='visible', **secrets)['id']
    event, = server.wait_events(['image.create'], image)
    assert 'canary' not in event.line
    properties = event.payload['properties']
    assert properties['plain'] == 'visible'
    for key in ('admin_password', 'os_auth_token', 'my_SECRET_key', 'private_key'):
        assert properties[key] == '***'
    assert '***' in properties['note']
    assert a.show(image)['admin_password'] == 'canary-1'  # only the log file hides it


@pytest.mark.glint_only
def test_no_token_and_no_location_anywhere(server, a):
    image = a.new(b'x')['id']
    a.get(f'/v2/images/{image}', headers={'X-Auth-Token': 'canary-token'})
    assert a.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'}).status_code == 200
    server.settle()
    text = server.log.read_text() + json.dumps(server.journal())
    assert 'canary-token' not in text and 'file://' not in text


def test_request_id_of_the_client_is_in_the_context(server, a):
    r = a.post('/v2/images', {'name': 'n'}, headers={'X-Openstack-Request-Id': 'req-11111111-2222-3333-4444-555555555555'})
    event, = server.wait_events(['image.create'], r.json()['id'])
    assert 'req-11111111-2222-3333-4444-555555555555' in event.context
    assert event.doc.keys() == {'message_id', 'publisher_id', 'event_type', 'priority', 'payload', 'timestamp'}


# -- the file ------------------------------------------------------------------------------------------

@pytest.mark.glint_only
def test_rotation(servers):
    """Renamed by logrotate, then SIGHUP: the next line is in a new file, and none is lost."""
    server = servers()
    client = server.client()
    first = client.new()['id']
    server.wait_events(['image.create'], first)
    old = server.root / 'api.log.1'
    server.log.rename(old)
    server.hangup()
    wait_for(server.log.exists, server.root, 'new log file')
    second = client.new()['id']
    server.wait_events(['image.create'], second)
    assert {e.image for e in read_events(old)} >= {first}
    server.stop()
    ids = [e.doc['message_id'] for e in read_events(old) + read_events(server.log)]
    assert len(ids) == len(set(ids)) == 2


@pytest.mark.glint_only
def test_rotation_without_a_signal(servers):
    """Renamed and nobody says so: nothing is lost either, whichever of the files it goes to."""
    server = servers()
    client = server.client()
    images = [client.new()['id']]
    server.wait_events(['image.create'], images[0])
    old = server.root / 'api.log.1'
    server.log.rename(old)
    images += [client.new()['id'] for _ in range(5)]
    server.stop()
    assert [e.image for e in read_events(old) + read_events(server.log)] == images


# -- the journal ---------------------------------------------------------------------------------------

@pytest.mark.glint_only
def test_journal_numbers(servers):
    """Offsets grow in commit order; the sequence of each image is 1, 2, 3 ...; ids are unique."""
    server = servers()
    client = server.client()
    images = [client.new(b'x')['id'] for _ in range(5)]
    for image in images:
        client.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'})
        client.remove(image)
    server.restart()
    last = server.client().new(b'y')['id']
    server.wait_events(['image.create', *UPLOADED], last)
    journal = server.journal()
    offsets = [row['offset'] for row in journal]
    assert offsets == sorted(set(offsets))
    for image in [*images, last]:
        rows = [row for row in journal if row['subject'] == image]
        assert [row['seq'] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == (6 if image == last else 8)
    ids = [row['message_id'] for row in journal]
    assert len(ids) == len(set(ids))
    assert ids == [e.doc['message_id'] for e in server.events()]


@pytest.mark.glint_only
def test_refused_requests_leave_no_gap(server, a):
    image = a.new()['id']
    for _ in range(3):
        assert a.patch(image, {'op': 'remove', 'path': '/nothing'}).status_code == 409
    assert a.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'}).status_code == 200
    rows = [row for row in server.journal() if row['subject'] == image]
    assert [row['seq'] for row in rows] == [1, 2]


@pytest.mark.glint_only
def test_who_did_it_is_in_the_journal(server, b):
    r = b.create(name='n')
    row = [row for row in server.journal() if row['subject'] == r.json()['id']][0]
    assert (row['user_id'], row['project_id']) == (B.user, B.project)
    assert row['request_id'] == r.headers['X-Openstack-Request-Id']


@pytest.mark.glint_only
def test_event_is_in_the_journal_when_the_answer_is_there(server, a):
    """The change and its event are one transaction: no answer without the event."""
    for _ in range(20):
        image = a.new()['id']
        assert [row['event_type'] for row in server.journal() if row['subject'] == image] == ['image.create']
