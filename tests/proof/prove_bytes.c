/* SPDX-License-Identifier: MIT */
/*
 * The cursors of bytes.h. Each function is shown to keep the invariant of a cursor, from any cursor
 * that has it: so a cursor has it after any number of calls. Buffers are of any size.
 *
 * unit: proto/bytes.h
 */
#include "bytes.h"
#include "proof.h"

static bool reader_valid(const struct coco_reader *r)
{
    return r->pos <= r->size && __CPROVER_r_ok(r->data, r->size);
}

static bool writer_valid(const struct coco_writer *w)
{
    return w->pos <= w->size && __CPROVER_w_ok(w->data, w->size);
}

static struct coco_reader any_reader(void)
{
    struct coco_reader r;

    r.data = any_bytes(r.size);
    GIVEN(r.pos <= r.size);
    return r;
}

static struct coco_writer any_writer(void)
{
    struct coco_writer w;

    w.data = any_bytes(w.size);
    GIVEN(w.pos <= w.size);
    return w;
}

/* The same with 12 bytes, for what is said about their content. */
static struct coco_reader small_reader(const uint8_t buffer[12])
{
    struct coco_reader r;

    r.data = buffer, r.size = 12;
    GIVEN(r.pos <= r.size);
    return r;
}

/* Nothing but the place and `bad` moves, the place by n or not at all, and `bad` sticks. */
static void show_read(const struct coco_reader *before, const struct coco_reader *r, size_t n)
{
    bool fits = !before->bad && n <= before->size - before->pos;

    SHOW(reader_valid(r), "the cursor is in its buffer");
    SHOW(r->data == before->data && r->size == before->size, "the buffer is the same");
    SHOW(r->pos == before->pos + (fits ? n : 0), "it moves by n, or not at all");
    SHOW(fits || r->bad, "bad where there were fewer bytes, and for ever");
}

static void show_written(const struct coco_writer *before, const struct coco_writer *w, size_t n)
{
    bool fits = !before->bad && n <= before->size - before->pos;

    SHOW(writer_valid(w), "the cursor is in its buffer");
    SHOW(w->data == before->data && w->size == before->size, "the buffer is the same");
    SHOW(w->pos == before->pos + (fits ? n : 0), "it moves by n, or not at all");
    SHOW(w->bad == !fits, "bad where there was less room, and for ever");
}

/* bound: none
 * broken: s/data, size, 0, false/data, size, 1, false/
 * refuted: the cursor is in its buffer */
void prove_coco_reader_of(void)
{
    size_t size;
    struct coco_reader r = coco_reader_of(any_bytes(size), size);

    SHOW(reader_valid(&r), "the cursor is in its buffer");
    SHOW(coco_reader_left(&r) == size, "all is left");
}

/* bound: none
 * broken: s/return r->bad ? 0 : r->size - r->pos;/return r->size - r->pos;/
 * refuted: nothing is left of a bad one */
void prove_coco_reader_left(void)
{
    struct coco_reader r = any_reader();
    size_t left = coco_reader_left(&r);

    SHOW(!r.bad || left == 0, "nothing is left of a bad one");
    SHOW(r.bad || left == r.size - r.pos, "the rest");
}

/* bound: none
 * broken: s/return !r->bad .. r->pos == r->size;/return r->pos == r->size;/
 * refuted: a bad one is never done */
void prove_coco_reader_done(void)
{
    struct coco_reader r = any_reader();
    bool done = coco_reader_done(&r);

    SHOW(!done || !r.bad, "a bad one is never done");
    SHOW(!done || r.pos == r.size, "nothing trails");
    SHOW(done || r.bad || r.pos < r.size, "else it is");
}

/* bound: none
 * broken: s/if (r->bad .. n > r->size - r->pos)/if (r->bad || r->pos + n > r->size)/
 * refuted: n bytes that can be read */
void prove_coco_read_bytes(void)
{
    struct coco_reader r = any_reader(), before = r;
    size_t n;
    const uint8_t *p = coco_read_bytes(&r, n);

    show_read(&before, &r, n);
    SHOW((p == NULL) == r.bad, "NULL where it is bad");
    SHOW(!p || (p == r.data + before.pos && __CPROVER_r_ok(p, n)), "n bytes that can be read");
}

