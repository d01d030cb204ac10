/* SPDX-License-Identifier: MIT */
/*
 * Bounded cursors: the only way in which cocod reads or writes foreign bytes.
 *
 * A cursor never leaves its buffer. The first access that would sets `bad`, which sticks: reads
 * then give zeros and writes do nothing, so a parser reads like the schema and asks once, at the
 * end. `coco_reader_done` is also the check that nothing trails.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct coco_reader {
    const uint8_t *data;
    size_t size;
    size_t pos;
    bool bad;
};

static inline struct coco_reader coco_reader_of(const void *data, size_t size)
{
    struct coco_reader r = {(const uint8_t *)data, size, 0, false};

    return r;
}

static inline size_t coco_reader_left(const struct coco_reader *r)
{
    return r->bad ? 0 : r->size - r->pos;
}

/* True where every read was inside the buffer and nothing is left. */
static inline bool coco_reader_done(const struct coco_reader *r)
{
    return !r->bad && r->pos == r->size;
}

/* The next n bytes, in place; NULL (and bad) where there are fewer. */
static inline const uint8_t *coco_read_bytes(struct coco_reader *r, size_t n)
{
    if (r->bad || n > r->size - r->pos) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += n;
    return p;
}

/* Copies the next n bytes; zeros where there are fewer. */
static inline void coco_read_copy(struct coco_reader *r, void *out, size_t n)
{
    const uint8_t *p = coco_read_bytes(r, n);

    if (p)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

/* Skips n bytes that the specification wants to be zero; bad where one is not. */
static inline void coco_read_zeros(struct coco_reader *r, size_t n)
{
    const uint8_t *p = coco_read_bytes(r, n);

    for (size_t i = 0; p && i < n; i++)
        if (p[i] != 0)
            r->bad = true;
}

static inline uint64_t coco_read_le(struct coco_reader *r, size_t n)
{
    const uint8_t *p = coco_read_bytes(r, n);
    uint64_t v = 0;

    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline uint8_t coco_read_u8(struct coco_reader *r)
{
    return (uint8_t)coco_read_le(r, 1);
}

static inline uint16_t coco_read_u16(struct coco_reader *r)
{
    return (uint16_t)coco_read_le(r, 2);
}

static inline uint32_t coco_read_u32(struct coco_reader *r)
{
    return (uint32_t)coco_read_le(r, 4);
}

static inline uint64_t coco_read_u64(struct coco_reader *r)
{
    return coco_read_le(r, 8);
}

/* QGS's length prefix is the one big-endian number in all of this. */
static inline uint32_t coco_read_u32be(struct coco_reader *r)
{
    return __builtin_bswap32(coco_read_u32(r));
}

struct coco_writer {
    uint8_t *data;
    size_t size;
    size_t pos;
    bool bad;
};

static inline struct coco_writer coco_writer_of(void *data, size_t size)
{
    struct coco_writer w = {(uint8_t *)data, size, 0, false};

    return w;
}

static inline uint8_t *coco_write_space(struct coco_writer *w, size_t n)
{
    if (w->bad || n > w->size - w->pos) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->data + w->pos;
    w->pos += n;
    return p;
}

static inline void coco_write_bytes(struct coco_writer *w, const void *bytes, size_t n)
{
    uint8_t *p = coco_write_space(w, n);

    if (!w->bad && n > 0)
        memcpy(p, bytes, n);
}

static inline void coco_write_zeros(struct coco_writer *w, size_t n)
{
    uint8_t *p = coco_write_space(w, n);

    if (!w->bad && n > 0)
        memset(p, 0, n);
}

static inline void coco_write_le(struct coco_writer *w, uint64_t v, size_t n)
{
    uint8_t *p = coco_write_space(w, n);

    for (size_t i = 0; !w->bad && i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i) & 0xff);
}

static inline void coco_write_u8(struct coco_writer *w, uint8_t v)
{
    coco_write_le(w, v, 1);
}

static inline void coco_write_u16(struct coco_writer *w, uint16_t v)
{
    coco_write_le(w, v, 2);
}

static inline void coco_write_u32(struct coco_writer *w, uint32_t v)
{
    coco_write_le(w, v, 4);
}

static inline void coco_write_u64(struct coco_writer *w, uint64_t v)
{
    coco_write_le(w, v, 8);
}

static inline void coco_write_u32be(struct coco_writer *w, uint32_t v)
{
    coco_write_le(w, __builtin_bswap32(v), 4);
}
