/* SPDX-License-Identifier: Apache-2.0
 * cmd/settings.c -- from options to what the parts are opened with. */
#include "cmd/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/policy.h"
#include "base/err.h"
#include "cmd/options.h"
#include "cmd/settings_parts.h"
#include "notify/driver.h"
#include "service/seal.h"
#include "store/digest.h"

#define SECOND INT64_C(1000000)

struct warn_state {
	struct settings *settings;
	bool print;
};

static void warn(void *cls, const char *path, unsigned line, const char *message)
{
	struct warn_state *w = cls;

	w->settings->n_warnings++;
	if (w->print && line > 0)
		fprintf(stderr, "%s:%u: warning: %s\n", path, line, message);
	else if (w->print)
		fprintf(stderr, "%s: warning: %s\n", path, message);
}

static char *print(struct settings *s, const char *fmt, const char *x, const char *y)
{
	return arena_printf(&s->arena, fmt, x, y);
}

/* -- paths ---------------------------------------------------------------------------------------- */

static int absolute_path(struct settings *s, const char *path, const char **ret, struct err *err)
{
	char cwd[4096];

	if (*path == '/') {
		*ret = arena_strdup(&s->arena, path);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_set(err, ERR_INTERNAL, "finding the working directory: %s", strerror(errno));
		*ret = print(s, "%s/%s", cwd, path);
	}
	return *ret ? 0 : err_nomem(err);
}

static int load_paths(struct settings *s, const struct location_args *args, struct err *err)
{
	const char *log_file = conf_str(s->conf, "DEFAULT", "log_file");
	const char *log_dir = conf_str(s->conf, "DEFAULT", "log_dir");
	const char *database = conf_str(s->conf, "database", "connection");
	int r = absolute_path(s, args->data_dir ? args->data_dir : "glint-data", &s->data_dir, err);

	if (r < 0)
		return r;
	s->image_cache_bytes = (size_t)conf_int(s->conf, "glint", "image_cache_size") << 20;
	s->database_url = database;
	if (!database) {
		s->database_url = print(s, "sqlite:///%s/glint.sqlite%s", s->data_dir, "");
		s->needs_data_dir = true;
	}
	s->log_path = log_file;
	if (log_file && log_dir && *log_file != '/')
		s->log_path = print(s, "%s/%s", log_dir, log_file);
	if (!s->database_url || (log_file && !s->log_path))
		return err_nomem(err);
	return 0;
}

int settings_require_database(const struct settings *s, struct err *err)
{
	static const char scheme[] = "sqlite:///";
	const char *path = s->database_url + strlen(scheme);

	if (strncmp(s->database_url, scheme, strlen(scheme)) != 0 || access(path, F_OK) == 0)
		return 0;
	return err_set(err, ERR_NOT_FOUND, "there is no database at %s; `glint serve` or `glint db sync` makes one",
		       path);
}

int settings_make_data_dir(const struct settings *s, struct err *err)
{
	if (!s->needs_data_dir)
		return 0;
	if (mkdir(s->data_dir, 0750) < 0 && errno != EEXIST)
		return err_set(err, ERR_INVALID, "making the directory %s: %s", s->data_dir, strerror(errno));
	return 0;
}

/* -- the store ------------------------------------------------------------------------------------ */

static int check_store_kind(const struct settings *s, struct err *err)
{
	const char *kind = conf_str(s->conf, "glance_store", "default_store");

	if (strcmp(kind, "file") != 0 && strcmp(kind, "filesystem") != 0)
		return err_set(err, ERR_INVALID, "[glance_store] default_store = %s: this version has file", kind);
	return 0;
}

/* Written as a whole number whose digits are meant as octal: 640 is rw-r-----. */
int settings_octal(int64_t number, int64_t *ret, struct err *err)
{
	int64_t mode = 0;

	for (int64_t place = 1; number > 0; number /= 10, place *= 8) {
		if (number % 10 > 7)
			return err_set(err, ERR_INVALID, "filesystem_store_file_perm has a digit above 7");
		mode += number % 10 * place;
	}
	*ret = mode;
	return 0;
}

