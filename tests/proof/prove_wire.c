/* SPDX-License-Identifier: MIT */
/*
 * The RPC's header and messages: wire.c. A decoder is given any number of bytes: it reads none
 * behind them, and takes no size but the format's. Where it takes them, encoding gives the same
 * bytes.
 *
 * unit: proto/wire.c
 * with: proto/status.c proto/text.c
 */
#include "one_byte.h"
/* What is cut from wire.c: the functions on texts, each proven below for itself. */
struct coco_reader;
struct coco_writer;
static void read_text(struct coco_reader *r, char *out, size_t size);
static void write_text(struct coco_writer *w, const char *text, size_t size);
#include "wire.c"

/* Any bytes of any number at all. */
#define ANY_INPUT(in, size) \
    size_t size;            \
    const uint8_t *in = any_bytes(size)

/* bound: none
 * broken: s/type < 0xC000/type <= 0xC000/
 * refuted: 0x8000 to 0xBFFF */
void prove_coco_type_class(void)
{
    uint16_t type;
    enum coco_type_class class = coco_type_class(type);

    SHOW((class == COCO_CLASS_REQUEST) == (type <= 0x3fff && type % 2 == 0), "even, to 0x3FFF");
    SHOW((class == COCO_CLASS_REPLY) == (type <= 0x3fff && type % 2 == 1), "odd, to 0x3FFF");
    SHOW((class == COCO_CLASS_CLIENT_ONEWAY) == (type >= 0x4000 && type <= 0x7fff),
         "0x4000 to 0x7FFF");
    SHOW((class == COCO_CLASS_SERVER_ONEWAY) == (type >= 0x8000 && type <= 0xbfff),
         "0x8000 to 0xBFFF");
    SHOW((class == COCO_CLASS_INVALID) == (type >= 0xc000), "from 0xC000");
}

/* bound: none
 * broken: s/coco_read_zeros(&r, 2); .. flags ../(void)coco_read_bytes(\&r, 2);/
 * refuted: the same bytes */
