# SPDX-License-Identifier: Apache-2.0
"""Two Keystones: the real one of Debian on SQLite, and one of few words that does what it is told, wrong things too."""
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DEADLINE = 60
SERVICE_USER = {'username': 'glance', 'password': 'S3CR3T-of-glance', 'user_domain_name': 'Default',
                'project_name': 'service', 'project_domain_name': 'Default'}


def settings(url, **more):
    """What glint is told of it."""
    return {'paste_deploy': {'flavor': 'keystone'},
            'keystone_authtoken': {'auth_url': url, 'auth_type': 'password', **SERVICE_USER, **more}}


def when(seconds):
    """A time so many seconds from now, as Keystone writes it."""
    return time.strftime('%Y-%m-%dT%H:%M:%S.000000Z', time.gmtime(time.time() + seconds))


def token_body(user='u' * 32, project='p' * 32, roles=('member', 'reader'), expires=3600, **more):
    body = {'methods': ['password'], 'expires_at': when(expires), 'issued_at': when(0), 'audit_ids': ['x'],
            'user': {'id': user, 'name': 'somebody', 'domain': {'id': 'default', 'name': 'Default'}},
            'roles': [{'id': name, 'name': name} for name in roles], **more}
    if project:
        body['project'] = {'id': project, 'name': 'some project', 'domain': {'id': 'default', 'name': 'Default'}}
    return {'token': body}


