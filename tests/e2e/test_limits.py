# SPDX-License-Identifier: Apache-2.0
"""Unified limits: what Keystone says a project may have, and what becomes of those who ask while it does not say."""
import itertools
import re
import uuid

import pytest

from fake_limits import RESOURCES, FakeLimits
from harness import A, ADMIN, Who, at_once, make_server, message_of

pytestmark = pytest.mark.glint_only
MIB = 1 << 20


@pytest.fixture(scope='module')
def keystone():
    k = FakeLimits()
    yield k
    k.close()


@pytest.fixture(scope='module')
def limited(keystone, tmp_path_factory):
    s = make_server(tmp_path_factory.mktemp('limited'), keystone.settings())
    s.start()
    yield s
    s.errors_expected = True  # 503 is said in the log
    s.stop()


@pytest.fixture(autouse=True)
def well(keystone):
    yield
    keystone.answer, keystone.model, keystone.login_status = None, 'flat', 201
    keystone.gate.set()


def somebody():
    """Of a project that nobody has asked for yet."""
    return Who(uuid.uuid4().hex, uuid.uuid4().hex, 'member,reader')


def usage(client):
    r = client.get('/v2/info/usage')
    assert r.status_code == 200, r.text
    return r.json()['usage']


def test_without_limits_there_is_nothing_to_tell(servers):
    client = servers().client(A)
    assert client.get('/v2/info/usage').json() == {'usage': {}}


def test_usage_of_nothing(limited):
    who = somebody()
    assert usage(limited.client(who)) == {name: {'usage': 0, 'limit': 1000} for name in RESOURCES}
    assert list(usage(limited.client(who))) == list(RESOURCES)