void prove_coco_header_decode(void)
{
    uint8_t in[COCO_HEADER_SIZE], out[COCO_HEADER_SIZE];
    struct coco_header h, before = h;
    int r = coco_header_decode(in, &h);

    SHOW_RESULT(r, h, before);
    if (r != 0)
        return;
    coco_header_encode(&h, out);
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/coco_write_u16(&w, 0);/coco_write_u16(\&w, 1);/
 * refuted: what is encoded decodes */
void prove_coco_header_encode(void)
{
    uint8_t out[COCO_HEADER_SIZE];
    struct coco_header h, back;

    coco_header_encode(&h, out);
    SHOW(coco_header_decode(out, &back) == 0, "what is encoded decodes");
    SHOW(back.type == h.type && back.length == h.length && back.status == h.status &&
             back.id == h.id && back.timeout_ms == h.timeout_ms,
         "to the same");
}

/* bound: none
 * broken: s/header->length <= COCO_REQUEST_MAX/header->length <= COCO_REPLY_MAX/
 * refuted: at most 4096 bytes */
void prove_coco_header_check_from_client(void)
{
    struct coco_header h;

    if (coco_header_check_from_client(&h) != 0)
        return;
    SHOW(h.length <= 4096, "at most 4096 bytes");
    SHOW(h.status == 0, "no status");
    SHOW(h.type < 0x8000 && (h.type >= 0x4000 || h.type % 2 == 0), "a request, or one-way");
}

/* bound: none
 * broken: s/header->length == 0 ? 0 : -EBADMSG/0/
 * refuted: an error has no payload */
void prove_coco_header_check_from_server(void)
{
    struct coco_header h;

    if (coco_header_check_from_server(&h) != 0)
        return;
    SHOW(h.length <= COCO_REPLY_MAX, "no longer than the longest reply");
    SHOW(h.status == 0 || h.length == 0 || (h.type == COCO_CERTS_REPLY && h.status == COCO_ENOSPC),
         "an error has no payload");
    SHOW(h.type >= 0x8000 ? h.type < 0xc000 : h.type < 0x4000 && h.type % 2 == 1,
         "a reply, or one-way");
}

/* bound: to 5 bytes, which have a character of each length and each break in one
 * unwind: 7
 * broken: s/coco_text_char(s + i, n - i, &c)/coco_text_char(s + i, n, \&c)/
 * refuted: coco_text_char.pointer_dereference */
void prove_utf8_prefix(void)
{
    size_t n;

    GIVEN(n <= 5);
    size_t length = utf8_prefix(any_bytes(n), n);
    SHOW(length <= n, "no longer than the bytes");
}

#ifdef CUT_read_text
/* As proven below: `size` bytes are taken, or the cursor is bad; the text ends in a NUL. */
static void read_text(struct coco_reader *r, char *out, size_t size)
{
    bool bad;
    const uint8_t *p = coco_read_bytes(r, size);

    if (!p)
        return;
    r->bad = bad;
    memcpy(out, p, size);
    out[size] = 0;
}

/* As proven below: of a text that read_text made, the bytes that it was made from. */
static void write_text(struct coco_writer *w, const char *text, size_t size)
{
    coco_write_bytes(w, text, size);
}
#endif

/* bound: a field of 5 bytes, any bytes in it
 * unwind: 7
 * broken: s/if (utf8_prefix(p, length) != length)/if (false)/
 * refuted: the same bytes */
void prove_read_text(void)
{
    uint8_t in[5], back[5];
    char text[6];
    struct coco_reader r = coco_reader_of(in, sizeof(in));
    struct coco_writer w = coco_writer_of(back, sizeof(back));

    read_text(&r, text, sizeof(in));
    SHOW(r.pos == sizeof(in) && text[5] == 0, "the whole field, and a NUL");
    if (r.bad)
        return;
    write_text(&w, text, sizeof(back));
    SHOW(!w.bad && w.pos == sizeof(back), "the whole field");
    SHOW_SAME(in, back, sizeof(in), "the same bytes");
}

/* bound: a field of 5 bytes, any text, with or without a NUL
 * unwind: 7
 * broken: s/coco_write_zeros(w, size - length)/coco_write_zeros(w, size - length - 1)/
 * refuted: the whole field */
void prove_write_text(void)
{
    char text[6], again[6];
    uint8_t out[5];
    struct coco_writer w = coco_writer_of(out, sizeof(out));
    struct coco_reader r = coco_reader_of(out, sizeof(out));

    write_text(&w, text, sizeof(out));
    SHOW(!w.bad && w.pos == sizeof(out), "the whole field");
    read_text(&r, again, sizeof(out));
    SHOW(!r.bad, "what is written can be read");
}

/* bound: none
 * cut: read_text write_text
 * broken: s/h.version_min == 0 || h.version_min > h.version_max/h.version_min > h.version_max/
 * refuted: there is no version 0 */
void prove_coco_hello_decode(void)
{
    DECODE_ANY(coco_hello, h, coco_hello_decode);
    SHOW(r != 0 || size == COCO_HELLO_SIZE, "the format's size alone");
    SHOW(r != 0 || h.version_min > 0, "there is no version 0");
    SHOW(r != 0 || (h.vm_name[COCO_NAME_SIZE] == 0 && h.software[COCO_SOFTWARE_SIZE] == 0),
         "texts end");
}

/* bound: none
 * cut: read_text write_text
 * broken: s/coco_write_u16(&w, hello->version_max)/coco_write_u16(\&w, hello->version_min)/
 * refuted: the same bytes */
void prove_coco_hello_encode(void)
{
    SHOW_SAME_BYTES(coco_hello, COCO_HELLO_SIZE, coco_hello_decode, coco_hello_encode);
}

/* bound: none
 * broken: s/h.lease_base > (uint64_t)INT64_MAX - h.lease_bytes/
 *         h.lease_base + h.lease_bytes > INT64_MAX/
 * refuted: the leases are within a signed 64 bits */
void prove_coco_hello_reply_decode(void)
{
    DECODE_ANY(coco_hello_reply, h, coco_hello_reply_decode);
    SHOW(r != 0 || size == COCO_HELLO_REPLY_SIZE, "the format's size alone");
    SHOW(r != 0 || (h.version > 0 && h.in_flight_max > 0), "a version, and a request in flight");
    SHOW(r != 0 || (h.lease_base <= INT64_MAX && h.lease_bytes <= INT64_MAX - h.lease_base),
         "the leases are within a signed 64 bits");
}

/* bound: none
 * broken: s/coco_write_u32(&w, reply->reply_max)/coco_write_u32(\&w, reply->request_max)/
 * refuted: the same bytes */
void prove_coco_hello_reply_encode(void)
{
    SHOW_SAME_BYTES(coco_hello_reply, COCO_HELLO_REPLY_SIZE, coco_hello_reply_decode,
                    coco_hello_reply_encode);
}

/* bound: none
 * broken: s/!coco_reader_done(&r)/r.bad/
 * refuted: the format's size alone */
void prove_coco_certs_get_decode(void)
{
    DECODE_ANY(coco_certs_get, g, coco_certs_get_decode);
    SHOW(r != 0 || size == COCO_CERTS_GET_SIZE, "the format's size alone");
}

/* bound: none
 * broken: s/coco_write_u64(&w, get->npages)/coco_write_u64(\&w, get->gpa)/
 * refuted: the same bytes */
void prove_coco_certs_get_encode(void)
{
    uint8_t in[COCO_CERTS_GET_SIZE], out[COCO_CERTS_GET_SIZE];
    struct coco_certs_get g;

    SHOW(coco_certs_get_decode(in, sizeof(in), &g) == 0, "all bytes are one");
    coco_certs_get_encode(&g, out);
    SHOW_SAME(in, out, sizeof(in), "the same bytes");
}

/* bound: none
 * broken: s/reply->table_size <= COCO_SNP_TABLE_MAX/true/
 * refuted: 24 to 16384 bytes */
void prove_coco_certs_reply_decode(void)
{
    ANY_INPUT(in, size);
    uint32_t status;
    struct coco_certs_reply c, before = c;
    int r = coco_certs_reply_decode(in, size, status, &c);

    SHOW_RESULT(r, c, before);
    if (r != 0)
        return;
    SHOW(status == COCO_OK || status == COCO_ENOSPC, "no other status has a payload");
    SHOW(c.npages >= 1 && c.npages <= 4, "1 to 4 pages");
    SHOW(size == COCO_CERTS_REPLY_HEADER + c.table_size, "nothing trails");
    if (status == COCO_OK) {
        SHOW(c.table_size >= 24 && c.table_size <= 16384, "24 to 16384 bytes");
        SHOW(c.table == in + COCO_CERTS_REPLY_HEADER, "the table is in the input");
        SHOW((c.table_size - 1) / 4096 + 1 == c.npages, "just the pages that it takes");
    } else {
        SHOW(c.table_size == 0 && c.table == NULL, "no table");
    }
}

/* bound: none
 * broken: s/coco_write_u32(&w, reply->npages)/coco_write_u32(\&w, reply->table_size)/
 * refuted: the same bytes */
void prove_coco_certs_reply_encode_fixed(void)
{
    uint8_t in[COCO_CERTS_REPLY_HEADER + 24], out[COCO_CERTS_REPLY_HEADER];
    size_t size;
    uint32_t status;
    struct coco_certs_reply c;

    GIVEN(size <= sizeof(in));
    if (coco_certs_reply_decode(in, size, status, &c) != 0)
        return;
    coco_certs_reply_encode_fixed(&c, out);
    SHOW_SAME(in, out, sizeof(out), "the same bytes");
}

/* bound: none
 * broken: s/coco_read_bytes(&r, COCO_TDREPORT_SIZE)/coco_read_bytes(\&r, coco_reader_left(\&r))/
 * refuted: the format's size alone */
void prove_coco_quote_get_decode(void)
{
    DECODE_ANY(coco_quote_get, g, coco_quote_get_decode);
    SHOW(r != 0 || size == COCO_QUOTE_GET_SIZE, "the format's size alone");
    SHOW(r != 0 || g.quote_max > 0, "room for a quote");
    SHOW(r != 0 || g.tdreport == in + 8, "the TDREPORT is in the input");
}

/* bound: none
 * broken: s/coco_write_bytes(&w, get->tdreport, COCO_TDREPORT_SIZE)/
 *         coco_write_bytes(\&w, get->tdreport + 1, COCO_TDREPORT_SIZE - 1)/
 * refuted: the same bytes */
void prove_coco_quote_get_encode(void)
{
    SHOW_SAME_BYTES(coco_quote_get, COCO_QUOTE_GET_SIZE, coco_quote_get_decode,
                    coco_quote_get_encode);
}

/* bound: none
 * cut: coco_read_le
 * broken: s/e.ndata > COCO_GUEST_EVENT_DATA)$/false)/
 * refuted: at most 16 */
void prove_coco_guest_event_decode(void)
{
    ANY_INPUT(in, size);
    struct coco_guest_event e, before = e;
    uint32_t i;
    int r = coco_guest_event_decode(in, size, &e);

    SHOW_RESULT(r, e, before);
    SHOW(r != 0 || size == COCO_GUEST_EVENT_SIZE, "the format's size alone");
    SHOW(r != 0 || e.ndata <= 16, "at most 16");
    GIVEN(i < 16);
    SHOW(r != 0 || i < e.ndata || e.data[i] == 0, "zero behind them");
}

/* bound: none
 * broken: s/coco_write_u64(&w, i < ndata ? event->data.i. : 0)/coco_write_u64(\&w, event->data[i])/
 * refuted: what is encoded decodes */
void prove_coco_guest_event_encode(void)
{
    uint8_t out[COCO_GUEST_EVENT_SIZE], again[COCO_GUEST_EVENT_SIZE];
    struct coco_guest_event e, back;

    coco_guest_event_encode(&e, out);
    SHOW(coco_guest_event_decode(out, sizeof(out), &back) == 0, "what is encoded decodes");
    coco_guest_event_encode(&back, again);
    SHOW_SAME(out, again, sizeof(out), "the same bytes");
}

/* bound: none
 * broken: s/^    coco_read_zeros(&r, 4);$/    (void)coco_read_u64(\&r);/
 * refuted: the format's size alone */
void prove_coco_notify_decode(void)
{
    DECODE_ANY(coco_notify, n, coco_notify_decode);
    SHOW(r != 0 || size == COCO_NOTIFY_SIZE, "the format's size alone");
}

/* bound: none
 * broken: s/coco_write_u64(&w, notify->generation)/coco_write_u64(\&w, notify->event)/
 * refuted: the same bytes */
void prove_coco_notify_encode(void)
{
    SHOW_SAME_BYTES(coco_notify, COCO_NOTIFY_SIZE, coco_notify_decode, coco_notify_encode);
}