/* One store, with its options in @section. */
static int load_store(struct settings *s, const char *section, const char *type, struct store_config *ret, struct err *err)
{
	ret->type = type;
	ret->ca_file = conf_str(s->conf, section, "https_ca_certificates_file");
	ret->insecure = conf_bool(s->conf, section, "https_insecure");
	ret->directory = conf_str(s->conf, section, "filesystem_store_datadir");
	ret->description = conf_str(s->conf, section, "store_description");
	ret->weight = conf_int(s->conf, section, "weight");
	ret->thin = conf_bool(s->conf, section, "filesystem_thin_provisioning");
	return settings_octal(conf_int(s->conf, section, "filesystem_store_file_perm"), &ret->file_mode, err);
}

/* DATA_DIR/@leaf for what has no directory of its own. */
static int give_directory(struct settings *s, struct store_config *c, const char *leaf, struct err *err)
{
	if (c->directory)
		return 0;
	s->needs_data_dir = true;
	c->directory = print(s, "%s/%s", s->data_dir, leaf);
	return c->directory ? 0 : err_nomem(err);
}

static bool is_remote(const struct store_config *c)
{
	return strcmp(c->type, "http") == 0;
}

static size_t n_written(const struct settings *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_stores; i++)
		n += s->stores[i].type && !is_remote(&s->stores[i]);
	return n;
}

/* @backend is ID:TYPE; its options are in section [ID]. */
static int load_named_store(struct settings *s, const char *backend, struct store_config *ret, struct err *err)
{
	const char *colon = strchr(backend, ':');

	if (!colon || colon == backend || (strcmp(colon + 1, "file") != 0 && strcmp(colon + 1, "http") != 0))
		return err_set(err, ERR_INVALID, "enabled_backends: \"%.100s\": this version has stores of type file and http",
			       backend);
	ret->id = arena_strndup(&s->arena, backend, (size_t)(colon - backend));
	if (!ret->id)
		return err_nomem(err);
	return load_store(s, ret->id, colon + 1, ret, err);
}

/* One may do without; what is in several has to be told apart. */
static int place_store(struct settings *s, struct store_config *c, struct err *err)
{
	if (is_remote(c)) {
		c->directory = NULL;
		return 0;
	}
	if (!c->directory && n_written(s) > 1)
		return err_set(err, ERR_INVALID, "[%s] filesystem_store_datadir: each of several stores needs one", c->id);
	return give_directory(s, c, "images", err);
}

static int check_default_store(const struct settings *s, struct err *err)
{
	for (size_t i = 0; i < s->n_stores; i++)
		if (s->default_store && strcmp(s->stores[i].id, s->default_store) == 0)
			return 0;
	return err_set(err, ERR_INVALID, "[glance_store] default_backend has to be one of enabled_backends");
}

static int load_named_stores(struct settings *s, const char *const *backends, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < s->n_stores && r == 0; i++)
		r = load_named_store(s, backends[i], &s->stores[i], err);
	for (size_t i = 0; i < s->n_stores && r == 0; i++)
		r = place_store(s, &s->stores[i], err);
	s->default_store = conf_str(s->conf, "glance_store", "default_backend");
	return r < 0 ? r : check_default_store(s, err);
}

static bool has_kind(const struct settings *s, const char *kind)
{
	size_t n;
	const char *const *kinds = conf_list(s->conf, "glance_store", "stores", &n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(kinds[i], kind) == 0)
			return true;
	return false;
}

static int load_nameless_store(struct settings *s, struct err *err)
{
	int r = check_store_kind(s, err);

	if (r == 0)
		r = load_store(s, "glance_store", "file", &s->stores[0], err);
	s->stores[0].id = s->default_store = "";
	if (r == 0)
		r = give_directory(s, &s->stores[0], "images", err);
	if (r < 0 || !has_kind(s, "http"))
		return r;
	s->n_stores = 2; /* images are read from there, too */
	s->stores[1].id = "";
	r = load_store(s, "glance_store", "http", &s->stores[1], err);
	s->stores[1].directory = NULL;
	return r;
}

