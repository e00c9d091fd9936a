# SPDX-License-Identifier: Apache-2.0
"""The clients that people have: the openstack and glance commands, python-glanceclient, openstacksdk."""
import hashlib
import io
import json
import subprocess

import pytest
from keystoneauth1 import noauth, session

import commands
from harness import A, ADMIN, B, make_server, pattern

DATA = pattern(3_000_000)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """Behind a proxy that says who asks, for the libraries."""
    s = make_server(tmp_path_factory.mktemp('trusted')).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def open_server(tmp_path_factory):
    """Without authentication, for the commands: they can set no identity headers."""
    s = make_server(tmp_path_factory.mktemp('open'), {'paste_deploy': {'flavor': ''}}).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def disk(tmp_path_factory):
    path = tmp_path_factory.mktemp('disk') / 'disk.raw'
    path.write_bytes(DATA)
    return path


def run(program, words, check=True, **kwargs):
    r = commands.run(program, words, **kwargs)
    if check:
        assert r.returncode == 0, r.stdout + r.stderr
    return r


# -- the openstack command -----------------------------------------------------------------------------

@pytest.fixture
def osc(open_server):
    def call(*words, check=True, parse=False):
        r = run('openstack', ['--os-auth-type', 'none', '--os-endpoint', open_server.url, 'image', *words,
                              *(['-f', 'json'] if parse else [])], check)
        return json.loads(r.stdout) if parse else r
    return call


def test_openstack_command(open_server, osc, disk, tmp_path):
    made = osc('create', '--disk-format', 'raw', '--container-format', 'bare', '--file', disk, '--property', 'colour=blue',
               '--tag', 'one', '--min-disk', '1', '--private', 'by openstack', parse=True)
    image = made['id']
    shown = osc('show', image, parse=True)
    assert (shown['status'], shown['size'], shown['checksum']) == ('active', len(DATA), hashlib.md5(DATA).hexdigest())
    assert shown['properties']['colour'] == 'blue' and shown['tags'] == ['one'] and shown['visibility'] == 'private'
    assert osc('show', 'by openstack', parse=True)['id'] == image
    saved = tmp_path / 'saved'
    osc('save', '--file', saved, image)
    assert saved.read_bytes() == DATA

    osc('set', '--name', 'renamed', '--property', 'os_distro=debian', '--tag', 'two', '--min-ram', '64', '--community', image)
    osc('unset', '--property', 'colour', '--tag', 'one', image)
    shown = osc('show', image, parse=True)
    assert (shown['name'], shown['tags'], shown['min_ram'], shown['visibility']) == ('renamed', ['two'], 64, 'community')
    assert 'colour' not in shown['properties'] and shown['properties']['os_distro'] == 'debian'

    osc('set', '--deactivate', image)
    assert osc('show', image, parse=True)['status'] == 'deactivated'
    osc('set', '--activate', image)
    assert osc('show', image, parse=True)['status'] == 'active'

    osc('set', '--protected', image)
    refused = osc('delete', image, check=False)
    assert refused.returncode != 0 and 'protected' in refused.stderr
    osc('set', '--unprotected', image)
    osc('delete', image)
    assert osc('show', image, check=False).returncode != 0
    assert image not in open_server.stored_files()


def test_openstack_command_lists(osc):
    ids = [osc('create', '--disk-format', 'raw', '--container-format', 'bare', '--tag', 'listed', f'list {n}',
               parse=True)['id'] for n in range(3)]
    rows = osc('list', '--tag', 'listed', '--sort', 'name:asc', '--long', parse=True)
    assert [r['ID'] for r in rows] == ids and [r['Name'] for r in rows] == ['list 0', 'list 1', 'list 2']
    assert [r['ID'] for r in osc('list', '--tag', 'listed', '--limit', '1', '--sort', 'name:desc', parse=True)] == ids[2:]
    assert [r['ID'] for r in osc('list', '--name', 'list 1', parse=True)] == ids[1:2]
    assert osc('list', '--status', 'queued', '--tag', 'listed', parse=True) == []
    assert len(osc('list', '--property', 'nothing=here', parse=True)) == 0


def test_openstack_command_says_what_was_wrong(osc):
    r = osc('create', '--disk-format', 'raw', '--container-format', 'bare', '--id', 'not-a-uuid', 'x', check=False)
    assert r.returncode != 0 and '400' in r.stderr
    r = osc('delete', '00000000-0000-4000-8000-000000000000', check=False)
    assert r.returncode != 0


# -- the glance command --------------------------------------------------------------------------------

