# SPDX-License-Identifier: Apache-2.0
"""Property protections: who may create, read, update and delete which custom properties.

test_as_in_glance asks glint and the real Glance the same. Where they differ on purpose, Glance loses or gives away what
is protected, and glint does not:

- A property that its maker may not read is stored. Glance drops it on POST.
- A PATCH leaves properties alone that its caller may not read. Glance deletes them.
- One of those is written over only by who may create and update it. Glance answers 500 to a PATCH that adds what its
  caller may not read.
- A list filter on a property that one may not read matches nothing. In Glance it tells the value by trial and error.
- A file without any section stops the start. In Glance everything is allowed then.
- A rule that the policy does not have lets nobody. In Glance it is the rule `default`, which lets everybody."""
import time

import pytest

from harness import A, ADMIN, Glint, Who, message_of, wait_for
from real_glance import Glance

pytestmark = pytest.mark.glint_only
SETTER = Who('5' * 32, A.project, 'member,reader,Setter')
PROJECT_ADMIN = Who('7' * 32, A.project, 'admin,member,reader')
READER = Who('6' * 32, A.project, 'member,reader,special')


def section(expression, create, read, update, delete):
    return f'[{expression}]\ncreate = {create}\nread = {read}\nupdate = {update}\ndelete = {delete}\n'


ROLES = ('# the first that matches decides\n' + section('^open_', '@', '@', '@', '@') + section('^closed_', '!', '!', '!', '!')
         + section('^ro_', 'setter', '@', '!', '') + section('^adm_', 'admin, SETTER', 'admin,setter', 'admin', 'admin')
         + section('^up_', 'setter', '@', 'Member', 'admin') + section('^wo_', 'member', 'setter', 'setter', 'setter')
         + section('_special_', 'setter', 'setter,special', 'special', 'special') + section('^x_open', '@', '@', '@', '@')
         + section(r'^x_\w+$', 'setter', 'setter', 'setter', 'setter') + section('(?i)loose', '@', '@', '@', '@'))
NAMES = ['open_a', 'closed_a', 'ro_a', 'adm_a', 'up_a', 'wo_a', 'a_special_b', 'x_open_a', 'x_a', 'x_a-', 'ü LOOSE', 'nothing']
SEEDED = [n for n in NAMES if n not in ('closed_a', 'x_a-', 'nothing')]
RULES = (section('^a_', 'publicize_image', '@', 'publicize_image', '!') + section('^b_', '@', 'keepers', '@', '@')
         + section('^d_', 'keepers', '@', 'own_keepers', 'of_nothing') + section('.*', '@', '@', '@', '@'))
RULED = ['a_', 'b_', 'd_', 'c_']
POLICY = """\
keepers: role:setter or role:admin
own_keepers: rule:keepers and project_id:%s
of_nothing: project_id:%%(owner)s
""" % A.project

OPERATIONS = {
    'create': lambda c, image, n: c.create(**{n: 'new'}),
    'add': lambda c, image, n: c.patch(image, {'op': 'add', 'path': '/' + n, 'value': 'new'}),
    'replace': lambda c, image, n: c.patch(image, {'op': 'replace', 'path': '/' + n, 'value': 'new'}),
    'remove': lambda c, image, n: c.patch(image, {'op': 'remove', 'path': '/' + n}),
    'twice': lambda c, image, n: c.patch(image, {'op': 'add', 'path': f'/{n}3', 'value': 'new'},
                                         {'op': 'replace', 'path': f'/{n}3', 'value': 'newer'}),
}


def config(root, text, rule_format='roles'):
    root.mkdir(exist_ok=True)
    (root / 'protections.conf').write_text(text)
    return {'DEFAULT': {'property_protection_file': 'protections.conf' if rule_format == 'roles' else root / 'protections.conf',
                        'property_protection_rule_format': rule_format}}


def properties(image, names):
    return {n: v for n, v in image.items() if any(n.startswith(name) for name in names)}


def seen(client, image, names):
    """What of them the caller is shown: alone, and in a list."""
    shown = properties(client.show(image), names)
    listed, = [i for i in client.list('limit=100')[1]['images'] if i['id'] == image]
    assert properties(listed, names) == shown
    return shown


def life(server, names, seeded, maker, callers):
    """What every operation of everybody on every property has come to, and what they were shown of it."""
    out = {}
    m = server.client(maker)
    made = m.create(**{n: 'old' for n in seeded}).json()['id']
    for who, asks_about in callers:
        c = server.client(who)
        out[who.roles, 'seen'] = 200, seen(c, made, names)
        for name in asks_about:
            image = None
            for operation, act in OPERATIONS.items():
                if operation == 'twice' and name not in ('open_a', 'wo_a', 'up_a'):
                    continue
                image = image or m.create(**({name: 'old'} if name in seeded else {})).json()['id']
                r = act(c, image, name)
                out[who.roles, name, operation] = r.status_code, properties(r.json() if r.status_code < 400 else {}, [name])
                if r.status_code == 200:  # it is not what it was
                    image = None
    return out