/* node_staging_uri, or where stores have names a section of its own. Nobody but us reads what is there. */
static int load_staging(struct settings *s, struct err *err)
{
	static const char scheme[] = "file://";
	const char *uri = conf_str(s->conf, "DEFAULT", "node_staging_uri");
	struct store_config *c = &s->staging;

	c->id = STORES_STAGING_ID;
	c->type = "file";
	c->file_mode = 0600;
	if (uri && (strncmp(uri, scheme, strlen(scheme)) != 0 || uri[strlen(scheme)] != '/'))
		return err_set(err, ERR_INVALID, "node_staging_uri has to be file:///some/directory");
	c->directory = uri ? uri + strlen(scheme) : NULL;
	if (*s->default_store && conf_is_set(s->conf, STORES_STAGING_ID, "filesystem_store_datadir"))
		c->directory = conf_str(s->conf, STORES_STAGING_ID, "filesystem_store_datadir");
	return give_directory(s, c, "staging", err);
}

static int load_stores(struct settings *s, struct err *err)
{
	const char *const *backends = conf_list(s->conf, "DEFAULT", "enabled_backends", &s->n_stores);
	bool named = s->n_stores > 0;
	int r;

	s->n_stores = named ? s->n_stores : 1;
	s->stores = arena_alloc(&s->arena, (s->n_stores + 1) * sizeof(*s->stores));
	if (!s->stores)
		return err_nomem(err);
	r = named ? load_named_stores(s, backends, err) : load_nameless_store(s, err);
	return r < 0 ? r : load_staging(s, err);
}

/* -- imports -------------------------------------------------------------------------------------- */

const char *const *settings_list(const struct settings *s, const char *section, const char *name)
{
	size_t n;

	return conf_list(s->conf, section, name, &n);
}

static int check_methods(const char *const *methods, struct err *err)
{
	enum import_method m;

	for (; *methods; methods++)
		if (!import_method_parse(*methods, &m))
			return err_set(err, ERR_INVALID,
				       "enabled_import_methods: this version has glance-direct, web-download and copy-image, "
				       "not %.64s", *methods);
	return 0;
}

static int load_fetch(struct settings *s, struct fetch_options *o, struct err *err)
{
	static const char section[] = "import_filtering_opts";
	struct fetch_rules *rules = arena_alloc(&s->arena, sizeof(*rules));

	if (!rules)
		return err_nomem(err);
	rules->allowed_schemes = settings_list(s, section, "allowed_schemes");
	rules->disallowed_schemes = settings_list(s, section, "disallowed_schemes");
	rules->allowed_hosts = settings_list(s, section, "allowed_hosts");
	rules->disallowed_hosts = settings_list(s, section, "disallowed_hosts");
	rules->allowed_ports = settings_list(s, section, "allowed_ports");
	rules->disallowed_ports = settings_list(s, section, "disallowed_ports");
	rules->allowed_networks = settings_list(s, "glint", "web_download_allow_networks");
	o->rules = rules;
	o->ca_file = conf_str(s->conf, "glint", "web_download_ca_file");
	o->connect_timeout_us = conf_int(s->conf, "glint", "web_download_connect_timeout") * SECOND;
	o->stall_timeout_us = conf_int(s->conf, "glint", "web_download_stall_timeout") * SECOND;
	o->min_rate = conf_int(s->conf, "glint", "web_download_min_rate");
	o->max_redirects = (unsigned)conf_int(s->conf, "glint", "web_download_max_redirects");
	o->max_resumes = (unsigned)conf_int(s->conf, "glint", "web_download_max_resumes");
	return fetch_check_rules(rules, err);
}

