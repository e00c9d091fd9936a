# SPDX-License-Identifier: Apache-2.0
"""What notifications add: secrets on their way out, lines that are not ours, events that are too large. What C6 and
C7 say is shown by tests/faults, tests/crash and tests/e2e/test_robustness.py."""
import json
import re

import pytest

from attack import MIB, NO_IMAGE, SANITIZED, memory_of
from harness import A, Raw


def test_c1_no_location_and_no_token_anywhere(servers):
    server = servers({'DEFAULT': {'debug': True}})
    a = server.client(A)
    a.http.headers.update({'X-Auth-Token': 'CANARY-token', 'Authorization': 'Bearer CANARY-bearer',
                           'X-Service-Token': 'CANARY-service', 'Cookie': 'c=CANARY-cookie'})
    image = a.new(b'x')['id']
    r = a.get(f'/v2/images/{image}/file')
    answers = [str(r.headers), a.get(f'/v2/images/{image}').text, a.get('/v2/images').text]
    for body in ({'locations': [{'url': 'http://u:CANARY-url@h/', 'metadata': {}}]}, {'direct_url': 'x://CANARY'}):
        assert a.create(**body).status_code == 403
    assert a.patch(image, {'op': 'add', 'path': '/locations/-', 'value': {
        'url': 'http://u:CANARY-patch@h/', 'metadata': {}}}).status_code in (400, 403)
    assert a.remove(image).status_code == 204
    server.settle()
    everywhere = [*answers, server.log.read_text(), server.stderr.read_text(), json.dumps(server.journal())]
    for text in everywhere:
        assert 'CANARY' not in text and 'file://' not in text
    assert image in everywhere[-1]


@pytest.mark.parametrize('name', [
    'x\n2026-01-01 00:00:00.000 1 CRITICAL root [-] fake', 'x\r\ny', 'a\u2028b\u2029c', '\x1b[2J\x1b[1;31mred', '\x85\x9b31m',
    '\u202egnp.exe', '"}\n{"', '\ufeff', '\\u000a', 'a\tb\x7f'])
def test_c3_names_that_would_be_lines(server, a, name):
    r = a.create(name=name)
    assert r.status_code in (201, 400)
    if r.status_code == 400:
        return
    assert r.json()['name'] == name
    event, = server.wait_events(['image.create'], r.json()['id'])
    assert event.payload['name'] == name
    lines = [l for l in server.log.read_bytes().split(b'\n') if r.json()['id'].encode() in l]
    assert len(lines) == 1 and not re.search(rb'[\x00-\x1f\x7f]', lines[0])
    for bad in ('\u2028', '\u2029', '\x85', '\x9b', '\u202e'):
        assert bad not in lines[0].decode()


@pytest.mark.parametrize('value', ['\udcff', 'a\udcc0\udcaf', '\udced\udca0\udc80', 'x' * 300])
@pytest.mark.parametrize('header', ['X_User_Id', 'X_Project_Id'])
def test_c3_identities_that_are_no_text(server, header, value):
    """What would stand in records and events as invalid UTF-8, or cut short."""
    for path in ('/v2/images', f'/v2/images/{NO_IMAGE}'):
        headers = {k.replace('-', '_'): v for k, v in A.headers().items()}
        headers[header] = value
        with Raw(server) as raw:
            raw.head('GET', path, who=None, **headers)
            assert raw.answer().status == 400
    assert server.client(A).get('/v2/images').status_code == 200


def test_c14_the_largest_event(servers):
    """128 properties of 64 KiB: the event has all of them, or says that it does not."""
    server = servers()
    a = server.client(A)
    image = a.new()['id']
    value = 'v' * 65535
    n = 0
    for first in range(0, 128, 12):
        steps = [{'op': 'add', 'path': f'/p{i}', 'value': value} for i in range(first, min(128, first + 12))]
        r = a.patch(image, *steps)
        assert r.status_code in (200, 413), r.text[:200]
        n += len(steps) if r.status_code == 200 else 0
    events = server.settled_events(image)
    assert len(events) == 1 + (n + 11) // 12
    assert len(events[-1].text) < 16 * MIB
    last = events[-1].payload
    assert len(last['properties']) == n or last['truncated'] is True
    assert set(last['properties'].values()) == {value} and len(a.show(image)['p7']) == len(value)
    small = server.wait_events(['image.create'], a.new(k='v')['id'])[0].payload
    assert small['properties'] == {'k': 'v'} and 'truncated' not in small
    for _ in range(20):
        assert a.put(f'/v2/images/{image}/tags/t').status_code == 204
    server.settle()
    assert memory_of(server) < (1200 if SANITIZED else 300) * MIB
