/* SPDX-License-Identifier: MIT */
/* The list of VMs, for the verbs that show it. */
#pragma once

#include "lib/reply.h"

/* All pages of ListVms as one: {"vms": […]}, which the caller puts; otherwise the exit status, and
 * the reason was printed. */
int vms_get(const struct ctl *ctl, struct json_object **ret);
/* A VM's pid, or "CID 42". */
void vm_who(struct reply *reply, struct json_object *vm, char out[24]);