static int add_plugin(struct import_config *c, const char *name, struct err *err)
{
	const struct {
		const char *name;
		bool *flag;
	} plugins[] = {
		{"inject_image_metadata", &c->inject},
		{"image_decompression", &c->decompress},
		{"image_conversion", &c->convert},
		{"no_op", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		if (strcmp(plugins[i].name, name) != 0)
			continue;
		if (plugins[i].flag)
			*plugins[i].flag = true;
		return 0;
	}
	return err_set(err, ERR_INVALID, "image_import_plugins: this version has no plugin %.64s", name);
}

/* "name:value"; the value may have colons. */
static int load_injected(struct settings *s, struct import_config *c, struct err *err)
{
	size_t n;
	const char *const *texts = conf_list(s->conf, "inject_metadata_properties", "inject", &n);
	struct image_property *properties = arena_alloc(&s->arena, (n + 1) * sizeof(*properties));

	if (!properties)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		const char *colon = strchr(texts[i], ':');

		if (!colon || colon == texts[i] || strncmp(texts[i], "os_glance", strlen("os_glance")) == 0)
			return err_set(err, ERR_INVALID, "[inject_metadata_properties] inject: \"%.100s\" is not name:value",
				       texts[i]);
		properties[i].name = arena_strndup(&s->arena, texts[i], (size_t)(colon - texts[i]));
		properties[i].value = colon + 1 + strspn(colon + 1, " ");
		if (!properties[i].name)
			return err_nomem(err);
	}
	c->inject_properties = properties;
	c->n_inject_properties = n;
	c->inject_ignore_roles = settings_list(s, "inject_metadata_properties", "ignore_user_roles");
	return 0;
}

static int load_plugins(struct settings *s, struct import_config *c, struct err *err)
{
	const char *const *names = settings_list(s, "image_import_opts", "image_import_plugins");
	struct convert_options *o = &c->conversion;
	int r = 0;

	for (; *names && r == 0; names++)
		r = add_plugin(c, *names, err);
	if (r == 0)
		r = load_injected(s, c, err);
	o->qemu_img = conf_str(s->conf, "glint", "qemu_img");
	o->cpu_seconds = conf_int(s->conf, "glint", "conversion_cpu_time");
	o->memory_octets = conf_int(s->conf, "glint", "conversion_memory") << 20;
	c->convert_to = conf_str(s->conf, "image_conversion", "output_format");
	c->work_dir = print(s, "%s%s", s->staging.directory, "/.glint-work");
	if (r == 0 && !c->work_dir)
		return err_nomem(err);
	return r < 0 || !c->convert ? r : convert_check(o, err);
}

static int load_imports(struct settings *s, struct err *err)
{
	struct import_config *c = &s->service.import;
	int r;

	s->api.import_methods = settings_list(s, "DEFAULT", "enabled_import_methods");
	s->api.allow_task_import = conf_bool(s->conf, "glint", "allow_task_import");
	c->max_workers = (unsigned)conf_int(s->conf, "taskflow_executor", "max_workers");
	c->task_ttl_us = conf_int(s->conf, "task", "task_time_to_live") * 3600 * SECOND;
	r = check_methods(s->api.import_methods, err);
	if (r == 0)
		r = load_fetch(s, &c->fetch, err);
	return r < 0 ? r : load_plugins(s, c, err);
}

/* -- notifications -------------------------------------------------------------------------------- */

/* The driver that decides what the transport_url may be; NULL if none needs one. */
static const struct notify_driver *queue_driver(const struct notify_config *n)
{
	for (size_t i = 0; i < n->n_drivers; i++) {
		const struct notify_driver *d = notify_driver_find(n->drivers[i], NULL);

		if (d && d->schemes)
			return d;
	}
	return NULL;
}

/* Options in the query of the URL are as good as options in the file, and win. */
static int apply_url_options(struct settings *s, const char *driver_name, struct err *err)
{
	const struct notify_driver *d = notify_driver_find(driver_name, s->transport->scheme);
	int r = 0;

	for (size_t i = 0; d && d->url_section && i < s->transport->n_options && r == 0; i++)
		r = conf_set(s->conf, d->url_section, s->transport->options[i].name,
			     s->transport->options[i].value, err);
	return r < 0 ? err_wrap(err, r, "transport_url") : 0;
}

