/* SPDX-License-Identifier: MIT */
/*
 * Where libcoco's memory comes from: the two functions of the options, or the C library's.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

struct coco_memory {
    void *(*alloc)(size_t size);
    void (*free)(void *memory);
};

static inline struct coco_memory coco_memory_of(void *(*alloc)(size_t size),
                                                void (*release)(void *memory))
{
    return (struct coco_memory){.alloc = alloc ? alloc : malloc, .free = release ? release : free};
}
