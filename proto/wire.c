/* SPDX-License-Identifier: MIT */
/*
 * The VMM RPC on the wire: header and messages of PROTOCOL.md, each encoder beside its decoder.
 *
 * A decoder accepts exactly the bytes that its encoder makes. So a message has one form, and
 * neither side can use a field that version 1 reserves. An encoder, which cannot fail, cuts what
 * its decoder would refuse: a text before its first byte that is not UTF-8, data behind `ndata`.
 *
 * Rules that need more than one message (who may send what, and when) belong to the session layers
 * of the daemon and of the client.
 */
#include "wire.h"
#include "bytes.h"
#include "text.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(COCO_HELLO_SIZE == 2 + 2 + 4 + 16 + COCO_NAME_SIZE + COCO_SOFTWARE_SIZE,
              "PROTOCOL.md, HELLO");
static_assert(COCO_QUOTE_GET_SIZE == 8 + COCO_TDREPORT_SIZE, "PROTOCOL.md, QUOTE_GET");
static_assert(COCO_GUEST_EVENT_SIZE == 8 + 8 * COCO_GUEST_EVENT_DATA, "PROTOCOL.md, GUEST_EVENT");

/* --- types --------------------------------------------------------------------------------- */

enum coco_type_class coco_type_class(uint16_t type)
{
    if (type < 0x4000)
        return type & 1 ? COCO_CLASS_REPLY : COCO_CLASS_REQUEST;
    if (type < 0x8000)
        return COCO_CLASS_CLIENT_ONEWAY;
    if (type < 0xC000)
        return COCO_CLASS_SERVER_ONEWAY;
    return COCO_CLASS_INVALID;
}

/* --- header -------------------------------------------------------------------------------- */

int coco_header_decode(const uint8_t in[COCO_HEADER_SIZE], struct coco_header *ret)
{
    struct coco_reader r = coco_reader_of(in, COCO_HEADER_SIZE);
    struct coco_header h = {0};

    uint32_t magic = coco_read_u32(&r);
    h.type = coco_read_u16(&r);
    coco_read_zeros(&r, 2); /* flags */
    h.length = coco_read_u32(&r);
    h.status = coco_read_u32(&r);
    h.id = coco_read_u64(&r);
    h.timeout_ms = coco_read_u32(&r);
    coco_read_zeros(&r, 4); /* reserved */
    if (!coco_reader_done(&r) || magic != COCO_MAGIC)
        return -EBADMSG;
    *ret = h;
    return 0;
}

void coco_header_encode(const struct coco_header *header, uint8_t out[COCO_HEADER_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_HEADER_SIZE);

    coco_write_u32(&w, COCO_MAGIC);
    coco_write_u16(&w, header->type);
    coco_write_u16(&w, 0);
    coco_write_u32(&w, header->length);
    coco_write_u32(&w, header->status);
    coco_write_u64(&w, header->id);
    coco_write_u32(&w, header->timeout_ms);
    coco_write_u32(&w, 0);
}

int coco_header_check_from_client(const struct coco_header *header)
{
    enum coco_type_class class = coco_type_class(header->type);

    if (class != COCO_CLASS_REQUEST && class != COCO_CLASS_CLIENT_ONEWAY)
        return -EBADMSG;
    return header->status == COCO_OK && header->length <= COCO_REQUEST_MAX ? 0 : -EBADMSG;
}

int coco_header_check_from_server(const struct coco_header *header)
{
    enum coco_type_class class = coco_type_class(header->type);

    if ((class != COCO_CLASS_REPLY && class != COCO_CLASS_SERVER_ONEWAY) ||
        header->length > COCO_REPLY_MAX)
        return -EBADMSG;
    if (header->status == COCO_OK)
        return 0;
    if (class == COCO_CLASS_SERVER_ONEWAY)
        return -EBADMSG;
    /* An error has no payload; ENOSPC for certificates says in its payload how much is needed. */
    if (header->type == COCO_CERTS_REPLY && header->status == COCO_ENOSPC)
        return 0;
    return header->length == 0 ? 0 : -EBADMSG;
}

/* --- texts --------------------------------------------------------------------------------- */

/* Bytes of the longest start of s that is whole UTF-8 characters. */
static size_t utf8_prefix(const uint8_t *s, size_t n)
{
    size_t i = 0;
    uint32_t c;

    for (size_t length; (length = coco_text_char(s + i, n - i, &c)) > 0;)
        i += length;
    return i;
}