int settings_use_transport(struct settings *s, const char *url, struct err *err)
{
	const struct notify_driver *d = queue_driver(&s->notify);
	int r;

	if (!url || !*url)
		url = conf_str(s->conf, "oslo_messaging_notifications", "transport_url");
	if (!url || !*url)
		url = conf_str(s->conf, "DEFAULT", "transport_url");
	if (s->transport)
		transport_done(s->transport);
	else
		s->transport = arena_alloc(&s->arena, sizeof(*s->transport));
	if (!s->transport)
		return err_nomem(err);
	r = transport_parse(url, s->transport, err);
	return r < 0 ? r : apply_url_options(s, d ? d->name : "messaging", err);
}

static int load_queue(struct settings *s, struct err *err)
{
	struct notify_config *n = &s->notify;
	int r = queue_driver(n) ? settings_use_transport(s, NULL, err) : 0;

	n->transport = s->transport;
	n->control_exchange = conf_str(s->conf, "DEFAULT", "control_exchange");
	n->topics = conf_list(s->conf, "oslo_messaging_notifications", "topics", &n->n_topics);
	n->retry = conf_int(s->conf, "oslo_messaging_notifications", "retry");
	n->conf = s->conf;
	return r;
}

static int load_notify(struct settings *s, struct err *err)
{
	struct notify_config *n = &s->notify;
	int r;

	n->drivers = conf_list(s->conf, "oslo_messaging_notifications", "driver", &n->n_drivers);
	r = load_queue(s, err);
	if (r < 0)
		return r;
	n->disabled = conf_list(s->conf, "DEFAULT", "disabled_notifications", &n->n_disabled);
	n->publisher_id = conf_str(s->conf, "DEFAULT", "default_publisher_id");
	if (!n->publisher_id || !*n->publisher_id)
		n->publisher_id = s->node;
	n->delete_payload_is_id = strcmp(conf_str(s->conf, "glint", "image_delete_payload"), "id") == 0;
	n->log_path = s->log_path;
	n->journal_max_age_us = conf_int(s->conf, "glint", "journal_max_age") * SECOND;
	n->journal_max_bytes = conf_int(s->conf, "glint", "journal_max_size") * 1024 * 1024;
	r = notify_check(n, err);
	return r < 0 ? err_wrap(err, r, "[oslo_messaging_notifications]") : 0;
}

/* -- service and API ------------------------------------------------------------------------------ */

