# SPDX-License-Identifier: Apache-2.0
"""What a location costs, what a PATCH of it may change besides, and who is told where the bytes are."""
import uuid

import pytest

from fake_limits import FakeLimits
from harness import A, ADMIN, B, Who, at_once, make_server, message_of
from sources import Hostile
from test_import import tasks_of, wait_task
from test_locations import add, config, located, post, run, sha512
from test_protection import ROLES, SETTER, properties, section, told
from test_quotas import refused, usage

pytestmark = pytest.mark.glint_only

QUOTA = 1_000_000
SERVICE = Who('5' * 32, '6' * 32, 'service')  # and nothing else
POLICY = 'get_image_location: "role:admin or project_id:%(project_id)s or project_id:%(member_id)s"\n'


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('located')
    (root / 'protections.conf').write_text(ROLES + section('.*', '@', '@', '@', '@'))
    (root / 'policy.yaml').write_text(POLICY)
    s = make_server(root, config(root, DEFAULT={'property_protection_file': 'protections.conf',
                                                'user_storage_quota': str(QUOTA)})).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def web():
    h = Hostile(b'')
    yield h
    h.close()


@pytest.fixture
def offer(web):
    """Puts so many octets there, and forgets what was asked for before."""
    def put(n):
        web.data = bytes(n)
        web.seen.clear()
        web.gate.clear()
        web.waiting.clear()
        return web
    return put


@pytest.fixture
def me():
    """Somebody whose project has nothing yet."""
    return Who(uuid.uuid4().hex, uuid.uuid4().hex, 'member,reader')


def nothing_is_there(client, image):
    shown = client.show(image)
    return (shown['status'], shown['locations'], shown['size'], shown['os_hash_value']) == ('queued', [], None, None)


# -- what else is in the PATCH ---------------------------------------------------------------------------------

@pytest.mark.parametrize('step', [
    {'op': 'replace', 'path': '/owner', 'value': B.project}, {'op': 'replace', 'path': '/owner', 'value': A.project},
    {'op': 'add', 'path': '/closed_a', 'value': 'x'}, {'op': 'replace', 'path': '/ro_a', 'value': 'x'},
    {'op': 'remove', 'path': '/ro_a'}, {'op': 'add', 'path': '/wo_a', 'value': 'x'}])
@pytest.mark.parametrize('first', [True, False])
def test_what_is_forbidden_besides(server, offer, step, first):
    setter = server.client(SETTER)
    image = setter.new(ro_a='1', wo_a='2', adm_a='3')['id']
    before, url = setter.show(image), offer(1000).url + '/good'
    a = server.client(A)
    steps = [step, add(url)] if first else [add(url), step]
    assert a.patch(image, step).status_code == 403
    r = a.patch(image, *steps)
    assert r.status_code == 403, r.text
    assert url not in r.text and setter.show(image) == before
    assert '/good' not in server.client(A).show(image) and [e.short for e in server.settled_events(image)] == ['image.create']


def test_what_may_not_be_read_is_not_there(server, offer):
    setter, a = server.client(SETTER), server.client(A)
    image = setter.new(adm_a='3', x_a='4')['id']
    web = offer(1000)
    for step in ({'op': 'replace', 'path': '/adm_a', 'value': 'x'}, {'op': 'remove', 'path': '/adm_a'}):
        r = a.patch(image, add(web.url + '/good'), step)
        assert r.status_code == 409 and 'is not there' in message_of(r), r.text
        assert message_of(r) == message_of(a.patch(image, add(web.url + '/good'), {**step, 'path': '/adm_nothing'})
                                           ).replace('adm_nothing', 'adm_a')
    assert web.seen == [] and nothing_is_there(setter, image)
    r = a.patch(image, add(web.url + '/good'), {'op': 'add', 'path': '/open_a', 'value': '5'})
    assert r.status_code == 200 and 'adm_a' not in r.json() and r.json()['status'] == 'active'
    assert properties(setter.show(image), ['adm_a', 'x_a', 'open_a']) == {'adm_a': '3', 'x_a': '4', 'open_a': '5'}
    assert told(server, image)[1:] == [('image.activate', {'open_a': '5'}), ('image.update(active)', {'open_a': '5'})]
    assert setter.remove(image).status_code == 204