/* A field of `size` bytes: UTF-8 and NULs behind it. `out` has size + 1 bytes. */
static void read_text(struct coco_reader *r, char *out, size_t size)
{
    const uint8_t *p = coco_read_bytes(r, size);

    if (!p)
        return;
    size_t length = strnlen((const char *)p, size);
    for (size_t i = length; i < size; i++)
        if (p[i] != 0)
            r->bad = true;
    if (utf8_prefix(p, length) != length)
        r->bad = true;
    memcpy(out, p, size);
    out[size] = 0;
}

static void write_text(struct coco_writer *w, const char *text, size_t size)
{
    /* `text` is an array of size + 1 bytes, which a careless caller may have left without a NUL. */
    size_t length = utf8_prefix((const uint8_t *)text, strnlen(text, size));

    coco_write_bytes(w, text, length);
    coco_write_zeros(w, size - length);
}

/* --- HELLO --------------------------------------------------------------------------------- */

int coco_hello_decode(const uint8_t *in, size_t size, struct coco_hello *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_hello h = {0};

    h.version_min = coco_read_u16(&r);
    h.version_max = coco_read_u16(&r);
    h.features = coco_read_u32(&r);
    coco_read_copy(&r, h.vm_uuid, sizeof(h.vm_uuid));
    read_text(&r, h.vm_name, COCO_NAME_SIZE);
    read_text(&r, h.software, COCO_SOFTWARE_SIZE);
    if (!coco_reader_done(&r) || h.version_min == 0 || h.version_min > h.version_max)
        return -EBADMSG;
    *ret = h;
    return 0;
}

void coco_hello_encode(const struct coco_hello *hello, uint8_t out[COCO_HELLO_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_HELLO_SIZE);

    coco_write_u16(&w, hello->version_min);
    coco_write_u16(&w, hello->version_max);
    coco_write_u32(&w, hello->features);
    coco_write_bytes(&w, hello->vm_uuid, sizeof(hello->vm_uuid));
    write_text(&w, hello->vm_name, COCO_NAME_SIZE);
    write_text(&w, hello->software, COCO_SOFTWARE_SIZE);
}

int coco_hello_reply_decode(const uint8_t *in, size_t size, struct coco_hello_reply *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_hello_reply h = {0};

    h.version = coco_read_u16(&r);
    coco_read_zeros(&r, 2);
    h.features = coco_read_u32(&r);
    h.instance = coco_read_u64(&r);
    h.generation = coco_read_u64(&r);
    h.services = coco_read_u32(&r);
    h.request_max = coco_read_u32(&r);
    h.reply_max = coco_read_u32(&r);
    h.in_flight_max = coco_read_u32(&r);
    h.busy_budget_ms = coco_read_u32(&r);
    h.lease_bytes = coco_read_u32(&r);
    h.lease_base = coco_read_u64(&r);
    /* F_OFD_SETLK takes signed 64-bit positions: the lease bytes must lie within them. */
    if (!coco_reader_done(&r) || h.version == 0 || h.in_flight_max == 0 ||
        h.lease_base > (uint64_t)INT64_MAX - h.lease_bytes)
        return -EBADMSG;
    *ret = h;
    return 0;
}

void coco_hello_reply_encode(const struct coco_hello_reply *reply,
                             uint8_t out[COCO_HELLO_REPLY_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_HELLO_REPLY_SIZE);

    coco_write_u16(&w, reply->version);
    coco_write_u16(&w, 0);
    coco_write_u32(&w, reply->features);
    coco_write_u64(&w, reply->instance);
    coco_write_u64(&w, reply->generation);
    coco_write_u32(&w, reply->services);
    coco_write_u32(&w, reply->request_max);
    coco_write_u32(&w, reply->reply_max);
    coco_write_u32(&w, reply->in_flight_max);
    coco_write_u32(&w, reply->busy_budget_ms);
    coco_write_u32(&w, reply->lease_bytes);
    coco_write_u64(&w, reply->lease_base);
}

/* --- CERTS_GET ----------------------------------------------------------------------------- */

int coco_certs_get_decode(const uint8_t *in, size_t size, struct coco_certs_get *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_certs_get g = {0};

    g.npages = coco_read_u64(&r);
    g.gpa = coco_read_u64(&r);
    if (!coco_reader_done(&r))
        return -EBADMSG;
    *ret = g;
    return 0;
}

void coco_certs_get_encode(const struct coco_certs_get *get, uint8_t out[COCO_CERTS_GET_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_CERTS_GET_SIZE);

    coco_write_u64(&w, get->npages);
    coco_write_u64(&w, get->gpa);
}

/* PROTOCOL.md "CERTS_GET": status 0 has a table and the pages that it takes; ENOSPC has only the
 * pages that one would take; no other status has a payload. */
