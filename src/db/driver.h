/* SPDX-License-Identifier: Apache-2.0
 * db/driver.h -- what every database driver must do: the functions of db/db.h, one for one, under
 * the same contract. One directory a driver, one line in the table in db.c. */
#pragma once

#include "db/db.h"