@pytest.fixture
def glance(open_server):
    def call(*words, check=True):
        # it would take a standard input that is no terminal for the data: it gets none
        return run('glance', ['--os-image-url', open_server.url, '--os-auth-token', 'any', *words], check, stdin=None)
    return call


def fields(table):
    rows = [line.split('|') for line in table.splitlines() if line.startswith('|')]
    return {r[1].strip(): r[2].strip() for r in rows}


def test_glance_command(open_server, glance, disk, tmp_path):
    made = fields(glance('image-create', '--name', 'by glance', '--disk-format', 'raw', '--container-format', 'bare',
                         '--file', disk, '--property', 'colour=blue', '--tag', 'one').stdout)
    image = made['id']
    assert (made['status'], made['size'], made['colour']) == ('active', str(len(DATA)), 'blue')
    assert image in glance('image-list').stdout
    saved = tmp_path / 'saved'
    glance('image-download', '--file', saved, image)
    assert saved.read_bytes() == DATA
    shown = fields(glance('image-update', '--name', 'renamed', '--property', 'os_distro=debian', '--remove-property',
                          'colour', image).stdout)
    assert (shown['name'], shown['os_distro'], 'colour' in shown) == ('renamed', 'debian', False)
    glance('image-tag-update', image, 'two')
    glance('image-tag-delete', image, 'one')
    assert "['two']" in fields(glance('image-show', image).stdout)['tags'].replace('"', "'")
    glance('image-deactivate', image)
    assert fields(glance('image-show', image).stdout)['status'] == 'deactivated'
    glance('image-reactivate', image)
    assert 'pending' in glance('member-create', image, 'd' * 32).stdout
    assert 'accepted' in glance('member-update', image, 'd' * 32, 'accepted').stdout
    assert 'd' * 32 in glance('member-list', '--image-id', image).stdout
    glance('member-delete', image, 'd' * 32)
    assert 'd' * 32 not in glance('member-list', '--image-id', image).stdout
    glance('image-delete', image)
    assert glance('image-show', image, check=False).returncode != 0


def test_glance_command_in_two_steps(glance, disk):
    image = fields(glance('image-create', '--name', 'later', '--disk-format', 'raw', '--container-format', 'bare').stdout)['id']
    glance('image-upload', '--file', disk, image)
    assert fields(glance('image-show', image).stdout)['size'] == str(len(DATA))
    assert glance('image-upload', '--file', disk, image, check=False).returncode != 0


# -- python-glanceclient -------------------------------------------------------------------------------

@pytest.fixture
def library(server):
    import glanceclient

    def client(who):
        s = session.Session(auth=noauth.NoAuth(endpoint=server.url), additional_headers=who.headers())
        return glanceclient.Client('2', session=s, endpoint_override=server.url)
    return client


def test_glanceclient(server, library, disk):
    import glanceclient.exc
    a, b, admin = library(A), library(B), library(ADMIN)
    image = a.images.create(name='by the library', disk_format='raw', container_format='bare', tags=['one'], colour='blue')
    assert (image.status, image.owner) == ('queued', A.project)
    with open(disk, 'rb') as f:
        a.images.upload(image.id, f, image_size=len(DATA))
    assert a.images.get(image.id).status == 'active'
    assert b''.join(a.images.data(image.id)) == DATA  # verified against os_hash_value on the way
    assert a.images.update(image.id, name='renamed', remove_props=['colour'], size_of='x').name == 'renamed'
    a.image_tags.update(image.id, 'two')
    assert sorted(a.images.get(image.id).tags) == ['one', 'two']
    assert image.id in [i.id for i in a.images.list(filters={'tag': ['two'], 'visibility': 'shared'})]

    a.image_members.create(image.id, B.project)
    assert image.id not in [i.id for i in b.images.list()]
    b.image_members.update(image.id, B.project, 'accepted')
    assert image.id in [i.id for i in b.images.list()]
    assert b''.join(b.images.data(image.id)) == DATA
    a.image_members.delete(image.id, B.project)
    with pytest.raises(glanceclient.exc.HTTPNotFound):
        b.images.get(image.id)

    admin.images.deactivate(image.id)
    with pytest.raises(glanceclient.exc.HTTPForbidden):
        a.images.data(image.id)
    admin.images.reactivate(image.id)
    with pytest.raises(glanceclient.exc.HTTPConflict) as refused:
        a.images.upload(image.id, io.BytesIO(b'again'))
    assert 'active' in str(refused.value)
    a.images.delete(image.id)