def test_an_admin_may(server, offer, me):
    admin = server.client(ADMIN)
    image = server.client(me).new()['id']
    other = Who('x', uuid.uuid4().hex, 'member,reader')
    r = admin.patch(image, add(offer(1000).url + '/good'), {'op': 'replace', 'path': '/owner', 'value': other.project})
    assert r.status_code == 200 and r.json()['owner'] == other.project, r.text
    assert usage(server, other) == (1000, 0, 1, 0)


@pytest.mark.parametrize('path', ['/good', '/missing'])
def test_events_of_the_task_tell_what_everybody_may_read(server, offer, path):
    setter = server.client(SETTER)
    image = setter.new(open_a='1', adm_a='2', wo_a='3', x_a='4')['id']
    assert run(server, setter, image, offer(1000).url + path)['status'] == ('success' if path == '/good' else 'failure')
    events = told(server, image)
    assert [short for short, _ in events] == ['image.create', 'image.update(importing)'] + (
        ['image.activate', 'image.update(active)'] if path == '/good' else ['image.update(queued)'])
    assert 'adm_a' in events[0][1] and all(shown == {'open_a': '1'} for _, shown in events[1:])
    assert setter.show(image)['adm_a'] == '2' and setter.remove(image).status_code == 204


# -- quotas ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path', ['/good', '/endless'])
def test_patch_over_the_quota(server, offer, me, path):
    """With and without a word of how much will come."""
    c = server.client(me)
    image, web = c.new()['id'], offer(QUOTA + 1)
    assert refused(c.patch(image, add(web.url + path))) and nothing_is_there(c, image)
    assert usage(server, me) == (0, 0, 1, 0)
    assert [e.short for e in server.settled_events(image)] == ['image.create']
    offer(QUOTA)
    assert c.patch(image, add(web.url + '/good')).status_code == 200
    assert usage(server, me) == (QUOTA, 0, 1, 0)
    assert refused(c.upload(c.new()['id'], b'x'))
    assert c.remove(image).status_code == 204
    assert usage(server, me)[0] == 0 and c.new(bytes(QUOTA))


def test_task_over_the_quota(server, offer, me):
    c = server.client(me)
    image, web = c.new()['id'], offer(QUOTA + 1)
    for path in '/good', '/endless':
        task = run(server, c, image, web.url + path)
        assert task['status'] == 'failure' and 'exceeds the storage quota' in task['message'], task
        assert nothing_is_there(c, image) and usage(server, me) == (0, 0, 1, 0)
    offer(QUOTA)
    assert run(server, c, image, web.url + '/good')['status'] == 'success'
    assert usage(server, me) == (QUOTA, 0, 1, 0)
    assert c.download(image).content == web.data


def test_each_location_counts(server, offer, me):
    c, admin = server.client(me), server.client(ADMIN)
    web = offer(400_000)
    image = c.new(web.data)['id']
    assert c.patch(image, add(web.url + '/good')).status_code == 200
    assert usage(server, me) == (800_000, 0, 1, 0)
    web.seen.clear()
    assert refused(c.patch(image, add(web.url + '/parts')))
    assert web.seen == []  # how much it would be is known
    assert len(c.show(image)['locations']) == 2
    assert admin.patch(image, {'op': 'remove', 'path': '/locations/1'}).status_code == 200
    assert usage(server, me) == (400_000, 0, 1, 0)
    assert c.patch(image, add(web.url + '/parts')).status_code == 200
    several = c.new()['id']
    offer(100_001)
    assert refused(c.patch(several, add(web.url + '/good'), add(web.url + '/parts'))) and nothing_is_there(c, several)
    offer(100_000)
    assert c.patch(several, add(web.url + '/good'), add(web.url + '/parts')).status_code == 200
    assert usage(server, me) == (QUOTA, 0, 2, 0)


