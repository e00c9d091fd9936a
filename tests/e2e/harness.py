# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests stand on: a server in a directory of its own, callers, events, raw sockets.

A test never sleeps for something to happen: it waits for a line in a file (inotify) or for the end of
a process, with a deadline. With GLINT_E2E_TARGET=glance the same tests run against Debian's Glance, so
that what they expect is a measured fact; what glint promises beyond it is marked `glint_only`.
"""
import ctypes
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import requests

REPO = Path(__file__).resolve().parents[2]
BINARY = os.environ.get('GLINT_BIN') or str(REPO / 'build' / 'glint')
TARGET = os.environ.get('GLINT_E2E_TARGET', 'glint')
DEADLINE = float(os.environ.get('GLINT_E2E_DEADLINE', '60'))

PATCH_V21 = 'application/openstack-images-v2.1-json-patch'
PATCH_V20 = 'application/openstack-images-v2.0-json-patch'
SANITIZER = re.compile(r'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:')
UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')


# -- who asks ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Who:
    """A caller as the proxy in front of the service describes it."""
    user: str
    project: str
    roles: str

    def headers(self):
        return {'X-Identity-Status': 'Confirmed', 'X-User-Id': self.user, 'X-Project-Id': self.project,
                'X-Roles': self.roles}


ADMIN = Who('1' * 32, '2' * 32, 'admin,member,reader')
A = Who('a' * 32, 'aa' * 16, 'member,reader')
A_READER = Who('a0' * 16, 'aa' * 16, 'reader')
B = Who('b' * 32, 'bb' * 16, 'member,reader')
C = Who('c' * 32, 'cc' * 16, 'member,reader')
FOREIGN = Who('3' * 32, '4' * 32, 'member,reader')


# -- waiting -------------------------------------------------------------------------------------------

class Watch:
    """Wakes when something in a directory is written, created or renamed."""
    MASK = 0x2 | 0x8 | 0x40 | 0x80 | 0x100  # modify, close_write, moved_from, moved_to, create

    def __init__(self, directory):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(directory), self.MASK) < 0:
            raise OSError(ctypes.get_errno(), 'inotify')

    def wait(self, seconds):
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self.fd, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000):
            os.read(self.fd, 65536)

    def close(self):
        os.close(self.fd)


def wait_for(condition, directory, what, deadline=None):
    """The first true value of condition(), looked at again whenever `directory` changes."""
    end = time.monotonic() + (deadline or DEADLINE)
    watch = Watch(directory)
    try:
        while True:
            value = condition()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f'no {what} within {deadline or DEADLINE:.0f} s')
            watch.wait(min(left, 0.25))
    finally:
        watch.close()


# -- events --------------------------------------------------------------------------------------------

LINE = re.compile(r'^(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (?P<pid>\d+) (?P<level>[A-Z]+) '
                  r'(?P<logger>\S+) \[(?P<context>[^\]]*)\] (?P<message>.*)$')
NOTIFICATION = 'oslo.messaging.notification.'


@dataclass
class Event:
    """One notification as the log driver wrote it."""
    line: str
    level: str
    logger: str
    context: str
    text: str  # the document as it stands in the line
    doc: dict

    type = property(lambda self: self.doc['event_type'])
    priority = property(lambda self: self.doc['priority'])
    payload = property(lambda self: self.doc['payload'])

    @property
    def image(self):
        """The image the event is about. A text names it; a payload has it under one of two keys."""
        if isinstance(self.payload, str):
            found = UUID.search(self.payload)
            return found.group(0) if found else None
        return self.payload.get('image_id') or self.payload.get('id')

    @property
    def short(self):
        """'image.update(saving)', 'ERROR image.upload': what the tests write down."""
        text = self.type if self.priority == 'INFO' else f'{self.priority} {self.type}'
        if self.type == 'image.update' and isinstance(self.payload, dict):
            text += f"({self.payload['status']})"
        return text


def parse_line(line):
    """An Event, or None for a line of the service's own log."""
    m = LINE.match(line)
    if not m or not m['logger'].startswith(NOTIFICATION):
        return None
    text = m['message']
    doc, end = json.JSONDecoder().raw_decode(text)
    return Event(line, m['level'], m['logger'], m['context'], text[:end], doc)


