# SPDX-License-Identifier: Apache-2.0
"""CORS, header for header what Debian's oslo.middleware makes of the same configuration and request."""
import pytest
import webob
import webob.dec
from oslo_config import cfg
from oslo_middleware import cors

from harness import Raw, write_config

pytestmark = pytest.mark.glint_only

RULES = {
    'one': {'cors': {'allowed_origin': 'https://a.example, https://b.example:8443'}},
    'any': {'cors': {'allowed_origin': '*', 'max_age': 0, 'expose_headers': '', 'allow_credentials': 'false'}},
    'any and one': {'cors': {'allowed_origin': 'https://a.example,*', 'allow_methods': 'GET', 'allow_headers': 'X-One,x-two'}},
    'sections': {'cors': {'allowed_origin': 'https://a.example', 'max_age': 7},
                 'cors.second': {'allowed_origin': 'https://c.example', 'allow_methods': 'PUT', 'allow_credentials': 'false'},
                 'cors.third': {'allowed_origin': 'https://c.example,https://d.example', 'max_age': 8,
                                'expose_headers': 'X-A,X-B'}},
    'only a section': {'cors': {'max_age': 5}, 'cors.x': {'allowed_origin': 'https://a.example'}},
}
ORIGINS = [None, 'https://a.example', 'https://b.example:8443', 'https://B.example:8443', 'https://c.example', 'https://d.example',
           'https://a.example.evil', 'https://a.example/', 'null', '*', '']
PREFLIGHTS = [(None, None), ('GET', None), ('PUT', ''), ('get', None), ('TRACE', None), ('DELETE', 'X-Auth-Token'),
              ('PATCH', 'x-auth-token , Content-Type,,'), ('GET', 'X-One, X-Two'), ('GET', 'X-Unknown'),
              ('GET', 'Accept,X-Unknown'), ('', None)]


def real(tmp_path, rules):
    """The middleware as Glance has it, around something that knows no OPTIONS."""
    cors.set_defaults(
        allow_headers=['Content-MD5', 'X-Image-Meta-Checksum', 'X-Storage-Token', 'Accept-Encoding', 'X-Auth-Token',
                       'X-Identity-Status', 'X-Roles', 'X-Service-Catalog', 'X-User-Id', 'X-Tenant-Id', 'X-OpenStack-Request-ID'],
        expose_headers=['X-Image-Meta-Checksum', 'X-Auth-Token', 'X-Subject-Token', 'X-Service-Token', 'X-OpenStack-Request-ID'],
        allow_methods=['GET', 'PUT', 'POST', 'DELETE', 'PATCH'])
    file = tmp_path / 'real.conf'
    write_config(file, rules)
    conf = cfg.ConfigOpts()
    conf(['--config-file', str(file)])

    @webob.dec.wsgify
    def application(req):
        return webob.Response(status=405 if req.method == 'OPTIONS' else 200)
    return cors.CORS(application, conf)


def told(headers):
    return sorted((k.lower(), v) for k, v in headers if k.lower() == 'vary' or k.lower().startswith('access-control-'))


def ask(raw, method, path, headers):
    raw.head(method, path, who=None, **headers)
    answer = raw.answer(method)
    return answer.status, told(answer.headers.items())


@pytest.mark.parametrize('name', RULES)
def test_as_the_middleware(servers, tmp_path, name):
    server, middleware = servers(RULES[name]), real(tmp_path, RULES[name])

    def check(method, path, headers):
        request = webob.Request.blank('/', method=method, headers={k.replace('_', '-'): v for k, v in headers.items()})
        expected = request.get_response(middleware)
        status, got = ask(raw, method, path, headers)
        assert got == told(expected.headers.items()), (method, headers)
        if method == 'OPTIONS':
            assert status == expected.status_code == 200
    n = 0
    with Raw(server) as raw:
        for origin in ORIGINS:
            with_origin = {} if origin is None else {'Origin': origin}
            check('GET', '/healthcheck', with_origin)
            check('GET', '/v2/images', with_origin)  # 401: a page may read that, too
            check('GET', '/nothing/here', with_origin)
            for method, names in PREFLIGHTS:
                headers = dict(with_origin)
                if method is not None:
                    headers['Access_Control_Request_Method'] = method
                if names is not None:
                    headers['Access_Control_Request_Headers'] = names
                check('OPTIONS', ('/v2/images', '/nothing', '/')[n % 3], headers)
                n += 1
    assert n == len(ORIGINS) * len(PREFLIGHTS)


def test_without_a_rule_nothing_is_said(servers):
    server = servers({'cors': {'max_age': 5}})
    with Raw(server) as raw:
        assert ask(raw, 'GET', '/healthcheck', {'Origin': 'https://a.example'}) == (200, [])
        assert ask(raw, 'OPTIONS', '/v2/images', {'Origin': 'https://a.example',
            'Access_Control_Request_Method': 'GET'}) == (405, [])


def test_preflight_takes_no_body(servers):
    server = servers(RULES['one'])
    with Raw(server) as raw:
        raw.send(b'OPTIONS /v2/images HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nContent-Length: 5\r\n\r\nhello')
        assert raw.answer().status == 200 and raw.ended()
    with Raw(server) as raw:  # said twice, it is none that we know
        raw.send(b'GET /healthcheck HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nOrigin: https://a.example\r\n\r\n')
        assert told(raw.answer().headers.items()) == []


def test_config_check(servers):
    server = servers({'cors': {'allowed_origin': 'https://a.example'},
        'cors.x': {'allowed_origin': 'https://b.example', 'colour': 'blue'}},
                     start=False)
    r = server.run('config', 'check')
    assert 'colour' in r.stderr and r.stderr.count('warning') == 1
