/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/schema.c -- the tables.
 *
 * (1) The Images tables are those of Glance, column for column, at the revision IMAGES_REVISION of
 *     its migrations, so that Glance opens a database made here and the other way round. A later
 *     revision is taken as well as long as every column that glint uses is there.
 * (2) What is glint's own begins with glint_: its tables, the indexes it adds to Glance's, and their triggers
 *     (usage.c), which only a running service needs.
 * (3) All of it is made in one transaction: a database has what its revision promises, or nothing. */
#include "db/sqlite/sqlite.h"

#include <stdio.h>
#include <string.h>

#define IMAGES_REVISION "wallaby_contract01"
#define GLINT_SCHEMA 4
#define QUOTED(n) QUOTED_(n)
#define QUOTED_(n) #n

/* -- the Images tables -------------------------------------------------------------------------- */

/* The columns most of these tables share. */
#define TIMES "created_at DATETIME NOT NULL, updated_at DATETIME, "
#define SOFT_DELETE TIMES "deleted_at DATETIME, deleted BOOLEAN NOT NULL, "
#define OF_IMAGE "FOREIGN KEY(image_id) REFERENCES images (id), "
#define OF_NAMESPACE "FOREIGN KEY(namespace_id) REFERENCES metadef_namespaces (id), "

static const char images_tables[] =
	"CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
	" CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));"

	"CREATE TABLE images (id VARCHAR(36) NOT NULL, name VARCHAR(255), size BIGINT,"
	" status VARCHAR(30) NOT NULL, " SOFT_DELETE "disk_format VARCHAR(20), container_format VARCHAR(20),"
	" checksum VARCHAR(32), owner VARCHAR(255), min_disk INTEGER NOT NULL, min_ram INTEGER NOT NULL,"
	" protected BOOLEAN DEFAULT 0 NOT NULL, virtual_size BIGINT,"
	" visibility VARCHAR(9) DEFAULT 'shared' NOT NULL, os_hidden BOOLEAN DEFAULT 0 NOT NULL,"
	" os_hash_algo VARCHAR(64), os_hash_value VARCHAR(128), PRIMARY KEY (id));"
	"CREATE INDEX checksum_image_idx ON images (checksum);"
	"CREATE INDEX owner_image_idx ON images (owner);"
	"CREATE INDEX os_hash_value_image_idx ON images (os_hash_value);"
	"CREATE INDEX visibility_image_idx ON images (visibility);"
	"CREATE INDEX created_at_image_idx ON images (created_at);"
	"CREATE INDEX ix_images_deleted ON images (deleted);"
	"CREATE INDEX os_hidden_image_idx ON images (os_hidden);"
	"CREATE INDEX updated_at_image_idx ON images (updated_at);"

	"CREATE TABLE image_properties (id INTEGER NOT NULL, image_id VARCHAR(36) NOT NULL,"
	" name VARCHAR(255) NOT NULL, value TEXT, " SOFT_DELETE "PRIMARY KEY (id), " OF_IMAGE
	" CONSTRAINT ix_image_properties_image_id_name UNIQUE (image_id, name), CHECK (deleted IN (0, 1)));"
	"CREATE INDEX ix_image_properties_deleted ON image_properties (deleted);"
	"CREATE INDEX ix_image_properties_image_id ON image_properties (image_id);"

	"CREATE TABLE image_locations (id INTEGER NOT NULL, image_id VARCHAR(36) NOT NULL,"
	" value TEXT NOT NULL, " SOFT_DELETE "meta_data TEXT, status VARCHAR(30) DEFAULT 'active' NOT NULL,"
	" PRIMARY KEY (id), " OF_IMAGE "CHECK (deleted IN (0, 1)));"
	"CREATE INDEX ix_image_locations_deleted ON image_locations (deleted);"
	"CREATE INDEX ix_image_locations_image_id ON image_locations (image_id);"

	"CREATE TABLE image_members (id INTEGER NOT NULL, image_id VARCHAR(36) NOT NULL,"
	" member VARCHAR(255) NOT NULL, can_share BOOLEAN NOT NULL, " SOFT_DELETE
	" status VARCHAR(20) DEFAULT 'pending' NOT NULL, PRIMARY KEY (id), " OF_IMAGE
	" CONSTRAINT image_members_image_id_member_deleted_at_key UNIQUE (image_id, member, deleted_at),"
	" CHECK (can_share IN (0, 1)), CHECK (deleted IN (0, 1)));"
	"CREATE INDEX ix_image_members_deleted ON image_members (deleted);"
	"CREATE INDEX ix_image_members_image_id ON image_members (image_id);"
	"CREATE INDEX ix_image_members_image_id_member ON image_members (image_id, member);"

	"CREATE TABLE image_tags (id INTEGER NOT NULL, image_id VARCHAR(36) NOT NULL,"
	" value VARCHAR(255) NOT NULL, " SOFT_DELETE "PRIMARY KEY (id), " OF_IMAGE
	"CHECK (deleted IN (0, 1)));"
	"CREATE INDEX ix_image_tags_image_id ON image_tags (image_id);"
	"CREATE INDEX ix_image_tags_image_id_tag_value ON image_tags (image_id, value);"

	"CREATE TABLE tasks (id VARCHAR(36) NOT NULL, type VARCHAR(30) NOT NULL, status VARCHAR(30) NOT NULL,"
	" owner VARCHAR(255) NOT NULL, expires_at DATETIME, " SOFT_DELETE "image_id VARCHAR(36),"
	" request_id VARCHAR(64), user_id VARCHAR(64), PRIMARY KEY (id), CHECK (deleted IN (0, 1)));"
	"CREATE INDEX ix_tasks_deleted ON tasks (deleted);"
	"CREATE INDEX ix_tasks_owner ON tasks (owner);"
	"CREATE INDEX ix_tasks_status ON tasks (status);"
	"CREATE INDEX ix_tasks_type ON tasks (type);"
	"CREATE INDEX ix_tasks_updated_at ON tasks (updated_at);"
	"CREATE INDEX ix_tasks_image_id ON tasks (image_id);"

	"CREATE TABLE task_info (task_id VARCHAR(36) NOT NULL, input TEXT, result TEXT, message TEXT,"
	" PRIMARY KEY (task_id), FOREIGN KEY(task_id) REFERENCES tasks (id));"

	"CREATE TABLE metadef_namespaces (id INTEGER NOT NULL, namespace VARCHAR(80) NOT NULL,"
	" display_name VARCHAR(80), description TEXT, visibility VARCHAR(32), protected BOOLEAN,"
	" owner VARCHAR(255) NOT NULL, " TIMES "PRIMARY KEY (id),"
	" CONSTRAINT uq_metadef_namespaces_namespace UNIQUE (namespace), CHECK (protected IN (0, 1)));"
	"CREATE INDEX ix_metadef_namespaces_owner ON metadef_namespaces (owner);"

	"CREATE TABLE metadef_resource_types (id INTEGER NOT NULL, name VARCHAR(80) NOT NULL,"
	" protected BOOLEAN NOT NULL, " TIMES "PRIMARY KEY (id),"
	" CONSTRAINT uq_metadef_resource_types_name UNIQUE (name), CHECK (protected IN (0, 1)));"

	"CREATE TABLE metadef_namespace_resource_types (resource_type_id INTEGER NOT NULL,"
	" namespace_id INTEGER NOT NULL, properties_target VARCHAR(80), prefix VARCHAR(80), " TIMES
	" PRIMARY KEY (resource_type_id, namespace_id), " OF_NAMESPACE
	" FOREIGN KEY(resource_type_id) REFERENCES metadef_resource_types (id));"
	"CREATE INDEX ix_metadef_ns_res_types_namespace_id ON metadef_namespace_resource_types "
	"(namespace_id);"

	"CREATE TABLE metadef_objects (id INTEGER NOT NULL, namespace_id INTEGER NOT NULL,"
	" name VARCHAR(80) NOT NULL, description TEXT, required TEXT, json_schema TEXT NOT NULL, " TIMES
	" PRIMARY KEY (id), " OF_NAMESPACE
	" CONSTRAINT uq_metadef_objects_namespace_id_name UNIQUE (namespace_id, name));"
	"CREATE INDEX ix_metadef_objects_name ON metadef_objects (name);"

	"CREATE TABLE metadef_properties (id INTEGER NOT NULL, namespace_id INTEGER NOT NULL,"
	" name VARCHAR(80) NOT NULL, json_schema TEXT NOT NULL, " TIMES "PRIMARY KEY (id), " OF_NAMESPACE
	" CONSTRAINT uq_metadef_properties_namespace_id_name UNIQUE (namespace_id, name));"
	"CREATE INDEX ix_metadef_properties_name ON metadef_properties (name);"

	"CREATE TABLE metadef_tags (id INTEGER NOT NULL, namespace_id INTEGER NOT NULL,"
	" name VARCHAR(80) NOT NULL, " TIMES "PRIMARY KEY (id), " OF_NAMESPACE
	" CONSTRAINT uq_metadef_tags_namespace_id_name UNIQUE (namespace_id, name));"
	"CREATE INDEX ix_metadef_tags_name ON metadef_tags (name);"

	"INSERT INTO alembic_version (version_num) VALUES ('" IMAGES_REVISION "');";