def parse_events(data, torn=False):
    """The events in whole lines of a log. `torn`: a line that a kill has cut short is no event."""
    events = []
    for line in data.split(b'\n')[:-1]:  # behind the last newline somebody is still writing
        try:
            event = parse_line(line.decode())
        except json.JSONDecodeError:
            if not torn:
                raise
            continue
        if event:
            events.append(event)
    return events


def read_events(path, torn=False):
    return parse_events(Path(path).read_bytes(), torn) if Path(path).exists() else []


# -- answers -------------------------------------------------------------------------------------------

def message_of(response):
    """The sentence of an error answer, in the form that the client libraries parse."""
    if TARGET == 'glance':
        return response.text
    assert response.headers['Content-Type'].split(';')[0] == 'application/json', response.text
    error = response.json()['error']
    assert error['code'] == response.status_code and set(error) == {'code', 'title', 'message'}
    assert error['message'] and '\n' not in error['message']
    return error['message']


class Client:
    """The API as one caller sees it. Every method returns the requests.Response."""

    def __init__(self, server, who):
        self.server, self.who = server, who
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers.clear()

    def call(self, method, path, headers=None, timeout=60, **kwargs):
        merged = {**(self.who.headers() if self.who else {}), **(headers or {})}
        url = path if path.startswith('http') else self.server.url + path
        return self.http.request(method, url, headers=merged, timeout=timeout, **kwargs)

    def get(self, path, **kwargs):
        return self.call('GET', path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.call('POST', path, json=body, **kwargs)

    def put(self, path, **kwargs):
        return self.call('PUT', path, **kwargs)

    def delete(self, path, **kwargs):
        return self.call('DELETE', path, **kwargs)

    # images; those named after a verb of the API return the answer, `new` and `show` the image
    def create(self, **attributes):
        return self.post('/v2/images', attributes)

    def new(self, data=None, **attributes):
        """A new image, raw/bare unless told otherwise, with data if there is some."""
        attributes.setdefault('disk_format', 'raw')
        attributes.setdefault('container_format', 'bare')
        r = self.create(**attributes)
        assert r.status_code == 201, r.text[:500]
        image = r.json()
        if data is not None:
            r = self.upload(image['id'], data)
            assert r.status_code == 204, r.text[:500]
        return image

    def show(self, image_id):
        r = self.get(f'/v2/images/{image_id}')
        assert r.status_code == 200, r.text[:500]
        return r.json()

    def upload(self, image_id, data, headers=None, **kwargs):
        return self.put(f'/v2/images/{image_id}/file', data=data, timeout=120,
                        headers={'Content-Type': 'application/octet-stream', **(headers or {})}, **kwargs)

    def download(self, image_id, headers=None, **kwargs):
        return self.get(f'/v2/images/{image_id}/file', headers=headers, **kwargs)

    def patch(self, image_id, *steps, media=PATCH_V21):
        return self.call('PATCH', f'/v2/images/{image_id}', data=json.dumps(list(steps)),
                         headers={'Content-Type': media})

    def remove(self, image_id):
        return self.delete(f'/v2/images/{image_id}')

    def action(self, image_id, verb):
        return self.call('POST', f'/v2/images/{image_id}/actions/{verb}')

    def share(self, image_id, project):
        return self.post(f'/v2/images/{image_id}/members', {'member': project})

    def answer_share(self, image_id, project, status):
        return self.call('PUT', f'/v2/images/{image_id}/members/{project}', json={'status': status})

    def list(self, query=''):
        """The ids of one page, and its body."""
        r = self.get('/v2/images' + (f'?{query}' if query else ''))
        assert r.status_code == 200, r.text[:500]
        body = r.json()
        return [image['id'] for image in body['images']], body


# -- servers -------------------------------------------------------------------------------------------

def write_config(path, config):
    """A glance-api.conf. A list of values becomes a repeated option."""
    out = []
    for section, options in config.items():
        out.append(f'[{section}]')
        for name, value in options.items():
            out += [f'{name} = {v}' for v in (value if isinstance(value, list) else [value])]
    Path(path).write_text('\n'.join(out) + '\n')


class Server:
    """What tests may rely on of a running service, whichever it is."""
    url = None
    process = None
    torn = False  # killed: its log may have a line cut short, and events told twice

    def __init__(self, root, config=None):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.images = self.root / 'images'
        self.images.mkdir(exist_ok=True)
        self.log = self.root / 'api.log'
        self.database = self.root / 'images.sqlite'
        self.config_file = self.root / 'glance-api.conf'
        self.config = self.make_config(config or {})
        write_config(self.config_file, self.config)

    def make_config(self, extra):
        config = {
            'DEFAULT': {'log_file': self.log},
            'database': {'connection': f'sqlite:///{self.database}'},
            'glance_store': {'filesystem_store_datadir': self.images},
            'paste_deploy': {'flavor': 'trusted-auth'},
            'oslo_messaging_notifications': {'driver': 'log'},
        }
        for section, options in extra.items():
            config.setdefault(section, {}).update(options)
        return {s: {k: v for k, v in o.items() if v is not None} for s, o in config.items()}

    def client(self, who=ADMIN):
        return Client(self, who)

    @property
    def port(self):
        return int(self.url.rsplit(':', 1)[1])

    @property
    def pid(self):
        return self.process.pid

    def events(self, image=None):
        found = read_events(self.log, self.torn)
        if self.torn:
            found = {e.doc['message_id']: e for e in reversed(found)}.values()
            found = list(found)[::-1]
        return [e for e in found if image is None or e.image == image]

    def wait_events(self, expected, image):
        """Waits until `image` has as many events as `expected` (short forms), then they must be these."""
        def enough():
            found = self.events(image)
            return found if len(found) >= len(expected) else None
        try:
            found = wait_for(enough, self.root, 'events')
        except AssertionError:
            found = self.events(image)
        assert [e.short for e in found] == list(expected)
        return found

    def settle(self):
        """Whatever was committed before is in the log file now: events keep the order of commits."""
        marker = self.client().new()['id']
        self.wait_events(['image.create'], marker)

    def settled_events(self, image):
        self.settle()
        return self.events(image)

    def stored_files(self):
        return sorted(str(p.relative_to(self.images)) for p in self.images.rglob('*') if p.is_file())

    def service_errors(self):
        """Lines of the service's own log that say ERROR or worse."""
        if not self.log.exists():
            return []
        matches = (LINE.match(line) for line in self.log.read_text(errors='replace').splitlines())
        return [m.group(0) for m in matches if m and m['level'] in ('ERROR', 'CRITICAL')
                and not m['logger'].startswith(NOTIFICATION)]

    def wait_exit(self, deadline=None):
        return self.process.wait(timeout=deadline or DEADLINE)


class Glint(Server):
    def __init__(self, root, config=None, arguments=(), env=None, limits=None):
        super().__init__(root, config)
        self.arguments, self.env, self.limits = list(arguments), env, limits
        self.stderr = self.root / 'stderr'
        self.errors_expected = False
        self.starts = 0

    def command(self, *words):
        return [BINARY, *words, '--config-file', str(self.config_file)]

    def run(self, *words, check=True, **kwargs):
        """A subcommand on the same configuration, to its end."""
        result = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, timeout=60, **kwargs)
        assert not SANITIZER.search(result.stderr), result.stderr
        if check:
            assert result.returncode == 0, result.stdout + result.stderr
        return result

    def journal(self):
        """Every event the journal has, oldest first."""
        out = self.run('notifications', 'tail', '-n', 'all', '--json').stdout
        return [json.loads(line) for line in out.splitlines()]

    def spawn(self):
        self.starts += 1
        with open(self.stderr, 'ab') as err:
            self.stderr_from = err.tell()
            self.process = subprocess.Popen(
                self.command('serve', '--listen', '127.0.0.1:0', *self.arguments), cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, preexec_fn=self.limits,
                env={**os.environ, **(self.env or {})})

    def said(self):
        """What the running process has written to standard error."""
        return self.stderr.read_bytes()[self.stderr_from:].decode(errors='replace')

    def start(self):
        self.spawn()

        def listening():
            m = re.search(r'listening on (https?://\S+)\n', self.said())
            if not m and self.process.poll() is not None:
                raise AssertionError(f'ended with {self.process.returncode}: {self.said()}')
            return m and m.group(1)
        self.url = wait_for(listening, self.root, 'listening line')
        return self

    def stop(self):
        """SIGTERM: it finishes what it has begun and ends with 0."""
        if self.process is None or self.process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait_exit()
        said = self.said()
        self.process = None
        assert not SANITIZER.search(said), said
        assert status == 0, f'exit status {status}: {said}'
        if not self.errors_expected:
            assert self.service_errors() == []

    def kill9(self):
        os.kill(self.pid, signal.SIGKILL)
        self.wait_exit()
        self.process = None
        self.torn = True

    def restart(self):
        self.stop()
        return self.start()

    def hangup(self):
        os.kill(self.pid, signal.SIGHUP)