@pytest.mark.parametrize('rule_format', ['roles', 'policies'])
def test_as_in_glance(tmp_path, rule_format):
    if rule_format == 'roles':
        callers = [(A, NAMES), (SETTER, ['closed_a', 'adm_a', 'wo_a', 'x_a', 'nothing']), (ADMIN, NAMES[1:5]),
                   (READER, ['a_special_b'])]
        text, arguments = ROLES, (NAMES, SEEDED, SETTER, callers)
    else:
        text, arguments = RULES, (RULED, RULED, PROJECT_ADMIN, [(A, RULED), (PROJECT_ADMIN, RULED[:3]), (SETTER, ['b_', 'd_'])])
    found = {}
    for kind in (Glance, Glint):
        server = kind(tmp_path / kind.__name__, config(tmp_path / kind.__name__, text, rule_format))
        (server.root / 'policy.yaml').write_text(POLICY)
        try:
            server.start()
            found[kind] = life(server, *arguments)
        finally:
            server.stop()
    theirs, ours = found[Glance], found[Glint]
    for key in [k for k, v in theirs.items() if v[0] == 500]:  # a crash is no model
        assert ours.pop(key)[0] in (200, 403) and theirs.pop(key)
    assert ours == theirs
    assert {201, 200, 403, 409} <= {v[0] for v in ours.values()}


# -- what glint promises beyond it -------------------------------------------------------------------------

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('protected')
    extra = config(root, ROLES + section('.*', '@', '@', '@', '@'))
    extra['DEFAULT'].update({'node_staging_uri': f'file://{root}/staging', 'enabled_import_methods': 'glance-direct'})
    s = Glint(root, extra).start()
    yield s
    s.stop()


def hidden(server):
    """An image of A with properties of which he may read some."""
    return server.client(SETTER).new(open_a='1', adm_a='2', wo_a='3', x_a='4')['id']


def test_what_may_not_be_read_stays(server, a):
    image = hidden(server)
    assert a.patch(image, {'op': 'add', 'path': '/open_b', 'value': '5'}, {'op': 'remove', 'path': '/open_a'}).status_code == 200
    assert a.put(f'/v2/images/{image}/tags/t').status_code == a.upload(image, b'x').status_code == 204
    assert properties(server.client(SETTER).show(image), NAMES + ['open_b']) == {
        'adm_a': '2', 'wo_a': '3', 'x_a': '4', 'open_b': '5'}
    assert properties(a.show(image), NAMES + ['open_b']) == {'open_b': '5'}
    r = a.patch(image, {'op': 'add', 'path': '/wo_a', 'value': 'mine'})
    assert r.status_code == 403 and 'wo_a' in message_of(r)
    r = a.create(wo_a='6')
    assert r.status_code == 201 and 'wo_a' not in r.json()
    assert server.client(SETTER).show(r.json()['id'])['wo_a'] == '6'


def test_all_or_nothing(server, a):
    image = hidden(server)
    before = server.client(SETTER).show(image)
    assert a.patch(image, {'op': 'add', 'path': '/open_b', 'value': '5'},
                   {'op': 'add', 'path': '/ro_a', 'value': '6'}).status_code == 403
    assert a.create(open_a='1', ro_a='2').status_code == 403
    assert server.client(SETTER).show(image) == before
    assert [e.short for e in server.settled_events(image)] == ['image.create']


def test_filters(server, a):
    image, setter = hidden(server), server.client(SETTER)
    for query in ('adm_a=2', 'x_a=4', 'wo_a=3', 'open_a=1&wo_a=3'):
        assert image in setter.list('limit=1000&' + query)[0] and a.list('limit=1000&' + query)[0] == []
    for query in ('open_a=1', ''):
        assert image in a.list('limit=1000&' + query)[0]
    r = a.get(f'/v2/images?wo_a=3&marker={image}')
    assert r.status_code == 200 and r.json()['images'] == []


def test_the_quota_counts_all(servers, tmp_path):
    extra = config(tmp_path / 'few', ROLES)
    extra['DEFAULT']['image_property_quota'] = 3
    s = servers(extra, name='few')
    image = s.client(SETTER).new(open_a='1', adm_a='2', x_a='3')['id']
    assert s.client(A).patch(image, {'op': 'add', 'path': '/open_b', 'value': '4'}).status_code == 413
    assert s.client(A).patch(image, {'op': 'replace', 'path': '/open_a', 'value': '4'}).status_code == 200


def told(server, image):
    return [(e.short, properties(e.payload['properties'], NAMES)) for e in server.settled_events(image)]


