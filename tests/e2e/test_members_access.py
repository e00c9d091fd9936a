# SPDX-License-Identifier: Apache-2.0
"""Who may do what: the rules for every caller and operation, sharing, visibility, trusted headers."""
import uuid

import pytest

from harness import A, A_READER, ADMIN, B, C, Raw, Who, exchange, message_of, without

STRANGER = Who('5' * 32, '55' * 16, 'member,reader')
B_READER = Who('b0' * 16, B.project, 'reader')
ROLELESS = Who('a1' * 16, A.project, 'nothing')
D_PROJECT = 'd' * 32

CALLERS = {'owner': A, 'owner reader': A_READER, 'owner roleless': ROLELESS, 'accepted': B,
           'accepted reader': B_READER, 'pending': C, 'stranger': STRANGER, 'admin': ADMIN}
OPERATIONS = {
    'show': lambda c, i: c.get(f'/v2/images/{i}'),
    'download': lambda c, i: c.download(i),
    'patch': lambda c, i: c.patch(i, {'op': 'add', 'path': '/k', 'value': 'v'}),
    'upload': lambda c, i: c.upload(i, b'x'),
    'tag': lambda c, i: c.put(f'/v2/images/{i}/tags/u'),
    'untag': lambda c, i: c.delete(f'/v2/images/{i}/tags/t'),
    'members': lambda c, i: c.get(f'/v2/images/{i}/members'),
    'member': lambda c, i: c.get(f'/v2/images/{i}/members/{B.project}'),
    'share': lambda c, i: c.share(i, D_PROJECT),
    'accept': lambda c, i: c.answer_share(i, B.project, 'accepted'),
    'unshare': lambda c, i: c.delete(f'/v2/images/{i}/members/{B.project}'),
    'deactivate': lambda c, i: c.action(i, 'deactivate'),
    'delete': lambda c, i: c.remove(i),
}
# Measured on Glance with its current default rules. An active image of A, shared with B (who has accepted) and
# C (who has not) where it is 'shared'; the operations in the order above.
MEASURED = {
    ('private', 'owner'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
    ('private', 'owner reader'): [200, 403, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('private', 'owner roleless'): [404, 404, 404, 404, 404, 404, 403, 404, 403, 403, 403, 404, 404],
    ('private', 'accepted'): 13 * [404],
    ('private', 'accepted reader'): 13 * [404],
    ('private', 'stranger'): 13 * [404],
    ('private', 'admin'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
    ('shared', 'owner'): [200, 200, 200, 409, 204, 204, 200, 200, 200, 403, 204, 204, 204],
    ('shared', 'owner reader'): [200, 403, 403, 403, 403, 403, 200, 200, 403, 403, 403, 403, 403],
    ('shared', 'owner roleless'): 13 * [404],
    ('shared', 'accepted'): [200, 200, 403, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403],
    ('shared', 'accepted reader'): [200, 403, 403, 403, 403, 403, 200, 200, 403, 403, 403, 403, 403],
    ('shared', 'pending'): [200, 200, 403, 403, 403, 403, 200, 404, 403, 404, 404, 403, 403],
    ('shared', 'stranger'): 13 * [404],
    ('shared', 'admin'): [200, 200, 200, 409, 204, 204, 200, 200, 200, 200, 204, 204, 204],
    ('community', 'owner'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
    ('community', 'owner reader'): [200, 403, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('community', 'stranger'): [200, 200, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('community', 'accepted reader'): [200, 403, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('community', 'admin'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
    ('public', 'owner'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
    ('public', 'owner reader'): [200, 403, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('public', 'stranger'): [200, 200, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('public', 'accepted reader'): [200, 403, 403, 403, 403, 403, 403, 404, 403, 403, 403, 403, 403],
    ('public', 'admin'): [200, 200, 200, 409, 204, 204, 403, 404, 403, 403, 403, 204, 204],
}


def active_image(server, visibility):
    a = server.client(A)
    image = a.new(b'0123456789', visibility='private' if visibility == 'public' else visibility, tags=['t'])['id']
    if visibility == 'public':
        r = server.client(ADMIN).patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'public'})
        assert r.status_code == 200, r.text[:500]
    if visibility == 'shared':
        assert a.share(image, B.project).status_code == a.share(image, C.project).status_code == 200
        assert server.client(B).answer_share(image, B.project, 'accepted').status_code == 200
    return image


@pytest.mark.parametrize('visibility, caller', MEASURED)
def test_rules(server, visibility, caller):
    got, image = {}, None
    for name, operation in OPERATIONS.items():
        image = image or active_image(server, visibility)
        r = operation(server.client(CALLERS[caller]), image)
        got[name] = r.status_code
        if r.status_code >= 400:
            message_of(r)
        elif name not in ('show', 'download', 'members', 'member'):
            image = None  # it is not what it was
    wanted = dict(zip(OPERATIONS, MEASURED[visibility, caller]))
    if 'roleless' in caller:  # 403 or 404 to somebody without any role is a matter of taste
        got = {k: wanted[k] if v in (403, 404) else v for k, v in got.items()}
    assert got == wanted


def test_refused_writes_change_nothing(server, a, b):
    image = active_image(server, 'public')
    before, n = a.show(image), len(server.settled_events(image))
    for name in ('patch', 'upload', 'tag', 'untag', 'share', 'deactivate', 'delete'):
        assert OPERATIONS[name](b, image).status_code == 403
    assert a.show(image) == before and a.download(image).content == b'0123456789'
    kinds = [e.type for e in server.settled_events(image)[n:] if e.type != 'image.send']
    assert kinds == []


# -- visibility, owner ---------------------------------------------------------------------------------

def test_only_admin_publishes(a, admin):
    assert a.create(visibility='public').status_code == 403
    image = a.new()['id']
    assert a.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code == 403
    assert admin.create(visibility='public').status_code == 201


def test_members_may_make_community_images(a):
    assert a.create(visibility='community').status_code == 201


def test_readers_create_nothing(server):
    r = server.client(A_READER).create(name='x')
    assert r.status_code == 403
    message_of(r)


def test_owner(a, admin):
    assert a.create(owner=B.project).status_code == 403
    assert a.create(owner=A.project).status_code == 201
    r = admin.create(owner=B.project)
    assert r.status_code == 201 and r.json()['owner'] == B.project


def test_deactivated_image(server, a, b, admin):
    image = active_image(server, 'shared')
    assert admin.action(image, 'deactivate').status_code == 204
    assert a.download(image).status_code == b.download(image).status_code == 403
    assert admin.download(image).status_code == 200
    assert a.show(image)['status'] == 'deactivated'
    assert a.upload(image, b'x').status_code == 409


# -- members -------------------------------------------------------------------------------------------

def test_member_document(a):
    image = a.new()['id']
    r = a.share(image, B.project)
    assert r.status_code == 200
    m = r.json()
    assert list(m) == ['member_id', 'image_id', 'status', 'created_at', 'updated_at', 'schema']
    assert (m['member_id'], m['image_id'], m['status'], m['schema']) == (B.project, image, 'pending',
                                                                         '/v2/schemas/member')
    assert a.get(f'/v2/images/{image}/members/{B.project}').json() == m
    assert a.get(f'/v2/images/{image}/members').json() == {'members': [m], 'schema': '/v2/schemas/members'}


def test_accept_reject_pending(a, b):
    image = a.new(name='shared with B')['id']
    assert a.share(image, B.project).status_code == 200
    assert image not in b.list('limit=1000')[0]
    assert b.show(image)['id'] == image  # by its id it is there at once
    for status, in_list in (('accepted', True), ('rejected', False), ('pending', False), ('accepted', True)):
        r = b.answer_share(image, B.project, status)
        assert r.status_code == 200 and r.json()['status'] == status
        assert (image in b.list('limit=1000')[0]) == in_list
        assert image in b.list(f'member_status={status}&visibility=shared&limit=1000')[0]


def test_members_see_only_themselves(a, b, server):
    image = a.new()['id']
    a.share(image, B.project), a.share(image, C.project)
    assert {m['member_id'] for m in a.get(f'/v2/images/{image}/members').json()['members']} == {B.project, C.project}
    assert [m['member_id'] for m in b.get(f'/v2/images/{image}/members').json()['members']] == [B.project]
    assert b.get(f'/v2/images/{image}/members/{C.project}').status_code == 404


def test_unshared_again(a, b):
    image = a.new(b'x')['id']
    a.share(image, B.project)
    b.answer_share(image, B.project, 'accepted')
    assert b.download(image).status_code == 200
    assert a.delete(f'/v2/images/{image}/members/{B.project}').status_code == 204
    assert b.get(f'/v2/images/{image}').status_code == b.download(image).status_code == 404
    assert a.share(image, B.project).json()['status'] == 'pending'


def test_no_longer_shared(a, b):
    image = a.new(b'x')['id']
    a.share(image, B.project)
    assert a.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'private'}).status_code == 200
    assert b.get(f'/v2/images/{image}').status_code == 404
    assert a.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'shared'}).status_code == 200
    assert b.get(f'/v2/images/{image}').status_code == 200


def test_duplicate_member(a):
    image = a.new()['id']
    assert a.share(image, B.project).status_code == 200
    r = a.share(image, B.project)
    assert r.status_code == 409 and image in message_of(r)


@pytest.mark.parametrize('body', ['', '{', '[]', '{}', '"x"', '{"member": null}', '{"member": ""}', '{"other": "x"}',
                                  pytest.param('{"member": 1}', marks=pytest.mark.glint_only),
                                  pytest.param('{"member": "%s"}' % ('m' * 256), marks=pytest.mark.glint_only)])
def test_bad_member(a, body):
    image = a.new()['id']
    r = a.call('POST', f'/v2/images/{image}/members', data=body, headers={'Content-Type': 'application/json'})
    assert r.status_code == 400, r.text[:500]
    message_of(r)


@pytest.mark.parametrize('body', ['', '{', '[]', '{}', '{"status": "maybe"}', '{"status": 1}', '{"status": null}',
                                  '{"status": "ACCEPTED"}'])
def test_bad_member_status(a, b, body):
    image = a.new()['id']
    a.share(image, B.project)
    r = b.call('PUT', f'/v2/images/{image}/members/{B.project}', data=body, headers={'Content-Type': 'application/json'})
    assert r.status_code == 400, r.text[:500]
    message_of(r)
    assert a.get(f'/v2/images/{image}/members/{B.project}').json()['status'] == 'pending'


def test_member_quota(servers):
    server = servers({'DEFAULT': {'image_member_quota': 2}})
    a = server.client(A)
    image = a.new()['id']
    assert [a.share(image, 'm%d' % n).status_code for n in range(3)] == [200, 200, 413]
    assert a.delete(f'/v2/images/{image}/members/m0').status_code == 204
    assert a.share(image, 'm3').status_code == 200


def test_members_of_a_deleted_image(a, b):
    image = a.new()['id']
    a.share(image, B.project)
    assert a.remove(image).status_code == 204
    assert a.get(f'/v2/images/{image}/members').status_code == 404
    assert b.get(f'/v2/images/{image}').status_code == 404


# -- trusted headers -----------------------------------------------------------------------------------

def plain(server, headers):
    return server.client(None).get('/v2/images', headers=headers)


@pytest.mark.parametrize('status', [None, 'Invalid', '', 'Confirmed ,'])
def test_unconfirmed_identity(server, status):
    headers = without(A.headers(), 'X-Identity-Status')
    if status is not None:
        headers['X-Identity-Status'] = status
    r = plain(server, headers)
    assert r.status_code == 401


def test_no_identity_at_all(server):
    assert plain(server, {}).status_code == 401
    assert server.client(None).create(name='x').status_code == 401


def test_open_to_all(server):
    """Versions and health need nobody."""
    assert server.client(None).get('/healthcheck').status_code == 200
    assert server.client(None).get('/versions').status_code == 200


def test_project_and_tenant_header(server, a):
    image = a.new(visibility='private')['id']
    headers = without(A.headers(), 'X-Project-Id')
    anybody = server.client(None)
    assert anybody.get(f'/v2/images/{image}', headers={**headers, 'X-Tenant-Id': A.project}).status_code == 200
    assert anybody.get(f'/v2/images/{image}', headers={**headers, 'X-Tenant-Id': B.project}).status_code == 404


@pytest.mark.parametrize('roles, may', [('ADMIN', True), ('Member,Admin', True), ('member , admin ', True),
                                        ('member', False), ('administrator', False), ('admin2', False), ('', False)])
def test_roles(server, a, roles, may):
    image = a.new(visibility='private')['id']
    who = Who('6' * 32, '66' * 16, roles)
    assert server.client(who).get(f'/v2/images/{image}').status_code == (200 if may else 404)


def test_no_roles_header(server, a):
    headers = without(STRANGER.headers(), 'X-Roles')
    image = a.new(visibility='private')['id']
    assert server.client(None).get(f'/v2/images/{image}', headers=headers).status_code == 404


def test_lookalike_headers_do_not_count(server, a):
    """A proxy sets the real ones; what merely looks like them gives nobody a role."""
    image = a.new(visibility='private')['id']
    for name in ('X-Is-Admin-Project', 'X-Service-Roles', 'X-Role', 'X-Admin', 'X-Is-Admin'):
        r = server.client(STRANGER).get(f'/v2/images/{image}', headers={name: 'admin'})
        assert r.status_code == 404, name


@pytest.mark.glint_only
def test_underscores_do_not_pass_for_dashes(server, a):
    image = a.new(visibility='private')['id']
    with Raw(server) as raw:
        raw.send(f'GET /v2/images/{image} HTTP/1.1\r\nHost: x\r\nX-Identity-Status: Confirmed\r\nX-User-Id: u\r\n'
                 f'X-Project-Id: {STRANGER.project}\r\nX-Roles: member\r\nX_Roles: admin\r\n'
                 f'X_Project_Id: {A.project}\r\n\r\n'.encode())
        assert raw.answer().status in (400, 404)


@pytest.mark.glint_only
def test_identity_said_twice_is_refused(server, a):
    image = a.new(visibility='private')['id']
    for name, less, more in (('X-Roles', 'member', 'admin'), ('X-Project-Id', STRANGER.project, A.project),
                             ('X-Identity-Status', 'Invalid', 'Confirmed'), ('X-User-Id', STRANGER.user, A.user)):
        headers = without(STRANGER.headers(), name)
        lines = ''.join(f'{k}: {v}\r\n' for k, v in headers.items())
        for first, second in ((less, more), (more, less)):
            answer = exchange(server, (f'GET /v2/images/{image} HTTP/1.1\r\nHost: x\r\n{lines}{name}: {first}\r\n'
                                       f'{name}: {second}\r\n\r\n').encode())
            assert answer.status in (400, 401), (name, first)


@pytest.mark.glint_only
def test_without_a_flavor_everybody_is_admin(servers):
    server = servers({'paste_deploy': {'flavor': ''}})
    anybody = server.client(None)
    r = anybody.create(visibility='public', disk_format='raw', container_format='bare')
    assert r.status_code == 201 and r.json()['owner'] is None
    image = r.json()['id']
    assert anybody.upload(image, b'x').status_code == 204
    assert anybody.download(image).content == b'x'
    # what a client says about itself is nothing here
    r = server.client(B).get(f'/v2/images/{image}')
    assert r.status_code == 200
    assert anybody.remove(image).status_code == 204


# -- request ids ---------------------------------------------------------------------------------------

def test_every_answer_has_a_request_id(server, a):
    seen = set()
    for r in (a.get('/v2/images'), a.get('/v2/images/nosuch'), a.create(status='x'), a.get('/v2/schemas/image')):
        rid = r.headers['X-Openstack-Request-Id']
        assert rid.startswith('req-') and str(uuid.UUID(rid[4:])) == rid[4:]
        seen.add(rid)
    assert len(seen) == 4


def test_request_id_of_the_client(server, a):
    r = a.get('/v2/images', headers={'X-Openstack-Request-Id': 'req-mine'})
    assert r.headers['X-Openstack-Request-Id'] == 'req-mine'


@pytest.mark.glint_only
def test_request_id_too_long(server, a):
    r = a.get('/v2/images', headers={'X-Openstack-Request-Id': 'req-' + 'x' * 100})
    assert r.status_code == 431
    message_of(r)
    assert 'x' * 100 not in server.log.read_text()
