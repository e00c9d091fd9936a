# SPDX-License-Identifier: Apache-2.0
"""The command line: what each subcommand prints and exits with, and what serve refuses to start with."""
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from harness import A, B, BINARY, Glint, Raw, wait_for, write_config

pytestmark = pytest.mark.glint_only

UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']


def run(*words, cwd=None, timeout=60):
    return subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=timeout, cwd=cwd,
                          stdin=subprocess.DEVNULL)


def fails(r, *sentences):
    """It failed with one line that says why."""
    assert r.returncode not in (0, -6, -11), r.stderr
    assert 'Sanitizer' not in r.stderr
    last = r.stderr.strip().splitlines()[-1]
    for s in sentences:
        assert s in last, r.stderr
    return last


# -- general -------------------------------------------------------------------------------------------

def test_version():
    r = run('version')
    assert r.returncode == 0 and re.fullmatch(r'glint \d+\.\d+\.\d+\n', r.stdout)


@pytest.mark.parametrize('words', [('--help',), ('serve', '--help'), ('db', '--help'), ('notifications', '--help'),
                                   ('config', '--help')])
def test_help(words):
    r = run(*words)
    assert r.returncode == 0 and 'glint' in r.stdout and r.stderr == ''


@pytest.mark.parametrize('words', [(), ('nonsense',), ('serve', 'nonsense'), ('serve', '--nonsense'), ('serve', '--listen'),
                                   ('db',), ('db', 'nonsense'), ('notifications',), ('notifications', 'nonsense'),
                                   ('config',), ('config', 'nonsense')])
def test_wrong_words(tmp_path, words):
    r = run(*words, cwd=tmp_path)
    assert r.returncode != 0 and r.stderr and r.stdout == ''
    assert list(tmp_path.iterdir()) == []


# -- serve ---------------------------------------------------------------------------------------------

def test_everything_in_a_directory(tmp_path):
    """Without a file: --data-dir has it all, nobody has to say who they are."""
    server = Glint(tmp_path)
    server.command = lambda *words: [BINARY, *words, '--data-dir', str(tmp_path / 'data')]
    server.start()
    try:
        anybody = server.client(None)
        image = anybody.create(disk_format='raw', container_format='bare').json()['id']
        assert anybody.upload(image, b'x').status_code == 204
        assert (tmp_path / 'data' / 'images' / image).read_bytes() == b'x'
        assert (tmp_path / 'data' / 'images').stat().st_mode & 0o007 == 0
    finally:
        server.stop()


def refuse(tmp_path, config, *sentences, listen=None):
    """serve does not start with this."""
    server = Glint(tmp_path / 'refused', config)
    words = ['serve', '--config-file', server.config_file] + (['--listen', listen] if listen else [])
    return fails(run(*words, cwd=tmp_path, timeout=60), *sentences)


@pytest.mark.parametrize('flavor', ['', 'trusted-auth'])
@pytest.mark.parametrize('listen', ['0.0.0.0:0', '[::]:0', '192.0.2.1:9292', ':0', 'example.com:80'])
def test_open_to_the_world_without_authentication(tmp_path, flavor, listen):
    refuse(tmp_path, {'paste_deploy': {'flavor': flavor}}, listen=listen)


def test_bind_host_of_the_file(tmp_path):
    refuse(tmp_path, {'DEFAULT': {'bind_host': '0.0.0.0', 'bind_port': 0}}, '0.0.0.0')


def test_allowed_to_be_insecure(servers):
    server = servers({'glint': {'allow_insecure': 'true'}}, start=False)
    server.command = lambda *words: [BINARY, 'serve', '--config-file', str(server.config_file), '--listen', '0.0.0.0:0']
    server.start()
    server.url = server.url.replace('0.0.0.0', '127.0.0.1')
    assert server.client().get('/healthcheck').status_code == 200