static bool certs_reply_valid(const struct coco_certs_reply *reply, uint32_t status)
{
    if (status == COCO_OK)
        return reply->table_size >= COCO_SNP_EMPTY_TABLE_SIZE &&
               reply->table_size <= COCO_SNP_TABLE_MAX &&
               reply->npages == (reply->table_size + COCO_PAGE_SIZE - 1) / COCO_PAGE_SIZE;
    return status == COCO_ENOSPC && reply->table_size == 0 && reply->npages >= 1 &&
           reply->npages <= COCO_SNP_TABLE_MAX / COCO_PAGE_SIZE;
}

int coco_certs_reply_decode(const uint8_t *in, size_t size, uint32_t status,
                            struct coco_certs_reply *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_certs_reply c = {0};

    c.generation = coco_read_u64(&r);
    c.npages = coco_read_u32(&r);
    c.table_size = coco_read_u32(&r);
    c.table = coco_read_bytes(&r, c.table_size);
    if (!coco_reader_done(&r) || !certs_reply_valid(&c, status))
        return -EBADMSG;
    if (c.table_size == 0)
        c.table = NULL;
    *ret = c;
    return 0;
}

void coco_certs_reply_encode_fixed(const struct coco_certs_reply *reply,
                                   uint8_t out[COCO_CERTS_REPLY_HEADER])
{
    struct coco_writer w = coco_writer_of(out, COCO_CERTS_REPLY_HEADER);

    coco_write_u64(&w, reply->generation);
    coco_write_u32(&w, reply->npages);
    coco_write_u32(&w, reply->table_size);
}

/* --- QUOTE_GET ----------------------------------------------------------------------------- */

int coco_quote_get_decode(const uint8_t *in, size_t size, struct coco_quote_get *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_quote_get g = {0};

    g.quote_max = coco_read_u32(&r);
    coco_read_zeros(&r, 4);
    g.tdreport = coco_read_bytes(&r, COCO_TDREPORT_SIZE);
    if (!coco_reader_done(&r) || g.quote_max == 0)
        return -EBADMSG;
    *ret = g;
    return 0;
}

void coco_quote_get_encode(const struct coco_quote_get *get, uint8_t out[COCO_QUOTE_GET_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_QUOTE_GET_SIZE);

    coco_write_u32(&w, get->quote_max);
    coco_write_u32(&w, 0);
    coco_write_bytes(&w, get->tdreport, COCO_TDREPORT_SIZE);
}

/* --- one-way messages ---------------------------------------------------------------------- */

int coco_guest_event_decode(const uint8_t *in, size_t size, struct coco_guest_event *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_guest_event e = {0};

    e.kind = coco_read_u32(&r);
    e.ndata = coco_read_u32(&r);
    for (uint32_t i = 0; i < COCO_GUEST_EVENT_DATA; i++) {
        e.data[i] = coco_read_u64(&r);
        if (i >= e.ndata && e.data[i] != 0)
            return -EBADMSG;
    }
    if (!coco_reader_done(&r) || e.ndata > COCO_GUEST_EVENT_DATA)
        return -EBADMSG;
    *ret = e;
    return 0;
}

void coco_guest_event_encode(const struct coco_guest_event *event,
                             uint8_t out[COCO_GUEST_EVENT_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_GUEST_EVENT_SIZE);
    uint32_t ndata = event->ndata;

    if (ndata > COCO_GUEST_EVENT_DATA)
        ndata = COCO_GUEST_EVENT_DATA;
    coco_write_u32(&w, event->kind);
    coco_write_u32(&w, ndata);
    for (uint32_t i = 0; i < COCO_GUEST_EVENT_DATA; i++)
        coco_write_u64(&w, i < ndata ? event->data[i] : 0);
}

int coco_notify_decode(const uint8_t *in, size_t size, struct coco_notify *ret)
{
    struct coco_reader r = coco_reader_of(in, size);
    struct coco_notify n = {0};

    n.event = coco_read_u32(&r);
    coco_read_zeros(&r, 4);
    n.generation = coco_read_u64(&r);
    if (!coco_reader_done(&r))
        return -EBADMSG;
    *ret = n;
    return 0;
}

void coco_notify_encode(const struct coco_notify *notify, uint8_t out[COCO_NOTIFY_SIZE])
{
    struct coco_writer w = coco_writer_of(out, COCO_NOTIFY_SIZE);

    coco_write_u32(&w, notify->event);
    coco_write_u32(&w, 0);
    coco_write_u64(&w, notify->generation);
}