/* What glint reads and writes of them. */
static const char *const used_columns[] = {
	"SELECT id, name, size, status, created_at, updated_at, deleted_at, deleted, disk_format,"
	" container_format, checksum, owner, min_disk, min_ram, protected, virtual_size, visibility, "
	"os_hidden,"
	" os_hash_algo, os_hash_value FROM images",
	"SELECT id, image_id, name, value, created_at, updated_at, deleted_at, deleted FROM image_properties",
	"SELECT id, image_id, value, created_at, updated_at, deleted_at, deleted FROM image_tags",
	"SELECT id, image_id, member, can_share, created_at, updated_at, deleted_at, deleted, status"
	" FROM image_members",
	"SELECT id, image_id, value, created_at, updated_at, deleted_at, deleted, meta_data, status"
	" FROM image_locations",
	"SELECT id, type, status, owner, expires_at, created_at, updated_at, deleted_at, deleted, image_id, request_id,"
	" user_id FROM tasks",
	"SELECT task_id, input, result, message FROM task_info",
};

/* Revisions before ours, without their _expand/_contract tails. */
static const char *const older_revisions[] = {
	"liberty", "mitaka01", "mitaka02", "ocata",  "pike",
	"queens",  "rocky",    "train",    "ussuri", "wallaby_expand01",
};

