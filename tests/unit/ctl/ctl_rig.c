/* SPDX-License-Identifier: MIT */
/*
 * ctl_rig.h. The server's thread and the test take turns by the calls of the program under test;
 * what both look at is behind one mutex.
 */
#include "ctl_rig.h"
#include "fake_server.h"
#include "support.h"
#include "text.h"
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#define MESSAGE_MAX (1u << 20)
#define KEPT_MAX    8

char rig_out[1 << 16], rig_err[1 << 16];

static char folder[200];
static rig_answer *answer_call;
static struct fake_server *server;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char calls[1 << 14];
static struct {
    char method[32];
    char text[1 << 16];
} kept[KEPT_MAX];

char *rig_say(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    ck_assert_int_ge(vasprintf(&text, format, args), 0);
    va_end(args);
    return text;
}

const char *rig_path(const char *name)
{
    static char paths[32][300];
    static unsigned next;
    char *path = paths[next++ % 32];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

/* --- the server ------------------------------------------------------------------------------ */

static void remember(const char *method, const char *parameters)
{
    pthread_mutex_lock(&mutex);
    size_t n = strlen(calls);
    (void)snprintf(calls + n, sizeof(calls) - n, "%s ", method);
    for (size_t i = 0; i < KEPT_MAX; i++) {
        if (kept[i].method[0] && strcmp(kept[i].method, method) != 0)
            continue;
        (void)snprintf(kept[i].method, sizeof(kept[i].method), "%s", method);
        (void)snprintf(kept[i].text, sizeof(kept[i].text), "%s", parameters);
        break;
    }
    pthread_mutex_unlock(&mutex);
}

const char *rig_calls(void)
{
    static char copy[sizeof(calls)];

    pthread_mutex_lock(&mutex);
    memcpy(copy, calls, sizeof(copy));
    pthread_mutex_unlock(&mutex);
    return copy;
}

const char *rig_last(const char *method)
{
    static char copy[1 << 16];

    copy[0] = 0;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (strcmp(kept[i].method, method) == 0)
            memcpy(copy, kept[i].text, sizeof(copy));
    pthread_mutex_unlock(&mutex);
    return copy;
}

/* One message, or NULL at the end. */
static char *receive(int fd)
{
    char *text = malloc(MESSAGE_MAX + 1);
    size_t size = 0;

    while (size <= MESSAGE_MAX) {
        ssize_t n = recv(fd, text + size, MESSAGE_MAX + 1 - size, 0);
        if (n <= 0)
            break;
        size += (size_t)n;
        if (text[size - 1] == 0)
            return text;
    }
    free(text);
    return NULL;
}

static bool handle(int fd, unsigned n, void *userdata)
{
    struct json_object *method = NULL, *parameters = NULL;
    static const char prefix[] = "io.cocod.Admin.";
    char *text = receive(fd), *reply = NULL;

    (void)n;
    (void)userdata;
    struct json_object *call = text ? json_tokener_parse(text) : NULL;
    free(text);
    if (!call)
        return false;
    json_object_object_get_ex(call, "method", &method);
    json_object_object_get_ex(call, "parameters", &parameters);
    const char *name = json_object_get_string(method);
    if (name && strncmp(name, prefix, strlen(prefix)) == 0) {
        name += strlen(prefix);
        remember(name, parameters ? json_object_to_json_string(parameters) : "");
        reply = answer_call(name, parameters);
    }
    json_object_put(call);
    size_t size = reply ? strlen(reply) + 1 : 0;
    for (char *p = reply; p && (p = strchr(p, '\n')); p++)
        *p = 0;
    bool good = reply && fake_send(fd, reply, size) == 0;
    free(reply);
    return good;
}

void rig_open(rig_answer *answer)
{
    static const char *base;
    static unsigned n;

    if (!base)
        base = test_tmpdir();
    (void)snprintf(folder, sizeof(folder), "%s/%u", base, n++);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    calls[0] = 0;
    memset(kept, 0, sizeof(kept));
    answer_call = answer;
    rig_start_server();
}

void rig_start_server(void)
{
    server = fake_server_start(rig_path("admin"), handle, NULL);
    ck_assert_ptr_nonnull(server);
}

void rig_stop_server(void)
{
    fake_server_stop(server);
    server = NULL;
}

void rig_close(void)
{
    rig_stop_server();
}

/* --- the program ----------------------------------------------------------------------------- */

static void read_back(const char *path, char *to, size_t size)
{
    FILE *from = fopen(path, "re");

    ck_assert_ptr_nonnull(from);
    size_t n = fread(to, 1, size - 1, from);
    to[n] = 0;
    (void)fclose(from);
}

const char *rig_program(void)
{
    static char program[300];
    const char *build = getenv("COCO_BUILD");

    (void)snprintf(program, sizeof(program), "%s/cococtl", build ? build : "build");
    ck_assert_msg(access(program, X_OK) == 0, "%s is not built", program);
    return program;
}

static pid_t start(const char *const *words, bool with_admin, bool (*prepare)(void))
{
    const char *program = rig_program();
    char admin[300], out[300], err[300], table[300], table_option[] = "--table-file";
    char *argv[40] = {(char *)(uintptr_t)program, (char[]){"--admin"}, admin};
    int n = with_admin ? 3 : 1;

    (void)snprintf(admin, sizeof(admin), "%s", rig_path("admin"));
    (void)snprintf(table, sizeof(table), "%s", rig_path("table"));
    (void)snprintf(out, sizeof(out), "%s", rig_path("stdout"));
    (void)snprintf(err, sizeof(err), "%s", rig_path("stderr"));
    for (const char *before = ""; *words; before = *words++) {
        argv[n++] = (char *)(uintptr_t)*words;
        if (!with_admin || strcmp(before, "certs") != 0 || strcmp(*words, "rotate") != 0)
            continue;
        argv[n++] = table_option;
        argv[n++] = table;
    }
    argv[n] = NULL;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int o = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        int e = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        int p = open(program, O_RDONLY | O_CLOEXEC); /* where it lies, it may not be reached then */
        dup2(o, 1);
        dup2(e, 2);
        if (prepare && !prepare())
            _exit(RIG_UNPREPARED);
        fexecve(p, argv, environ);
        _exit(127);
    }
    return pid;
}

