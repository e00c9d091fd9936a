/* SPDX-License-Identifier: Apache-2.0
 * cmd/settings.h -- the configuration as the parts want it: read, checked, with defaults. */
#pragma once

#include "access/policy.h"
#include "access/protection.h"
#include "api/api.h"
#include "base/arena.h"
#include "base/conf.h"
#include "cmd/limit_settings.h"
#include "http/http.h"
#include "keystone/keystone.h"
#include "notify/notify.h"
#include "notify/transport.h"
#include "service/service.h"
#include "store/store.h"

/* What every subcommand takes on its command line. */
struct location_args {
	const char *config_file; /* NULL: none */
	const char *data_dir;    /* NULL: ./glint-data */
	const char *listen;      /* serve only; NULL: as configured */
};

struct settings {
	struct conf *conf;
	struct arena arena;
	unsigned n_warnings;

	size_t image_cache_bytes;
	struct protection_config protection; /* path NULL: properties are not protected */
	const char *data_dir, *database_url, *log_path, *node;
	const char *const *cors_sections; /* cors and those that begin so; NULL-terminated */
	const char *const *listen; /* NULL-terminated, at least one */
	bool debug, needs_data_dir; /* something lives in data_dir by default */
	int64_t shutdown_timeout_us;
	struct store_config *stores; /* n_stores of them */
	size_t n_stores;
	const char *default_store; /* id */
	struct store_config staging;
	struct transport *transport; /* in the arena; NULL if no driver needs one */
	struct policy_config policy;
	struct notify_config notify;
	struct limit_settings limits;
	struct service_config service;
	struct api_config api;
	struct keystone_config keystone; /* if api.auth is AUTH_KEYSTONE */
	struct http_config http;
	struct http_tls tls; /* of http; cert_file NULL: plain */
	struct http_config metrics_http; /* listen NULL: none of their own */
};

/* Warnings go to standard error when @print_warnings. Everything that can be known without opening
 * anything is checked: addresses, flavors, drivers, algorithms. */
int settings_load(const struct location_args *args, bool print_warnings, struct settings *ret, struct err *err);
void settings_done(struct settings *s); /* a zeroed struct is fine */

/* ERR_NOT_FOUND if the database is a file that is not there: what looks at a database should not be
 * what makes it. */
int settings_require_database(const struct settings *s, struct err *err);

/* Creates data_dir (0750) if anything lives there by default. */
int settings_make_data_dir(const struct settings *s, struct err *err);


/* Takes @url, or the one that is configured when NULL, for settings->transport. settings_load() does so
 * when a driver needs one. */
int settings_use_transport(struct settings *s, const char *url, struct err *err);