def test_events_tell_what_their_maker_may_read(server, a):
    image = hidden(server)
    assert a.upload(image, b'x').status_code == 204
    assert server.client(SETTER).patch(image, {'op': 'replace', 'path': '/name', 'value': 'n'}).status_code == 200
    assert a.remove(image).status_code == 204
    for short, shown in told(server, image):
        by_setter = short in ('image.create',) or short == 'image.update(active)' and 'adm_a' in shown
        assert shown == ({'open_a': '1', 'wo_a': '3', 'x_a': '4', 'adm_a': '2'} if by_setter else {'open_a': '1'}), short
    assert sum('adm_a' in shown for _, shown in told(server, image)) == 2


def test_events_of_the_service_tell_what_everybody_may_read(server):
    """An import is done long after its request."""
    setter = server.client(SETTER)
    image = hidden(server)
    octets = {'Content-Type': 'application/octet-stream'}
    assert setter.put(f'/v2/images/{image}/stage', data=b'x', headers=octets).status_code == 204
    assert setter.post(f'/v2/images/{image}/import', {'method': {'name': 'glance-direct'}}).status_code == 202
    wait_for(lambda: 'image.activate' in [e.short for e in server.events(image)], server.root, 'import')
    assert setter.show(image)['adm_a'] == '2'
    for short, shown in told(server, image):
        assert ('adm_a' in shown) == (short in ('image.create', 'image.update(uploading)')), short
        assert shown['open_a'] == '1'


def test_a_page_of_many(server, a):
    """What the list keeps in memory is the same for all, what it shows is not."""
    setter = server.client(SETTER)
    ids = [hidden(server) for _ in range(30)]
    for _ in range(2):
        for client, wanted in ((setter, {'open_a', 'adm_a', 'wo_a', 'x_a'}), (a, {'open_a'}), (server.client(READER), {'open_a'})):
            images = {i['id']: i for i in client.list('limit=1000')[1]['images']}
            assert all(set(properties(images[i], NAMES)) == wanted for i in ids)
            assert list(images[ids[0]]) == list(client.show(ids[0]))


# -- the file ----------------------------------------------------------------------------------------------

def test_changes_of_the_file(servers, tmp_path):
    s = servers(config(tmp_path / 'changing', ROLES), name='changing')
    s.errors_expected = True
    file, a = s.root / 'protections.conf', s.client(A)
    image = hidden(s)

    def wait_until(wanted):
        end = time.monotonic() + 20
        while set(properties(a.show(image), NAMES)) != wanted:
            assert time.monotonic() < end
            time.sleep(0.02)  # nothing tells us
    wait_until({'open_a'})
    file.write_text(section('.*', '@', '@', '@', '@'))
    wait_until({'open_a', 'adm_a', 'wo_a', 'x_a'})
    file.write_text('[broken\n')
    wait_for(lambda: len(s.service_errors()) == 1, s.root, 'complaint')
    assert 'protections.conf:1' in s.service_errors()[0] and set(properties(a.show(image), NAMES)) > {'open_a'}
    file.unlink()
    s.hangup()
    assert set(properties(a.show(image), NAMES)) > {'open_a'}
    file.write_text(ROLES)
    s.hangup()
    wait_until({'open_a'})
    assert len(s.service_errors()) == 1
    file.unlink()
    s.hangup()
    wait_for(lambda: len(s.service_errors()) == 2, s.root, 'complaint')
    wait_until({'open_a'})


@pytest.mark.parametrize('text, why', [
    (None, 'opening'), ('', 'no section'), ('[a]\nread = @\n', 'who may create'), ('[(]\n', 'expression'),
    (section('a', '@', '@,!', '@', '@'), 'names both'), (section('a', '@', '%(x)s', '@', '@'), ':3:')])
def test_no_start_with_a_bad_file(servers, tmp_path, text, why):
    s = servers(config(tmp_path / 'bad', text or ''), start=False, name='bad')
    if text is None:
        (s.root / 'protections.conf').unlink()
    for words in (['serve', '--listen', '127.0.0.1:0'], ['config', 'check']):
        r = s.run(*words, check=False)
        assert r.returncode != 0 and 'property_protection_file' in r.stderr and why in r.stderr, r.stderr


def test_rules_change_with_the_policy(servers, tmp_path):
    s = servers(config(tmp_path / 'ruled', RULES, 'policies'), name='ruled', start=False)
    policy = s.root / 'policy.yaml'
    policy.write_text(POLICY)
    s.start()
    image, a = s.client(SETTER).new(b_='1', d_='2')['id'], s.client(A)
    assert a.create(b_='1').status_code == 201 and 'b_' not in a.show(image)
    end = time.monotonic() + 20
    policy.write_text(POLICY.replace('role:setter', 'role:member'))
    while 'b_' not in a.show(image):
        assert time.monotonic() < end
        time.sleep(0.02)  # nothing tells us
    policy.write_text(POLICY.replace('keepers', 'others'))  # no such rule any more
    while 'b_' in s.client(SETTER).show(image):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert 'b_' not in s.client(ADMIN).show(image)


def test_config_check_names_the_file(server):
    assert f'protected by {server.root}/protections.conf' in server.run('config', 'check').stdout
