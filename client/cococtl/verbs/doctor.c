/* SPDX-License-Identifier: MIT */
/*
 * doctor: everything that must be right for guests to attest, one line a check, and what to do.
 *
 * What cocod knows comes from its Diagnose; here is added what it cannot or may not do: look at the
 * disks (which may block), connect as a VMM does, and read qgsd's journal (qgsd.c).
 */
#include "composed.h"
#include "lib/conf.h"
#include "lib/ctl.h"
#include "lib/json.h"
#include "lib/lock.h"
#include "lib/memory.h"
#include "lib/net.h"
#include "lib/qgsd.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define ROOM_MIN_BYTES (16u << 20)
#define ROOM_MIN_FILES 64u
/* Locks on the table file that are more than the leases of VMs, who are looked for so long. */
#define LOCKS_MANY   256u
#define LOCKS_LOOK_S 2u
#define HOLDERS_MAX  64u
#define NAMED_MAX    3u

/* `fix` NULL: there is nothing to mend. */
static void __attribute__((format(__printf__, 5, 6)))
add_check(struct json_object *checks, const char *name, const char *verdict, const char *fix,
          const char *format, ...)
{
    struct json_object *check = memory_member("name", name);
    char text[2 * PATH_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_set_text(check, "verdict", verdict);
    json_set_text(check, "text", text);
    json_set_text(check, "fix", fix);
    json_append(checks, check);
}

static void check_vmm_socket(const struct ctl *ctl, struct json_object *checks)
{
    int fd = net_connect(ctl->socket);
    const bool denied = fd == -EACCES || fd == -EPERM;

    if (fd < 0) {
        add_check(checks, "VMMs", denied ? "warning" : "bad",
                  denied ? "this user may not; the users of VMMs must be in the socket's group"
                         : "\"systemctl status cocod.socket\"; --socket names another one",
                  "%s: %s", ctl->socket, strerror(-fd));
        return;
    }
    close(fd);
    add_check(checks, "VMMs", "good", NULL, "cocod takes connections at %s", ctl->socket);
}

static void check_disk(const char *what, const char *path, struct json_object *checks)
{
    struct statvfs fs;

    if (statvfs(path, &fs) < 0) {
        bool denied = errno == EACCES;
        add_check(checks, "disk", denied ? "skipped" : "bad",
                  denied ? "run this as root to look at it"
                         : "the folder must be there, and be cocod's",
                  "%s (%s): %s", what, path, strerror(errno));
        return;
    }
    uint64_t bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    const char *fix = NULL;
    if (bytes < ROOM_MIN_BYTES || (fs.f_files > 0 && fs.f_favail < ROOM_MIN_FILES))
        fix = "make room: imports and new tables fail";
    else if (fs.f_flag & ST_RDONLY)
        fix = "it is mounted read-only";
    add_check(checks, "disk", fix ? "bad" : "good", fix, "%s (%s): %" PRIu64 " MiB free", what,
              path, bytes >> 20);
}

/* Locks on the table file, of which the kernel lets everybody have any number, and of which each
 * makes the lease of every VM slower. */
static void check_locks(const char *path, struct json_object *checks)
{
    const struct lock_query query = {.deadline_ns = net_now_ns() + LOCKS_LOOK_S * 1000000000ull};
    struct lock_holder holders[HOLDERS_MAX];
    struct composed composed;
    uint64_t locks = 0;

    int fd = geteuid() == 0 ? open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0) {
        add_check(checks, "locks", "skipped",
                  geteuid() == 0 ? NULL : "run this as root to look at them", "%s",
                  geteuid() == 0 ? "there is no table file" : "whose they are, only root can see");
        return;
    }
    size_t n = lock_holders(fd, &query, holders, HOLDERS_MAX);
    close(fd);
    FILE *to = composed_begin(&composed) ? composed.to : NULL;
    for (size_t i = 0; i < n; i++)
        locks += holders[i].n_locks;
    if (to)
        term_printf(to, "%zu process%s %" PRIu64 " on the table file", n,
                    n == 1 ? " has" : "es have", locks);
    for (size_t i = 0; i < n; free(holders[i++].has)) {
        if (!to || i >= NAMED_MAX || locks < LOCKS_MANY)
            continue;
        term_puts(to, i == 0 ? ": " : "; ");
        lock_print_holder(to, &holders[i]);
    }
    if (!to || !composed_end(&composed)) {
        (void)memory_out();
        return;
    }
    add_check(checks, "locks", locks < LOCKS_MANY ? "good" : "warning",
              locks < LOCKS_MANY
                  ? NULL
                  : "a VM has one for each vCPU that waits for its report; each makes everybody's "
                    "leases slower. They end with the process, not with its connections: end it",
              "%s", composed.text);
    free(composed.text);
}

/* A path that cocod names is looked up only where its configuration names it, too: a look can mount
 * a file system, or wait for one. */
