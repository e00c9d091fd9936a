# SPDX-License-Identifier: Apache-2.0
"""Every rule by its default, for every role, relation and visibility: the same is allowed as by Debian's Glance, of
which no rule is replaced (enforce_scope and enforce_new_defaults on). What that Glance does not ask yet is what
oslo.policy makes of the text that `glint policy show` prints.

glint differs on purpose:
(1) What get_image hides is not there for any operation. Glance says 403 where it looks at something else first: at
    the new visibility, or whether such an image can have members.
(2) get_image_location decides who is shown locations and direct_url. Glance of that age asks it only before it
    removes data, and shows them to whoever sees the image.
(3) stores_info_detail lets services ask, as that of later versions.
(4) Who says of a public image that it is public publishes nothing, and is not asked for publicize_image.
(5) A task whose source is on this machine is refused by Debian's Glance when it is made, here when it runs, unless the
    configuration lets it."""
import itertools
import json
import re
import uuid
from dataclasses import dataclass
from typing import Callable

import pytest

import harness
from harness import A, ADMIN, B, C, Glint, Who, at_once, write_config
from real_glance import Glance
from sources import REACHABLE

pytestmark = pytest.mark.glint_only

_parser = pytest.importorskip('oslo_policy._parser')
_checks = pytest.importorskip('oslo_policy._checks')
glance_rules = pytest.importorskip('glance.policies')

# Keystone's roles imply those below them; a service is nothing else.
ROLES = {'admin': 'admin,member,reader', 'member': 'member,reader', 'reader': 'reader', 'service': 'service', 'none': ''}
RELATIONS = {'owner': A.project, 'sharee': B.project, 'stranger': C.project}
VISIBILITIES = ('private', 'shared', 'community', 'public')
CASES = tuple(itertools.product(ROLES, RELATIONS, VISIBILITIES))
AT_ALL = tuple(itertools.product(ROLES, RELATIONS, VISIBILITIES[:1]))  # for what is not about an image

CONFIG = {'DEFAULT': {'enabled_backends': 'fs:file,web:http', 'show_multiple_locations': 'true', 'show_image_direct_url': 'true',
                      'enabled_import_methods': '[copy-image,web-download]'}}
ENFORCE = {'enforce_scope': 'true', 'enforce_new_defaults': 'true'}
NOWHERE = 'http://127.0.0.1:1/x'
FROM_NOWHERE = {'import_from': NOWHERE, 'import_from_format': 'raw',
                'image_properties': {'disk_format': 'raw', 'container_format': 'bare'}}
NO_TASK = '/v2/tasks/00000000-0000-4000-8000-000000000000'


# -- what there is to do -------------------------------------------------------------------------------

@dataclass(frozen=True)
class Operation:
    do: Callable  # of a client, the image's id, and the visibility
    sees: Callable = lambda answer: None  # what a good answer shows, apart from ids and times
    own: str = ''  # it needs an image for itself: 'active' or 'queued'
    once: bool = False  # ... and a fresh one after it has been done
    cases: tuple = CASES


def replace(name, value):
    return lambda c, i, v: c.patch(i, {'op': 'replace', 'path': f'/{name}', 'value': value})


def step_of(**step):
    return lambda c, i, v: c.patch(i, step)


def copy(c, i, v):
    """To where it is: whoever may copy is told so."""
    return c.post(f'/v2/images/{i}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs']})


def shown_of(answer):
    image = answer.json()
    return image['name'], image['owner'], image['visibility'], bool(image['locations']), 'direct_url' in image