def test_what_fails_is_given_back(server, offer, me):
    c = server.client(me)
    image, web = c.new()['id'], offer(QUOTA - 100)  # /short says that there are 100 more
    for path in '/short', '/gzip':
        assert c.patch(image, add(web.url + path)).status_code == 400
        assert run(server, c, image, web.url + path)['status'] == 'failure'
    assert c.patch(image, add(web.url + '/good', validation_data=sha512(b'other'))).status_code == 409
    offer(QUOTA)
    assert c.patch(image, add(web.url + '/good')).status_code == 200


def test_two_race_for_the_last_octet(server, offer, me):
    """By PATCH and by PATCH, by PATCH and by task, by PATCH and with an upload: what is on its way counts."""
    c, web = server.client(me), offer(QUOTA // 2 + 1)
    images = [c.new()['id'] for _ in range(2)]
    answers = at_once(*[lambda i=i: server.client(me).patch(i, add(web.url + '/good')) for i in images])
    assert sorted(r.status_code for r in answers) == [200, 413]
    assert sorted(c.show(i)['status'] for i in images) == ['active', 'queued']
    assert usage(server, me) == (QUOTA // 2 + 1, 0, 2, 0)
    winner = next(i for i in images if c.show(i)['status'] == 'active')
    assert c.remove(winner).status_code == 204
    image, other = c.new()['id'], c.new()['id']
    assert post(c, image, web.url + '/held').status_code == 202 and web.waiting.wait(30)
    assert refused(c.patch(other, add(web.url + '/good'))) and refused(c.upload(other, web.data))
    web.gate.set()
    assert wait_task(server, c, image)['status'] == 'success'
    assert refused(c.upload(other, web.data)) and c.upload(other, bytes(QUOTA // 2 - 1)).status_code == 204
    assert usage(server, me)[0] == QUOTA


# -- unified limits --------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def keystone():
    k = FakeLimits()
    yield k
    k.close()


@pytest.fixture(scope='module')
def limited(keystone, tmp_path_factory):
    root = tmp_path_factory.mktemp('limited')
    more = keystone.settings(glint={'shutdown_timeout': '0'})
    s = make_server(root, config(root, **more)).start()
    s.errors_expected = True  # 503 is said in the log
    yield s
    s.stop()


@pytest.fixture
def silent(keystone):
    """Keystone says nothing of use, until it is told to."""
    def answer(handler, what):
        handler.reply(503, {})
        return True
    keystone.answer = answer
    yield lambda: setattr(keystone, 'answer', None)
    keystone.answer = None


def test_a_patch_without_an_answer(limited, keystone, offer, me, request):
    """It hears it before anything is read; nothing is changed."""
    admin, c, web = limited.client(ADMIN), limited.client(me), offer(1000)
    patched, posted = [limited.client(A).new()['id'] for _ in range(2)]
    for image in patched, posted:  # of whom nobody has asked for the limits
        assert admin.patch(image, {'op': 'replace', 'path': '/owner', 'value': me.project}).status_code == 200
    say = request.getfixturevalue('silent')
    assert c.patch(patched, add(web.url + '/good')).status_code == 503
    assert post(c, posted, web.url + '/good').status_code == 503 and tasks_of(c, posted) == []
    assert web.seen == [] and nothing_is_there(c, patched) and nothing_is_there(c, posted)
    assert limited.client(B).patch(patched, add(web.url + '/good')).status_code == 404  # not to whom it is no business of
    say()
    assert c.patch(patched, add(web.url + '/good')).status_code == 200
    assert run(limited, c, posted, web.url + '/good')['status'] == 'success'


def test_a_task_without_an_answer(limited, keystone, offer, me, request):
    """It waits, and its image with it."""
    c, web = limited.client(me), offer(1000)
    image = c.new()['id']
    assert post(c, image, web.url + '/held').status_code == 202 and web.waiting.wait(30)
    limited.stop()
    say = request.getfixturevalue('silent')
    before, n = keystone.count('endpoints'), len(web.seen)
    limited.start()
    keystone.wait_asked('endpoints', before + 3)
    c = limited.client(me)
    assert c.show(image)['status'] == 'importing' and tasks_of(c, image)[0]['status'] == 'processing'
    assert len(web.seen) == n
    web.gate.set()
    say()
    assert wait_task(limited, c, image)['status'] == 'success' and c.download(image).content == web.data


def test_limits(limited, keystone, offer, me):
    keystone.projects[me.project] = {'image_size_total': 1, 'image_count_uploading': 0}
    c, web = limited.client(me), offer((1 << 20) + 1)
    image = c.new()['id']
    r = c.patch(image, add(web.url + '/good'))
    assert r.status_code == 413 and 'Resource image_size_total is over limit of 1' in message_of(r)
    offer(1 << 20)
    task = run(limited, c, image, web.url + '/good')
    assert task['status'] == 'failure' and 'Resource image_count_uploading is over limit of 0' in task['message']
    assert web.seen == [] and nothing_is_there(c, image)
    assert c.patch(image, add(web.url + '/good')).status_code == 200  # at once: it is never on its way
    assert usage(limited, me) == (1 << 20, 0, 1, 0)


# -- who is told where the bytes are ---------------------------------------------------------------------------

def test_services_need_not_see_images(server, offer, me):
    """Where its bytes are is told to services of each image that reaches them, to nobody else, and no more of it."""
    admin, service, url = server.client(ADMIN), server.client(SERVICE), offer(1000).url + '/good'
    public, private = located(admin, url, visibility='public'), located(server.client(me), url, visibility='private')
    there = [{'url': url, 'metadata': {'store': 'web'}}]
    assert service.get(f'/v2/images/{public}/locations').json() == there
    assert service.get(f'/v2/images/{public}').status_code == 404  # for want of the role reader
    assert service.get(f'/v2/images/{private}/locations').status_code == 404
    assert admin.get(f'/v2/images/{private}/locations').json() == there
    assert server.client(me).get(f'/v2/images/{private}/locations').status_code == 403
    assert server.client(B).get(f'/v2/images/{public}/locations').status_code == 403
    assert server.client(Who('x', 'y', 'other')).get(f'/v2/images/{public}/locations').status_code == 404
    queued = admin.new(visibility='public')['id']
    assert post(server.client(B), queued, url).status_code == 403
    assert post(server.client(Who('x', 'y', 'other')), queued, url).status_code == 404
    assert run(server, admin, queued, url)['status'] == 'success'
    queued = admin.new(visibility='public')['id']
    assert post(service, queued, url).status_code == 202 and wait_task(server, admin, queued)['status'] == 'success'
    assert post(service, server.client(me).new(visibility='private')['id'], url).status_code == 404


def test_list_and_show_agree(server, offer, me):
    """Of an image that is shared, members are members for get_image_location."""
    c, member, url = server.client(me), server.client(B), offer(1000).url + '/good'
    image = located(c, url, visibility='shared')
    assert c.post(f'/v2/images/{image}/members', {'member': B.project}).status_code == 200
    assert member.put(f'/v2/images/{image}/members/{B.project}', json={'status': 'accepted'}).status_code == 200
    public = located(server.client(ADMIN), url, visibility='public')
    for client, wanted in ((c, 1), (member, 1), (server.client(ADMIN), 1)):
        shown = client.show(image)
        listed, = client.list(f'id=in:{image}&visibility=shared&member_status=all')[1]['images']
        assert listed == shown and len(shown['locations']) == wanted and shown['direct_url'] == url
    assert member.show(public)['locations'] == [] and 'direct_url' not in member.show(public)
    assert all(i['locations'] == [] for i in member.list('visibility=public')[1]['images'])
