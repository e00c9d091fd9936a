# SPDX-License-Identifier: Apache-2.0
"""A Keystone of few words that knows unified limits, counts what it is asked, and does what it is told: be slow,
hang, refuse, talk rubbish."""
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SERVICE, REGION, ENDPOINT = '5' * 32, 'RegionOne', 'e' * 32
RESOURCES = ('image_size_total', 'image_stage_total', 'image_count_total', 'image_count_uploading')


class FakeLimits:
    """`registered` and `projects[id]` are limits by resource. `answer`, if set, is a function of (handler, what is
    asked for) that answers itself and returns true, or does not. While `gate` is not set, limits wait."""

    def __init__(self):
        self.registered = dict.fromkeys(RESOURCES, 1000)
        self.projects, self.asked, self.tokens, self.logins = {}, Counter(), set(), []
        self.answer, self.model, self.login_status = None, 'flat', 201
        self.gate, self.changed = threading.Event(), threading.Condition()
        self.gate.set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def reply(self, status, body, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header('Content-Length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):
                fake.log_in(self, json.loads(self.rfile.read(int(self.headers['Content-Length']))))

            def do_GET(self):
                fake.get(self)

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

        self.server = Server(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def settings(self, glint=None, default=None, **more):
        """What glint is told of it."""
        return {'DEFAULT': {'use_keystone_limits': 'true', **(default or {})}, 'glint': glint or {},
                'oslo_limit': {'auth_url': self.url + '/v3', 'username': 'glance', 'password': 'S3CR3T-of-limits',
                               'user_domain_name': 'Default', 'system_scope': 'all', 'endpoint_id': ENDPOINT, **more}}

    def log_in(self, handler, body):
        with self.changed:
            self.logins.append(body)
            token = f'S3CR3T-token-{len(self.logins)}'
            self.tokens.add(token)
        if self.login_status != 201:
            handler.reply(self.login_status, {'error': {'code': self.login_status}})
        else:
            handler.reply(201, {'token': {'expires_at': '2099-01-01T00:00:00.000000Z'}}, [('X-Subject-Token', token)])

    def get(self, handler):
        url = urlsplit(handler.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        what = url.path.removeprefix('/v3/').split('/')
        what = 'model' if what == ['limits', 'model'] else what[0]
        with self.changed:
            self.asked[what] += 1
            self.asked[what, query.get('project_id')] += 1
            self.changed.notify_all()
            known = handler.headers.get('X-Auth-Token') in self.tokens
        if self.answer and self.answer(handler, what):
            return
        if not known:
            handler.reply(401, {'error': {'code': 401}})
        elif what == 'endpoints' and url.path.endswith('/' + ENDPOINT):
            handler.reply(200, {'endpoint': {'id': ENDPOINT, 'service_id': SERVICE, 'region_id': REGION}})
        elif what == 'endpoints':
            ours = query == {'service_id': SERVICE, 'region_id': REGION, 'interface': 'public'}
            handler.reply(200, {'endpoints': [{'id': ENDPOINT, 'service_id': SERVICE, 'region_id': REGION}][:ours]})
        elif what == 'services':
            ours = query == {'name': 'glance', 'type': 'image'}
            handler.reply(200, {'services': [{'id': SERVICE}][:ours]})
        elif what == 'model':
            handler.reply(200, {'model': {'name': self.model, 'description': 'As it is.'}})
        else:
            self.gate.wait(60)
            self.tell_limits(handler, what, query)

    def tell_limits(self, handler, what, query):
        assert query['service_id'] == SERVICE and query['region_id'] == REGION
        key = 'default_limit' if what == 'registered_limits' else 'resource_limit'
        limits = self.registered if what == 'registered_limits' else self.projects.get(query['project_id'], {})
        more = {} if what == 'registered_limits' else {'project_id': query['project_id'], 'domain_id': None}
        handler.reply(200, {what: [{'id': name, 'service_id': SERVICE, 'region_id': REGION, 'resource_name': name,
                                    key: value, 'description': None, **more} for name, value in limits.items()],
                            'links': {'next': None, 'previous': None, 'self': self.url}})

    def count(self, what, project=None):
        with self.changed:
            return self.asked[(what, project) if project else what]

    def wait_asked(self, what, n, project=None, deadline=30):
        key = (what, project) if project else what
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked[key] >= n, deadline), f'{key}: {self.asked[key]} of {n}'
