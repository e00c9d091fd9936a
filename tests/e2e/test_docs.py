# SPDX-License-Identifier: Apache-2.0
"""The documents say what the program does: the configuration reference is what the program prints, every line of the
log has its row, every event its table. Each failure says what to add where."""
import json
import os
import re
import shutil
import subprocess
import threading

import pytest

from harness import A, B, REPO, Raw, make_server, wait_for
from sources import Nginx
from test_cli import run
from test_import import config as import_config

pytestmark = pytest.mark.glint_only
DOCS = REPO / 'docs'


def tables(text):
    """The rows of the Markdown tables in a text, each a list of cells, without heads and rules."""
    rows = []
    lines = text.splitlines()
    for line, following in zip(lines, lines[1:] + ['']):
        if line.startswith('|') and not re.match(r'\|[-| ]+\|$', line) and not re.match(r'\|[-| ]+\|$', following):
            rows.append([cell.strip().replace(r'\|', '|') for cell in re.split(r'(?<!\\)\|', line)[1:-1]])
    return rows


# -- configuration -------------------------------------------------------------------------------------

def test_configuration_is_what_the_program_prints():
    said = run('config', 'options', '--markdown')
    assert said.returncode == 0 and said.stderr == ''
    documented = (DOCS / 'configuration.md').read_text()
    for section in ('oslo_messaging_rabbit', 'oslo_messaging_kafka'):
        if f'## [{section}]' not in said.stdout:  # a build without that library
            documented = re.sub(rf'^## \[{section}\]\n.*?(?=^## )', '', documented, flags=re.M | re.S)
    assert documented == said.stdout, \
        'run: build/glint config options --markdown > docs/configuration.md'


def test_every_option_is_explained():
    """A whole sentence each, and a unit where the number alone says nothing."""
    rows = [row for row in tables((DOCS / 'configuration.md').read_text()) if len(row) == 4]
    assert len(rows) > 100
    for name, kind, _, meaning in rows:
        assert re.match(r'[A-Z0-9x"].*\.$|^[a-z-]+[:_ ].*\.$', meaning), f'{name}: "{meaning}" is no sentence'
        if re.search(r'timeout|interval|max_age|_size$|time_to_live', name) and kind.startswith('whole number'):
            assert '(' in kind or 'essages' in meaning, f'{name} has no .unit in its table'


def test_options_of_a_word():
    said = run('config', 'options', 'JOURNAL_max')
    assert re.findall(r'^\[\S+\] \S+', said.stdout, re.M) == ['[glint] journal_max_age', '[glint] journal_max_size']
    none = run('config', 'options', 'nosuchthing')
    assert none.returncode == 1 and 'nosuchthing' in none.stderr
    for words in (['options', 'a', 'b'], ['check', '--markdown'], ['options', 'a', '--markdown']):
        assert run('config', *words).returncode == 2


def test_what_is_ignored_says_why(tmp_path):
    """An option of Glance that has no meaning here is told apart from one that is mistyped."""
    path = tmp_path / 'glance-api.conf'
    path.write_text('[DEFAULT]\nworkers = 4\nworkesr = 4\n[glance_store]\nrbd_store_pool = images\n')
    said = run('config', 'check', '--config-file', path)
    assert said.returncode == 0 and '3 warnings' in said.stdout
    assert f'{path}:2: warning: option [DEFAULT] workers is ignored. One process' in said.stderr
    assert f'{path}:3: warning: unknown option [DEFAULT] workesr' in said.stderr
    assert f'{path}:5: warning: option [glance_store] rbd_store_pool is ignored. ' in said.stderr


@pytest.mark.parametrize('name', ['docs/glance-api.conf.example', 'packaging/glint.conf'])
def test_configuration_files_that_we_ship(tmp_path, name):
    """They are good as they are, and what is commented out in them exists."""
    said = run('config', 'check', '--config-file', REPO / name)
    assert said.returncode == 0 and said.stderr == '' and 'good, 0 warnings' in said.stdout
    path = tmp_path / 'all.conf'
    text, n = re.subn(r'^#(?=\[|[a-z_]+ = )', '', (REPO / name).read_text(), flags=re.M)
    path.write_text(text)
    assert n > 5 and 'warning' not in run('config', 'check', '--config-file', path).stderr


# -- notifications -------------------------------------------------------------------------------------

TYPES = {'text': str, 'whole number': int, 'true or false': bool, 'object': dict, 'list': list, 'null': type(None)}


