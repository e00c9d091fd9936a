# SPDX-License-Identifier: Apache-2.0
"""Unified limits of the real Keystone, made by the openstack client."""
import subprocess

import pytest
import requests

from harness import make_server, message_of
from keystone import SERVICE_USER, RealKeystone, free_port, settings

pytestmark = pytest.mark.glint_only
RESOURCES = {'image_size_total': 2, 'image_stage_total': 1, 'image_count_total': 3, 'image_count_uploading': 10}


@pytest.fixture(scope='module')
def keystone(tmp_path_factory):
    k = RealKeystone(tmp_path_factory.mktemp('keystone') / 'keystone', f'http://127.0.0.1:{free_port()}')
    try:
        k.call('PUT', f'/system/users/{k.users["glance"]}/roles/{k.roles["reader"]}')
        k.image = k.call('GET', '/services?type=image')[1]['services'][0]['id']
        k.endpoint = k.call('GET', f'/endpoints?service_id={k.image}')[1]['endpoints'][0]['id']
        k.call('POST', '/registered_limits', {'registered_limits': [
            {'service_id': k.image, 'region_id': 'RegionOne', 'resource_name': name, 'default_limit': limit}
            for name, limit in RESOURCES.items() if name != 'image_count_total']})
        yield k
    finally:
        k.stop()


@pytest.fixture(scope='module')
def server(keystone, tmp_path_factory):
    user = {k: v for k, v in SERVICE_USER.items() if not k.startswith('project')}
    s = make_server(tmp_path_factory.mktemp('server'), {
        **settings(keystone.url), 'DEFAULT': {'use_keystone_limits': 'true'}, 'glint': {'limits_cache_time': 1},
        'oslo_limit': {'auth_url': keystone.url, **user, 'system_scope': 'all', 'endpoint_id': keystone.endpoint}})
    s.start()
    yield s
    s.stop()


def openstack(keystone, *words):
    """As the administrator of the system."""
    env = keystone.environment('admin', 'admin')
    env = {**{k: v for k, v in env.items() if 'PROJECT' not in k}, 'OS_SYSTEM_SCOPE': 'all'}
    done = subprocess.run(['openstack', *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr


class Caller:
    def __init__(self, server, keystone, user, project):
        self.url = server.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers['X-Auth-Token'] = keystone.log_in(user, project)

    def usage(self):
        return self.session.get(f'{self.url}/v2/info/usage', timeout=60).json()['usage']

    def create(self):
        return self.session.post(f'{self.url}/v2/images', timeout=60,
                                 json={'name': 'x', 'disk_format': 'raw', 'container_format': 'bare'})

    def upload(self, image, data):
        return self.session.put(f'{self.url}/v2/images/{image}/file', data=data, timeout=60,
                                headers={'Content-Type': 'application/octet-stream'})


def test_limits_of_the_real_one(server, keystone):
    openstack(keystone, 'registered', 'limit', 'create', '--service', keystone.image, '--region', 'RegionOne',
              '--default-limit', '3', 'image_count_total')
    openstack(keystone, 'limit', 'create', '--service', keystone.image, '--region', 'RegionOne', '--project', 'other',
              '--resource-limit', '1', 'image_count_total')
    alice, bob = Caller(server, keystone, 'alice', 'demo'), Caller(server, keystone, 'bob', 'other')
    assert alice.usage() == {name: {'usage': 0, 'limit': limit} for name, limit in RESOURCES.items()}
    assert bob.usage()['image_count_total'] == {'usage': 0, 'limit': 1}
    images = [alice.create() for _ in range(3)]
    assert [r.status_code for r in images] == [201] * 3
    r = alice.create()
    assert r.status_code == 413
    assert message_of(r) == (
        f'Project {keystone.projects["demo"]} is over a limit for [Resource image_count_total is over limit of 3 due to '
        'current usage 3 and delta 1]')
    assert bob.create().status_code == 201 and bob.create().status_code == 413
    first = images[0].json()['id']
    assert alice.upload(first, b'x' * (2 << 20)).status_code == 204
    r = alice.upload(images[1].json()['id'], b'x')
    assert r.status_code == 413 and 'Resource image_size_total is over limit of 2' in message_of(r)
    assert alice.usage()['image_size_total'] == {'usage': 2, 'limit': 2}


def test_a_limit_that_is_raised_counts_soon(server, keystone):
    bob = Caller(server, keystone, 'bob', 'other')
    limit = next(x for x in keystone.call('GET', f'/limits?project_id={keystone.projects["other"]}',
                                          token=keystone.log_in('admin', scope={'system': {'all': True}}))[1]['limits'])
    keystone.call('PATCH', f'/limits/{limit["id"]}', {'limit': {'resource_limit': 2}},
                  token=keystone.log_in('admin', scope={'system': {'all': True}}))
    while bob.usage()['image_count_total']['limit'] != 2:  # within limits_cache_time
        pass
    assert bob.create().status_code == 201 and bob.create().status_code == 413