/* Glance's form: a number and a unit, nothing in between. */
static int parse_octets(const char *text, int64_t *ret, struct err *err)
{
	static const struct {
		const char *name;
		int64_t octets;
	} units[] = {{"", 1}, {"B", 1}, {"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"TB", INT64_C(1) << 40}};
	size_t n = strspn(text, "0123456789");
	int64_t value = 0;
	bool fits = n > 0;

	for (size_t i = 0; i < n && fits; i++)
		fits = !__builtin_mul_overflow(value, 10, &value) && !__builtin_add_overflow(value, text[i] - '0', &value);
	for (size_t i = 0; i < ARRAY_LEN(units) && fits; i++)
		if (strcmp(text + n, units[i].name) == 0 && !__builtin_mul_overflow(value, units[i].octets, ret))
			return 0;
	return err_set(err, ERR_INVALID, "'%.40s' is no number of octets such as 10GB", text);
}

static int load_quotas(struct settings *s, struct err *err)
{
	struct service_config *c = &s->service;
	int r = parse_octets(conf_str(s->conf, "DEFAULT", "user_storage_quota"), &c->user_storage_quota, err);

	c->limits.max_properties = conf_int(s->conf, "DEFAULT", "image_property_quota");
	c->limits.max_tags = conf_int(s->conf, "DEFAULT", "image_tag_quota");
	c->limits.max_members = conf_int(s->conf, "DEFAULT", "image_member_quota");
	c->limits.max_locations = conf_int(s->conf, "DEFAULT", "image_location_quota");
	return r < 0 ? err_wrap(err, r, "[DEFAULT] user_storage_quota") : 0;
}

static int load_service(struct settings *s, struct err *err)
{
	struct service_config *c = &s->service;
	struct digest *digest;
	size_t n;
	int r;

	c->limits.disk_formats = conf_list(s->conf, "image_format", "disk_formats", &n);
	c->limits.container_formats = conf_list(s->conf, "image_format", "container_formats", &n);
	c->inspect.must_match = conf_bool(s->conf, "image_format", "require_image_format_match");
	c->inspect.gpt_nonfatal = conf_bool(s->conf, "image_format", "gpt_safety_checks_nonfatal");
	c->inspect.vmdk_types = settings_list(s, "image_format", "vmdk_allowed_types");
	c->limits.shows_locations = conf_bool(s->conf, "DEFAULT", "show_multiple_locations");
	c->limits.hash_algorithm = conf_str(s->conf, "DEFAULT", "hashing_algorithm");
	c->max_surveys = (unsigned)conf_int(s->conf, "glint", "max_location_reads");
	c->max_surveys_of_project = (unsigned)conf_int(s->conf, "glint", "max_location_reads_per_project");
	c->http_retries = (unsigned)conf_int(s->conf, "DEFAULT", "http_retries");
	r = load_quotas(s, err);
	if (r < 0)
		return r;
	c->max_image_bytes = conf_int(s->conf, "DEFAULT", "image_size_cap");
	c->hash_algorithm = conf_str(s->conf, "DEFAULT", "hashing_algorithm");
	c->node = s->node;
	c->location_key = conf_str(s->conf, "DEFAULT", "metadata_encryption_key");
	r = seal_check_key(c->location_key, err);
	if (r < 0)
		return r;
	r = digest_new(c->hash_algorithm, &digest, err);
	if (r < 0)
		return err_wrap(err, r, "[DEFAULT] hashing_algorithm");
	digest_free(digest);
	return 0;
}

static bool ask_policy(void *cls, const char *rule, const struct who *who)
{
	return policy_allows_named(cls, rule, who, NULL);
}

/* A relative name is looked for beside the configuration file, as Glance does. */
static int load_protection(struct settings *s, const struct location_args *args, struct err *err)
{
	struct protection_config *c = &s->protection;
	const char *path = conf_str(s->conf, "DEFAULT", "property_protection_file");
	const char *slash = args->config_file ? strrchr(args->config_file, '/') : NULL;

	if (strcmp(conf_str(s->conf, "DEFAULT", "property_protection_rule_format"), "policies") == 0)
		c->rule = ask_policy; /* which policy, serve says */
	if (!path || !*path)
		return 0;
	c->path = path;
	if (*path != '/' && slash)
		c->path = arena_printf(&s->arena, "%.*s/%s", (int)(slash - args->config_file), args->config_file, path);
	return c->path ? 0 : err_nomem(err);
}

/* Glance's default flavor is keystone, ours is none. A file that counts on Keystone without saying so
 * must not open the door to everybody. */
static int load_auth(struct settings *s, struct err *err)
{
	bool keystone = conf_is_set(s->conf, "keystone_authtoken", "auth_url") ||
			conf_is_set(s->conf, "keystone_authtoken", "www_authenticate_uri");
	int r;

	if (keystone && !conf_is_set(s->conf, "paste_deploy", "flavor"))
		return err_set(err, ERR_INVALID,
			       "[keystone_authtoken] is set up, but without a [paste_deploy] flavor everybody would be "
			       "admin; write `flavor = keystone`, or `flavor =` or `flavor = trusted-auth` if that is meant");
	r = auth_mode_parse(conf_str(s->conf, "paste_deploy", "flavor"), &s->api.auth, err);
	if (r < 0 || s->api.auth != AUTH_KEYSTONE)
		return r;
	return keystone_settings(s->conf, &s->arena, &s->keystone, err);
}

static int load_api(struct settings *s, struct err *err)
{
	struct api_config *c = &s->api;
	const char *endpoint = conf_str(s->conf, "DEFAULT", "public_endpoint");
	size_t n = endpoint ? strlen(endpoint) : 0;

	while (n > 0 && endpoint[n - 1] == '/')
		n--;
	c->public_endpoint = n ? arena_strndup(&s->arena, endpoint, n) : NULL;
	if (n && !c->public_endpoint)
		return err_nomem(err);
	c->limits = s->service.limits;
	c->shows_direct_url = conf_bool(s->conf, "DEFAULT", "show_image_direct_url");
	c->shows_locations = c->limits.shows_locations;
	c->max_far = (unsigned)conf_int(s->conf, "glint", "max_far");
	c->crowded_timeout_us = conf_int(s->conf, "glint", "crowded_timeout") * SECOND;
	c->pages.default_limit = conf_int(s->conf, "DEFAULT", "limit_param_default");
	c->pages.max_limit = conf_int(s->conf, "DEFAULT", "api_limit_max");
	c->project_create_rate = conf_int(s->conf, "glint", "project_create_rate");
	c->project_change_rate = conf_int(s->conf, "glint", "project_change_rate");
	c->healthcheck_disable_file = conf_str(s->conf, "healthcheck", "disable_by_file_path");
	return load_auth(s, err);
}

/* -- together ------------------------------------------------------------------------------------- */

/* The sections that enabled_backends names have the options of [glance_store]; which they are is only
 * known once the file has been read, and only then what in it is unknown. */
static int alias_backends(struct settings *s, struct err *err)
{
	size_t n;
	const char *const *backends = conf_list(s->conf, "DEFAULT", "enabled_backends", &n);

	int r = n > 0 ? conf_alias_section(s->conf, STORES_STAGING_ID, "glance_store", err) : 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		char *id = arena_strndup(&s->arena, backends[i], strcspn(backends[i], ":"));

		r = id ? conf_alias_section(s->conf, id, "glance_store", err) : err_nomem(err);
	}
	return r;
}

static int read_file(struct settings *s, const char *path, bool print_warnings, struct err *err)
{
	struct warn_state w = {s, print_warnings};
	int r;

	r = conf_read(s->conf, path, NULL, NULL, err);
	if (r == 0)
		r = alias_backends(s, err);
	if (r == 0)
		r = settings_alias_cors(s, err);
	if (r == 0)
		conf_warn_unknown(s->conf, warn, &w);
	if (r == 0 && strncmp(conf_str(s->conf, "paste_deploy", "flavor"), "keystone+", strlen("keystone+")) == 0)
		warn(&w, path, 0, "[paste_deploy] flavor: this version has no cache of images; it counts as keystone");
	return r;
}

static int host_name(struct settings *s, struct err *err)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0 || !*name)
		return err_set(err, ERR_INTERNAL, "this machine has no host name");
	s->node = arena_strdup(&s->arena, name);
	return s->node ? 0 : err_nomem(err);
}