def chapters(text, level):
    """(heading, what stands below it) for each heading of a level."""
    parts = re.split(rf'^{"#" * level} (.*)$', text, flags=re.M)
    return list(zip(parts[1::2], (re.split(rf'^#{{1,{level}}} ', body, flags=re.M)[0] for body in parts[2::2])))


def documented_fields():
    """For each event the keys of its payload: {event: {key: (types, optional)}}."""
    fields = {}
    for heading, body in chapters((DOCS / 'notifications.md').read_text(), 3):
        for event in re.findall(r'`([a-z.]+)`', heading):
            for key, kind, _ in tables(body):
                plain = kind.removesuffix(', optional')
                types = [TYPES[plain]] if plain in TYPES else [TYPES[word] for word in plain.split(' or ')]
                fields.setdefault(event, {})[key.strip('`')] = (types, plain != kind)
    return fields


def documented_events():
    body = dict(chapters((DOCS / 'notifications.md').read_text(), 2))['The events']
    return {(row[0].strip('`'), row[1]) for row in tables(body) if len(row) == 3}


def test_every_event_of_the_source_is_documented():
    names = re.findall(r'\[EVENT_(\w+)\] = "([a-z.]+)"', (REPO / 'src/notify/event.c').read_text())
    assert len(names) >= 15
    assert {name for _, name in names} == {name for name, _ in documented_events()}, 'docs/notifications.md, The events'
    assert {name for _, name in names} == set(documented_fields()), 'docs/notifications.md, Payloads'


def test_every_priority_of_the_source_is_documented():
    """Whatever is emitted as WARN or ERROR has its line in the table."""
    names = dict(re.findall(r'\[EVENT_(\w+)\] = "([a-z.]+)"', (REPO / 'src/notify/event.c').read_text()))
    source = ''.join(p.read_text() for p in (REPO / 'src/service').glob('*.c') if not p.name.endswith('_test.c'))
    told = {(names[event], priority) for event, priority in re.findall(r'EVENT_(\w+),\s+EVENT_(WARN|ERROR)\b', source)}
    told.add(('image.send', 'ERROR'))
    assert len(told) == 4
    assert told == {(event, priority) for event, priority in documented_events() if priority != 'INFO'}
    assert {name for name, _ in documented_events()} == {name for name, p in documented_events() if p == 'INFO'}


def check_payload(event, payload, fields):
    """A payload has every key that is documented and no other, of the type that is documented."""
    documented = fields[event]
    assert set(payload) <= set(documented), f'{event}: not in docs/notifications.md'
    assert set(payload) >= {key for key, (_, optional) in documented.items() if not optional}, f'{event}: not emitted'
    for key, value in payload.items():
        assert type(value) in documented[key][0], f'{event}: {key} is {value!r}'


def live_through_everything(server, root):
    """A life of every kind, so that each event is emitted. Returns them."""
    a, b = server.client(A), server.client(B)
    nginx = Nginx(root / 'nginx')
    try:
        image = a.new(b'hello', name='jammy', os_distro='ubuntu', tags=['lts'])['id']
        a.download(image)
        a.share(image, B.project)
        b.answer_share(image, B.project, 'accepted')
        a.delete(f'/v2/images/{image}/members/{B.project}')
        a.remove(image)
        for uri in (nginx.put('disk', b'x' * 5000), f'{nginx.url}/nosuch'):
            image = a.new()['id']
            method = {'name': 'web-download', 'uri': uri}
            assert a.post(f'/v2/images/{image}/import', {'method': method}).status_code == 202
        assert a.create(**{f'p{i}': 'x' * 60000 for i in range(6)}).status_code == 201
        image = a.new(b'0123456789')['id']
        os.truncate(server.images / image, 4)
        a.download(image)
        with Raw(server) as raw:
            image = a.new()['id']
            raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                     Content_Length='10')
            raw.send(b'01234')
            raw.reset()
        wanted = {'task.success', 'task.failure', 'image.upload ERROR', 'image.send ERROR'}
        wait_for(lambda: wanted <= {e.type if e.priority == 'INFO' else f'{e.type} {e.priority}' for e in server.events()},
                 server.root, 'events')
    finally:
        nginx.close()
    return server.events()