/* -- glint's own -------------------------------------------------------------------------------- */

/* The image indexes serve the pages of list.c, each in the default order; times in glint's own tables
 * are microseconds since the epoch. Offsets and ids that were given out once are never given out
 * again: AUTOINCREMENT. glint_events.starts: how many octets were appended to the journal before this
 * row since it was last empty, so that its size needs only the first and the last row. */
static const char glint_tables[] =
	"CREATE INDEX IF NOT EXISTS glint_images_created ON images (deleted, os_hidden, created_at, id);"
	"CREATE INDEX IF NOT EXISTS glint_images_owner ON images (owner, deleted, os_hidden, created_at, id);"
	"CREATE INDEX IF NOT EXISTS glint_images_visibility"
	" ON images (visibility, deleted, os_hidden, created_at, id);"
	"CREATE INDEX IF NOT EXISTS glint_images_name ON images (name);"
	"CREATE INDEX IF NOT EXISTS glint_image_members_member"
	" ON image_members (member, deleted, status, image_id);"
	"CREATE INDEX IF NOT EXISTS glint_image_tags_deleted ON image_tags (deleted_at) WHERE deleted = 1;"

	"CREATE TABLE IF NOT EXISTS glint_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS glint_sequences (subject TEXT PRIMARY KEY, last INTEGER NOT NULL) "
	"WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS glint_events (offset INTEGER PRIMARY KEY AUTOINCREMENT,"
	" timestamp INTEGER NOT NULL, n_bytes INTEGER NOT NULL, starts INTEGER NOT NULL, priority INTEGER "
	"NOT NULL,"
	" seq INTEGER NOT NULL, subject TEXT NOT NULL, event_type TEXT NOT NULL, message_id TEXT NOT NULL,"
	" request_id TEXT, user_id TEXT, project_id TEXT, payload TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS glint_cursors (driver TEXT PRIMARY KEY, offset INTEGER NOT NULL,"
	" n_delivered INTEGER NOT NULL, n_retries INTEGER NOT NULL, n_set_aside INTEGER NOT NULL,"
	" updated_at INTEGER NOT NULL, problem TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS glint_replays (id INTEGER PRIMARY KEY AUTOINCREMENT, driver TEXT NOT "
	"NULL,"
	" next INTEGER NOT NULL, last INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS glint_set_aside (driver TEXT NOT NULL, offset INTEGER NOT NULL,"
	" at INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (driver, offset)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS glint_uploads (image_id TEXT PRIMARY KEY, node TEXT NOT NULL,"
	" started_at INTEGER NOT NULL, store TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS glint_jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL UNIQUE,"
	" node TEXT, n_runs INTEGER NOT NULL, is_prepared INTEGER NOT NULL);"
	"CREATE INDEX IF NOT EXISTS glint_jobs_waiting ON glint_jobs (id) WHERE node IS NULL;"
	"CREATE INDEX IF NOT EXISTS glint_tasks_created ON tasks (deleted, created_at, id);"
	"CREATE INDEX IF NOT EXISTS glint_tasks_expiry ON tasks (deleted, expires_at);"
	"CREATE TABLE IF NOT EXISTS glint_removals (id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" image_id TEXT NOT NULL, url TEXT NOT NULL, n_attempts INTEGER NOT NULL,"
	" next_attempt_at INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS glint_usage (owner TEXT PRIMARY KEY, stored INTEGER NOT NULL,"
	" staged INTEGER NOT NULL, n_images INTEGER NOT NULL, n_uploading INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS glint_removals_due ON glint_removals (next_attempt_at);"
	"CREATE TABLE IF NOT EXISTS glint_pieces (id INTEGER PRIMARY KEY, image_id TEXT NOT NULL, part INTEGER NOT NULL,"
	" digests BLOB NOT NULL, UNIQUE (image_id, part));"
	"INSERT OR REPLACE INTO glint_meta (name, value) VALUES ('schema', '" QUOTED(GLINT_SCHEMA) "');";

