/* SPDX-License-Identifier: MIT */
/*
 * A hostile daemon's bytes, to each verb of cococtl that asks the daemon. The first byte chooses
 * the verb, the second --json and --follow; then come the replies, a line each: one for each call,
 * all that are left for a call with `more`, and then the connection's end.
 *
 * cococtl's functions run in this process as main.c calls them, on a clock of its own: connect,
 * send, poll and the clock are the linker's --wrap; nothing is written to disk or asked of AMD.
 *
 * Oracle: it ends with a known exit status; nothing that it prints acts on a terminal; --json
 * prints JSON.
 */
#include "fuzz/fuzz.h"
#include "json_reader.h"
#include "lib/http.h"
#include "lib/net.h"
#include "lib/output.h"
#include "text.h"
#include "verbs/verbs.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#undef REQUIRE
#define REQUIRE(condition)                                                                 \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            (void)dprintf(2, "%s:%d: %s\nstdout: %s\nstderr: %s\n", __FILE__, __LINE__,    \
                          #condition, out_text ? out_text : "", err_text ? err_text : ""); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

static char *out_text, *err_text;

/* --- the daemon ------------------------------------------------------------------------------- */

static const uint8_t *replies;
static size_t replies_left;
static int peer = -1; /* the daemon's end of the connection */

static void close_peer(void)
{
    if (peer >= 0)
        (void)close(peer);
    peer = -1;
}

static void hang_up(void)
{
    if (peer >= 0)
        (void)shutdown(peer, SHUT_WR);
}

/* False: there is none left. */
static bool send_reply(void)
{
    static const uint8_t end;

    if (replies_left == 0)
        return false;
    const uint8_t *line_end = memchr(replies, '\n', replies_left);
    size_t n = line_end ? (size_t)(line_end - replies) : replies_left;
    bool good = n == 0 || send(peer, replies, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n;
    good = good && send(peer, &end, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
    n += line_end != NULL;
    replies += n;
    replies_left -= n;
    return good;
}

__typeof__(net_connect) __wrap_net_connect;
int __wrap_net_connect(const char *path)
{
    const int yes = 1;
    int ends[2];

    close_peer();
    if (strcmp(path, "admin") != 0 || replies_left == 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -ECONNREFUSED;
    (void)setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
    peer = ends[0];
    return ends[1];
}

__typeof__(send) __real_send, __wrap_send;
ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
    static const char more[] = "\"more\":true";

    if (fd == peer)
        return __real_send(fd, bytes, size, flags);
    if (size == 0 || ((const char *)bytes)[size - 1] != 0)
        return (ssize_t)size;
    if (!send_reply())
        hang_up();
    if (memmem(bytes, size, more, sizeof(more) - 1)) {
        while (send_reply())
            ;
        hang_up();
    }
    return (ssize_t)size;
}

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t clock_ns;
static unsigned polls;

__typeof__(clock_gettime) __wrap_clock_gettime;
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    (void)clock;
    *ret = (struct timespec){.tv_sec = (time_t)(clock_ns / 1000000000u),
                             .tv_nsec = (long)(clock_ns % 1000000000u)};
    return 0;
}

__typeof__(poll) __real_poll, __wrap_poll;
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    int r = fds ? __real_poll(fds, n, 0) : 0;

    REQUIRE(++polls < 100000);
    REQUIRE(r != 0 || timeout_ms >= 0); /* nobody would ever wake it up */
    if (r == 0)
        clock_ns += (uint64_t)timeout_ms * 1000000u + 1000;
    return r;
}

/* --- what is not done ------------------------------------------------------------------------- */

__typeof__(output_replace) __wrap_output_replace;
int __wrap_output_replace(const char *path, const void *bytes, size_t size)
{
    volatile uint8_t sum = 0;

    (void)path;
    for (size_t i = 0; i < size; i++)
        sum ^= ((const uint8_t *)bytes)[i];
    return CTL_OK;
}

__typeof__(output_make_parents) __wrap_output_make_parents;
int __wrap_output_make_parents(const char *path)
{
    (void)path;
    return CTL_OK;
}

struct http {
    int nothing;
};

static uint64_t no_time(void)
{
    return 0;
}

const struct http_clock http_clock_real = {.now_ms = no_time};

struct http *http_new(const struct http_options *options, struct why *why)
{
    static struct http http;

    (void)options;
    why->text[0] = 0;
    return &http;
}

void http_free(struct http *http)
{
    (void)http;
}

