# SPDX-License-Identifier: Apache-2.0
"""Images that are not what they say, or point outside themselves: each is refused with 415 by every way in, its
bytes are gone, the image is queued, an ERROR notification says why; and the harmless twin goes through.

  A12  a qcow2 with a backing file          A18  VMDKs whose extents are other files, also by a footer
  A14  (its content) another image           A19  data files, json: names, declared as raw, in other containers,
  D7   sizes that overflow                        one in the other, cut at every octet (unit test inspect, too)

The unit test src/store/inspect_test.c has the readers of all formats; here is what becomes of the service."""
import struct
import subprocess

import pytest

from harness import A, ADMIN, Raw, make_server, message_of, wait_for, write_config
from sources import REACHABLE, Nginx

QEMU = '/usr/bin/qemu-img'
CANARY = b'S3CR3T of the host'
METHODS = 'glance-direct,web-download,copy-image'


def config(root, **image_format):
    c = {'DEFAULT': {'enabled_backends': 'fs:file,fs2:file', 'enabled_import_methods': METHODS,
                     'node_staging_uri': f'file://{root}/staging'},
         'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None},
         'fs': {'filesystem_store_datadir': root / 'images'}, 'fs2': {'filesystem_store_datadir': root / 'second'},
         **{section: dict(options) for section, options in REACHABLE.items()}}
    c['glint']['allow_task_import'] = 'true'
    c['image_format'] = image_format
    return c


@pytest.fixture(scope='module')
def strict(tmp_path_factory):
    root = tmp_path_factory.mktemp('strict')
    s = make_server(root, config(root, disk_formats='raw,qcow2,vmdk,vhd,vhdx,vdi,iso,ploop,aki,qed')).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def nginx(tmp_path_factory):
    n = Nginx(tmp_path_factory.mktemp('nginx'))
    yield n
    n.close()


def make(directory, *commands):
    for command in commands:
        subprocess.run(f'{QEMU} {command}', shell=True, cwd=directory, check=True, capture_output=True)


def with_footer(vmdk, description):
    """As VMware's tools write it: the header says that the footer counts, which says where the description is."""
    header = bytearray(vmdk[:512])
    directory, header[56:64] = header[56:64], b'\xff' * 8
    footer = header[:28] + struct.pack('<Q', description) + header[36:56] + directory + header[64:]
    marker = bytes(12) + struct.pack('<I', 3) + bytes(496)
    return bytes(header + vmdk[512:].ljust(-len(vmdk) % 512 + len(vmdk) - 512, b'\0') + marker + footer + bytes(512))


@pytest.fixture(scope='module')
def disks(tmp_path_factory):
    """name -> octets; those called bad-FORMAT-... are attacks, good-FORMAT their twins."""
    d = tmp_path_factory.mktemp('disks')
    (d / 'secret').write_bytes(CANARY.ljust(1 << 20))
    (d / 'plain').write_bytes(bytes(range(256)) * 4096)
    make(d, f'create -u -f qcow2 -F raw -b {d}/secret bad-qcow2-backing 1M',
         """create -u -f qcow2 -F raw -b 'json:{"driver": "file", "filename": "/etc/passwd"}' bad-qcow2-json 1M""",
         f'create -f qcow2 -o data_file={d}/secret,data_file_raw=on bad-qcow2-data-file 1M',
         'create -f qed bad-qed 1M')
    flat = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n' \
           b'RW 2048 FLAT "%s/secret" 0\n' % str(d).encode()
    (d / 'bad-vmdk-flat').write_bytes(flat)
    for kind in ('qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi', 'parallels'):
        make(d, f'convert -f raw -O {kind} {"-o force_size=on" if kind == "vpc" else ""} plain '
                f'good-{ {"vpc": "vhd", "parallels": "ploop"}.get(kind, kind) }')
    make(d, 'convert -f raw -O vmdk -o subformat=streamOptimized plain good-vmdk-streamed',
         'convert -f raw -O vmdk bad-qcow2-json bad-vmdk-with-qcow2',
         'convert -f raw -O vmdk -o subformat=streamOptimized bad-qcow2-json bad-vmdk-streamed-with-qcow2')
    found = {p.name: p.read_bytes() for p in d.iterdir()}
    found['good-vmdk-footer'] = with_footer(found['good-vmdk-streamed'], 1)
    found['bad-vmdk-footer'] = with_footer(found['good-vmdk-streamed'], 100)
    huge = bytearray(found['good-qcow2'])
    huge[24:32] = b'\x80' + bytes(7)
    found['bad-qcow2-2^63'] = bytes(huge)
    huge = bytearray(found['good-vmdk'])
    huge[12:20] = b'\xff' * 8
    found['bad-vmdk-2^64'] = bytes(huge)
    return found