def test_glanceclient_walks_pages(server, library):
    a = library(A)
    made = [a.images.create(name=f'page {n}', paged='yes').id for n in range(12)]
    found = [i.id for i in a.images.list(page_size=5, filters={'paged': 'yes'}, sort='created_at:asc')]
    assert found == made


def test_glanceclient_reads_the_message(server, library):
    import glanceclient.exc
    with pytest.raises(glanceclient.exc.HTTPBadRequest) as refused:
        next(library(A).images.list(filters={'visibility': 'nonsense'}))
    assert 'visibility' in str(refused.value).lower()


# -- openstacksdk --------------------------------------------------------------------------------------

@pytest.fixture
def sdk(server):
    import openstack

    def connection(who):
        s = session.Session(auth=noauth.NoAuth(endpoint=server.url), additional_headers=who.headers())
        return openstack.connection.Connection(session=s, image_endpoint_override=server.url, image_api_version='2')
    return connection


def test_sdk(server, sdk, disk, tmp_path):
    import openstack.exceptions
    a, b, admin = sdk(A).image, sdk(B).image, sdk(ADMIN).image
    image = a.create_image('by the sdk', filename=str(disk), disk_format='raw', container_format='bare', wait=True,
                           tags=['one'], colour='blue')
    image = a.get_image(image.id)
    assert (image.status, image.size, image.checksum) == ('active', len(DATA), hashlib.md5(DATA).hexdigest())
    assert image.properties['colour'] == 'blue'
    saved = tmp_path / 'saved'
    with open(saved, 'wb') as f:
        a.download_image(image, stream=False, output=f)
    assert saved.read_bytes() == DATA
    assert a.find_image('by the sdk').id == image.id
    updated = a.update_image(image, name='new', min_ram=64, os_distro='debian')
    assert (updated.name, updated.min_ram) == ('new', 64)
    a.add_tag(image, 'two')
    a.remove_tag(image, 'one')
    assert a.get_image(image.id).tags == ['two']
    assert [i.id for i in a.images(name='new')] == [image.id]

    a.add_member(image, member_id=B.project)
    b.update_member(B.project, image.id, status='accepted')
    assert image.id in [i.id for i in b.images()]
    assert [m.member_id for m in a.members(image)] == [B.project]
    a.remove_member(B.project, image)
    assert list(a.members(image)) == []

    admin.deactivate_image(image)
    assert a.get_image(image.id).status == 'deactivated'
    admin.reactivate_image(image)
    a.delete_image(image)
    with pytest.raises(openstack.exceptions.ResourceNotFound):
        a.get_image(image.id)


def test_sdk_reads_the_message(sdk):
    import openstack.exceptions
    with pytest.raises(openstack.exceptions.BadRequestException) as refused:
        list(sdk(A).image.images(visibility='nonsense'))
    assert 'visibility' in str(refused.value).lower()


# -- curl ----------------------------------------------------------------------------------------------

def curl(who, *words):
    headers = [w for k, v in who.headers().items() for w in ('-H', f'{k}: {v}')]
    r = subprocess.run(['/usr/bin/curl', '-sS', '--noproxy', '*', '-f', *headers, *map(str, words)],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr
    return r


def test_curl(server, disk, tmp_path):
    made = curl(A, '-H', 'Content-Type: application/json', '-d',
                '{"name": "by curl", "disk_format": "raw", "container_format": "bare"}', server.url + '/v2/images')
    image = json.loads(made.stdout)['id']
    url = f'{server.url}/v2/images/{image}'
    # a body of this size makes curl send Expect: 100-continue
    curl(A, '-H', 'Content-Type: application/octet-stream', '-T', disk, url + '/file')
    saved = tmp_path / 'saved'
    curl(A, '-o', saved, url + '/file')
    assert saved.read_bytes() == DATA
    saved.write_bytes(DATA[:1_000_000])
    curl(A, '-C', '-', '-o', saved, url + '/file')  # resumed by a range
    assert saved.read_bytes() == DATA
    curl(A, '-X', 'DELETE', url)


def test_curl_chunked(server, disk):
    image = server.client(A).new()['id']
    with open(disk, 'rb') as f:
        headers = [w for k, v in A.headers().items() for w in ('-H', f'{k}: {v}')]
        subprocess.run(['/usr/bin/curl', '-sS', '--noproxy', '*', '-f', *headers, '-H', 'Content-Type: application/octet-stream',
                        '-T', '-', f'{server.url}/v2/images/{image}/file'], stdin=f, check=True, timeout=60)
    assert server.client(A).show(image)['checksum'] == hashlib.md5(DATA).hexdigest()