OPERATIONS = {
    'create': Operation(lambda c, i, v: c.create(owner=A.project, visibility=v), lambda r: r.json()['visibility']),
    'list': Operation(lambda c, i, v: c.get(f'/v2/images?name=standing&visibility={v}&limit=100'),
                      lambda r: sorted((m['owner'], m['visibility']) for m in r.json()['images'])),
    'show': Operation(lambda c, i, v: c.get(f'/v2/images/{i}'), shown_of),
    'download': Operation(lambda c, i, v: c.download(i), lambda r: r.content),
    'change': Operation(step_of(op='add', path='/k', value='v'), lambda r: r.json()['k'], own='queued'),
    'upload': Operation(lambda c, i, v: c.upload(i, b'x'), own='active'),
    'publicize': Operation(replace('visibility', 'public'), own='queued', once=True),
    'communitize': Operation(replace('visibility', 'community'), own='queued', once=True),
    'deactivate': Operation(lambda c, i, v: c.action(i, 'deactivate'), own='active'),
    'reactivate': Operation(lambda c, i, v: c.action(i, 'reactivate'), own='active'),
    'members': Operation(lambda c, i, v: c.get(f'/v2/images/{i}/members'),
                         lambda r: [m['member_id'] for m in r.json()['members']]),
    'member': Operation(lambda c, i, v: c.get(f'/v2/images/{i}/members/{B.project}'), lambda r: r.json()['status']),
    'share': Operation(lambda c, i, v: c.share(i, 'd' * 32), own='queued', once=True),
    'unshare': Operation(lambda c, i, v: c.delete(f'/v2/images/{i}/members/{B.project}'), own='queued', once=True),
    'accept': Operation(lambda c, i, v: c.answer_share(i, B.project, 'accepted'), own='queued'),
    'copy': Operation(copy),
    'add by patch': Operation(step_of(op='add', path='/locations/-', value={'url': NOWHERE, 'metadata': {}}), own='active'),
    'remove location': Operation(step_of(op='remove', path='/locations/0'), own='queued'),
    'remove data': Operation(lambda c, i, v: c.delete(f'/v2/stores/fs/{i}'), own='queued'),
    'add location': Operation(lambda c, i, v: c.post(f'/v2/images/{i}/locations', {'url': NOWHERE})),
    'fetch locations': Operation(lambda c, i, v: c.get(f'/v2/images/{i}/locations'), lambda r: len(r.json())),
    'tasks': Operation(lambda c, i, v: c.get('/v2/tasks'), cases=AT_ALL),
    'task': Operation(lambda c, i, v: c.get(NO_TASK), cases=AT_ALL),
    'make task': Operation(lambda c, i, v: c.post('/v2/tasks', {'type': 'import', 'input': FROM_NOWHERE}), cases=AT_ALL),
    'stores': Operation(lambda c, i, v: c.get('/v2/info/stores/detail'),
                        lambda r: sorted((s['id'], s['type']) for s in r.json()['stores']), cases=AT_ALL),
    'delete': Operation(lambda c, i, v: c.remove(i), own='queued', once=True),
}
# rule: the operations that ask it, of which the first is done otherwise once the rule is `!`, and by whom
ASKED = {
    'add_image': (['create'], 'member owner'), 'get_images': (['list'], 'member owner'),
    'get_image': (['show', 'list'], 'member owner'), 'download_image': (['download'], 'member owner'),
    'modify_image': (['change'], 'member owner'), 'upload_image': (['upload'], 'member owner'),
    'publicize_image': (['publicize', 'create'], 'admin owner'), 'communitize_image': (['communitize', 'create'], 'member owner'),
    'deactivate': (['deactivate'], 'member owner'), 'reactivate': (['reactivate'], 'member owner'),
    'get_members': (['members'], 'member owner'), 'get_member': (['member', 'members'], 'member owner'),
    'add_member': (['share'], 'member owner'), 'delete_member': (['unshare'], 'member owner'),
    'modify_member': (['accept'], 'member sharee'), 'copy_image': (['copy'], 'admin owner'),
    'get_image_location': (['show', 'remove data', 'remove location'], 'member owner'),
    'set_image_location': (['add by patch'], 'member owner'),
    'delete_image_location': (['remove location', 'remove data'], 'admin owner'),
    'add_image_location': (['add location'], 'member owner'), 'fetch_image_location': (['fetch locations'], 'admin owner'),
    'service_api': (['fetch locations', 'add location', 'stores'], 'admin owner'),
    'tasks_api_access': (['tasks', 'task', 'make task'], 'admin owner'), 'get_tasks': (['tasks'], 'admin owner'),
    'get_task': (['task'], 'admin owner'), 'add_task': (['make task'], 'admin owner'),
    'default': (['tasks', 'task', 'make task'], 'admin owner'), 'stores_info_detail': (['stores'], 'admin owner'),
    'context_is_admin': (['show'], 'admin stranger'), 'delete_image': (['delete'], 'member owner'),
}
NOT_ASKED = {'modify_task', 'download_from_store', 'manage_image_cache', 'cache_image', 'cache_list', 'cache_delete',
             'cache_clean', 'cache_prune', 'list_cached_nodes'}  # and those of the metadefs
LATER = {'add location', 'fetch locations'}  # what Debian's Glance does not have


# -- servers and images --------------------------------------------------------------------------------