static bool is_configured(const char *what, const char *key, const char *otherwise,
                          const char *path, struct json_object *checks)
{
    char own[PATH_MAX];

    (void)snprintf(own, sizeof(own), "%s", otherwise);
    if (conf_certs_path(conf_dirs, CONF_DIRS, key, own) && strcmp(own, path) == 0)
        return true;
    add_check(checks, "disk", "skipped",
              "restart cocod where its configuration was changed; where it has another one, look "
              "with \"df\"",
              "%s: cocod says %.1024s, its configuration says %.1024s", what, path,
              own[0] ? own : "none");
    return false;
}

static void check_disks(const struct ctl *ctl, struct reply *reply, struct json_object *parameters,
                        struct json_object *checks)
{
    const char *store = reply_optional_string(reply, parameters, "storePath");
    const char *table = reply_optional_string(reply, parameters, "tableFile");
    char folder[PATH_MAX];

    if (store && is_configured("the store", "store", "", store, checks))
        check_disk("the store", store, checks);
    if (table && table[0] &&
        ((ctl->table_file && strcmp(ctl->table_file, table) == 0) ||
         is_configured("the table file", "table_file", CTL_TABLE_FILE, table, checks))) {
        (void)snprintf(folder, sizeof(folder), "%s", table);
        check_disk("the table file", dirname(folder), checks);
        check_locks(table, checks);
    }
}

static bool is_text(struct json_object *object, const char *key, const char *text)
{
    const char *found = json_text(object, key);

    return found && strcmp(found, text) == 0;
}

/* Are there quotes on this host at all? */
static bool serves_quotes(struct json_object *checks)
{
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        struct json_object *check = json_object_array_get_idx(checks, i);
        if (is_text(check, "name", "QGS") && !is_text(check, "verdict", "skipped"))
            return true;
    }
    return false;
}

static void on_error(void *data, const char *text, const char *cure)
{
    add_check(data, "qgsd's log", "warning", cure, "%s", text);
}

static void check_qgsd(const struct ctl *ctl, struct json_object *parameters,
                       struct json_object *checks)
{
    struct qgsd_summary summary = {0};
    struct why why;

    if (!ctl->journal && !serves_quotes(checks))
        return;
    /* quoteAt: when a quote was last made; a daemon that is older than cococtl does not say. */
    int r = qgsd_read(ctl, json_int(parameters, "quoteAt", 0), on_error, checks, &summary, &why);
    if (r == -ENOMEM)
        (void)memory_out();
    else if (r < 0)
        add_check(checks, "qgsd's log", "skipped",
                  "--journal FILE reads a copy of it, \"journalctl -u qgsd\"", "%s", why.text);
    else if (summary.told == 0 && summary.old == 0)
        add_check(checks, "qgsd's log", "good", NULL, "no errors since qgsd's last start");
    else if (summary.told == 0)
        add_check(checks, "qgsd's log", "good", NULL,
                  "%u error%s, the last %" PRId64 " minutes ago, and quotes were made since",
                  summary.old, summary.old == 1 ? "" : "s",
                  ((int64_t)time(NULL) - summary.newest_old_s) / 60);
}

static enum term_paint paint_of(const char *verdict)
{
    if (strcmp(verdict, "good") == 0)
        return TERM_GOOD;
    if (strcmp(verdict, "skipped") == 0)
        return TERM_FAINT;
    return strcmp(verdict, "warning") == 0 ? TERM_WARNING : TERM_BAD;
}

static void print_check(FILE *to, struct reply *reply, struct json_object *check)
{
    const char *verdict = reply_string(reply, check, "verdict");

    term_paint_cell(to, paint_of(verdict), verdict, 9);
    reply_write(to, reply, check, "{name:15c}{text:24w}");
    if (term_width() > 0)
        reply_write(to, reply, check, "[\n                        -> {fix:27w}]\n");
    else
        reply_write(to, reply, check, "[; -> {fix}]\n");
}

static unsigned count(struct json_object *checks, size_t n, const char *verdict)
{
    unsigned found = 0;

    for (size_t i = 0; i < n; i++)
        found += is_text(json_object_array_get_idx(checks, i), "verdict", verdict);
    return found;
}

static void print_checks(FILE *to, struct reply *reply, struct json_object *parameters)
{
    struct json_object *checks;
    size_t n = reply_array(reply, parameters, "checks", json_type_object, &checks);
    const unsigned bad = count(checks, n, "bad"), warnings = count(checks, n, "warning");

    (void)reply_each(to, reply, parameters, "checks", print_check);
    term_printf(to, "%zu checks: %u bad, %u warning%s\n", n, bad, warnings,
                warnings == 1 ? "" : "s");
    reply->failed = bad > 0;
}

int verb_doctor(const struct ctl *ctl)
{
    struct json_object *parameters = NULL, *checks;
    struct reply reply = {0};
    int code = varlink_call(ctl, "Diagnose", NULL, &parameters);

    if (code != CTL_OK)
        return code;
    (void)reply_array(&reply, parameters, "checks", json_type_object, &checks);
    if (!reply.bad) {
        check_vmm_socket(ctl, checks);
        check_disks(ctl, &reply, parameters, checks);
        check_qgsd(ctl, parameters, checks);
    }
    if (!reply.bad)
        return reply_show(ctl, "Diagnose", parameters, print_checks);
    json_object_put(parameters);
    return reply_malformed(ctl, "Diagnose");
}
