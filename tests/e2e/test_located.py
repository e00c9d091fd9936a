# SPDX-License-Identifier: Apache-2.0
"""What a PATCH of locations may change besides, and who is told of it."""
import pytest

from harness import A, B, make_server, message_of
from sources import Hostile
from test_locations import add, config, run
from test_protection import ROLES, SETTER, properties, section, told

pytestmark = pytest.mark.glint_only


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('located')
    (root / 'protections.conf').write_text(ROLES + section('.*', '@', '@', '@', '@'))
    s = make_server(root, config(root, DEFAULT={'property_protection_file': 'protections.conf'})).start()
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