/* -- what there is ------------------------------------------------------------------------------ */

/* @name NULL: any table. */
static int has_table(struct conn *c, const char *name, bool *ret, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM sqlite_schema WHERE type = 'table'"
				  " AND (?1 IS NULL OR name = ?1)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, name);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = r > 0;
	return 0;
}

static bool is_older(const char *revision)
{
	for (size_t i = 0; i < ARRAY_LEN(older_revisions); i++)
		if (!strncmp(revision, older_revisions[i], strlen(older_revisions[i])))
			return true;
	return false;
}

/* During an upgrade of Glance there may be two rows. */
static int check_revisions(struct conn *c, struct err *err)
{
	static const char sql[] = "SELECT version_num FROM alembic_version";
	AUTO(query_done) struct query q = {0};
	int n_rows = 0, r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	while ((r = query_next(&q, err)) > 0) {
		const char *revision = column_text(&q, 0);

		n_rows++;
		if (revision && is_older(revision))
			return err_set(err, ERR_INVALID,
				       "The Images database is at revision %.32s; it must be upgraded "
				       "to " IMAGES_REVISION " first.",
				       revision);
	}
	if (r == 0 && n_rows == 0)
		return err_set(err, ERR_INVALID, "The Images database does not say at which revision it is.");
	return r;
}