def config(root):
    made = {section: dict(options) for section, options in CONFIG.items()}
    made['DEFAULT']['node_staging_uri'] = f'file://{root}/staging'
    made['glance_store'] = {'default_backend': 'fs', 'filesystem_store_datadir': None}
    made['fs'] = {'filesystem_store_datadir': root / 'images'}
    made['web'] = {'store_description': 'elsewhere'}
    made.update({section: dict(options) for section, options in REACHABLE.items()})
    made['glint']['allow_task_import'] = 'true'
    return made


def caller(role, relation):
    return Who(uuid.uuid5(uuid.NAMESPACE_OID, role + relation).hex, RELATIONS[relation], ROLES[role])


class Images:
    """Images of A's on a server, shared with B where they are 'shared', made when they are needed."""

    def __init__(self, server):
        self.admin, self.b, self.ids = server.client(ADMIN), server.client(B), {}

    def make(self, name, visibility):
        data = None if name in OPERATIONS and OPERATIONS[name].own == 'queued' else b'data'
        image = self.admin.new(data, name=name, owner=A.project, visibility=visibility)['id']
        if visibility == 'shared':
            assert self.admin.share(image, B.project).status_code == 200
            assert self.b.answer_share(image, B.project, 'accepted').status_code == 200
        return image

    def get(self, name, visibility):
        key = name if OPERATIONS[name].own else 'standing', visibility
        if key not in self.ids:
            self.ids[key] = self.make(*key)
        return self.ids[key]

    def done(self, name, visibility):
        if OPERATIONS[name].once:
            del self.ids[name, visibility]


def answer_of(operation, r):
    return r.status_code, operation.sees(r) if r.status_code < 300 else None


def life(server, skipped=()):
    """What everybody hears who tries everything: (operation, role, relation, visibility) -> status, what is seen."""
    images, heard = Images(server), {}
    clients = {(role, relation): server.client(caller(role, relation)) for role in ROLES for relation in RELATIONS}
    for visibility in VISIBILITIES:
        images.get('show', visibility)
    for name, operation in OPERATIONS.items():
        for role, relation, visibility in operation.cases if name not in skipped else ():
            r = operation.do(clients[role, relation], images.get(name, visibility), visibility)
            heard[name, role, relation, visibility] = answer_of(operation, r)
            if r.status_code < 300:
                images.done(name, visibility)
    return heard


@pytest.fixture(scope='module')
def heard(tmp_path_factory):
    servers = [cls(root, config(root)) for cls, root in ((Glint, tmp_path_factory.mktemp('glint')),
                                                         (Glance, tmp_path_factory.mktemp('glance')))]
    try:
        for server in servers:
            server.config.setdefault('oslo_policy', {}).update(ENFORCE)
            write_config(server.config_file, server.config)
            server.start()
        return at_once(lambda: life(servers[0]), lambda: life(servers[1], LATER))
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    """rule -> its text, and whether the program says that it asks it."""
    out = Glint(tmp_path_factory.mktemp('shown')).run('policy', 'show').stdout
    found = re.findall(r'^(\w+): (".*")\n    (default.*)$', out, re.M)
    assert 2 * len(found) == len(out.splitlines())
    return {name: (json.loads(text), source == 'default') for name, text, source in found}


# -- the table of rules --------------------------------------------------------------------------------

def test_every_rule_is_asked_or_said_not_to_be(shown):
    assert len(shown) == 67
    idle = NOT_ASKED | {name for name in shown if 'metadef' in name}
    assert {name for name, (_, is_asked) in shown.items() if not is_asked} == idle
    assert shown.keys() - idle == ASKED.keys()
    assert {name for names, _ in ASKED.values() for name in names} == OPERATIONS.keys()


def test_defaults_are_those_of_glance(shown):
    theirs = {rule.name: rule.check_str for rule in glance_rules.list_rules()}
    assert len(theirs) > 50 and theirs.keys() <= shown.keys()
    wrong = {name: (shown[name][0], text) for name, text in theirs.items() if shown[name][0] != text}
    assert wrong.keys() == {'stores_info_detail'}  # (3)


# -- what is allowed -----------------------------------------------------------------------------------

