/* SPDX-License-Identifier: MIT */
/*
 * A VM and its vCPUs: life, kicks, reset, quiesce: coco/vmm.h.
 *
 * A vCPU has its own client, so that no vCPU waits for another, and no lock is needed around an SNP
 * exit: the client, the lease and the exit's state belong to the vCPU's thread. What vCPUs share is
 * in struct coco_vmm under one mutex.
 *
 * What always holds:
 * - The mutex is held for a few loads and stores, and for writing to an eventfd; never around a
 *   callback, an allocation, a clock of the VMM's or a wait. (coco_vmm_own() waits with it given
 *   up, in pthread_cond_wait.)
 * - The client for quotes is used by its owner alone, which is a thread and not a lock: quotes.c.
 * - An eventfd says only "look again"; what happened is in flags and states. So whoever looks may
 *   drain it, and a kick stays in force after that.
 * - Descriptors that the VMM polls (two epoll sets) stay the same while connections come and go.
 */
#include "client_internal.h"
#include "status.h"
#include "vmm_internal.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUOTES_DEFAULT       16u
#define QUOTE_TIMEOUT_MS     25000u
#define QUOTE_TIMEOUT_MAX_MS 29999u
/* What a guest allocates for the largest quote, header and whole pages: never refused. */
#define QUOTE_BUFFER_BYTES (COCO_QUOTE_MAX + COCO_PAGE_SIZE)
/* How often quiesce looks whether the vCPUs are done. */
#define LINGER_MS 5
#define HUGE_MS   (24u * 3600u * 1000u)

/* --- small things ---------------------------------------------------------------------------- */

static uint64_t kernel_boottime_ns(void *userdata)
{
    (void)userdata;
    return coco_kernel_ns(CLOCK_BOOTTIME);
}

uint64_t coco_vmm_now(const struct coco_vmm *vmm)
{
    return vmm->client_options.clock_ns(vmm->client_options.clock_userdata);
}

void coco_signal_fd(int fd)
{
    const uint64_t one = 1;
    int error = errno;

    /* The only failure is a counter that is full, and then the descriptor is readable. */
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
    errno = error;
}

