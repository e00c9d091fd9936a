/* SPDX-License-Identifier: Apache-2.0
 * service/usage.c -- what a project may have and what it has, for itself to see. */
#include "service/quota.h"

bool service_has_limits(const struct service *svc)
{
	return svc->config.unified;
}

void service_ask_limits(struct service *svc, const struct who *who, limits_fn *fn, void *cls)
{
	quota_ask(svc, who->project_id, fn, cls);
}

int service_usage(struct service *svc, const struct who *who, struct db_usage *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(svc->db, DB_READ, &tx, err);

	return r < 0 ? r : db_usage_get(tx, who->project_id, ret, err);
}

void service_cut(struct service *svc)
{
	limits_stop(svc->config.unified);
}