/* bound: none
 * broken: s/        memset(out, 0, n);/        memset(out, 0, n \/ 2);/
 * refuted: zeros where there are fewer */
void prove_coco_read_copy(void)
{
    struct coco_reader r = any_reader(), before = r;
    size_t n, i;
    uint8_t *out = any_bytes(n);

    GIVEN(i < n);
    coco_read_copy(&r, out, n);
    show_read(&before, &r, n);
    SHOW(!r.bad || out[i] == 0, "zeros where there are fewer");
    SHOW(r.bad || out[i] == r.data[before.pos + i], "the buffer's bytes");
}

/* bound: n to 8, from any place of a buffer of 12 bytes
 * unwind: 10
 * broken: s/p && i < n; i++/p \&\& i <= n; i++/
 * refuted: dereference failure */
void prove_coco_read_zeros(void)
{
    uint8_t buffer[12];
    struct coco_reader r = small_reader(buffer), before = r;
    size_t n, i;

    GIVEN(n <= 8 && i < n);
    coco_read_zeros(&r, n);
    SHOW(reader_valid(&r), "the cursor is in its buffer");
    SHOW(r.bad || r.pos == before.pos + n, "it moves by n");
    SHOW(r.bad || buffer[before.pos + i] == 0, "each of them was zero");
}

/* bound: none for the cursor; n to 8, a u64; the content with a buffer of 12 bytes
 * unwind: 9
 * broken: s/v |= (uint64_t)p.i. << (8 . i);/v |= (uint64_t)p[i] << (8 * i + 8);/
 * refuted: the first byte is the lowest */
void prove_coco_read_le(void)
{
    uint8_t buffer[12];
    struct coco_reader r = small_reader(buffer), before = r;
    size_t n, i;

    GIVEN(n <= 8 && i < n);
    uint64_t v = coco_read_le(&r, n);
    show_read(&before, &r, n);
    SHOW(r.bad || (v >> (8 * i) & 0xff) == buffer[before.pos + i], "the first byte is the lowest");
    SHOW(!r.bad || v == 0, "zero where it is bad");
    SHOW(n == 8 || v >> (8 * n) == 0, "n bytes");
}

/* bound: none
 * unwind: 9
 * broken: s/(uint8_t)coco_read_le(r, 1)/(uint8_t)coco_read_le(r, 2)/
 * refuted: it moves by n */
void prove_coco_read_u8(void)
{
    struct coco_reader r = any_reader(), before = r;

    (void)coco_read_u8(&r);
    show_read(&before, &r, 1);
}

/* bound: none
 * unwind: 9
 * broken: s/(uint16_t)coco_read_le(r, 2)/(uint16_t)coco_read_le(r, 4)/
 * refuted: it moves by n */
void prove_coco_read_u16(void)
{
    struct coco_reader r = any_reader(), before = r;

    (void)coco_read_u16(&r);
    show_read(&before, &r, 2);
}

/* bound: none
 * unwind: 9
 * broken: s/(uint32_t)coco_read_le(r, 4)/(uint32_t)coco_read_le(r, 8)/
 * refuted: it moves by n */
void prove_coco_read_u32(void)
{
    struct coco_reader r = any_reader(), before = r;

    (void)coco_read_u32(&r);
    show_read(&before, &r, 4);
}

/* bound: none
 * unwind: 9
 * broken: s/return coco_read_le(r, 8)/return coco_read_le(r, 7)/
 * refuted: it moves by n */
void prove_coco_read_u64(void)
{
    struct coco_reader r = any_reader(), before = r;

    (void)coco_read_u64(&r);
    show_read(&before, &r, 8);
}

/* bound: none
 * unwind: 9
 * broken: s/return __builtin_bswap32(coco_read_u32(r))/return coco_read_u32(r)/
 * refuted: the first byte is the highest */
void prove_coco_read_u32be(void)
{
    struct coco_reader r = any_reader(), before = r;
    uint32_t v = coco_read_u32be(&r);

    show_read(&before, &r, 4);
    SHOW(r.bad || v >> 24 == r.data[before.pos], "the first byte is the highest");
}

/* bound: none
 * broken: s/data, size, 0, false/data, size, 1, false/
 * refuted: the cursor is in its buffer */
void prove_coco_writer_of(void)
{
    size_t size;
    struct coco_writer w = coco_writer_of(any_bytes(size), size);

    SHOW(writer_valid(&w) && w.pos == 0 && !w.bad, "the cursor is in its buffer");
}