void coco_drain_fd(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

void coco_vmm_repoll(struct coco_polled *polled, const struct coco_client *client)
{
    const int fd = coco_client_fd(client);
    const short events = coco_client_events(client);
    struct coco_client_stats stats;

    /* A new socket may have the old one's number, but something was counted then. A socket that was
     * closed has left the set by itself. */
    coco_client_stats(client, &stats);
    const uint64_t count = stats.connections + stats.failures + stats.breaks;
    if (fd == polled->fd && events == polled->events && count == polled->count)
        return;
    polled->fd = fd;
    polled->events = events;
    polled->count = count;
    if (fd < 0)
        return;
    struct epoll_event event = {.events = (events & POLLIN ? EPOLLIN : 0u) |
                                          (events & POLLOUT ? EPOLLOUT : 0u)};
    if (epoll_ctl(polled->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0 && errno == ENOENT &&
        epoll_ctl(polled->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        polled->count = UINT64_MAX; /* no memory in the kernel: again after the next step */
}

short coco_vmm_revents(const struct coco_client *client)
{
    struct pollfd p = {.fd = coco_client_fd(client), .events = coco_client_events(client)};

    return p.fd >= 0 && poll(&p, 1, 0) > 0 ? p.revents : 0;
}

void coco_vmm_warn(struct coco_vmm *vmm, uint16_t request_type, uint32_t status)
{
    if (!vmm->ops.warn)
        return;
    pthread_mutex_lock(&vmm->lock);
    bool again = vmm->warned == status;
    vmm->warned = status;
    pthread_mutex_unlock(&vmm->lock);
    if (!again && status != COCO_OK)
        vmm->ops.warn(vmm->userdata, status, coco_status_text_for(request_type, status));
}

/* --- a VM's life ----------------------------------------------------------------------------- */

static bool valid(const struct coco_vmm_options *o)
{
    return o && o->size == sizeof(*o) && o->ops.size == sizeof(o->ops) &&
           o->client.size == sizeof(o->client) && o->ops.read && o->ops.write &&
           o->ops.store64_release && o->client.fd < 0 && o->client.features == 0 &&
           !o->client.note && !o->client.alloc == !o->client.free &&
           o->quotes_max <= COCO_QUOTES_MAX && o->quote_timeout_ms <= QUOTE_TIMEOUT_MAX_MS &&
           o->exit_wait_ms <= HUGE_MS && !(o->flags & ~(uint32_t)COCO_VMM_MAP_GPA_EAGAIN);
}

/* The texts of the client's options, in one block. */
static int copy_strings(struct coco_vmm *vmm)
{
    const char **texts[3] = {&vmm->client_options.path, &vmm->client_options.vm_name,
                             &vmm->client_options.software};
    size_t total = 1, at = 0;

    for (int i = 0; i < 3; i++)
        total += *texts[i] ? strlen(*texts[i]) + 1 : 0;
    vmm->strings = vmm->memory.alloc(total);
    if (!vmm->strings)
        return -ENOMEM;
    for (int i = 0; i < 3; i++) {
        if (!*texts[i])
            continue;
        size_t n = strlen(*texts[i]) + 1;
        memcpy(vmm->strings + at, *texts[i], n);
        *texts[i] = vmm->strings + at;
        at += n;
    }
    return 0;
}

static void close_fds(int *event_fd, struct coco_polled *polled)
{
    coco_close(event_fd);
    coco_close(&polled->epoll_fd);
}

/* An eventfd within an epoll set: what a vCPU and a VM have each. */
static int make_fds(int *ret_event_fd, struct coco_polled *ret_polled)
{
    struct epoll_event event = {.events = EPOLLIN};

    *ret_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ret_polled->epoll_fd = *ret_event_fd >= 0 ? epoll_create1(EPOLL_CLOEXEC) : -1;
    ret_polled->fd = -1;
    if (ret_polled->epoll_fd >= 0 &&
        epoll_ctl(ret_polled->epoll_fd, EPOLL_CTL_ADD, *ret_event_fd, &event) == 0)
        return 0;
    int r = -errno;
    close_fds(ret_event_fd, ret_polled);
    return r;
}

static void take_options(struct coco_vmm *vmm, const struct coco_vmm_options *o)
{
    vmm->ops = o->ops;
    vmm->userdata = o->userdata;
    vmm->client_options = o->client;
    if (!vmm->client_options.clock_ns)
        vmm->client_options.clock_ns = coco_monotonic_ns;
    vmm->boottime_ns = o->boottime_ns ? o->boottime_ns : kernel_boottime_ns;
    vmm->boottime_userdata = o->boottime_userdata;
    vmm->flags = o->flags;
    vmm->exit_wait_ms = o->exit_wait_ms ? o->exit_wait_ms : COCO_EXIT_WAIT_MS;
    vmm->busy_budget_option_ms = o->busy_budget_ms;
    vmm->busy_budget_ms = o->busy_budget_ms ? o->busy_budget_ms : COCO_BUSY_BUDGET_MS;
    vmm->quote_timeout_ms = o->quote_timeout_ms ? o->quote_timeout_ms : QUOTE_TIMEOUT_MS;
    vmm->quotes_max = o->quotes_max ? o->quotes_max : QUOTES_DEFAULT;
    vmm->quote_buffer_max = o->quote_buffer_max ? o->quote_buffer_max : UINT64_MAX;
    if (vmm->quote_buffer_max < QUOTE_BUFFER_BYTES)
        vmm->quote_buffer_max = QUOTE_BUFFER_BYTES;
}

static void destroy(struct coco_vmm *vmm)
{
    coco_client_free(vmm->client);
    close_fds(&vmm->wake_fd, &vmm->polled);
    (void)pthread_cond_destroy(&vmm->disowned);
    (void)pthread_mutex_destroy(&vmm->lock);
    if (vmm->strings)
        vmm->memory.free(vmm->strings);
    vmm->memory.free(vmm);
}

int coco_vmm_new(const struct coco_vmm_options *options, struct coco_vmm **ret_vmm)
{
    if (!valid(options))
        return -EINVAL;
    struct coco_memory memory = coco_memory_of(options->client.alloc, options->client.free);
    struct coco_vmm *vmm = memory.alloc(sizeof(*vmm));
    if (!vmm)
        return -ENOMEM;
    memset(vmm, 0, sizeof(*vmm));
    vmm->memory = memory;
    vmm->wake_fd = vmm->polled.epoll_fd = vmm->polled.fd = vmm->socket_fd = -1;
    vmm->due_ns = UINT64_MAX;
    take_options(vmm, options);
    /* Of default attributes: neither fails. */
    (void)pthread_mutex_init(&vmm->lock, NULL);
    (void)pthread_cond_init(&vmm->disowned, NULL);

    int r = copy_strings(vmm);
    if (r == 0)
        r = make_fds(&vmm->wake_fd, &vmm->polled);
    if (r == 0)
        r = coco_vmm_client(vmm, NULL, &vmm->client);
    if (r < 0) {
        destroy(vmm);
        return r;
    }
    *ret_vmm = vmm;
    return 0;
}

void coco_vmm_free(struct coco_vmm *vmm)
{
    if (!vmm)
        return;
    /* The guest's memory may be gone: nothing is written. */
    if (coco_vmm_own(vmm) == 0)
        coco_quotes_end(vmm, true);
    destroy(vmm);
}

void coco_vmm_stats(struct coco_vmm *vmm, struct coco_vmm_stats *ret_stats)
{
    pthread_mutex_lock(&vmm->lock);
    *ret_stats = vmm->stats;
    pthread_mutex_unlock(&vmm->lock);
}

/* --- vCPUs ----------------------------------------------------------------------------------- */

static void on_note(struct coco_client *client, uint32_t note, uint64_t generation, void *userdata)
{
    struct coco_vcpu *vcpu = userdata;

    (void)client;
    (void)generation;
    vcpu->servings += note == COCO_NOTE_SERVING;
}

int coco_vmm_client(struct coco_vmm *vmm, struct coco_vcpu *vcpu, struct coco_client **ret_client)
{
    struct coco_client_options options = vmm->client_options;

    if (vcpu) {
        options.features = COCO_USE_NOTIFY | COCO_USE_LEASE;
        options.note = on_note;
        options.note_userdata = vcpu;
        options.in_flight_max = 2;
    } else {
        options.in_flight_max = COCO_QUOTES_MAX;
    }
    return coco_client_new(&options, ret_client);
}

int coco_vcpu_attach(struct coco_vmm *vmm, uint32_t index, uint32_t apic_id,
                     struct coco_vcpu **ret_vcpu)
{
    if (__atomic_load_n(&vmm->quiesced, __ATOMIC_ACQUIRE))
        return -EBUSY;
    struct coco_vcpu *vcpu = vmm->memory.alloc(sizeof(*vcpu));
    if (!vcpu)
        return -ENOMEM;
    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->vmm = vmm;
    vcpu->index = index;
    vcpu->apic_id = apic_id;
    int r = make_fds(&vcpu->event_fd, &vcpu->polled);
    if (r == 0)
        r = coco_vmm_client(vmm, vcpu, &vcpu->client);
    if (r < 0) {
        close_fds(&vcpu->event_fd, &vcpu->polled);
        vmm->memory.free(vcpu);
        return r;
    }
    pthread_mutex_lock(&vmm->lock);
    vcpu->next = vmm->vcpus;
    vmm->vcpus = vcpu;
    pthread_mutex_unlock(&vmm->lock);
    *ret_vcpu = vcpu;
    return 0;
}

void coco_vcpu_detach(struct coco_vcpu *vcpu)
{
    if (!vcpu)
        return;
    struct coco_vmm *vmm = vcpu->vmm;

    coco_snp_abandon(vcpu);
    pthread_mutex_lock(&vmm->lock);
    for (struct coco_vcpu **at = &vmm->vcpus; *at; at = &(*at)->next)
        if (*at == vcpu) {
            *at = vcpu->next;
            break;
        }
    for (uint32_t i = 0; i < COCO_QUOTES_MAX; i++)
        if (vmm->quotes[i].vcpu == vcpu)
            vmm->quotes[i].vcpu = NULL;
    /* Its APIC is gone: nobody is there to be notified. */
    if (vmm->notify_apic_id == vcpu->apic_id)
        vmm->notify_vector = 0;
    pthread_mutex_unlock(&vmm->lock);
    coco_client_free(vcpu->client);
    close_fds(&vcpu->event_fd, &vcpu->polled);
    vmm->memory.free(vcpu);
}

void coco_vcpu_kick(struct coco_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->kicked, 1, __ATOMIC_RELEASE);
    coco_signal_fd(vcpu->event_fd);
}

void coco_vcpu_unkick(struct coco_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->kicked, 0, __ATOMIC_RELEASE);
}

bool coco_vcpu_kicked(const struct coco_vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->kicked, __ATOMIC_ACQUIRE);
}

bool coco_vcpu_hurried(const struct coco_vcpu *vcpu)
{
    return coco_vcpu_kicked(vcpu) || __atomic_load_n(&vcpu->vmm->quiesced, __ATOMIC_ACQUIRE);
}

void coco_vcpu_set_open(struct coco_vcpu *vcpu, bool open)
{
    struct coco_vmm *vmm = vcpu->vmm;

    if (vcpu->open == open)
        return;
    vcpu->open = open;
    pthread_mutex_lock(&vmm->lock);
    vmm->n_open = open ? vmm->n_open + 1 : vmm->n_open - 1;
    pthread_mutex_unlock(&vmm->lock);
}

int coco_vcpu_fd(const struct coco_vcpu *vcpu)
{
    return vcpu->polled.epoll_fd;
}

/* --- reset, quiesce -------------------------------------------------------------------------- */

int coco_vmm_reset(struct coco_vmm *vmm)
{
    int r = coco_vmm_own(vmm);

    if (r < 0)
        return r;
    coco_quotes_end(vmm, true);
    /* The vCPUs are stopped, so that the list and what they own can be used here. */
    for (struct coco_vcpu *vcpu = vmm->vcpus; vcpu; vcpu = vcpu->next)
        coco_snp_abandon(vcpu);
    pthread_mutex_lock(&vmm->lock);
    vmm->busy_since_ns = 0;
    vmm->notify_vector = 0;
    pthread_mutex_unlock(&vmm->lock);
    coco_vmm_disown(vmm);
    return 0;
}

static bool quiet(struct coco_vmm *vmm)
{
    pthread_mutex_lock(&vmm->lock);
    bool is = vmm->n_open == 0 && vmm->stats.quotes_in_flight == 0;
    pthread_mutex_unlock(&vmm->lock);
    return is;
}

int coco_vmm_quiesce(struct coco_vmm *vmm, uint32_t timeout_ms)
{
    int r = coco_vmm_own(vmm); /* not from a callback */

    if (r < 0)
        return r;
    coco_vmm_disown(vmm);
    const uint64_t until_ns = coco_vmm_now(vmm) + timeout_ms * COCO_NS_PER_MS;
    pthread_mutex_lock(&vmm->lock);
    __atomic_store_n(&vmm->quiesced, 1, __ATOMIC_RELEASE);
    for (struct coco_vcpu *vcpu = vmm->vcpus; vcpu; vcpu = vcpu->next)
        coco_signal_fd(vcpu->event_fd);
    pthread_mutex_unlock(&vmm->lock);

    for (;;) {
        coco_vmm_service(vmm);
        if (quiet(vmm))
            return 0;
        int ms = coco_client_ms_until(coco_vmm_now(vmm), until_ns);
        if (ms == 0)
            break;
        coco_vmm_linger(vmm, -1, ms < LINGER_MS ? ms : LINGER_MS);
    }
    r = coco_vmm_own(vmm);
    if (r < 0)
        return r;
    coco_quotes_end(vmm, false);
    coco_vmm_disown(vmm);
    return quiet(vmm) ? 0 : -ETIMEDOUT;
}

void coco_vmm_resume(struct coco_vmm *vmm)
{
    __atomic_store_n(&vmm->quiesced, 0, __ATOMIC_RELEASE);
}