enum http_result http_get(struct http *http, const char *path, size_t max, bool limited,
                          uint8_t **ret, size_t *ret_size, struct why *why)
{
    (void)http;
    (void)path;
    (void)max;
    (void)limited;
    *ret = NULL;
    *ret_size = 0;
    (void)why_set(why, 0, "the service knows no such file (404)");
    return HTTP_NOT_FOUND;
}

/* --- the verbs -------------------------------------------------------------------------------- */

/* By names that an input can have in it: the folder is always this descriptor. */
#define FOLDER "/proc/self/fd/200"
static char file_path[] = FOLDER "/ark.pem", table_path[] = FOLDER "/table";
static char folder[] = "/tmp/fuzz_cococtl.XXXXXX";

static void remove_files(void)
{
    (void)unlink(table_path);
    (void)unlink(file_path);
    (void)rmdir(folder);
}

static void make_files(void)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    static bool made;

    if (made)
        return;
    REQUIRE(mkdtemp(folder) != NULL);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0 && dup3(fd, 200, O_CLOEXEC) == 200);
    (void)close(fd);
    int table = open(table_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int file = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(table >= 0 && file >= 0 && write(file, pem, sizeof(pem) - 1) > 0);
    (void)close(table);
    (void)close(file);
    made = true;
    (void)atexit(remove_files);
}

/* The one that the byte chooses; NULL: it asks no daemon. */
static const struct verb *choose(uint8_t byte)
{
    const struct verb *verb = &ctl_verbs[byte % ctl_n_verbs];

    return verb_is_one_of(verb->options, "admin") ? verb : NULL;
}

static int run(const struct verb *verb, bool json, bool follow)
{
    char text[64];
    char *words[] = {text, NULL};
    struct ctl ctl = {.socket = "rpc",
                      .admin = "admin",
                      .json = json && verb_is_one_of(verb->options, "json"),
                      .timeout_ms = 5000,
                      .args = words,
                      .n_args = verb->argument != NULL,
                      .follow = follow && verb_is_one_of(verb->options, "follow"),
                      .all = follow,
                      .journal = "/dev/null",
                      .interval_ms = 1000,
                      .table_file = table_path};

    (void)snprintf(text, sizeof(text), "%s",
                   verb->argument && strstr(verb->argument, "PATH") ? file_path
                   : verb->values                                   ? "info"
                                                                    : "x");
    if (verb->run == verb_certs_preflight)
        ctl.tcb = "1.2.3.4";
    if (verb->run == verb_certs_export || (verb->run == verb_metrics && follow))
        ctl.out = "/nothing/";
    return verb->run(&ctl);
}

/* --- the oracle ------------------------------------------------------------------------------- */

static void is_clean(const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint32_t c = 0;
        size_t n = coco_text_char((const uint8_t *)text + i, size - i, &c);
        REQUIRE(n > 0 && (c == '\n' || !coco_text_acts(c)));
        i += n;
    }
}

static void is_json(const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(64);
    size_t at = 0;

    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    while (at < size) {
        struct json_object *object =
            json_tokener_parse_ex(tokener, text + at, (int)(size - at + 1));
        REQUIRE(json_object_is_type(object, json_type_object));
        json_object_put(object);
        at += json_tokener_get_parse_end(tokener);
        at += strspn(text + at, "\n");
    }
    json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct verb *verb = size >= 2 ? choose(data[0]) : NULL;
    FILE *real_out = stdout, *real_err = stderr;
    size_t out_size = 0, err_size = 0;

    if (!verb)
        return 0;
    make_files();
    replies = data + 2;
    replies_left = size - 2;
    clock_ns = 1000000000u;
    polls = 0;
    stdout = open_memstream(&out_text, &out_size);
    stderr = open_memstream(&err_text, &err_size);
    int code = run(verb, data[1] & 1, data[1] & 2);
    (void)fclose(stdout);
    (void)fclose(stderr);
    stdout = real_out;
    stderr = real_err;
    close_peer();
    REQUIRE(code == CTL_OK || code == CTL_FAILED || code == CTL_USAGE || code == CTL_AWAY ||
            code == CTL_AGAIN || code == CTL_DENIED);
    is_clean(out_text, out_size);
    is_clean(err_text, err_size);
    if ((data[1] & 1) && verb_is_one_of(verb->options, "json"))
        is_json(out_text, out_size);
    free(out_text);
    free(err_text);
    out_text = err_text = NULL;
    return 0;
}
