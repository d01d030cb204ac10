/* SPDX-License-Identifier: MIT */
/*
 * sev_sim.h. One thread polls the listening socket, the connections and a pipe. A mutex guards what
 * the test changes; a byte in the pipe ends a delay when the platform is set or the simulator
 * stops. The answer is made when it is sent: it tells the platform as it is then.
 */
#include "sev_sim.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16

struct sev_sim {
    struct sockaddr_un address;
    char file[4096]; /* "": `platform` is what counts */
    int listener;
    int wake[2];
    pthread_t thread;

    pthread_mutex_t lock;
    bool stopping;
    struct sev_sim_platform platform;
    unsigned asked[3]; /* by op */
};

/* --- one answer ------------------------------------------------------------------------------ */

static struct sev_sim_platform platform_now(struct sev_sim *s)
{
    pthread_mutex_lock(&s->lock);
    struct sev_sim_platform platform = s->platform;
    pthread_mutex_unlock(&s->lock);
    if (s->file[0]) {
        sev_sim_platform_init(&platform);
        if (sev_sim_read_file(s->file, &platform) < 0) {
            platform.fault = SEV_SIM_ERROR;
            platform.status = COCO_ENODEV;
            platform.fw_error = 0;
        }
    }
    return platform;
}

static struct coco_sev_reply reply_to(const struct coco_sev_request *request,
                                      const struct sev_sim_platform *p)
{
    struct coco_sev_reply m = {
        .op = request->op,
        .id = request->id,
        .cpu_family = p->cpu_family,
        .cpu_model = p->cpu_model,
    };

    if (p->fault == SEV_SIM_ERROR) {
        m.status = p->status;
        m.fw_error = p->fw_error;
    } else if (request->op == COCO_SEV_STATUS) {
        m.flags = p->flags;
        m.current_tcb = p->current_tcb;
        m.reported_tcb = p->reported_tcb;
    } else {
        size_t n =
            coco_snp_product_chip_id_size(coco_snp_product_of_cpu(m.cpu_family, m.cpu_model));
        m.chip_id_size = n > 0 ? (uint32_t)n : COCO_SNP_CHIP_ID_SIZE;
        memcpy(m.chip_id, p->chip_id, m.chip_id_size);
    }
    return m;
}

size_t sev_sim_answer(const struct coco_sev_request *request, const struct sev_sim_platform *p,
                      uint8_t out[SEV_SIM_ANSWER_MAX], bool *ret_close)
{
    struct coco_sev_reply m = reply_to(request, p);
    size_t size = COCO_SEV_REPLY_SIZE;

    *ret_close = p->fault == SEV_SIM_CLOSE || p->fault == SEV_SIM_SHORT;
    if (p->fault == SEV_SIM_SILENT || p->fault == SEV_SIM_CLOSE)
        return 0;
    if (p->fault == SEV_SIM_WRONG_ID)
        m.id++;
    if (p->fault == SEV_SIM_WRONG_OP)
        m = reply_to(&(struct coco_sev_request){.op = (uint16_t)(3 - request->op),
                                                .id = request->id},
                     p);
    if (coco_sev_reply_encode(&m, out) < 0) {
        *ret_close = true;
        return 0;
    }
    out[size] = 0;
    if (p->fault == SEV_SIM_GARBAGE)
        memset(out, 0xa5, size);
    if (p->fault == SEV_SIM_SHORT)
        size /= 2;
    if (p->fault == SEV_SIM_LONG)
        size++;
    return size;
}

/* Sends what the fault makes of the reply; false: the connection ends. */
static bool answer(int fd, const struct coco_sev_request *request, const struct sev_sim_platform *p)
{
    uint8_t bytes[SEV_SIM_ANSWER_MAX];
    bool ends;
    size_t size = sev_sim_answer(request, p, bytes, &ends);

    return (size == 0 || send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size) &&
           !ends;
}

/* Waits for sev_sim_set or _stop, or for the delay to pass. */
static void delay(struct sev_sim *s, unsigned delay_ms)
{
    struct pollfd p = {.fd = s->wake[0], .events = POLLIN};

    (void)poll(&p, 1, (int)delay_ms);
}

/* False: the connection ends. A request comes whole, since its sender writes 16 bytes at once;
 * where it does not, SO_RCVTIMEO ends the wait. */