class FakeKeystone:
    """Knows `tokens`, and counts. `answer`, if set, is a function of (handler, token) that answers a lookup itself,
    and returns true if it did."""

    def __init__(self, certificate=None):
        self.tokens, self.logins, self.lookups, self.own = {}, [], [], set()
        self.answer = None
        self.login_status = 201
        self.closed = False
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def reply(self, status, body=None, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header('Content-Length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def parse_request(self):
                self.close_connection = fake.closed  # kept alive from before
                return not fake.closed and super().parse_request()

            def do_POST(self):
                fake.login(self, json.loads(self.rfile.read(int(self.headers['Content-Length']))))

            def do_GET(self):
                fake.lookup(self)

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.handle_error = lambda *args: None  # who did not wait for the answer
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f'{"https" if certificate else "http"}://127.0.0.1:{self.port}'
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        if not self.closed:
            self.closed = True
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()

    def login(self, handler, body):
        with self.lock:
            self.logins.append(body)
            own = f'own-token-{len(self.logins)}'
            self.own.add(own)
        if self.login_status != 201:
            handler.reply(self.login_status, {'error': {'code': self.login_status}})
        else:
            handler.reply(201, token_body(roles=['service']), [('X-Subject-Token', own)])

    def lookup(self, handler):
        token = handler.headers.get('X-Subject-Token')
        with self.lock:
            self.lookups.append((token, handler.path))
            known = handler.headers.get('X-Auth-Token') in self.own
        if self.answer and self.answer(handler, token):
            return
        body = self.tokens.get(token)
        if not known:
            handler.reply(401, {'error': {'code': 401}})
        elif body is None or (body['token']['expires_at'] <= when(0) and 'allow_expired=1' not in handler.path):
            handler.reply(404, {'error': {'code': 404}})
        else:
            handler.reply(200, body, [('X-Subject-Token', token)])

    def count(self, token):
        with self.lock:
            return sum(1 for asked, _ in self.lookups if asked == token)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


SERVE = '''
import socketserver, sys
from wsgiref import simple_server
from keystone.server.wsgi import initialize_public_application
class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, *args): pass
    def address_string(self): return self.client_address[0]
class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 64
port = int(sys.argv[1])
sys.argv[1:] = []
simple_server.make_server('127.0.0.1', port, initialize_public_application(), Server, Handler).serve_forever()
'''


class RealKeystone:
    """Debian's, in a directory, with what clouds have: the user glance (role service) in the project service, the roles
    admin, member and reader, and the image service in its catalogue."""

    def __init__(self, root, image_url):
        self.root, self.image_url = Path(root), image_url
        self.root.mkdir(parents=True)
        self.port = free_port()
        self.url = f'http://127.0.0.1:{self.port}'
        self.process = self.token = None
        self.roles, self.projects, self.users = {}, {}, {}
        self.write_config()
        self.manage('db_sync')
        # It reads while it writes, by which SQLite's files lock up without a WAL.
        subprocess.run(['sqlite3', self.root / 'keystone.sqlite', 'pragma journal_mode=wal'], check=True,
                       capture_output=True)
        me = ['--keystone-user', str(os.getuid()), '--keystone-group', str(os.getgid())]
        self.manage('fernet_setup', *me)
        v3 = f'{self.url}/v3'
        self.manage('bootstrap', '--bootstrap-password', 'admin', '--bootstrap-region-id', 'RegionOne',
                    '--bootstrap-public-url', v3, '--bootstrap-internal-url', v3, '--bootstrap-admin-url', v3)
        self.start()
        self.fill()

    def write_config(self):
        keys = self.root / 'fernet'
        keys.mkdir(mode=0o700)
        (self.root / 'keystone.conf').write_text(
            f'[DEFAULT]\nlog_file = {self.root}/keystone.log\n'
            f'[database]\nconnection = sqlite:///{self.root}/keystone.sqlite\n'
            f'[token]\nprovider = fernet\n[fernet_tokens]\nkey_repository = {keys}\n'
            f'[fernet_receipts]\nkey_repository = {keys}\n[identity]\npassword_hash_rounds = 4\n')
        (self.root / 'serve.py').write_text(SERVE)

    def manage(self, *words):
        done = subprocess.run(['keystone-manage', '--config-file', str(self.root / 'keystone.conf'), *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.root, timeout=DEADLINE)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        with open(self.root / 'stdout', 'ab') as out:
            self.process = subprocess.Popen(
                ['/usr/bin/python3', 'serve.py', str(self.port)], cwd=self.root, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env={**os.environ, 'OS_KEYSTONE_CONFIG_FILES': str(self.root / 'keystone.conf')})
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.root / 'stdout').read_text()
            try:
                socket.create_connection(('127.0.0.1', self.port), timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError('Keystone does not answer')

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def call(self, method, path, body=None, token=None, headers=None):
        """(headers, body) of the answer."""
        request = urllib.request.Request(self.url + '/v3' + path, method=method, headers=headers or {},
                                         data=json.dumps(body).encode() if body is not None else None)
        request.add_header('Content-Type', 'application/json')
        if token or self.token:
            request.add_header('X-Auth-Token', token or self.token)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=DEADLINE) as answer:
            data = answer.read()
            return answer.headers, json.loads(data) if data else None

    def log_in(self, user, project=None, password=None, scope=None):
        """A token."""
        domain = {'id': 'default'}
        auth = {'identity': {'methods': ['password'], 'password': {'user': {
            'name': user, 'password': password or user, 'domain': domain}}}}
        if project or scope:
            auth['scope'] = scope or {'project': {'name': project, 'domain': domain}}
        else:
            auth['scope'] = 'unscoped'
        keep, self.token = self.token, None
        try:
            return self.call('POST', '/auth/tokens', {'auth': auth})[0]['X-Subject-Token']
        finally:
            self.token = keep

    def revoke(self, token):
        self.call('DELETE', '/auth/tokens', headers={'X-Subject-Token': token})

    def add(self, kind, **what):
        return self.call('POST', f'/{kind}s', {kind: what})[1][kind]['id']

    def add_user(self, user, project, *roles, password=None):
        if project not in self.projects:
            self.projects[project] = self.add('project', name=project, domain_id='default')
        self.users[user] = self.add('user', name=user, password=password or user, domain_id='default')
        for role in roles:
            self.call('PUT', f'/projects/{self.projects[project]}/users/{self.users[user]}/roles/{self.roles[role]}')

    def fill(self):
        self.token = self.log_in('admin', 'admin')
        self.roles = {role['name']: role['id'] for role in self.call('GET', '/roles')[1]['roles']}
        for name in ('member', 'reader', 'service'):
            if name not in self.roles:
                self.roles[name] = self.add('role', name=name)
        self.add_user('glance', 'service', 'service', password=SERVICE_USER['password'])
        self.add_user('alice', 'demo', 'member')
        self.add_user('rita', 'demo', 'reader')
        self.add_user('bob', 'other', 'member')
        service = self.add('service', type='image', name='glance')
        self.add('endpoint', service_id=service, interface='public', url=self.image_url, region_id='RegionOne')

    def environment(self, user, project, password=None):
        """For the openstack client."""
        return {**{k: v for k, v in os.environ.items() if not k.startswith('OS_')},
                'OS_AUTH_TYPE': 'password', 'OS_AUTH_URL': f'{self.url}/v3', 'OS_USERNAME': user,
                'OS_PASSWORD': password or user, 'OS_PROJECT_NAME': project, 'OS_USER_DOMAIN_NAME': 'Default',
                'OS_PROJECT_DOMAIN_NAME': 'Default', 'OS_IDENTITY_API_VERSION': '3', 'OS_REGION_NAME': 'RegionOne',
                'no_proxy': '*'}