@pytest.mark.parametrize('config, sentences', [
    ({'DEFAULT': {'image_size_cap': 'large'}}, ['image_size_cap', 'glance-api.conf:']),
    ({'DEFAULT': {'bind_port': '99999'}}, ['bind_port']),
    ({'DEFAULT': {'debug': 'perhaps'}}, ['debug']),
    ({'DEFAULT': {'hashing_algorithm': 'rot13'}}, ['hashing_algorithm', 'rot13']),
    ({'DEFAULT': {'metadata_encryption_key': 'short'}}, ['metadata_encryption_key']),
    ({'glint': {'image_delete_payload': 'nothing'}}, ['image_delete_payload']),
    ({'paste_deploy': {'flavor': 'nonsense'}}, ['nonsense']),
    ({'oslo_messaging_notifications': {'driver': 'pigeon'}}, ['pigeon']),
    ({'database': {'connection': 'oracle://x'}}, ['oracle']),
    ({'database': {'connection': 'sqlite:////nonexistent/dir/db.sqlite'}}, ['/nonexistent/dir']),
    ({'glance_store': {'filesystem_store_datadir': '/proc/nonexistent'}}, ['/proc/nonexistent']),
    ({'DEFAULT': {'log_file': '/nonexistent/dir/log'}}, ['/nonexistent/dir/log']),
    ({'DEFAULT': {'enabled_backends': 'x:cloud'}}, ['x:cloud']),
])
def test_bad_configuration(tmp_path, config, sentences):
    refuse(tmp_path, config, *sentences, listen='127.0.0.1:0')


def test_secrets_of_the_configuration_stay_there(tmp_path):
    line = refuse(tmp_path, {'database': {'connection': 'mysql://glance:S3CR3T@h/db'}}, listen='127.0.0.1:0')
    assert 'S3CR3T' not in line


def test_no_such_file(tmp_path):
    fails(run('serve', '--config-file', tmp_path / 'nosuch.conf', cwd=tmp_path), 'nosuch.conf')


def test_port_in_use(tmp_path, servers):
    server = servers()
    refuse(tmp_path, {}, str(server.port), listen=f'127.0.0.1:{server.port}')


def test_two_on_one_database(servers):
    server = servers()
    r = run('serve', '--config-file', server.config_file, '--listen', '127.0.0.1:0', timeout=60)
    fails(r, 'another')


def test_ipv6(servers):
    server = servers(start=False)
    server.command = lambda *words: [BINARY, 'serve', '--config-file', str(server.config_file), '--listen', '[::1]:0']
    server.start()
    assert server.url.startswith('http://[::1]:')


