# SPDX-License-Identifier: Apache-2.0
"""The operator's own rules: that they decide what the real Glance decides by them, that they change while the service
runs, and that a file which cannot be read opens no door."""
import json
import time
import uuid

import pytest

import harness
from harness import A, A_READER, ADMIN, B, Glint, Who, at_once, make_server
from real_glance import Glance

pytestmark = pytest.mark.glint_only

AUDITOR = Who('6' * 32, '66' * 16, 'auditor,reader')
OPERATOR = Who('7' * 32, '77' * 16, 'operator,member,reader')
STRANGER = Who('5' * 32, '55' * 16, 'member,reader')
ROLELESS = Who('a1' * 16, A.project, 'nothing')
CALLERS = {'owner': A, 'owner reader': A_READER, 'accepted': B, 'auditor': AUDITOR, 'operator': OPERATOR,
           'stranger': STRANGER, 'roleless': ROLELESS, 'admin': ADMIN}

RULES = {
    'context_is_admin': 'role:admin or role:operator',
    'own': 'project_id:%(owner)s',
    'get_image': "role:admin or (role:reader and (rule:own or 'blue':%(colour)s or project_id:%(member_id)s)) or role:operator",
    'get_images': '@',
    'add_image': "role:admin or (role:member and rule:own and not 'community':%(visibility)s)",
    'modify_image': "role:admin or (role:reader and rule:own and 'active':%(status)s)",
    'download_image': [['role:admin'], ['role:reader', 'rule:own'], ['role:reader', "'public':%(visibility)s"]],
    'publicize_image': 'rule:modify_image and role:member',
    'communitize_image': '!',
    'deactivate': 'role:operator',
    'reactivate': 'role:operator',
    'get_members': 'role:admin or role:auditor or rule:own',
    'get_member': 'role:admin or rule:own',
    'add_member': 'role:admin',
    'delete_member': '!',
    'delete_image': "role:admin or (rule:own and 'public':%(visibility)s)",
    'tasks_api_access': 'role:admin or role:operator',
}
# colour: what get_image asks about. None of the first is anybody's but A's.
IMAGES = [('private', 'red'), ('shared', 'red'), ('shared', 'blue'), ('public', 'red'),
          ('community', 'blue')]


def write_policy(server, rules):
    text = rules if isinstance(rules, str) else json.dumps(rules)
    draft = server.root / 'draft'
    draft.write_text(text)
    draft.rename(server.root / 'policy.yaml')


def with_policy(cls, root, rules, config=None):
    server = cls(root, config)
    write_policy(server, rules)
    return server.start()


# -- beside Glance -------------------------------------------------------------------------------------

def make_images(server, ids):
    admin = server.client(ADMIN)
    for image, (visibility, colour) in zip(ids, IMAGES):
        made = {'id': image, 'owner': A.project, 'colour': colour, 'disk_format': 'raw', 'container_format': 'bare',
                'visibility': 'shared' if visibility == 'community' else visibility}
        assert admin.create(**made).status_code == 201
        assert admin.upload(image, b'data').status_code == 204
        if visibility == 'shared':
            assert admin.share(image, B.project).status_code == 200
            assert server.client(B).answer_share(image, B.project, 'accepted').status_code in (200, 403, 404)


OPERATIONS = {
    'show': lambda c, i: c.get(f'/v2/images/{i}'),
    'download': lambda c, i: c.download(i),
    'patch': lambda c, i: c.patch(i, {'op': 'add', 'path': '/k', 'value': 'v'}),
    'tag': lambda c, i: c.put(f'/v2/images/{i}/tags/u'),
    'members': lambda c, i: c.get(f'/v2/images/{i}/members'),
    'member': lambda c, i: c.get(f'/v2/images/{i}/members/{B.project}'),
    'share': lambda c, i: c.share(i, STRANGER.project),
    'unshare': lambda c, i: c.delete(f'/v2/images/{i}/members/{B.project}'),
    'communitize': lambda c, i: c.patch(i, {'op': 'replace', 'path': '/visibility', 'value': 'community'}),
    'deactivate': lambda c, i: c.action(i, 'deactivate'),
    'reactivate': lambda c, i: c.action(i, 'reactivate'),
}


def life(server, ids):
    """What everybody hears who tries everything, in one order."""
    heard = {}
    for name, who in CALLERS.items():
        client = server.client(who)
        for image, kind in zip(ids, IMAGES):
            for operation, do in OPERATIONS.items():
                heard[name, kind, operation] = do(client, image).status_code
        for visibility in ('private', 'public', 'community'):
            made = client.create(visibility=visibility, colour='red')
            heard[name, 'create', visibility] = made.status_code
            if made.status_code == 201:  # with an id of its own in each; out of the way of the lists
                server.client(ADMIN).remove(made.json()['id'])
        listed = client.get('/v2/images?visibility=all&sort=name')
        heard[name, 'list'] = listed.status_code, {i['id'] for i in listed.json()['images']}
        heard[name, 'tasks'] = client.get('/v2/tasks').status_code
    for name, who in CALLERS.items():
        for image, kind in zip(ids, IMAGES):
            heard[name, kind, 'publicize'] = server.client(who).patch(
                image, {'op': 'replace', 'path': '/visibility', 'value': 'public'}).status_code
            heard[name, kind, 'delete'] = server.client(who).remove(image).status_code
    return heard


def same(ours, theirs, key):
    """What get_image hides is hidden from every operation here; Glance asks it only where the rule of the operation
    itself says no."""
    if len(key) == 3 and theirs.get((*key[:2], 'show')) == 404:
        return ours[key] in (403, 404)
    return ours[key] == theirs[key]


def test_rules_decide_as_in_glance(tmp_path):
    ids = [str(uuid.UUID(int=i + 1, version=4)) for i in range(len(IMAGES))]
    servers = [with_policy(Glint, tmp_path / 'glint', RULES), with_policy(Glance, tmp_path / 'glance', RULES)]
    try:
        for server in servers:
            make_images(server, ids)
        ours, theirs = at_once(*(lambda s=s: life(s, ids) for s in servers))
    finally:
        for server in servers:
            server.stop()
    assert ours.keys() == theirs.keys()
    wrong = {k: (ours[k], theirs[k]) for k in ours if not same(ours, theirs, k)}
    assert not wrong, '\n'.join(f'{k}: glint {a}, Glance {b}' for k, (a, b) in wrong.items())
    assert len(ours) > 400
