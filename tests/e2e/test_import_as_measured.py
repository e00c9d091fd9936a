# SPDX-License-Identifier: Apache-2.0
"""Imports and tasks, step by step as Glance was measured (data/import/): status, headers and body of every answer
and the payload of every notification are the same, apart from what is listed here.

glint differs on purpose:
(1) task.run comes when the task is picked up, before task.processing, and also when the import fails.
(2) Payloads of tasks have `task_id`, `task_type` and `task_input` at the end, `result` on success, `message` on
    failure. The message that clients see tells the reason.
(3) The lock `os_glance_import_task` is gone in the last image.update, not only after it.
(4) A staged image has no `os_glance_stage_host`: there is no other node to ask.
(5) The image of a task of type import belongs to whoever made the task; its virtual size is what it is, and it gets
    no image.update for that, nor a second one at its end; its image.prepare names the store, as any other.
(6) That a task could not be run at all is told by an ERROR task.run as well.
(7) A task that cannot be made (another type, a file as its source) is refused with a sentence of our own."""
import json
import re
from pathlib import Path

import pytest

from harness import ADMIN, Who, make_server, message_of, wait_for
from sources import REACHABLE, Hostile

pytestmark = [pytest.mark.glint_only]

SCENARIOS = Path(__file__).parent / 'data' / 'import'
TEXT = b'hello golden image\n' * 10


@pytest.fixture(scope='module')
def source():
    h = Hostile(TEXT)
    h.RequestHandlerClass.at_data = h.RequestHandlerClass.at_good
    yield h
    h.close()


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp('server')
    config = {'DEFAULT': {'default_publisher_id': 'image.localhost', 'enabled_backends': 'fs:file'},
              'glance_store': {'filesystem_store_datadir': None, 'default_backend': 'fs'},
              'fs': {'filesystem_store_datadir': root / 'images'}, **{s: dict(o) for s, o in REACHABLE.items()}}
    config['glint']['allow_task_import'] = 'true'
    s = make_server(root, config).start()
    yield s
    s.stop()


def normal(text, source):
    text = text.replace(source.url, '<source>')
    text = re.sub(r'req-[0-9a-f-]{36}', '<request-id>', text)
    text = re.sub(r'(?!c0ffee00-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', text)
    text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}', '<exact>', text)
    text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', '<time>', text)
    return re.sub(r'http://127\.0\.0\.1:\d+', '<endpoint>', text)


# -- what is expected of glint, from what was measured ---------------------------------------------------

def task_run_first(events):
    """(1)"""
    events = [e for e in events if e['event_type'] != 'task.run']
    for i, e in enumerate(events):
        if e['event_type'] == 'task.processing':
            return events[:i] + [{**e, 'event_type': 'task.run', 'payload': {**e['payload'], 'status': 'pending'}}] + events[i:]
    return events


def refusal(events, ended):
    """(6) It was found out at once: nothing happened between task.processing and task.failure."""
    if [e['event_type'] for e in events[-2:]] != ['task.processing', 'task.failure']:
        return events
    text = f"Task <uuid> could not be run: {ended['message']}"
    return events[:-1] + [{'event_type': 'task.run', 'priority': 'ERROR', 'payload': text}] + events[-1:]


def adapt_task(event, ended):
    """(2)"""
    p = dict(event['payload'])
    if event['event_type'] == 'task.success':
        p['result'] = ended['result']
    if event['event_type'] == 'task.failure':
        p['message'] = ended['message']
    return {**event, 'payload': {**p, 'task_id': p['id'], 'task_type': p['type'], 'task_input': ended['input']}}


def adapt_images(events):
    """(3), (4)"""
    last = max((i for i, e in enumerate(events) if e['event_type'] == 'image.update'), default=None)
    for i, e in enumerate(events):
        if e['event_type'].startswith('image.'):
            e['payload']['properties'].pop('os_glance_stage_host', None)
        if i == last:
            e['payload']['properties'].pop('os_glance_import_task', None)
    return events


def adapt_new_image(events):
    """(5)"""
    kept = []
    for e in events:
        if e['event_type'].startswith('image.'):
            p = e['payload']
            p['owner'] = ADMIN.project
            p['virtual_size'] = p['size']
            if e['event_type'] == 'image.prepare':
                p['backend'] = 'fs'
            if e['event_type'] == 'image.update' and (p['status'] == 'queued' or kept and kept[-1] == e):
                continue
        kept.append(e)
    return kept


def expected_events(step, ended):
    events = json.loads(json.dumps(step['events']))
    if not any(e['event_type'].startswith('task.') for e in events):
        return adapt_images(events)
    events = task_run_first(events)
    events = [adapt_task(e, ended) if e['event_type'].startswith('task.') else e for e in events]
    events = refusal(events, ended)
    return adapt_new_image(events) if step['path'] == '/v2/tasks' else adapt_images(events)


# -- playing -------------------------------------------------------------------------------------------

def send(server, step, source, task):
    who = Who(ADMIN.user, ADMIN.project, step['roles'])
    path = step['path'].replace('<uuid>', task or '')
    body = step.get('body', '').replace('<source>', source.url).encode() or (TEXT if step.get('body_octets') else None)
    headers = {'Content-Type': step['content_type']} if 'content_type' in step else {}
    return server.client(who).call(step['method'], path, headers=headers, data=body)


def check_answer(step, answer, source):
    assert answer.status_code == step['status'], answer.text
    wanted = {k: v for k, v in step['answer_headers'].items() if step['status'] < 400 or k == 'allow'}
    assert {k: normal(answer.headers.get(k, ''), source) for k in wanted} == wanted
    if step['status'] >= 400:
        message_of(answer)
        return
    got, want = normal(answer.text, source), step['answer']
    if '"message": "Task failed due to Internal Error"' in want:  # (2)
        got, want = (re.sub(r'"message": "[^"]+"', '"message": "..."', text) for text in (got, want))
    assert got == want


def newest_task(server):
    tasks = server.client(ADMIN).get('/v2/tasks?limit=1').json()['tasks']
    return tasks[0]['id'] if tasks else None


def wait_ended(server, task):
    def ended():
        t = server.client(ADMIN).get(f'/v2/tasks/{task}').json()
        return t if t['status'] in ('success', 'failure') else None
    return wait_for(ended, server.root, 'end of the task')


@pytest.mark.parametrize('name', sorted(p.stem for p in SCENARIOS.glob('*.json')))
def test_as_measured(server, source, name):
    task = None
    for step in json.loads((SCENARIOS / f'{name}.json').read_text())['steps']:
        before = len(server.journal())
        answer = send(server, step, source, task)
        try:
            check_answer(step, answer, source)
            ended = {}
            if any(e['event_type'] == 'task.create' for e in step['events']):
                task = newest_task(server)
                ended = json.loads(normal(json.dumps(wait_ended(server, task)), source))
            got = [{'event_type': r['event_type'], 'priority': r['priority'],
                    'payload': json.loads(normal(json.dumps(r['payload']), source))} for r in server.journal()[before:]]
            want = expected_events(step, ended)
            assert [e['event_type'] for e in got] == [e['event_type'] for e in want]
            for g, w in zip(got, want):
                assert g == w
                assert list(g['payload']) == list(w['payload'])
        except AssertionError as e:
            raise AssertionError(f"{name}, step '{step['what']}': {e}") from e
