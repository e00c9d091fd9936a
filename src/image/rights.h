/* SPDX-License-Identifier: Apache-2.0
 * image/rights.h -- what somebody may do with the custom properties of images. Who decides is above
 * (access/protection.h); what goes by it is below, too. */
#pragma once

#include "base/util.h"

enum property_action { PROPERTY_CREATE, PROPERTY_READ, PROPERTY_UPDATE, PROPERTY_DELETE, N_PROPERTY_ACTIONS };

struct property_rights {
	bool (*allows)(void *cls, const char *property, enum property_action action);
	void *cls;
};

/* @rights NULL: properties are not protected. */
static inline bool property_allowed(const struct property_rights *rights, const char *property,
				    enum property_action action)
{
	return !rights || rights->allows(rights->cls, property, action);
}
