# SPDX-License-Identifier: Apache-2.0
"""Images in two stores and the tasks that brought them there change hands: what glint has imported the real Glance
shows, serves and takes out of a store, and the other way round."""
import pytest

from harness import ADMIN, Glint, pattern, wait_for, write_config
from real_glance import Glance
from test_import import ask, stage, tasks_of, wait_task

pytestmark = [pytest.mark.glint_only]

DATA = pattern(500_000)


@pytest.fixture
def pair(tmp_path):
    """Both services on one database and the same two stores. Neither runs."""
    def config():
        return {'DEFAULT': {'enabled_backends': 'fs:file,fs2:file', 'enabled_import_methods': '[glance-direct,copy-image]'},
                'glance_store': {'filesystem_store_datadir': None, 'default_backend': 'fs'},
                'fs': {'filesystem_store_datadir': tmp_path / 'images'},
                'fs2': {'filesystem_store_datadir': tmp_path / 'second'}}
    (tmp_path / 'second').mkdir()
    glint = Glint(tmp_path, config())
    glint_config = glint.config
    glance = Glance(tmp_path, config())
    glint.config_file, glance.config_file = tmp_path / 'glint.conf', tmp_path / 'glance.conf'
    write_config(glint.config_file, glint_config)
    write_config(glance.config_file, glance.config)
    yield glint, glance
    glint.stop()
    glance.stop()


def import_one(server, stores):
    c = server.client(ADMIN)
    image = c.new()['id']
    assert stage(c, image, DATA).status_code == 204
    assert ask(c, image, 'glance-direct', stores=stores).status_code == 202
    assert wait_task(server, c, image)['status'] == 'success'
    wait_for(lambda: 'os_glance_import_task' not in c.show(image), server.root, 'end of the lock')
    return image


def portrait(server, image):
    """All that can be read of an image and its tasks."""
    c = server.client(ADMIN)
    tasks = tasks_of(c, image)
    return c.show(image), tasks, [c.get(f"/v2/tasks/{t['id']}").json() for t in tasks], c.download(image).content


def test_imported_by_one_used_by_the_other(pair):
    glint, glance = pair
    glint.start()
    first = import_one(glint, ['fs', 'fs2'])
    seen = portrait(glint, first)
    assert seen[0]['stores'] == 'fs,fs2' and seen[3] == DATA
    glint.stop()

    glance.start()
    assert portrait(glance, first) == seen
    c = glance.client(ADMIN)
    assert c.delete(f'/v2/stores/fs2/{first}').status_code == 204
    assert not (glint.root / 'second' / first).exists()
    second = import_one(glance, ['fs2'])
    seen = portrait(glance, second)
    glance.stop()

    glint.start()
    assert portrait(glint, second) == seen
    c = glint.client(ADMIN)
    assert c.show(first)['stores'] == 'fs'
    for image, store in ((first, 'fs2'), (second, 'fs')):
        assert ask(c, image, 'copy-image', stores=[store]).status_code == 202
        assert wait_task(glint, c, image)['status'] == 'success'
        assert set(c.show(image)['stores'].split(',')) == {'fs', 'fs2'} and c.download(image).content == DATA
        assert c.remove(image).status_code == 204
    for directory in ('images', 'second'):
        wait_for(lambda: not [p for p in (glint.root / directory).iterdir()], glint.root / directory, 'empty stores')
