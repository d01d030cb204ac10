/* SPDX-License-Identifier: MIT */
/*
 * `make soak`: COCO_SOAK (ten million) requests to one cocod, CERTS_GET and now and then QUOTE_GET,
 * after which it must be as large (RssAnon) and have as many descriptors open as before; and ten
 * thousand idle sessions, which may take a KiB each.
 */
#include "integration/host.h"
#include "local_socket.h"
#include "status.h"
#include "tdx_quote.h"
#include "wire.h"
#include <dirent.h>
#include <poll.h>
#include <sys/resource.h>

#define SESSIONS    4u
#define AT_ONCE     32u
#define SAMPLES     100u
#define WARM        10u /* samples that are not looked at */
#define QUOTE_EVERY 5000u
#define SLOPE_KIB   64.0
#define IDLE        10000u
#define IDLE_BEFORE 200u
#define IDLE_BYTES  1024.0
#define SETTLE_MS   1000
#define WAIT_MS     60000

static struct host host;

struct session {
    int fd;
    uint64_t id, asked, answered;
    size_t have;
    uint8_t in[2 * 65536];
};

static struct session sessions[SESSIONS];

static unsigned long own_kib(void)
{
    unsigned long kib = 0;
    char path[64], line[256];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)host.cocod.pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    (void)fclose(f);
    return kib;
}

static unsigned long open_files(void)
{
    unsigned long n = 0;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)host.cocod.pid);
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n;
}

static size_t frame(uint8_t *out, uint16_t type, uint64_t id, const void *payload, uint32_t size)
{
    const struct coco_header header = {.type = type, .length = size, .id = id};

    coco_header_encode(&header, out);
    memcpy(out + COCO_HEADER_SIZE, payload, size);
    return COCO_HEADER_SIZE + size;
}

/* Greets, and waits for the answer; what came with it is closed. */
static int begin_session(uint32_t features)
{
    const struct coco_hello hello = {.version_min = 1,
                                     .version_max = 1,
                                     .features = features,
                                     .vm_name = "soak"};
    uint8_t bytes[256], payload[COCO_HELLO_SIZE];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct coco_header header;
    int lease;

    const int fd = host_connect_raw(host.rpc);
    coco_hello_encode(&hello, payload);
    ck_assert(send_all(fd, bytes, frame(bytes, COCO_HELLO, 1, payload, sizeof(payload))));
    ck_assert_int_eq(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL), (int)iov.iov_len);
    ck_assert_int_eq(coco_header_decode(bytes, &header), 0);
    ck_assert_uint_eq(header.status, COCO_OK);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        memcpy(&lease, CMSG_DATA(c), sizeof(lease));
        close(lease);
    }
    return fd;
}

/* --- ten million requests --------------------------------------------------------------------- */

static uint64_t serial;

static void ask(struct session *s, unsigned n)
{
    static uint8_t bytes[AT_ONCE * (COCO_HEADER_SIZE + COCO_QUOTE_GET_SIZE)];
    uint8_t payload[COCO_QUOTE_GET_SIZE], tdreport[COCO_TDREPORT_SIZE];
    size_t size = 0;

    for (unsigned i = 0; i < n; i++) {
        const struct coco_certs_get certs = {.npages = serial % 4 == 0 ? 4 : 0};
        const struct coco_quote_get quote = {.quote_max = 16384, .tdreport = tdreport};
        if (++serial % QUOTE_EVERY == 0) {
            tdx_make_tdreport(serial, NULL, tdreport);
            coco_quote_get_encode(&quote, payload);
            size += frame(bytes + size, COCO_QUOTE_GET, ++s->id, payload, COCO_QUOTE_GET_SIZE);
        } else {
            coco_certs_get_encode(&certs, payload);
            size += frame(bytes + size, COCO_CERTS_GET, ++s->id, payload, COCO_CERTS_GET_SIZE);
        }
    }
    s->asked += n;
    ck_assert(send_all(s->fd, bytes, size));
}

static void take(struct session *s)
{
    struct coco_header header;
    size_t at = 0;

    ssize_t n = recv(s->fd, s->in + s->have, sizeof(s->in) - s->have, 0);
    ck_assert_msg(n > 0, "cocod has closed a session");
    s->have += (size_t)n;
    while (s->have - at >= COCO_HEADER_SIZE) {
        ck_assert_int_eq(coco_header_decode(s->in + at, &header), 0);
        if (s->have - at < COCO_HEADER_SIZE + header.length)
            break;
        ck_assert_msg(header.status == COCO_OK || header.status == COCO_ENOSPC, "status %u of %u",
                      header.status, header.type);
        at += COCO_HEADER_SIZE + header.length;
        s->answered++;
    }
    memmove(s->in, s->in + at, s->have - at);
    s->have -= at;
}

