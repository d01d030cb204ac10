/* SPDX-License-Identifier: MIT */
/*
 * JSON that was sent to us, read strictly: what cocod reads from administrators, and cococtl from
 * cocod.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct json_object;

/* One JSON object (RFC 8259) of at most `values_max` values and 16 levels, with nothing but white
 * space around it, in `size` bytes; `size` is at most INT_MAX. The tree is the caller's, to be
 * freed by json_object_put(). Its integers are int64, its other numbers doubles that keep their
 * text, its strings and names hold no NUL, and no name is twice in one object.
 * -EBADMSG: it is none of that; -ENOMEM; both leave `ret` untouched. */
int json_read(const uint8_t *text, size_t size, size_t values_max, struct json_object **ret);