def test_options_of_the_file(servers):
    """bind_host and bind_port count when --listen is not given."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    server = servers({'DEFAULT': {'bind_port': port}}, start=False)
    server.command = lambda *words: [BINARY, 'serve', '--config-file', str(server.config_file)]
    server.start()
    assert server.port == port


def test_sigint_is_as_good(servers):
    server = servers()
    os.kill(server.pid, signal.SIGINT)
    assert server.wait_exit() == 0


def test_stop_finishes_what_has_begun(servers):
    """SIGTERM in the middle of an upload: it goes on to its end, and its events are out."""
    server = servers()
    image = server.client(A).new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream', Content_Length='10')
        raw.send(b'01234')
        server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: refused_connection(server), server.root, 'end of accepting')
        raw.send(b'56789')
        assert raw.answer().status == 204
    assert server.wait_exit() == 0
    assert [e.short for e in server.events(image)] == ['image.create', *UPLOADED]


def refused_connection(server):
    try:
        socket.create_connection(('127.0.0.1', server.port), timeout=1).close()
    except (ConnectionRefusedError, ConnectionResetError, socket.timeout):
        return True
    return False


def test_stop_waits_for_nobody_idle(servers):
    """Kept-alive connections without a request are no reason to stay."""
    server = servers()
    raws = [Raw(server) for _ in range(20)]
    for raw in raws[:10]:
        raw.head('GET', '/healthcheck', who=None)
        assert raw.answer().status == 200
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 20
    for raw in raws:
        assert raw.ended()
        raw.sock.close()


def test_stop_has_a_bound(servers):
    """A client that never ends does not keep the service."""
    server = servers({'glint': {'shutdown_timeout': 1}})
    image = server.client(A).new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream', Content_Length='10')
        raw.send(b'01234')
        server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 30
    server.start()
    assert server.client(A).show(image)['status'] == 'queued'
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                        'image.update(queued)'], image)


def test_health(servers):
    server = servers(start=False)
    server.config['healthcheck'] = {'disable_by_file_path': server.root / 'off'}
    write_config(server.config_file, server.config)
    server.start()
    assert server.client(None).get('/healthcheck').status_code == 200
    (server.root / 'off').touch()
    assert server.client(None).get('/healthcheck').status_code == 503
    (server.root / 'off').unlink()
    assert server.client(None).get('/healthcheck').status_code == 200


# -- config check --------------------------------------------------------------------------------------

def test_config_check(tmp_path):
    server = Glint(tmp_path)
    r = server.run('config', 'check')
    assert r.stderr == '' and str(server.database) in r.stdout
    assert not server.database.exists() and not server.log.exists()  # it only looks


def test_config_check_warns(tmp_path):
    path = tmp_path / 'glance-api.conf'
    path.write_text('[DEFAULT]\ndebug = true\nno_such_option = 1\n[no_such_section]\nx = y\n[glance_store]\nrbd_store_pool = p\n')
    r = run('config', 'check', '--config-file', path)
    assert r.returncode == 0
    assert f'{path}:3' in r.stderr and 'no_such_option' in r.stderr
    assert f'{path}:5' in r.stderr or 'no_such_section' in r.stderr
    assert 'rbd_store_pool' in r.stderr and r.stderr.count('warning') == 3


@pytest.mark.parametrize('text, sentences', [
    ('[DEFAULT]\nimage_size_cap = x\n', [':2', 'image_size_cap']),
    ('[DEFAULT\n', [':1']),
    ('debug = true\n', [':1']),
    ('[DEFAULT]\nnonsense\n', [':2']),
    ('[DEFAULT]\ndebug = $nosuch\n', ['nosuch']),
])
def test_config_check_refuses(tmp_path, text, sentences):
    path = tmp_path / 'glance-api.conf'
    path.write_text(text)
    r = run('config', 'check', '--config-file', path)
    if 'nosuch' in text and r.returncode == 0:
        return
    fails(r, *sentences)


def test_dialect(tmp_path):
    """Comments, continued lines, values of other options, repeated options: as oslo.config has them."""
    path = tmp_path / 'glance-api.conf'
    path.write_text('# comment\n[DEFAULT]\n; another\nstate_path = /unused\ndisabled_notifications = image.send,\n   image.update\n'
                    'log_dir = %s\nlog_file = $log_dir/x.log\n[oslo_messaging_notifications]\n'
                    'driver = noop\ndriver = log\n' % tmp_path)
    r = run('config', 'check', '--config-file', path)
    assert r.returncode == 0 and 'noop' in r.stdout and 'log' in r.stdout and f'{tmp_path}/x.log' in r.stdout


def test_a_file_of_an_operator(tmp_path):
    """Debian's own glance-api.conf: every line of it is a comment or known, or warned about."""
    shipped = Path('/etc/glance/glance-api.conf')
    if not shipped.exists() or not os.access(shipped, os.R_OK):
        pytest.skip('no /etc/glance/glance-api.conf')
    r = run('config', 'check', '--config-file', shipped)
    assert r.returncode == 0 or 'keystone' in r.stderr or 'flavor' in r.stderr or 'rbd' in r.stderr, r.stderr


# -- db ------------------------------------------------------------------------------------------------

def test_db(tmp_path):
    server = Glint(tmp_path)
    fails(server.run('db', 'check', check=False), str(server.database))
    fails(server.run('db', 'version', check=False))
    assert not server.database.exists()
    server.run('db', 'sync')
    assert server.database.exists()
    server.run('db', 'check')
    assert 'wallaby_contract01' in server.run('db', 'version').stdout
    server.run('db', 'sync')  # again does no harm


def test_db_of_something_else(tmp_path):
    server = Glint(tmp_path)
    server.database.write_bytes(b'this is no database, whatever its name says' * 100)
    fails(server.run('db', 'check', check=False))
    fails(run('serve', '--config-file', server.config_file, '--listen', '127.0.0.1:0', timeout=60))
    assert server.database.read_bytes().startswith(b'this is no')