class Enforcer:
    """The default rules as oslo.policy reads them."""

    def __init__(self, shown):
        self.rules = {name: _parser.parse_rule(text) for name, (text, _) in shown.items()}

    def allows(self, rule, role, relation, visibility):
        about = {'owner': A.project, 'project_id': A.project, 'visibility': visibility,
                 'member_id': RELATIONS[relation] if visibility == 'shared' and relation == 'sharee' else None}
        who = {'project_id': RELATIONS[relation], 'roles': ROLES[role].split(',')}
        return bool(_checks._check(self.rules[rule], about, who, self, rule))

    def sees(self, role, relation, visibility):
        """Images that are only shared with others are hidden without a rule."""
        reached = role == 'admin' or relation == 'owner' or visibility in ('public', 'community') or \
            visibility == 'shared' and relation == 'sharee'
        return reached and self.allows('get_image', role, relation, visibility)


@pytest.fixture(scope='module')
def enforcer(shown):
    return Enforcer(shown)


def on_purpose(enforcer, key, ours, theirs):
    """Which of the differences it is, None if it is none."""
    name, *case = key
    if OPERATIONS[name].cases is CASES and name not in ('create', 'list') and not enforcer.sees(*case) and \
            (ours[0], theirs[0]) == (404, 403):
        return 1
    if name == 'show' and ours[0] == theirs[0] == 200 and not enforcer.allows('get_image_location', *case) and \
            ours[1] == (*theirs[1][:3], False, False):
        return 2
    if name == 'stores' and case[0] == 'service' and (ours[0], theirs[0]) == (200, 403):
        return 3
    if name == 'publicize' and case == ['member', 'owner', 'public'] and (ours[0], theirs[0]) == (200, 403):
        return 4
    if name == 'make task' and case[0] == 'admin' and (ours[0], theirs[0]) == (201, 400):
        return 5
    return None


def test_the_same_is_allowed_as_by_glance(heard, enforcer):
    ours, theirs = heard
    assert theirs.keys() == {(name, *case) for name in OPERATIONS.keys() - LATER for case in OPERATIONS[name].cases}
    different = {key: on_purpose(enforcer, key, ours[key], theirs[key]) for key in theirs if ours[key] != theirs[key]}
    wrong = [f'{key}: glint {ours[key]}, Glance {theirs[key]}' for key, which in different.items() if which is None]
    assert not wrong, f'{len(wrong)} of {len(theirs)}\n' + '\n'.join(wrong)
    assert set(different.values()) == {1, 2, 3, 4, 5}  # none of them is a thing of the past


def reaches(role, relation, visibility):
    """Does the database give it out at all?"""
    return role == 'admin' or relation == 'owner' or visibility in ('community', 'public') or \
        (relation, visibility) == ('sharee', 'shared')


@pytest.mark.parametrize('name, rule, allowed', [('add location', 'add_image_location', 409),
                                                 ('fetch locations', 'fetch_image_location', 200)])
def test_what_glance_does_not_have_is_allowed_by_its_rule(heard, enforcer, name, rule, allowed):
    """Whom it allows needs no get_image: a service is neither reader nor member. 409: the image has data, which is looked at
    when it is known who asks."""
    wrong = []
    for case in CASES:
        expected = (allowed if reaches(*case) and enforcer.allows(rule, *case) else 403 if enforcer.sees(*case) else 404)
        if heard[0][(name, *case)][0] != expected:
            wrong.append(f'{case}: {heard[0][(name, *case)]}, not {expected}')
    assert not wrong, '\n'.join(wrong)


# -- which rule is asked -------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def strict(tmp_path_factory):
    """A server whose rules are replaced; it has one image."""
    root = tmp_path_factory.mktemp('strict')
    server = Glint(root, config(root)).start()
    yield server
    server.stop()


def read_anew(server, rules):
    done = 'the policy files are read anew'
    n = server.log.read_text().count(done)
    (server.root / 'draft').write_text(json.dumps(rules))
    (server.root / 'draft').rename(server.root / 'policy.yaml')
    server.hangup()
    harness.wait_for(lambda: server.log.read_text().count(done) > n, server.root, 'new rules')


@pytest.mark.parametrize('rule', ASKED)
def test_the_rule_is_asked(strict, rule):
    """Nobody may: then it is refused to who could do it by the default rules."""
    name, (role, relation) = ASKED[rule][0][0], ASKED[rule][1].split()
    operation, images, heard = OPERATIONS[name], Images(strict), []
    for rules in ({}, {rule: '!'}):
        read_anew(strict, {})
        image = images.make(name if operation.own else 'standing', 'shared')
        read_anew(strict, rules)
        r = operation.do(strict.client(caller(role, relation)), image, 'shared')
        heard.append((*answer_of(operation, r), harness.message_of(r).replace(image, '') if r.status_code >= 400 else ''))
    assert heard[0] != heard[1], heard