static int check_columns(struct conn *c, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(used_columns); i++) {
		AUTO(query_done) struct query q = {0};
		struct err why = {0};

		if (query_open(c, used_columns[i], &q, &why) == 0)
			continue;
		(void)err_set(err, ERR_INVALID,
			      "The Images database is at a revision that lacks what glint needs.");
		if (err)
			(void)err_detail(err, "%s %s", err->text, why.detail);
		return ERR_INVALID;
	}
	return 0;
}

static int glint_schema(struct conn *c, int *ret, struct err *err)
{
	static const char sql[] = "SELECT value FROM glint_meta WHERE name = 'schema'";
	AUTO(query_done) struct query q = {0};
	bool there;
	int r = has_table(c, "glint_meta", &there, err);

	if (r < 0)
		return r;
	*ret = 0;
	if (!there)
		return 0;
	r = query_open(c, sql, &q, err);
	if (r == 0)
		r = query_next(&q, err);
	if (r > 0)
		*ret = (int)column_int(&q, 0);
	return r < 0 ? r : 0;
}

/* -- making it ---------------------------------------------------------------------------------- */

static int ensure_images(struct conn *c, struct err *err)
{
	bool has_any, has_images, has_revision;
	int r = has_table(c, NULL, &has_any, err);

	if (r < 0)
		return r;
	if (!has_any)
		return conn_exec(c, images_tables, err);
	r = has_table(c, "images", &has_images, err);

	if (r < 0)
		return r;
	r = has_table(c, "alembic_version", &has_revision, err);
	if (r < 0)
		return r;
	if (!has_images || !has_revision)
		return err_set(err, ERR_INVALID, "The file is a database, but not one of images.");
	r = check_revisions(c, err);
	return r < 0 ? r : check_columns(c, err);
}

static int ensure_glint(struct conn *c, struct err *err)
{
	int schema, r = glint_schema(c, &schema, err);

	if (r < 0)
		return r;
	if (schema > GLINT_SCHEMA)
		return err_set(err, ERR_INVALID,
			       "The database was made by a newer glint (schema %d, here %d).", schema,
			       GLINT_SCHEMA);
	if (schema == 1 || schema == 2)
		r = conn_exec(c, "ALTER TABLE glint_uploads ADD COLUMN store TEXT NOT NULL DEFAULT ''", err);
	if (r < 0 || schema == GLINT_SCHEMA)
		return r;
	return conn_exec(c, glint_tables, err);
}

int schema_ensure(struct conn *c, struct err *err)
{
	int r = conn_exec(c, "BEGIN IMMEDIATE", err);

	if (r < 0)
		return r;
	c->in_transaction = true;
	r = ensure_images(c, err);
	if (r == 0)
		r = ensure_glint(c, err);
	if (r == 0)
		r = conn_exec(c, "COMMIT", err);
	if (r < 0)
		(void)sqlite3_exec(c->handle, "ROLLBACK", NULL, NULL, NULL);
	c->in_transaction = c->doomed = c->lost = false;
	return r;
}

int schema_version(struct conn *c, struct db_version *ret, struct err *err)
{
	static const char sql[] = "SELECT version_num FROM alembic_version ORDER BY version_num DESC LIMIT 1";
	AUTO(query_done) struct query q = {0};
	struct db_version version = {0};
	int r = query_open(c, sql, &q, err);

	if (r == 0)
		r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r > 0)
		(void)snprintf(version.images, sizeof(version.images), "%s", column_text(&q, 0) ?: "");
	r = glint_schema(c, &version.glint, err);
	if (r == 0)
		*ret = version;
	return r;
}