def test_payloads_are_what_is_documented(tmp_path):
    fields = documented_fields()
    server = make_server(tmp_path / 'server', import_config(tmp_path / 'server')).start()
    try:
        events = live_through_everything(server, tmp_path)
    finally:
        server.stop()
    for e in events:
        if isinstance(e.payload, str):
            assert (e.type, e.priority) in documented_events()
        else:
            check_payload(e.type, e.payload, fields)
    assert {e.type for e in events} == set(fields)
    for event, keys in fields.items():
        seen = {key for e in events if e.type == event and isinstance(e.payload, dict) for key in e.payload}
        missing = set(keys) - seen - {'truncated'}
        assert not missing, f'{event}: {missing} not emitted by the test'
    assert any('truncated' in e.payload for e in events if isinstance(e.payload, dict))


def test_examples_are_like_what_is_emitted():
    text = (DOCS / 'notifications.md').read_text()
    documents = []
    for block in re.findall(r'(?:^    .*\n)+', text, re.M):
        if block.strip().startswith('{"message_id"'):
            documents.append(json.loads(' '.join(line.strip() for line in block.splitlines())))
    assert len(documents) >= 7
    for document in documents:
        assert list(document) == ['message_id', 'publisher_id', 'event_type', 'priority', 'payload', 'timestamp']
        assert (document['event_type'], document['priority']) in documented_events()
        if isinstance(document['payload'], dict):
            check_payload(document['event_type'], document['payload'], documented_fields())


# -- the command line ----------------------------------------------------------------------------------

WORDS = {'serve': [], 'config': ['check', 'options'], 'db': ['sync', 'check', 'version', 'purge', 'usage'],
         'policy': ['show', 'check'],
         'notifications': ['status', 'tail', 'replay', 'listen'], 'version': []}
FLAG = r'(?<![\w-])--?[a-z][a-z-]*'


def flags_of_the_source():
    """Every option that a subcommand takes, but for spellings with underscores."""
    tables_of_options = ''.join(p.read_text() for p in (REPO / 'src/cmd').glob('*.c'))
    found = set()
    for name, alias in re.findall(r'\{"(--[a-z-]+)", (NULL|"[a-z_-]+"),', tables_of_options):
        found |= {name} | ({alias.strip('"')} if alias != 'NULL' and '_' not in alias else set())
    assert len(found) > 15
    return found


def helps():
    return {command: run(command, '--help').stdout for command in WORDS if command != 'version'}


def test_help_names_every_command():
    said = run('--help').stdout
    assert set(re.findall(r'^  glint (\w+)', said, re.M)) == set(WORDS)
    for command, words in WORDS.items():
        for word in words:
            assert re.search(rf'\b{word}\b', said), f'glint --help does not name {command} {word}'
            assert re.search(rf'\b{word}\b', helps()[command]), f'glint {command} --help does not name {word}'


def test_help_has_no_option_that_is_not_there():
    for command, said in helps().items():
        assert set(re.findall(FLAG, said)) <= flags_of_the_source(), command


def test_man_page_has_what_the_program_has():
    page = (DOCS / 'glint.1').read_text()
    flags = {'-' + flag for flag in re.findall(r'\bFl ([a-z-]+)', page)} - {'--name'}
    assert flags == flags_of_the_source() | {'--help', '-h', '--version'}, 'docs/glint.1'
    synopsis = page.split('.Sh SYNOPSIS')[1].split('.Sh DESCRIPTION')[0]
    named = {}
    for line in re.findall(r'^\.Cm (.*)$', synopsis, re.M):
        command, *words = line.replace('|', ' ').split()
        named.setdefault(command, []).extend(words)
    assert named == WORDS, 'docs/glint.1, SYNOPSIS'
    for command, words in WORDS.items():
        if words:
            assert f'.Ss {command}\n' in page
            assert all(re.search(rf'^\.It Cm {word}\b', page, re.M) for word in words), command


@pytest.mark.skipif(not shutil.which('mandoc'), reason='no mandoc')
def test_man_page_is_clean():
    said = subprocess.run(['mandoc', '-Tlint', '-Wstyle', DOCS / 'glint.1'], capture_output=True, text=True)
    assert [line for line in said.stdout.splitlines() if 'mandoc.db' not in line] == []