BAD = ['bad-qcow2-backing', 'bad-qcow2-json', 'bad-qcow2-data-file', 'bad-qcow2-2^63', 'bad-qed', 'bad-vmdk-flat',
       'bad-vmdk-with-qcow2', 'bad-vmdk-streamed-with-qcow2', 'bad-vmdk-footer', 'bad-vmdk-2^64']
GOOD = ['good-qcow2', 'good-vmdk', 'good-vmdk-streamed', 'good-vmdk-footer', 'good-vhd', 'good-vhdx', 'good-vdi', 'good-ploop']
UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']
REFUSED = ['image.update(saving)', 'image.prepare', 'ERROR image.upload', 'image.update(queued)']


def format_of(name):
    return name.split('-')[1]


def nothing_left(server, image):
    for directory in ('images', 'second', 'staging'):
        place = server.root / directory
        wait_for(lambda: not [p for p in place.iterdir() if image in p.name], place, f'disappearance of {image}')


def refused(server, client, image, events):
    """What has to hold of an image that was refused; the text that the consumers heard."""
    shown = client.show(image)
    assert (shown['status'], shown['size'], shown['virtual_size'], shown['checksum']) == ('queued', None, None, None)
    nothing_left(server, image)
    found = server.wait_events(events, image)
    text = next(e.payload for e in found if e.short == 'ERROR image.upload')
    assert image in text
    return text


@pytest.mark.parametrize('container', ['bare', 'ovf', 'ova', 'compressed', 'docker'])
@pytest.mark.parametrize('name', BAD)
def test_a12_a18_a19_refused(strict, disks, name, container):
    a = strict.client(A)
    image = a.new(disk_format=format_of(name), container_format=container)['id']
    r = a.upload(image, disks[name])
    assert r.status_code == 415, r.text
    text = refused(strict, a, image, ['image.create', *REFUSED])
    assert message_of(r) in text


@pytest.mark.parametrize('name', BAD + GOOD)
def test_a19_declared_as_raw(strict, disks, name):
    a = strict.client(A)
    for kind in ('raw', 'aki', 'iso'):
        image = a.new(disk_format=kind, container_format='bare')['id']
        r = a.upload(image, disks[name])
        assert r.status_code == 415 and f'says that it is {kind}, but its data is {format_of(name)}' in message_of(r)
        refused(strict, a, image, ['image.create', *REFUSED])
        assert a.upload(image, disks['plain'] if kind != 'iso' else iso()).status_code == 204  # the same image, honest


def iso():
    data = bytearray(1 << 16)
    data[32768:32774] = b'\x01CD001'
    return bytes(data)


@pytest.mark.parametrize('name', GOOD)
def test_twins(strict, disks, name):
    a = strict.client(A)
    for container, virtual_size in (('bare', len(disks['plain'])), ('ovf', None)):
        image = a.new(disk_format=format_of(name), container_format=container)['id']
        assert a.upload(image, disks[name]).status_code == 204
        assert a.show(image)['virtual_size'] == virtual_size
        uploaded = strict.wait_events(['image.create', *UPLOADED], image)[3]
        assert uploaded.payload['virtual_size'] == virtual_size
        assert a.download(image).content == disks[name]


def test_a19_in_pieces(strict, disks):
    """As chunks that end at every place of the header."""
    a, data = strict.client(A), disks['bad-qcow2-json']
    good = disks['good-qcow2']
    for cut in (1, 3, 4, 7, 8, 9, 15, 16, 71, 72, 79, 80, 103, 104):
        image = a.new(disk_format='qcow2')['id']
        assert a.upload(image, iter([data[:cut], data[cut:]])).status_code == 415
        assert a.upload(image, iter([good[:cut], good[cut:]])).status_code == 204
    image = a.new(disk_format='raw')['id']
    assert a.upload(image, iter([data[k:k + 1] for k in range(200)] + [data[200:]])).status_code == 415


def test_refused_before_the_rest_is_there(strict, disks):
    """A body of which nobody knows the end; the answer comes after its head."""
    a = strict.client(A)
    image = a.new(disk_format='raw')['id']
    with Raw(strict) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                 Transfer_Encoding='chunked')
        try:
            raw.send(b'%x\r\n' % (1 << 39) + disks['good-qcow2'] + bytes(4 << 20))
        except OSError:
            pass  # it does not listen any more
        assert raw.answer().status == 415
    refused(strict, a, image, ['image.create', *REFUSED])


# -- the other ways in -----------------------------------------------------------------------------------

def import_by(server, client, image, name, nginx, data):
    if name == 'glance-direct':
        r = client.put(f'/v2/images/{image}/stage', data=data, headers={'Content-Type': 'application/octet-stream'})
        assert r.status_code == 204
        method = {'name': name}
    else:
        method = {'name': name, 'uri': nginx.put(image, data)}
    assert client.post(f'/v2/images/{image}/import', {'method': method}).status_code == 202
    return wait_task(server, client, image)


