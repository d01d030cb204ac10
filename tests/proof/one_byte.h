/* SPDX-License-Identifier: MIT */
/*
 * The cursors of bytes.h as the proof of a whole message sees them: docs/proofs.md, "One byte". Of
 * all bytes that are copied, one is followed: that at `place`, which is any. The others may become
 * anything, so what holds of that one holds of each; and no array of the message's size has to be
 * reasoned about.
 *
 * Each stands for what prove_bytes.c shows of the function of its name.
 */
#pragma once

#include "proof.h"

struct coco_reader;
struct coco_writer;

static size_t place = SIZE_MAX; /* from the start of what is read, and of what is written */
static bool is_written;         /* has the byte there been? */
static uint8_t written;         /* as what */

/* Before the first byte is written. */
static void follow_any(void)
{
    size_t any;

    place = any;
    is_written = false;
}

#define SHOW_WRITTEN_SAME(in, size)                         \
    do {                                                    \
        if (place < (size)) {                               \
            SHOW(is_written, "every byte is written");      \
            SHOW(written == (in)[place], "the same bytes"); \
        }                                                   \
    } while (0)

#ifdef CUT_coco_read_copy
static inline void coco_read_copy(struct coco_reader *r, void *out, size_t n);
#endif
#ifdef CUT_coco_read_le
static inline uint64_t coco_read_le(struct coco_reader *r, size_t n);
#endif
#ifdef CUT_coco_write_le /* and the other two with it */
static inline void coco_write_bytes(struct coco_writer *w, const void *bytes, size_t n);
static inline void coco_write_zeros(struct coco_writer *w, size_t n);
static inline void coco_write_le(struct coco_writer *w, uint64_t v, size_t n);
#endif
#include "bytes.h"

#ifdef CUT_coco_read_copy
static inline void coco_read_copy(struct coco_reader *r, void *out, size_t n)
{
    size_t from = r->pos, followed = n;
    const uint8_t *p = coco_read_bytes(r, n);
    uint8_t byte;

    if (p && place >= from && place - from < n)
        followed = place - from, byte = p[followed];
    for (size_t i = 0; i < n; i++) {
        uint8_t any;
        ((uint8_t *)out)[i] = !p ? 0 : i == followed ? byte : any;
    }
}
#endif

#ifdef CUT_coco_read_le /* for what does not depend on the integers */
static inline uint64_t coco_read_le(struct coco_reader *r, size_t n)
{
    const uint8_t *p = coco_read_bytes(r, n);
    uint64_t v;

    SHOW(n <= sizeof(v), "an integer's bytes");
    GIVEN(n == sizeof(v) || v >> (8 * n) == 0);
    return p ? v : 0;
}
#endif

#ifdef CUT_coco_write_le
/* The followed byte's place among the n that go to `w`; n where it is not among them. */
static size_t followed(struct coco_writer *w, size_t n)
{
    size_t from = w->pos;
    uint8_t *p = coco_write_space(w, n);

    SHOW(!p || __CPROVER_w_ok(p, n), "n bytes that can be written");
    if (!p || place < from || place - from >= n)
        return n;
    is_written = true;
    return place - from;
}

static inline void coco_write_bytes(struct coco_writer *w, const void *bytes, size_t n)
{
    size_t i = followed(w, n);

    SHOW(w->bad || n == 0 || __CPROVER_r_ok(bytes, n), "n bytes that can be read");
    if (i < n)
        written = ((const uint8_t *)bytes)[i];
}

static inline void coco_write_zeros(struct coco_writer *w, size_t n)
{
    if (followed(w, n) < n)
        written = 0;
}

static inline void coco_write_le(struct coco_writer *w, uint64_t v, size_t n)
{
    size_t i = followed(w, n);

    SHOW(n <= sizeof(v), "an integer's bytes");
    if (i < n)
        written = (uint8_t)(v >> (8 * i) & 0xff);
}
#endif