/* bound: none
 * broken: s/if (w->bad .. n > w->size - w->pos)/if (w->bad || n > w->size)/
 * refuted: the cursor is in its buffer */
void prove_coco_write_space(void)
{
    struct coco_writer w = any_writer(), before = w;
    size_t n;
    uint8_t *p = coco_write_space(&w, n);

    show_written(&before, &w, n);
    SHOW((p == NULL) == w.bad, "NULL where it is bad");
    SHOW(!p || (p == w.data + before.pos && __CPROVER_w_ok(p, n)), "n bytes that can be written");
}

/* bound: none
 * broken: s/memcpy(p, bytes, n);/memcpy(p, bytes, n + 1);/
 * refuted: memcpy */
void prove_coco_write_bytes(void)
{
    struct coco_writer w = any_writer(), before = w;
    size_t n, i;

    GIVEN(i < n);
    uint8_t *bytes = any_bytes(n);
    coco_write_bytes(&w, bytes, n);
    show_written(&before, &w, n);
    SHOW(w.bad || w.data[before.pos + i] == bytes[i], "the caller's bytes");
}

/* bound: none
 * broken: s/memset(p, 0, n);/memset(p, 0, n + 1);/
 * refuted: memset */
void prove_coco_write_zeros(void)
{
    struct coco_writer w = any_writer(), before = w;
    size_t n, i;

    GIVEN(i < n);
    coco_write_zeros(&w, n);
    show_written(&before, &w, n);
    SHOW(w.bad || w.data[before.pos + i] == 0, "zeros");
}

/* bound: n to 8, a u64; a buffer of 12 bytes
 * unwind: 10
 * broken: s/!w->bad && i < n; i++)$/!w->bad \&\& i <= n; i++)/
 * refuted: dereference failure */
void prove_coco_write_le(void)
{
    uint8_t buffer[12];
    struct coco_writer w, before;
    size_t n, i;
    uint64_t v;

    w.data = buffer, w.size = sizeof(buffer);
    GIVEN(w.pos <= w.size && n <= 8 && i < n);
    before = w;
    coco_write_le(&w, v, n);
    show_written(&before, &w, n);
    SHOW(w.bad || buffer[before.pos + i] == (v >> (8 * i) & 0xff), "the first byte is the lowest");
}

/* bound: none
 * unwind: 9
 * broken: s/coco_write_le(w, v, 1)/coco_write_le(w, v, 2)/
 * refuted: it moves by n */
void prove_coco_write_u8(void)
{
    struct coco_writer w = any_writer(), before = w;
    uint8_t v;

    coco_write_u8(&w, v);
    show_written(&before, &w, 1);
}

/* bound: none
 * unwind: 9
 * broken: s/coco_write_le(w, v, 2)/coco_write_le(w, v, 1)/
 * refuted: it moves by n */
void prove_coco_write_u16(void)
{
    struct coco_writer w = any_writer(), before = w;
    uint16_t v;

    coco_write_u16(&w, v);
    show_written(&before, &w, 2);
}

/* bound: none
 * unwind: 9
 * broken: s/coco_write_le(w, v, 4)/coco_write_le(w, v, 2)/
 * refuted: it moves by n */
void prove_coco_write_u32(void)
{
    struct coco_writer w = any_writer(), before = w;
    uint32_t v;

    coco_write_u32(&w, v);
    show_written(&before, &w, 4);
}

/* bound: none
 * unwind: 9
 * broken: s/coco_write_le(w, v, 8)/coco_write_le(w, v, 4)/
 * refuted: it moves by n */
void prove_coco_write_u64(void)
{
    struct coco_writer w = any_writer(), before = w;
    uint64_t v;

    coco_write_u64(&w, v);
    show_written(&before, &w, 8);
}

/* bound: none
 * unwind: 9
 * broken: s/coco_write_le(w, __builtin_bswap32(v), 4)/coco_write_le(w, v, 4)/
 * refuted: the first byte is the highest */
void prove_coco_write_u32be(void)
{
    struct coco_writer w = any_writer(), before = w;
    uint32_t v;

    coco_write_u32be(&w, v);
    show_written(&before, &w, 4);
    SHOW(w.bad || w.data[before.pos] == v >> 24, "the first byte is the highest");
}