def make_server(root, config=None, **kwargs):
    """Of the kind that is to be tested."""
    if TARGET == 'glance':
        from real_glance import Glance
        return Glance(root, config)
    return Glint(root, config, **kwargs)


# -- raw sockets ---------------------------------------------------------------------------------------

@dataclass
class RawAnswer:
    status: int
    headers: dict  # lower-cased names; the last one wins
    body: bytes
    complete: bool  # the body had the announced length


class Raw:
    """A connection that says exactly what it is told."""

    def __init__(self, server, timeout=30):
        self.sock = socket.create_connection(('127.0.0.1', server.port), timeout=timeout)
        self.rest = b''

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def head(self, method, path, who=ADMIN, **headers):
        """Request line and headers; underscores in names are dashes."""
        lines = [f'{method} {path} HTTP/1.1', 'Host: 127.0.0.1']
        lines += [f'{k}: {v}' for k, v in (who.headers() if who else {}).items()]
        lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
        self.send(('\r\n'.join(lines) + '\r\n\r\n').encode('utf-8', 'surrogateescape'))

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Gone without goodbye: the peer gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def more(self):
        data = self.sock.recv(65536)
        self.rest += data
        return data

    def read_head(self):
        """Status and headers of the next answer; None if the connection ended without one."""
        while b'\r\n\r\n' not in self.rest:
            if not self.more():
                return None
        head, self.rest = self.rest.split(b'\r\n\r\n', 1)
        lines = head.decode('latin-1').split('\r\n')
        headers = dict((k.strip().lower(), v.strip()) for k, v in (l.split(':', 1) for l in lines[1:]))
        return int(lines[0].split()[1]), headers

    def answer(self, method='GET'):
        """The whole next answer; None if the connection ended without one."""
        head = self.read_head()
        if head is None:
            return None
        status, headers = head
        if method == 'HEAD' or status in (204, 304) or status < 200:
            return RawAnswer(status, headers, b'', True)
        if headers.get('transfer-encoding') == 'chunked':
            return RawAnswer(status, headers, self.read_chunks(), True)
        want = int(headers['content-length']) if 'content-length' in headers else None
        while want is None or len(self.rest) < want:
            try:
                if not self.more():
                    break
            except ConnectionResetError:
                break
        body, self.rest = (self.rest, b'') if want is None else (self.rest[:want], self.rest[want:])
        return RawAnswer(status, headers, body, want is None or len(body) == want)

    def read_line(self):
        while b'\r\n' not in self.rest:
            if not self.more():
                raise AssertionError('the connection ended inside a chunked body')
        line, self.rest = self.rest.split(b'\r\n', 1)
        return line

    def read_chunks(self):
        body = b''
        while True:
            n = int(self.read_line().split(b';')[0], 16)
            while len(self.rest) < n + 2:
                if not self.more():
                    raise AssertionError('the connection ended inside a chunk')
            body, self.rest = body + self.rest[:n], self.rest[n + 2:]
            if n == 0:
                return body

    def ended(self):
        """True once the peer has closed."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        return True


def exchange(server, data, timeout=30):
    """Send these octets, half-close nothing, return the first answer."""
    with Raw(server, timeout) as raw:
        raw.send(data)
        return raw.answer()


# -- small things --------------------------------------------------------------------------------------

def at_once(*functions):
    """Run these together; their results in order."""
    results = [None] * len(functions)
    barrier = threading.Barrier(len(functions))

    def run(n, function):
        barrier.wait()
        results[n] = function()
    threads = [threading.Thread(target=run, args=(n, f)) for n, f in enumerate(functions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def without(d, *keys):
    return {k: v for k, v in d.items() if k not in keys}


def pattern(n, seed=1):
    """n octets in which every place looks different, the same in each run."""
    out = bytearray()
    block = bytearray(4096)
    state = seed & 0xffffffff
    while len(out) < n:
        for i in range(0, 4096, 4):
            state = (state * 1664525 + 1013904223) & 0xffffffff
            struct.pack_into('<I', block, i, state)
        out += block
        if len(out) >= 1 << 20:  # enough variety; the rest is this block, numbered
            base = bytes(out)
            while len(out) < n:
                out += struct.pack('<Q', len(out)) + base[8:]
    return bytes(out[:n])