def test_purge(servers):
    """Rows of what was deleted long ago go; the id stays used for ever."""
    server = servers()
    a = server.client(A)
    old, new, alive = (a.new(b'x', tags=['t'], k='v')['id'] for _ in range(3))
    a.share(old, B.project)
    a.remove(old), a.remove(new)
    server.stop()
    db = sqlite3.connect(server.database)
    with db:
        for table in ('images', 'image_properties', 'image_tags', 'image_members', 'image_locations'):
            column = 'id' if table == 'images' else 'image_id'
            db.execute(f"UPDATE {table} SET deleted_at = '2020-01-01 00:00:00.000000' WHERE {column} = ?", (old,))
    db.close()
    server.run('db', 'purge', '--age-in-days', '30', '--max-rows', '-1')

    def rows(image):
        db = sqlite3.connect(server.database)
        n = sum(db.execute(f'SELECT count(*) FROM {t} WHERE image_id = ?', (image,)).fetchone()[0]
                for t in ('image_properties', 'image_tags', 'image_members', 'image_locations'))
        db.close()
        return n
    assert (rows(old), rows(new), rows(alive)) == (0, 3, 3)
    server.start()
    a = server.client(A)
    assert a.create(id=old).status_code == a.create(id=new).status_code == 409
    assert a.show(alive)['k'] == 'v'


def test_purge_has_limits(servers):
    server = servers()
    a = server.client(A)
    for _ in range(3):
        a.remove(a.new(k='v')['id'])
    assert '1 row' in server.run('db', 'purge', '--age-in-days', '0', '--max-rows', '1').stdout
    fails(server.run('db', 'purge', '--age-in-days', '-1', check=False))
    fails(server.run('db', 'purge', '--max-rows', 'x', check=False))


# -- notifications -------------------------------------------------------------------------------------

def status(server):
    return json.loads(server.run('notifications', 'status', '--json').stdout)


def up_to_date(server):
    return all(d['behind'] == 0 for d in status(server)['drivers'])


def delivered(server, image):
    """Its first event is in the log, and the driver's cursor past it."""
    server.wait_events(['image.create'], image)
    wait_for(lambda: up_to_date(server), server.root, 'cursor')


def test_status(servers):
    server = servers()
    image = server.client(A).new(b'x')['id']
    server.wait_events(['image.create', *UPLOADED], image)
    wait_for(lambda: up_to_date(server), server.root, 'cursor')
    s = status(server)
    driver, = s['drivers']
    assert (driver['driver'], driver['behind'], driver['delivered'], driver['problem']) == ('log', 0, 6, None)
    assert s['journal']['events'] == 6
    text = server.run('notifications', 'status').stdout
    assert 'log' in text and '6' in text and 'up to date' in text
    server.stop()
    assert status(server) == s  # it needs no running service


def test_status_of_a_driver_that_cannot(servers):
    """The log is on a full disk: the API goes on, status says how far behind, and nothing is lost."""
    server = servers(start=False)
    server.config['DEFAULT']['log_file'] = '/dev/full'
    write_config(server.config_file, server.config)
    server.errors_expected = True
    server.start()
    images = [server.client(A).new()['id'] for _ in range(3)]
    wait_for(lambda: status(server)['drivers'] and status(server)['drivers'][0]['problem'], server.root, 'problem')
    driver, = status(server)['drivers']
    assert driver['behind'] == 3 and driver['delivered'] == 0
    assert server.run('notifications', 'status').stdout.count('behind') == 1
    server.stop()
    server.config['DEFAULT']['log_file'] = server.log
    write_config(server.config_file, server.config)
    server.start()
    for image in images:
        server.wait_events(['image.create'], image)


def test_tail(servers):
    server = servers()
    images = [server.client(A).new(name=f'n{n}')['id'] for n in range(12)]
    lines = server.run('notifications', 'tail').stdout.splitlines()
    assert len(lines) == 10 and all(i in line for i, line in zip(images[2:], lines))
    assert all('image.create' in line and 'INFO' in line for line in lines)
    rows = server.journal()
    assert [r['subject'] for r in rows] == images
    assert set(rows[0]) >= {'offset', 'subject', 'seq', 'message_id', 'event_type', 'priority', 'timestamp', 'payload'}
    assert rows[0]['payload']['name'] == 'n0'
    some = server.run('notifications', 'tail', '--from', str(rows[9]['offset']), '--json').stdout.splitlines()
    assert [json.loads(line)['subject'] for line in some] == images[9:]
    assert len(server.run('notifications', 'tail', '-n', '3').stdout.splitlines()) == 3


def test_tail_plays_no_tricks_with_the_terminal(servers):
    server = servers()
    server.client(A).create(name='\x1b[2J\x1b]0;title\x07\nfake line\u202e')
    out = server.run('notifications', 'tail').stdout
    assert len(out.splitlines()) == 1
    assert '\x1b' not in out and '\x07' not in out