def wait_task(server, client, image):
    def ended():
        task = client.get(f'/v2/images/{image}/tasks').json()['tasks'][0]
        return task if task['status'] in ('success', 'failure') else None
    return wait_for(ended, server.root, f'end of the import of {image}')


@pytest.mark.parametrize('method', ['glance-direct', 'web-download'])
@pytest.mark.parametrize('name', ['bad-qcow2-backing', 'bad-vmdk-flat', 'bad-vmdk-footer'])
def test_a12_a18_by_import(strict, disks, nginx, method, name):
    a = strict.client(A)
    for kind, reason in ((format_of(name), 'The image is refused'), ('raw', f'its data is {format_of(name)}')):
        image = a.new(disk_format=kind)['id']
        task = import_by(strict, a, image, method, nginx, disks[name])
        assert task['status'] == 'failure' and reason in task['message']
        staged = ['image.update(uploading)'] * 2 if method == 'glance-direct' else []
        refused(strict, a, image, ['image.create', *staged, 'image.update(importing)', 'image.prepare',
                                   'ERROR image.upload', 'image.update(queued)'])
    image = a.new(disk_format=format_of(name))['id']
    task = import_by(strict, a, image, method, nginx, disks[f'good-{format_of(name)}'])
    assert task['status'] == 'success' and a.show(image)['virtual_size'] == len(disks['plain'])


def test_a12_by_a_task(strict, disks, nginx):
    admin = strict.client(ADMIN)
    for name, status in (('bad-qcow2-json', 'failure'), ('good-qcow2', 'success')):
        body = {'type': 'import', 'input': {'import_from': nginx.put(name, disks[name]), 'import_from_format': 'qcow2',
                                            'image_properties': {'disk_format': 'qcow2', 'container_format': 'bare'}}}
        task = admin.post('/v2/tasks', body).json()

        def ended():
            found = admin.get(f'/v2/tasks/{task["id"]}').json()
            return found if found['status'] in ('success', 'failure') else None
        ended = wait_for(ended, strict.root, 'end of the task')
        assert ended['status'] == status, ended
        assert status == 'success' or 'a backing file' in ended['message']


def test_a14_a19_a_copy_of_something_else(strict, disks):
    """Bytes that were changed behind our back, and images from before the rules, are not copied on."""
    admin = strict.client(ADMIN)
    root = strict.root
    lenient = make_server(root / 'lenient', {**config(root / 'lenient', require_image_format_match='false')}).start()
    try:
        client = lenient.client(ADMIN)
        image = client.new(disks['bad-qcow2-json'], disk_format='qcow2')['id']
        assert client.show(image)['virtual_size'] is None
        assert any('a backing file' in line for line in lenient.log.read_text().splitlines() if 'WARNING' in line)
        lenient.config['image_format']['require_image_format_match'] = 'true'
        write_config(lenient.config_file, lenient.config)
        lenient.restart()
        client = lenient.client(ADMIN)
        r = client.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs2']})
        assert r.status_code == 202
        task = wait_task(lenient, client, image)
        assert task['status'] == 'failure' and 'a backing file' in task['message']
        assert list((lenient.root / 'second').iterdir()) == [] and client.show(image)['status'] == 'active'
    finally:
        lenient.stop()
    image = admin.new(disks['good-qcow2'], disk_format='qcow2')['id']
    r = admin.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['fs2']})
    assert r.status_code == 202 and wait_task(strict, admin, image)['status'] == 'success'


# -- the options -----------------------------------------------------------------------------------------

def test_options(servers, disks, tmp_path):
    s = servers({'image_format': {'require_image_format_match': 'false'}})
    a = s.client(A)
    image = a.new(disks['good-qcow2'])['id']  # says that it is raw
    assert a.show(image)['virtual_size'] == len(disks['good-qcow2'])
    warned = [line for line in s.log.read_text().splitlines() if 'WARNING glint.inspect' in line and image in line]
    assert len(warned) == 1 and 'its data is qcow2' in warned[0]

    s = servers({'image_format': {'vmdk_allowed_types': 'streamOptimized', 'gpt_safety_checks_nonfatal': 'false'}})
    a = s.client(A)
    assert a.upload(a.new(disk_format='vmdk')['id'], disks['good-vmdk']).status_code == 415
    assert a.upload(a.new(disk_format='vmdk')['id'], disks['good-vmdk-streamed']).status_code == 204
    table = bytearray(1 << 16)
    table[510:512] = b'\x55\xaa'
    assert a.upload(a.new()['id'], bytes(table)).status_code == 415  # an empty partition table
    table[446 + 4] = 0x83
    assert a.upload(a.new()['id'], bytes(table)).status_code == 204