static bool serve_one(struct sev_sim *s, int fd)
{
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];
    struct coco_sev_request request;

    if (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) != (ssize_t)sizeof(bytes) ||
        coco_sev_request_decode(bytes, &request) < 0)
        return false;
    /* Counted when the answer is decided: who has seen the count may set something else. */
    struct sev_sim_platform platform = platform_now(s);
    pthread_mutex_lock(&s->lock);
    s->asked[request.op]++;
    pthread_mutex_unlock(&s->lock);
    if (platform.fault == SEV_SIM_SLOW) {
        delay(s, platform.delay_ms);
        platform = platform_now(s);
    }
    return answer(fd, &request, &platform);
}

/* --- the thread ------------------------------------------------------------------------------ */

static bool woken_to_stop(struct sev_sim *s)
{
    char byte;

    (void)!read(s->wake[0], &byte, 1);
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *serve(void *userdata)
{
    struct sev_sim *s = userdata;
    struct pollfd p[2 + CONNECTIONS_MAX] = {{.fd = s->wake[0], .events = POLLIN},
                                            {.fd = s->listener, .events = POLLIN}};
    nfds_t n = 2;

    while (poll(p, n, -1) >= 0 || errno == EINTR) {
        if (p[0].revents && woken_to_stop(s))
            break;
        for (nfds_t i = n; i-- > 2;) {
            if (!p[i].revents || serve_one(s, p[i].fd))
                continue;
            close(p[i].fd);
            p[i] = p[--n];
        }
        if (p[1].revents && n < 2 + CONNECTIONS_MAX) {
            int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0)
                continue;
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 1},
                             sizeof(struct timeval));
            p[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    while (n > 2)
        close(p[--n].fd);
    return NULL;
}

static struct sev_sim *fail(struct sev_sim *s)
{
    int e = errno;

    if (s->listener >= 0)
        close(s->listener);
    if (s->wake[0] >= 0) {
        close(s->wake[0]);
        close(s->wake[1]);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
    errno = e;
    return NULL;
}

static struct sev_sim *start(const char *path, const struct sev_sim_platform *platform,
                             const char *file)
{
    struct sev_sim *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->listener = s->wake[0] = s->wake[1] = -1;
    s->platform = *platform;
    pthread_mutex_init(&s->lock, NULL);
    s->address.sun_family = AF_UNIX;
    errno = ENAMETOOLONG;
    if (strlen(path) >= sizeof(s->address.sun_path) || strlen(file) >= sizeof(s->file))
        return fail(s);
    memcpy(s->address.sun_path, path, strlen(path));
    memcpy(s->file, file, strlen(file));
    if (pipe2(s->wake, O_CLOEXEC) < 0)
        return fail(s);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 ||
        bind(s->listener, (struct sockaddr *)&s->address, sizeof(s->address)) < 0 ||
        listen(s->listener, 64) < 0)
        return fail(s);
    errno = pthread_create(&s->thread, NULL, serve, s);
    return errno == 0 ? s : fail(s);
}

struct sev_sim *sev_sim_start(const char *path, const struct sev_sim_platform *platform)
{
    return start(path, platform, "");
}

struct sev_sim *sev_sim_start_file(const char *path, const char *file)
{
    struct sev_sim_platform platform;

    sev_sim_platform_init(&platform);
    return start(path, &platform, file);
}

static void wake(struct sev_sim *s)
{
    (void)!write(s->wake[1], "", 1);
}

void sev_sim_stop(struct sev_sim *sim)
{
    if (!sim)
        return;
    pthread_mutex_lock(&sim->lock);
    sim->stopping = true;
    pthread_mutex_unlock(&sim->lock);
    wake(sim);
    pthread_join(sim->thread, NULL);
    close(sim->listener);
    close(sim->wake[0]);
    close(sim->wake[1]);
    unlink(sim->address.sun_path);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

void sev_sim_set(struct sev_sim *sim, const struct sev_sim_platform *platform)
{
    pthread_mutex_lock(&sim->lock);
    sim->platform = *platform;
    pthread_mutex_unlock(&sim->lock);
    wake(sim);
}

unsigned sev_sim_asked(struct sev_sim *sim, enum coco_sev_op op)
{
    pthread_mutex_lock(&sim->lock);
    unsigned n = sim->asked[op];
    pthread_mutex_unlock(&sim->lock);
    return n;
}