def test_tail_follows(servers):
    server = servers()
    first = server.client(A).new()['id']
    tail = subprocess.Popen(server.command('notifications', 'tail', '-f', '--json'), stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(tail.stdout.readline())['subject'] == first
        second = server.client(A).new()['id']
        assert json.loads(tail.stdout.readline())['subject'] == second
    finally:
        tail.terminate()
        tail.wait(timeout=60)
        tail.stdout.close()


def test_replay(servers):
    """The same documents again, with the same message_id; the running service does it."""
    server = servers()
    images = [server.client(A).new()['id'] for _ in range(4)]
    delivered(server, images[-1])
    rows = server.journal()
    r = server.run('notifications', 'replay', '--from', str(rows[2]['offset']))
    assert '2' in r.stdout
    server.wait_events(['image.create'] * 2, images[-1])
    events = server.events()
    assert [e.image for e in events] == images + images[2:]
    assert [e.doc for e in events[4:]] == [e.doc for e in events[2:4]]
    assert len(server.journal()) == 4  # a replay is no event


def test_replay_since(servers):
    server = servers()
    first = server.client(A).new()['id']
    delivered(server, first)
    later = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime('%Y-%m-%dT%H:%M:%S')
    assert '0 ' in server.run('notifications', 'replay', '--since', later).stdout
    server.run('notifications', 'replay', '--since', '2020-01-01T00:00:00', '--driver', 'log')
    server.wait_events(['image.create'] * 2, first)


def test_replay_while_nobody_serves(servers):
    """It waits in the database for the next one that starts."""
    server = servers()
    image = server.client(A).new()['id']
    delivered(server, image)
    server.stop()
    server.run('notifications', 'replay', '--from', '1')
    server.start()
    server.wait_events(['image.create'] * 2, image)


@pytest.mark.parametrize('words', [(), ('--since', 'yesterday'), ('--from', 'x'), ('--from', '1', '--driver', 'pigeon'),
                                   ('--from', '1', '--since', '2020-01-01T00:00:00')])
def test_bad_replay(servers, words):
    server = servers()
    server.client(A).new()
    fails(server.run('notifications', 'replay', *words, check=False))


def test_journal_without_a_database(tmp_path):
    server = Glint(tmp_path)
    for word in ('status', 'tail'):
        fails(server.run('notifications', word, check=False), str(server.database))
    assert not server.database.exists()


def test_journal_is_bounded_in_size(servers):
    """More than journal_max_size of delivered events: the oldest go."""
    server = servers({'glint': {'journal_max_size': 1}})
    client = server.client(A)
    images = [client.new(**{f'k{i}': 'v' * 50_000 for i in range(10)})['id'] for _ in range(6)]
    delivered(server, images[-1])
    server.restart()
    wait_for(lambda: status(server)['journal']['bytes'] <= 1 << 20, server.root, 'pruning', deadline=90)
    kept = [r['subject'] for r in server.journal()]
    assert 1 <= len(kept) < 6 and kept == images[-len(kept):]
    assert {e.image for e in server.events()} == set(images)


def test_what_is_not_delivered_is_not_pruned(servers):
    """However old or large: as long as a driver has not got it, it stays."""
    server = servers({'DEFAULT': {'log_file': '/dev/full'}, 'glint': {'journal_max_age': 0, 'journal_max_size': 1}})
    server.errors_expected = True
    made = []
    for _ in range(3):
        made += [server.client(A).new(**{f'k{i}': 'v' * 50_000 for i in range(10)})['id'] for _ in range(4)]
        server.restart()
    assert [r['subject'] for r in server.journal()] == made
    server.stop()
    server.config['DEFAULT']['log_file'] = server.log
    write_config(server.config_file, server.config)
    server.start()
    wait_for(lambda: [e.image for e in server.events()] == made, server.root, 'events')


def test_journal_is_pruned(servers):
    """Delivered and older than the configured time: gone, and numbering goes on."""
    server = servers({'glint': {'journal_max_age': 0}})
    client = server.client(A)
    image = client.new()['id']
    server.wait_events(['image.create'], image)
    server.restart()
    client = server.client(A)
    wait_for(lambda: server.journal() == [], server.root, 'pruning', deadline=90)
    client.patch(image, {'op': 'add', 'path': '/k', 'value': 'v'})
    seqs = [r['seq'] for r in server.journal()]
    assert seqs in ([2], [])
    server.wait_events(['image.create', 'image.update(queued)'], image)