static int load_parts(struct settings *s, const struct location_args *args, struct err *err)
{
	int r;

	if ((r = load_paths(s, args, err)) < 0 || (r = load_stores(s, err)) < 0 ||
	    (r = load_notify(s, err)) < 0 || (r = load_service(s, err)) < 0 ||
	    (r = limit_settings_load(s->conf, &s->limits, err)) < 0 || (r = load_imports(s, err)) < 0 ||
	    (r = load_protection(s, args, err)) < 0 || (r = load_api(s, err)) < 0 ||
	    (r = settings_policy(s, args, err)) < 0)
		return r;
	s->shutdown_timeout_us = conf_int(s->conf, "glint", "shutdown_timeout") * SECOND;
	s->debug = conf_bool(s->conf, "DEFAULT", "debug");
	return settings_http(s, args, err);
}

int settings_load(const struct location_args *args, bool print_warnings, struct settings *ret, struct err *err)
{
	struct settings s = {0};
	const struct conf_option *options;
	int r = options_all(&s.arena, &options, err);

	if (r == 0)
		r = conf_new(options, &s.conf, err);
	if (r == 0)
		r = host_name(&s, err);
	if (r == 0 && args->config_file)
		r = read_file(&s, args->config_file, print_warnings, err);
	if (r == 0)
		r = load_parts(&s, args, err);
	if (r < 0) {
		settings_done(&s);
		return r;
	}
	*ret = s;
	for (size_t i = 0; i < ret->n_stores; i++)
		ret->stores[i].fetch = &ret->service.import.fetch; /* not that of what was just copied */
	return 0;
}

void settings_done(struct settings *s)
{
	if (s->transport)
		transport_done(s->transport);
	conf_free(s->conf);
	arena_done(&s->arena);
	*s = (struct settings){0};
}