pid_t rig_start(const char *const *words)
{
    return start(words, true, NULL);
}

int rig_run_plain(const char *const *words)
{
    return rig_wait(start(words, false, NULL));
}

int rig_run_prepared(bool (*prepare)(void), const char *const *words)
{
    return rig_wait(start(words, false, prepare));
}

int rig_run_on_terminal(unsigned short columns, const char *const *words)
{
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    char *argv[40] = {(char *)(uintptr_t)rig_program()};
    struct termios raw = {.c_cflag = CS8 | CREAD}; /* no \r before \n, no echo */
    int fd, status, n = 1;
    size_t used = 0;

    while (*words)
        argv[n++] = (char *)(uintptr_t)*words++;
    pid_t pid = forkpty(&fd, NULL, &raw, &size);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)setenv("TERM", "xterm", 1);
        execv(argv[0], argv);
        _exit(127);
    }
    /* At the end reading fails with EIO. */
    for (ssize_t got; used < sizeof(rig_out) - 1 &&
                      (got = read(fd, rig_out + used, sizeof(rig_out) - 1 - used)) > 0;)
        used += (size_t)got;
    rig_out[used] = 0;
    close(fd);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int rig_wait(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    read_back(rig_path("stdout"), rig_out, sizeof(rig_out));
    read_back(rig_path("stderr"), rig_err, sizeof(rig_err));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int rig_run(const char *const *words)
{
    return rig_wait(rig_start(words));
}

void rig_has_all(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        ck_assert_msg(strstr(text, *parts) != NULL, "\"%s\" is not in:\n%s", *parts, text);
}

void rig_lacks(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text);
}

void rig_is_clean(const char *what, const char *of, const char *text, bool terminal)
{
    static const char *const own[] = {"\x1b[32m", "\x1b[33m", "\x1b[31;1m",   "\x1b[2m",
                                      "\x1b[1m",  "\x1b[0m",  "\x1b[H\x1b[J", "\r\x1b[K"};
    size_t size = strlen(text);

    for (size_t i = 0; i < size;) {
        uint32_t c = 0;
        size_t n = coco_text_char((const uint8_t *)text + i, size - i, &c);
        for (size_t k = 0; terminal && k < sizeof(own) / sizeof(own[0]); k++)
            if (strncmp(text + i, own[k], strlen(own[k])) == 0)
                n = strlen(own[k]), c = 'x';
        ck_assert_msg(n > 0 && (c == '\n' || !coco_text_acts(c)),
                      "%s of %s: U+%04X (byte %02x) at %zu of: %s", what, of, c,
                      (unsigned char)text[i], i, text);
        i += n;
    }
}