def test_usage_in_whole_mebibytes(limited):
    client = limited.client(somebody())
    client.new(b'x' * (3 * MIB + MIB // 2))
    client.new()
    staged = client.new()['id']
    assert client.put(f'/v2/images/{staged}/stage', data=b'y' * (2 * MIB),
                      headers={'Content-Type': 'application/octet-stream'}).status_code == 204
    assert {name: u['usage'] for name, u in usage(client).items()} == {
        'image_size_total': 3, 'image_stage_total': 2, 'image_count_total': 3, 'image_count_uploading': 1}


def test_a_project_has_limits_of_its_own(limited, keystone):
    who = somebody()
    keystone.projects[who.project] = {'image_count_total': 1, 'image_size_total': -1}
    limits = {name: u['limit'] for name, u in usage(limited.client(who)).items()}
    assert limits == {'image_size_total': -1, 'image_stage_total': 1000, 'image_count_total': 1,
                      'image_count_uploading': 1000}


def test_what_is_not_registered_nobody_may_have(limited, keystone):
    who, registered = somebody(), keystone.registered
    keystone.registered = {'image_size_total': 5}
    try:
        assert {name: u['limit'] for name, u in usage(limited.client(who)).items()} == {
            'image_size_total': 5, 'image_stage_total': 0, 'image_count_total': 0, 'image_count_uploading': 0}
        r = limited.client(who).create(name='x')
        assert r.status_code == 413
    finally:
        keystone.registered = registered


def test_too_many_images(limited, keystone):
    who = somebody()
    keystone.projects[who.project] = {'image_count_total': 2}
    client = limited.client(who)
    for _ in range(2):
        assert client.create(name='x').status_code == 201
    r = client.create(name='x')
    assert r.status_code == 413
    assert (f'Project {who.project} is over a limit for [Resource image_count_total is over limit of 2 due to '
            'current usage 2 and delta 1]') in message_of(r)
    assert usage(client)['image_count_total'] == {'usage': 2, 'limit': 2}
    assert limited.client(somebody()).create(name='x').status_code == 201  # the twin


def test_too_many_octets(limited, keystone):
    who = somebody()
    keystone.projects[who.project] = {'image_size_total': 1}
    client = limited.client(who)
    client.new(b'x' * MIB)
    image = client.new()['id']
    r = client.upload(image, b'x')
    assert r.status_code == 413
    assert f'Project {who.project} is over a limit for [Resource image_size_total is over limit of 1' in message_of(r)
    assert client.show(image)['status'] == 'queued'


def test_64_clients_at_the_limit(limited, keystone):
    who = somebody()
    keystone.projects[who.project] = {'image_count_total': 5}
    codes = at_once(*[lambda: limited.client(who).create(name='x').status_code] * 64)
    assert sorted(codes) == [201] * 5 + [413] * 59
    assert usage(limited.client(who))['image_count_total']['usage'] == 5
    assert keystone.count('limits', who.project) == 1  # and one question


def test_the_site_is_found_once(keystone, servers):
    server = servers(keystone.settings())
    before = {what: keystone.count(what) for what in ('endpoints', 'model')}
    logins = len(keystone.logins)
    codes = at_once(*[lambda: server.client(somebody()).create(name='x').status_code] * 16)
    assert codes == [201] * 16
    assert {what: keystone.count(what) - n for what, n in before.items()} == {'endpoints': 1, 'model': 1}
    assert len(keystone.logins) == logins + 1
    scope = keystone.logins[-1]['auth']['scope']
    assert scope == {'system': {'all': True}}


def test_the_endpoint_by_name(keystone, servers):
    server = servers(keystone.settings(endpoint_id=None, endpoint_service_name='glance', endpoint_service_type='image',
                                       endpoint_region_name='RegionOne'))
    assert server.client(A).create(name='x').status_code == 201
    other = servers(keystone.settings(endpoint_id=None, endpoint_service_type='volume'))
    other.errors_expected = True
    r = other.client(A).create(name='x')
    assert r.status_code == 503
    assert 'Keystone has 0 services that are as [oslo_limit] endpoint_* say' in other.log.read_text()


# -- a Keystone that does not say ----------------------------------------------------------------------

def reply(status, body):
    def answer(handler, what):
        handler.reply(status, body)
        return True
    return answer


def cut(handler, what):
    handler.close_connection = True
    return True


@pytest.mark.parametrize('answer', [
    reply(500, {'error': {}}), reply(200, b'<html>rubbish'), reply(200, b''), reply(200, {}), reply(404, {}),
    reply(200, b'x' * (2 * MIB)), reply(302, {}), reply(401, {}), reply(403, {}), cut])
def test_no_answer_is_503(limited, keystone, answer):
    known = somebody()
    usage(limited.client(known))
    keystone.answer = answer
    client = limited.client(somebody())
    r = client.create(name='x')
    assert r.status_code == 503, r.text
    assert 'limits of the project cannot be asked for' in message_of(r)
    assert client.get('/v2/info/usage').status_code == 503
    assert limited.client(known).create(name='x').status_code == 201  # nobody else notices
    keystone.answer = None
    assert client.create(name='x').status_code == 201
    assert usage(client)['image_count_total']['usage'] == 1  # those that failed left nothing


def test_two_levels_are_not_enforced_as_one(keystone, servers):
    keystone.model = 'strict_two_level'
    server = servers(keystone.settings())
    server.errors_expected = True
    assert server.client(A).create(name='x').status_code == 503
    assert "enforcement model is not 'flat'" in server.log.read_text()


def test_a_token_that_is_refused_is_replaced_once(limited, keystone):
    usage(limited.client(somebody()))
    keystone.tokens.clear()
    logins = len(keystone.logins)
    assert limited.client(somebody()).create(name='x').status_code == 201
    assert len(keystone.logins) == logins + 1
    keystone.answer = reply(401, {})  # whichever: two tries, no more
    asked = keystone.count('registered_limits')
    assert limited.client(somebody()).create(name='x').status_code == 503
    assert keystone.count('registered_limits') == asked + 2


def test_a_login_that_is_refused(keystone, servers):
    keystone.login_status = 401
    server = servers(keystone.settings())
    server.errors_expected = True
    logins = len(keystone.logins)
    for _ in range(3):
        assert server.client(A).create(name='x').status_code == 503
    assert len(keystone.logins) == logins + 1  # no guessing that locks the account
    said = server.log.read_text()
    assert 'Keystone refuses the credentials of [oslo_limit]' in said


def test_one_that_hangs_stalls_nobody_else(keystone, servers):
    server = servers(keystone.settings(glint={'limits_max_waiting': 4}, timeout=3))
    server.errors_expected = True
    known, unknown = somebody(), [somebody() for _ in range(4)]
    usage(server.client(known))
    keystone.gate.clear()
    before = keystone.count('registered_limits')

    def waits(who):
        return lambda: server.client(who).create(name='x').status_code

    def others():
        keystone.wait_asked('registered_limits', before + 4)
        codes = [server.client(known).create(name='x').status_code, server.client(known).get('/v2/images').status_code]
        assert server.client(somebody()).create(name='x').status_code == 503  # one too many, at once
        return codes

    *codes, last = at_once(*[waits(who) for who in unknown], *[waits(unknown[0])] * 8, others)
    assert last == [201, 200]
    assert codes == [503] * 12  # when their time was over; the eight that joined as well
    keystone.gate.set()
    assert server.client(unknown[0]).create(name='x').status_code == 201


def test_an_old_answer_goes_on(keystone, servers):
    server = servers(keystone.settings(glint={'limits_cache_time': 1}))
    server.errors_expected = True
    who = somebody()
    keystone.projects[who.project] = {'image_count_total': 3}
    client = server.client(who)
    assert client.create(name='x').status_code == 201
    keystone.answer = reply(500, {})
    asked = keystone.count('endpoints') + keystone.count('registered_limits')
    for _ in itertools.count():  # until it is over and was asked for in vain
        assert usage(client)['image_count_total'] == {'usage': 1, 'limit': 3}
        if keystone.count('endpoints') + keystone.count('registered_limits') > asked:
            break
    assert client.create(name='x').status_code == 201
    assert server.client(somebody()).create(name='x').status_code == 503
    keystone.answer = None
    keystone.projects[who.project] = {'image_count_total': 2}
    while usage(client)['image_count_total']['limit'] == 3:
        pass
    assert client.create(name='x').status_code == 413


def test_a_stop_ends_the_waiting(keystone, servers):
    server = servers(keystone.settings(glint={'shutdown_timeout': 1}, timeout=300))
    server.errors_expected = True
    usage(server.client(A))
    keystone.gate.clear()
    who = somebody()

    def waits():
        try:
            return server.client(who).create(name='x').status_code
        except Exception:  # cut off
            return None

    def stops():
        keystone.wait_asked('registered_limits', before + 1)
        server.stop()
        return 'stopped'

    before = keystone.count('registered_limits')
    assert at_once(waits, stops) in ([503, 'stopped'], [None, 'stopped'])


def test_no_secret_is_told(limited, keystone):
    keystone.answer = reply(500, {})
    r = limited.client(somebody()).create(name='x')
    assert r.status_code == 503
    everything = limited.log.read_text() + limited.said() + r.text + limited.client(ADMIN).get('/metrics').text
    assert 'S3CR3T' not in everything and keystone.url not in r.text


def test_metrics(limited):
    text = limited.client(None).get('/metrics').text
    answered = int(re.search(r'^glint_limits_questions_total\{outcome="answered"\} (\d+)$', text, re.M)[1])
    assert answered > 0
    assert re.search(r'^glint_limits_waiting 0$', text, re.M)


@pytest.mark.parametrize('change, complaint', [
    ({'auth_url': None}, 'auth_url'), ({'auth_url': 'keystone:5000'}, 'auth_url'), ({'username': None}, 'username'),
    ({'password': None}, 'password'), ({'user_domain_name': None}, 'user_domain_name'),
    ({'system_scope': None}, 'system_scope or project_name'), ({'endpoint_id': None}, 'endpoint_id'),
    ({'cafile': '/nonexistent'}, 'cafile'), ({'auth_type': 'v3applicationcredential'}, 'application_credential_id'),
])
def test_what_is_missing_is_said_at_once(servers, keystone, change, complaint):
    server = servers(keystone.settings(**change), start=False)
    done = server.run('config', 'check', check=False)
    assert done.returncode != 0 and complaint in done.stderr + done.stdout
    assert 'S3CR3T' not in done.stderr + done.stdout
