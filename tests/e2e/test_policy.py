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


# -- files that change ---------------------------------------------------------------------------------

@pytest.fixture
def server(tmp_path):
    made = with_policy(Glint, tmp_path / 'server', {})
    yield made
    made.stop()


def await_status(expected, ask):
    """A change is seen when the file has been the same for a second; nothing tells of it but the answers."""
    end = time.monotonic() + 2 * harness.DEADLINE
    while (heard := ask().status_code) != expected:
        assert time.monotonic() < end, f'{heard}, not {expected}'
        time.sleep(0.05)


def await_line(server, text):
    harness.wait_for(lambda: text in server.log.read_text(), server.root, text)


def deactivate(server, who):
    """403, or 400 because the image has no data: the rule was asked before."""
    image = server.client(A).new()['id']
    return lambda: server.client(who).action(image, 'deactivate')


def test_changes_count_without_a_restart(server):
    ask = deactivate(server, A)
    assert ask().status_code == 400
    write_policy(server, {'deactivate': 'role:operator'})
    await_status(403, ask)
    write_policy(server, '# as default\n')
    await_status(400, ask)


def test_hangup_reads_them_at_once(server):
    ask = deactivate(server, A)
    write_policy(server, {'deactivate': '!'})
    server.hangup()
    await_status(403, ask)
    (server.root / 'policy.yaml').unlink()
    await_line(server, 'policy.yaml is gone or empty; SIGHUP, if that is meant')
    assert ask().status_code == 403
    server.hangup()
    await_status(400, ask)


def test_rules_do_not_end_with_what_is_in_their_file(server):
    """Nothing is what a full disk leaves of a file; that is not taken for the wish to have no rules."""
    ask = deactivate(server, A)
    write_policy(server, {'deactivate': 'role:operator'})
    await_status(403, ask)
    said = len(server.log.read_text())
    (server.root / 'policy.yaml').write_text('')
    harness.wait_for(lambda: 'policy.yaml is gone or empty' in server.log.read_text()[said:], server.root, 'the warning')
    time.sleep(1.5)  # another look
    assert ask().status_code == 403
    server.hangup()
    await_status(400, ask)


def test_a_broken_file_changes_nothing(server):
    server.errors_expected = True
    ask = deactivate(server, A)
    write_policy(server, {'deactivate': 'role:operator'})
    await_status(403, ask)
    write_policy(server, 'deactivate: "@"\nother: "role:"x"\n')
    await_line(server, 'the rules stay as they were')
    server.hangup()
    server.hangup()
    assert ask().status_code == 403
    write_policy(server, {'deactivate': '@'})
    await_status(400, ask)
    await_line(server, 'nothing is wrong with the policy files any more')
    errors = server.service_errors()
    assert len(errors) == 1 and 'policy.yaml:2: ' in errors[0]


def test_files_of_a_directory_come_after(tmp_path):
    root = tmp_path / 'server'
    (root / 'policy.d').mkdir(parents=True)
    (root / 'policy.d' / '10-first.yaml').write_text('deactivate: "!"\n')
    (root / 'policy.d' / '20-second.yaml').write_text('deactivate: role:member\n')
    server = with_policy(Glint, root, {'deactivate': '!', 'reactivate': '!'})
    try:
        ask = deactivate(server, A)
        assert ask().status_code == 400
        (root / 'policy.d' / '30-third.yaml').write_text('deactivate: role:operator\n')
        await_status(403, ask)
        shown = server.run('policy', 'show', 'deactivate').stdout
        assert f'{root}/policy.d/30-third.yaml:1' in shown
    finally:
        server.stop()


@pytest.mark.parametrize('option, prepare, story', [
    ('policy_file = nowhere.yaml', None, 'nowhere.yaml is not there'),
    ('policy_dirs = nowhere.d', None, 'nowhere.d is not there'),
    ('', lambda root: (root / 'policy.yaml').symlink_to('nowhere'), 'policy.yaml: No such file'),
    ('', lambda root: (root / 'policy.yaml').mkdir(), 'policy.yaml is not a file'),
    ('', lambda root: (root / 'policy.d').write_text(''), 'policy.d: Not a directory'),
    ('', lambda root: (root / 'policy.json').write_text('{"x": "rule:y"}'), 'policy.json:1: rule x asks a rule'),
    ('', lambda root: (root / 'policy.yaml').write_text('get_image: http://x/%(id)s\n'), 'policy.yaml:1: rule get_image'),
    ('enforce_new_defaults = false', None, 'enforce_new_defaults = false'),
    ('enforce_scope = false', None, 'enforce_scope = false'),
])
def test_no_start_without_the_rules(tmp_path, option, prepare, story):
    """Glance goes on without a file that is not there, and with `never`, or `always`, where it cannot read a rule."""
    server = Glint(tmp_path)
    server.config_file.write_text(server.config_file.read_text() + f'[oslo_policy]\n{option}\n')
    if prepare:
        prepare(tmp_path)
    for words in (['config', 'check'], ['serve', '--listen', '127.0.0.1:0'], ['policy', 'show']):
        said = server.run(*words, check=False)
        assert said.returncode == 1 and story in said.stderr


def test_without_files_the_default_rules_hold(tmp_path):
    server = Glint(tmp_path)
    assert 'policy         0 rules' in server.run('config', 'check').stdout
    assert 'role:admin' in server.run('policy', 'show', 'copy_image').stdout


# -- what only rules of one's own can do ---------------------------------------------------------------