/* So many of each session, and all answers. */
static void run(uint64_t each)
{
    uint64_t until[SESSIONS];
    bool done = false;

    for (unsigned i = 0; i < SESSIONS; i++)
        until[i] = sessions[i].answered + each;
    while (!done) {
        struct pollfd fds[SESSIONS];
        done = true;
        for (unsigned i = 0; i < SESSIONS; i++) {
            struct session *s = &sessions[i];
            const uint64_t left = until[i] - s->asked, room = AT_ONCE - (s->asked - s->answered);
            if (left > 0 && room >= AT_ONCE / 2)
                ask(s, (unsigned)(left < room ? left : room));
            fds[i] = (struct pollfd){.fd = s->fd, .events = POLLIN};
            done = done && s->answered == until[i];
        }
        if (done)
            break;
        ck_assert_msg(poll(fds, SESSIONS, WAIT_MS) > 0, "no answer comes");
        for (unsigned i = 0; i < SESSIONS; i++)
            if (fds[i].revents)
                take(&sessions[i]);
    }
}

/* By the least squares, over the whole run. */
static double growth_kib(const double *kib, unsigned n)
{
    double sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;

    for (unsigned i = 0; i < n; i++) {
        sum_x += i;
        sum_y += kib[i];
        sum_xx += (double)i * i;
        sum_xy += i * kib[i];
    }
    return (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x) * n;
}

/* Connections to QGS, which come and go, are no growth. */
static unsigned long settled_files(unsigned long expected)
{
    unsigned long n = open_files();

    for (int ms = 0; n != expected && ms < WAIT_MS; ms += 10) {
        (void)poll(NULL, 0, 10);
        n = open_files();
    }
    return n;
}

FIXTURE(.timeout_s = 7200);

TEST(requests_leave_nothing_behind)
{
    const char *text = getenv("COCO_SOAK");
    const uint64_t total = text && *text ? strtoull(text, NULL, 10) : 10000000;
    struct qgs_sim_options options;
    static double kib[SAMPLES];
    unsigned long files = 0;

    host_open(&host);
    qgs_sim_options_init(&options);
    host_start_qgs(&host, &options);
    host_serve(&host, "%s[quotes]\nqgs = unix:%s\n", host_make_chain(&host, "chain"), host.qgs);
    for (unsigned i = 0; i < SESSIONS; i++)
        sessions[i] = (struct session){.fd = begin_session(0), .id = 1};
    for (unsigned i = 0; i < SAMPLES; i++) {
        run(total / SAMPLES / SESSIONS);
        kib[i] = (double)own_kib();
        if (i == WARM) {
            (void)poll(NULL, 0, SETTLE_MS);
            files = open_files();
        }
        if (i >= WARM)
            ck_assert_uint_eq(settled_files(files), files);
    }
    const double growth = growth_kib(kib + WARM, SAMPLES - WARM);
    printf("soak: %llu requests, %llu of them for quotes: %.0f KiB after a tenth, %.0f KiB at the "
           "end, by the slope %+.1f KiB; %lu descriptors throughout\n",
           (unsigned long long)serial, (unsigned long long)(serial / QUOTE_EVERY), kib[WARM],
           kib[SAMPLES - 1], growth, files);
    ck_assert_msg(growth > -SLOPE_KIB && growth < SLOPE_KIB, "it grew by %.1f KiB", growth);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_close(&host);
}

/* --- ten thousand idle sessions --------------------------------------------------------------- */

TEST(an_idle_session_takes_a_kib)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < IDLE + 500) {
        printf("SKIP: %u descriptors are more than may be open here\n", IDLE);
        return;
    }
    host_open(&host);
    host_serve(&host, "%s[limits]\npeers = 12000\npeers_per_account = 12000\n",
               host_make_chain(&host, "chain"));
    for (unsigned i = 0; i < IDLE_BEFORE; i++)
        (void)begin_session(COCO_FEATURE_LEASE | COCO_FEATURE_NOTIFY);
    const unsigned long before = own_kib();
    for (unsigned i = 0; i < IDLE; i++)
        (void)begin_session(COCO_FEATURE_LEASE | COCO_FEATURE_NOTIFY);
    const unsigned long after = own_kib();
    const double each = (double)(after - before) * 1024 / IDLE;
    printf("soak: %u idle sessions with leases: %lu KiB before, %lu KiB then: %.0f bytes each\n",
           IDLE, before, after, each);
    ck_assert_msg(each <= IDLE_BYTES, "%.0f bytes a session", each);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
    host_close(&host);
}