def complete(*words, cwd=None):
    """What bash offers for the last of the words."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _glint; printf "%s\\n" "${COMPREPLY[@]}"'
    said = subprocess.run(['bash', '-c', script, 'bash', REPO / 'packaging/glint.bash-completion', 'glint', *words],
                          capture_output=True, text=True, cwd=cwd)
    assert said.returncode == 0 and said.stderr == '', said.stderr
    return set(said.stdout.split())


def test_completion_of_words():
    assert complete('') == set(WORDS)
    assert complete('no') == {'notifications'}
    for command, words in WORDS.items():
        assert complete(command, '') == set(words)
    assert complete('--config-file', 'x', 'db', 'p') == {'purge'}
    assert complete('--config-file', '=', 'x', 'db', 'p') == {'purge'}
    assert complete('db', 'sync', '') == set()


def test_completion_of_options():
    """Each option is offered somewhere, by its long name, and only where the help has it."""
    offered = set()
    for command, words in WORDS.items():
        for word in words or ['']:
            flags = complete(command, *([word] if word else []), '--')
            assert flags <= flags_of_the_source() | {'--help'}
            offered |= flags
    assert offered == {f for f in flags_of_the_source() if f.startswith('--')} | {'--help'}
    assert '--pool' in complete('notifications', 'listen', '--') and '--pool' not in complete('notifications', 'tail', '--')
    assert complete('notifications', '--json', 'tail', '--fo') == {'--follow'}


def test_completion_of_values(tmp_path):
    (tmp_path / 'glint.conf').touch()
    (tmp_path / 'data').mkdir()
    assert complete('serve', '--config-file', '', cwd=tmp_path) == {'glint.conf', 'data'}
    assert complete('serve', '--data-dir', '', cwd=tmp_path) == {'data'}
    assert complete('serve', '--config-file', '=', 'gl', cwd=tmp_path) == {'glint.conf'}
    assert complete('notifications', 'replay', '--driver', 'messaging') == {'messaging', 'messagingv2'}
    assert complete('notifications', 'replay', '--from', '', cwd=tmp_path) == set()


# -- operations ----------------------------------------------------------------------------------------

CALL = re.compile(r'\blog_(warning|error)\(\s*(\w+|"[^"]*"),\s*[^,"]+,\s*((?:"(?:[^"\\]|\\.)*"|\w+|\s)+)')
CONVERSION = re.compile(r'%[-0-9.]*(?:hh|h|ll|l|z)?[a-z]')


def strings_of(path):
    """What the macros of a file and of the headers beside it stand for."""
    texts = [path.read_text(), *(h.read_text() for h in path.parent.glob('*.h'))]
    return {'PRIu32': '', 'PRId64': '', **dict(re.findall(r'#define (\w+) "([^"]*)"', '\n'.join(texts)))}


def log_lines_of_the_source():
    """(LEVEL logger, line) of each call, `…` for what differs."""
    found = []
    for path in sorted((REPO / 'src').rglob('*.c')):
        if path.name.endswith('_test.c'):
            continue
        text, strings = path.read_text(), strings_of(path)
        calls = CALL.findall(text)
        assert len(calls) == len(re.findall(r'\blog_(?:warning|error)\(', text)), f'{path}: a call that cannot be read'
        for level, logger, pieces in calls:
            # "%" PRId64 " octets": what the macro adds belongs to the conversion
            line = re.sub(r'%" PRI\w+', '%d"', ' '.join(pieces.split()))
            line = ''.join(piece if name == '' else strings[name]
                           for piece, name in re.findall(r'"((?:[^"\\]|\\.)*)"|(\w+)', line))
            logger = logger.strip('"') if logger.startswith('"') else strings[logger]
            found.append((f'{level.upper()} {logger}', CONVERSION.sub('…', line)))
    return found


def test_every_line_of_the_log_is_explained():
    source = log_lines_of_the_source()
    assert len(source) >= 35
    documented = {(row[0], row[1].strip('`')): row[2] for row in tables((DOCS / 'operations.md').read_text())
                  if re.match('WARNING|ERROR', row[0])}
    missing = [f'| {where} | `{line}` | what it means, what to do |' for where, line in source
               if (where, line) not in documented]
    assert not missing, 'add to docs/operations.md, Lines of the log:\n' + '\n'.join(missing)
    assert set(documented) == set(source), 'lines that are not logged any more'
    assert all(len(what) > 15 for what in documented.values())


def test_links_lead_somewhere():
    for path in [*DOCS.glob('*.md'), REPO / 'README.md']:
        text = path.read_text()
        for target in re.findall(r'\]\(([^)]+)\)', text):
            file, _, anchor = target.partition('#')
            if file.startswith('http'):
                continue
            there = path.parent / file if file else path
            assert there.exists(), f'{path.name}: {target}'
            if anchor:
                heads = re.findall(r'^#+ (.*)$', there.read_text(), re.M)
                slugs = {re.sub(r'[^\w -]', '', head.lower()).replace(' ', '-') for head in heads}
                assert anchor in slugs, f'{path.name}: {target}'


class Recipe:
    """The shell of docs/operations.md on a server of ours: paths are replaced, nobody is stopped or chowned."""

    def __init__(self, server, root):
        self.server, self.root = server, root
        self.bin, self.held, self.go = root / 'bin', root / 'held', root / 'go'
        self.bin.mkdir()
        os.mkfifo(self.go)
        for name, text in {'systemctl': '', 'chown': '', 'cp': f'[ -z "$HOLD" ] || {{ touch {self.held}; cat {self.go}; }}\n'
                                                               'exec /bin/cp "$@"'}.items():
            (self.bin / name).write_text(f'#!/bin/sh\n{text}\n')
            (self.bin / name).chmod(0o755)

    def spawn(self, name, hold=''):
        block = re.search(rf'```sh\n# {name}\n(.*?)```', (DOCS / 'operations.md').read_text(), re.S)[1]
        ours = {'/var/lib/glint/glint.sqlite': self.server.database, '/var/lib/glint': self.server.root,
                '/backup': self.root / 'backup', '/tmp/': f'{self.root}/'}
        block = re.sub('|'.join(ours), lambda found: str(ours[found[0]]), block)
        return subprocess.Popen(['bash', '-eu', '-c', block], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
                                env={**os.environ, 'PATH': f"{self.bin}:{os.environ['PATH']}", 'HOLD': hold})

    def run(self, name):
        process = self.spawn(name)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, name
        return said

    def check(self):
        found = re.findall(r'without (bytes|record): (\S+)', self.run('check'))
        return [{image for kind, image in found if kind == wanted} for wanted in ('bytes', 'record')]


class Load:
    """Clients that make images and delete some, until they are told to stop."""

    def __init__(self, server):
        self.kept, self.removed = {}, set()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(server.client(A), n)) for n in range(3)]
        for thread in self.threads:
            thread.start()

    def work(self, client, n):
        for i in range(2000):
            if self.stop.is_set():
                break
            data = f'{n} {i}'.encode() * 1000
            image = client.new(data)['id']
            if i % 3 == 0:
                client.remove(image)
                self.removed.add(image)
            else:
                self.kept[image] = data

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.skipif(not shutil.which('sqlite3'), reason='no sqlite3')
def test_backup_under_load_and_restore(tmp_path, servers):
    server = servers()
    client, recipe = server.client(A), Recipe(server, tmp_path)
    early = {client.new(f'early {i}'.encode())['id']: f'early {i}'.encode() for i in range(20)}
    doomed = client.new(b'deleted between the two steps')['id']
    load = Load(server)
    try:
        backup = recipe.spawn('backup', hold='yes')
        wait_for(recipe.held.exists, tmp_path, 'second step of the backup')
        assert client.remove(doomed).status_code == 204
        late = client.new(b'uploaded between the two steps')['id']
        recipe.go.write_text('')
        backup.communicate(timeout=60)
        assert backup.returncode == 0
    finally:
        load.end()
    server.stop()
    shutil.rmtree(server.images)
    recipe.run('restore')
    without_bytes, without_record = recipe.check()
    assert doomed in without_bytes and without_bytes <= load.removed | {doomed}
    assert late in without_record and not without_record & set(early)

    server.start()
    active = {image['id'] for page in all_pages(client) for image in page if image['status'] == 'active'}
    assert set(early) <= active and late not in active
    for image in active - without_bytes:
        assert client.download(image).content == {**early, **load.kept}.get(image, b'') or image in load.removed
    assert not [image for page in all_pages(client) for image in page if image['status'] == 'saving']
    for image in without_bytes:
        assert client.remove(image).status_code == 204
    for image in without_record:
        (server.images / image).unlink(missing_ok=True)
    assert recipe.check() == [set(), set()]
    wait_for(lambda: '0' == re.search(r'"behind": (\d+)', server.run('notifications', 'status', '--json').stdout)[1],
             server.root, 'delivery')


def all_pages(client):
    path = '/v2/images?limit=500'
    while path:
        body = client.get(path).json()
        yield body['images']
        path = body.get('next')
