# SPDX-License-Identifier: Apache-2.0
"""Who asks for more than his share: of records, of events. The others notice nothing, what there is stays bounded, and
who asks for his share gets it.

  A16  endless POST /v2/images         C11  endless changes of one image, each of which is told"""
import sqlite3
import time

import pytest

from attack import TIMES
from harness import A, A_READER, ADMIN, B, Client, Raw, Who, at_once, message_of

SERVICE = Who('9' * 32, '99' * 16, 'service,member,reader')
CREATES, CHANGES = 20, 30


@pytest.fixture
def limited(servers):
    return servers({'glint': {'project_create_rate': CREATES, 'project_change_rate': CHANGES}})


def rows(server):
    db = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True)
    try:
        return [db.execute(f'SELECT count(*) FROM {table}').fetchone()[0] for table in ('images', 'glint_events')]
    finally:
        db.close()


def seconds_of_list(client, n=20):
    spent = []
    for _ in range(n):
        began = time.monotonic()
        client.list()
        spent.append(time.monotonic() - began)
    return sorted(spent)[n // 2]


def refused(r):
    """A 429 that says when to come again. Refills go on while the test runs, so the end is not known to the second."""
    assert r.status_code == 429, r.text
    assert 1 <= int(r.headers['Retry-After']) <= 60 and 'try again later' in message_of(r)


def test_a16_endless_records(limited):
    a, b = limited.client(A), limited.client(B)
    mine = [b.new(name=f'b{i}')['id'] for i in range(5)]
    before = seconds_of_list(b)
    began = time.monotonic()

    def flood():
        c = Client(limited, A)
        return [c.create(name='x' * 255, k='y' * 1000).status_code for _ in range(50 * TIMES)]
    answers = sum(at_once(*[flood] * 4), [])
    minutes = (time.monotonic() - began) / 60
    assert set(answers) == {201, 429}
    assert CREATES <= answers.count(201) <= CREATES * (1 + minutes) + 1
    refused(limited.client(A_READER).create())  # the project's, whoever of it asks
    images, events = rows(limited)
    assert images == events == 5 + answers.count(201)  # nothing of what was refused
    assert b.list()[0] == mine[::-1]
    assert seconds_of_list(b) < 0.05 + 10 * before
    for who in (B, ADMIN, SERVICE):  # the others, and in other ways he too
        assert limited.client(who).create().status_code == 201
    image = a.list('limit=1')[0][0]
    assert a.patch(image, {'op': 'add', 'path': '/n', 'value': '1'}).status_code == 200
    assert a.get('/v2/images').status_code == 200


@pytest.mark.parametrize('path', ['/v2/images', '/v2/%69mages', '/%76%32/images'])
def test_a16_spelled_otherwise(servers, path):
    """The rate of new images is that of new images, however their path is written."""
    server = servers({'glint': {'project_create_rate': 2}})
    with Raw(server) as raw:
        statuses = []
        for _ in range(3):
            raw.head('POST', path, who=A, Content_Type='application/json', Content_Length='2')
            raw.send(b'{}')
            statuses.append(raw.answer().status)
    assert statuses == [201, 201, 429]


def test_c11_endless_changes(limited):
    a = limited.client(A)
    image, other = a.new()['id'], limited.client(B).new()['id']
    began, n_good, n = time.monotonic(), 0, 0
    while n < 5 * CHANGES * TIMES:
        r = a.patch(image, {'op': 'add', 'path': '/n', 'value': str(n)})
        n_good += r.status_code == 200
        n += 1
        if r.status_code != 200:
            refused(r)
            continue
        last = str(n - 1)
    assert CHANGES <= n_good <= CHANGES * (1 + (time.monotonic() - began) / 60) + 1
    events = [e for e in limited.settled_events(image) if e.short == 'image.update(queued)']
    assert len(events) == n_good  # what was done is told, each time
    assert a.show(image)['n'] == last == events[-1].payload['properties']['n']
    others = [a.put(f'/v2/images/{image}/tags/t'), a.delete(f'/v2/images/{image}/tags/t'), a.share(image, B.project),
              a.action(image, 'deactivate'), a.upload(image, b'x' * 100_000), a.remove(image),
              a.post(f'/v2/images/{image}/import', {'method': {'name': 'glance-direct'}})]
    passed = sum(r.status_code != 429 for r in others)
    assert n_good + passed <= CHANGES * (1 + (time.monotonic() - began) / 60) + 1
    assert a.list()[0] and a.create().status_code == 201
    for who in (B, ADMIN, SERVICE):
        c = limited.client(who)
        which = other if who is B else c.new()['id']
        assert c.patch(which, {'op': 'add', 'path': '/n', 'value': '1'}).status_code == 200


def test_refused_before_the_body(servers):
    """An upload that is one too many is not listened to."""
    server = servers({'glint': {'project_change_rate': 1}})
    a = server.client(A)
    image = a.new()['id']
    assert a.put(f'/v2/images/{image}/tags/t').status_code == 204
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                 Content_Length=str(1 << 40))
        assert raw.answer().status == 429
    assert a.show(image)['status'] == 'queued'
    assert server.client(ADMIN).upload(image, b'x').status_code == 204


def test_a_service_is_not_counted(limited):
    c = limited.client(SERVICE)
    for _ in range(2 * CREATES):
        image = c.new()['id']
    for n in range(2 * CHANGES):
        assert c.put(f'/v2/images/{image}/tags/t{n}').status_code == 204


def test_no_limit_unless_it_is_asked_for(server, a):
    assert [a.create().status_code for _ in range(100)] == [201] * 100