@pytest.fixture(scope='module')
def picky(tmp_path_factory):
    """Images are hidden by their colour, from admins, too; operators are admins, admins are not."""
    server = with_policy(Glint, tmp_path_factory.mktemp('picky'), {
        'context_is_admin': 'role:operator',
        'get_image': "role:admin or not 'black':%(colour)s",
        'get_tasks': 'role:boss', 'get_task': 'role:boss', 'tasks_api_access': 'role:operator or role:boss',
        'add_task': '@',
        'add_image': "not 'cursed':%(name)s and (role:operator or rule:own)",
        'own': 'project_id:%(owner)s',
        'publicize_image': '!', 'stores_info_detail': 'role:member',
        'modify_member': '@', 'get_members': '@', 'get_member': '@', 'upload_image': 'role:uploader',
    }, {'glint': {'allow_task_import': 'true', 'web_download_allow_networks': '127.0.0.0/8'}})
    yield server
    server.stop()


def names(client, query):
    """Of all pages, one after the other."""
    found, path, n = [], f'/v2/images?{query}', 0
    while path:
        page = client.get(path).json()
        found += [i['name'] for i in page['images']]
        path, n = page.get('next'), n + 1
        assert n < 100
    return found


def test_a_list_has_what_the_rule_shows(picky):
    owner = picky.client(A)
    for i in range(30):
        owner.new(name=f'n{i:02}', colour='white' if i % 7 == 3 else 'black', visibility='community')
    white = [f'n{i:02}' for i in range(30) if i % 7 == 3]
    for who in (A, OPERATOR):
        for limit in (1, 2, 25):
            assert names(picky.client(who), f'owner={A.project}&sort=name:asc&limit={limit}&visibility=community') == white
    stranger = names(picky.client(STRANGER), 'visibility=community&sort=name:asc&limit=3')
    assert stranger == white
    page = owner.get('/v2/images?limit=0').json()
    assert page['images'] == []


def test_what_a_rule_hides_is_not_there(picky):
    owner = picky.client(A)
    image = owner.new(colour='black')['id']
    for heard in (owner.get(f'/v2/images/{image}'), owner.download(image), owner.remove(image),
                  owner.patch(image, {'op': 'remove', 'path': '/colour'}), owner.action(image, 'deactivate')):
        assert heard.status_code == 404
    assert picky.client(ADMIN).get(f'/v2/images/{image}').status_code == 404  # no admin here, and not his
    boss = Who('9' * 32, '99' * 16, 'operator,admin')
    assert picky.client(boss).get(f'/v2/images/{image}').status_code == 200


def test_who_is_an_admin_is_a_rule(picky):
    image = picky.client(A).new(visibility='private')['id']
    assert picky.client(ADMIN).get(f'/v2/images/{image}').status_code == 404
    assert picky.client(OPERATOR).get(f'/v2/images/{image}').status_code == 200


def test_tasks_ask_their_rules_and_that_of_the_image(picky):
    operator, boss = picky.client(OPERATOR), picky.client(Who('9' * 32, '99' * 16, 'boss'))
    assert operator.get('/v2/tasks').status_code == 403 and boss.get('/v2/tasks').status_code == 200

    def make(client, **properties):
        return client.post('/v2/tasks', {'type': 'import', 'input': {
            'import_from': 'http://127.0.0.1:1/x', 'import_from_format': 'raw',
            'image_properties': {'disk_format': 'raw', 'container_format': 'bare', **properties}}}).status_code
    assert make(operator, name='fine') == 201
    assert make(operator, name='cursed') == 403
    assert make(operator, visibility='public') == 403
    assert make(boss, owner=A.project) == 403
    assert picky.client(A).create(name='cursed').status_code == 403


def test_members_of_nobody(picky):
    """Rules that allow everything to everybody do not make a project of nobody's."""
    image = picky.client(OPERATOR).new(visibility='shared')['id']
    picky.client(OPERATOR).share(image, B.project)
    nobody = Who('0' * 32, '', 'reader')
    assert picky.client(nobody).get(f'/v2/images/{image}/members').status_code == 404
    assert picky.client(B).get(f'/v2/images/{image}/members').json()['members'][0]['member_id'] == B.project
    assert picky.client(nobody).answer_share(image, B.project, 'accepted').status_code == 404


def test_a_task_that_runs_asks_nobody(picky):
    """Its image is uploaded by the service, though nobody here is an uploader."""
    image = picky.client(A).new(disk_format='raw', container_format='bare')['id']
    assert picky.client(A).upload(image, b'x').status_code == 403
    assert picky.client(A).put(f'/v2/images/{image}/stage', data=b'x' * 512,
                               headers={'Content-Type': 'application/octet-stream'}).status_code == 204
    assert picky.client(A).post(f'/v2/images/{image}/import', {'method': {'name': 'glance-direct'}}).status_code == 202
    harness.wait_for(lambda: picky.client(A).show(image)['status'] == 'active', picky.root, 'active')


def test_a_question_on_the_command_line(picky):
    def ask(*words):
        return picky.run('policy', 'check', '--rule', *words, check=False)
    assert ask('upload_image', '--roles', 'uploader').returncode == 0
    said = ask('upload_image', '--roles', 'member')
    assert said.returncode == 3 and said.stdout.startswith('denied\n') and 'policy.yaml:' in said.stdout
    assert ask('add_image', '--project', 'p', '--owner', 'p').returncode == 0
    assert ask('add_image', '--project', 'p', '--owner', 'q').returncode == 3
    assert ask('service_api', '--roles', 'service').returncode == 0
    assert ask('nowhere').returncode == 1
    assert '404' in ask('modify_image', '--project', 'p', '--roles', 'admin', '--owner', 'q').stdout
    image = picky.root / 'image.json'
    image.write_text(json.dumps({'owner': 'p', 'visibility': 'private', 'colour': 'black'}))
    assert ask('get_image', '--project', 'p', '--image-json', str(image)).returncode == 3
