/* SPDX-License-Identifier: MIT */
/*
 * vmm_bed.h: the model's callbacks, counted and made to fail at will, and a cocod in one function.
 */
#include "vmm_bed.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull

/* --- callbacks ------------------------------------------------------------------------------- */

static int fault(struct bed *bed, enum bed_op op, uint64_t gpa, uint64_t size)
{
    return bed->fault ? bed->fault(bed, op, gpa, size) : 0;
}

static int on_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    struct bed *bed = userdata;
    int r = fault(bed, BED_READ, gpa, size);

    return r < 0 ? r : kvm_model_read(bed->vm, gpa, to, size);
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    struct bed *bed = userdata;
    int r = fault(bed, BED_WRITE, gpa, size);

    bed->writes++;
    return r < 0 ? r : kvm_model_write(bed->vm, gpa, from, size);
}

static int on_store(void *userdata, uint64_t gpa, uint64_t value)
{
    struct bed *bed = userdata;
    int r = fault(bed, BED_STORE, gpa, sizeof(value));

    bed->stores++;
    return r < 0 ? r : kvm_model_store64_release(bed->vm, gpa, value);
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t size, int make_private)
{
    struct bed *bed = userdata;

    bed->attributes++;
    bed->attr_gpa = gpa;
    bed->attr_size = size;
    bed->attr_private = make_private;
    int r = fault(bed, BED_ATTRIBUTES, gpa, size);
    return r < 0 ? r
                 : kvm_model_set_access(bed->vm, gpa, size,
                                        make_private ? KVM_MODEL_PRIVATE : KVM_MODEL_SHARED);
}

static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    struct bed *bed = userdata;

    bed->interrupts++;
    bed->interrupt_apic = apic_id;
    bed->interrupt_vector = vector;
    (void)fault(bed, BED_INTERRUPT, 0, 0);
    return kvm_model_signal_msi(bed->vm, apic_id, vector);
}

static void on_fatal(void *userdata, const struct coco_fatal_event *event)
{
    struct bed *bed = userdata;

    bed->fatals++;
    bed->fatal = *event;
}

static void on_warn(void *userdata, uint32_t status, const char *text)
{
    struct bed *bed = userdata;

    (void)text;
    bed->warnings++;
    bed->warned = status;
}

static uint64_t on_clock(void *userdata)
{
    return ((struct bed *)userdata)->now_ns;
}

static int on_connect(void *userdata)
{
    struct bed *bed = userdata;
    int fds[2];

    if (bed->away || bed->n_servers == BED_SERVERS)
        return -ECONNREFUSED;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    bed->servers[bed->n_servers++] = fds[1];
    bed->connections++;
    return fds[0];
}

/* --- life ------------------------------------------------------------------------------------ */

static bool fill_memory(struct bed *bed)
{
    uint8_t *fill = malloc(BED_MEMORY);

    if (!fill || kvm_model_add_memory(bed->vm, BED_GPA, BED_MEMORY) < 0) {
        free(fill);
        return false;
    }
    memset(fill, BED_FILL, BED_MEMORY);
    int r = kvm_model_write(bed->vm, BED_GPA, fill, BED_MEMORY);
    free(fill);
    return r == 0;
}

static bool make_vmm(struct bed *bed, bool first)
{
    struct coco_vmm_options options;

    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store;
    options.ops.set_memory_attributes = on_attributes;
    options.ops.interrupt = on_interrupt;
    options.ops.fatal = on_fatal;
    options.ops.warn = on_warn;
    options.userdata = bed;
    options.client.connect = on_connect;
    options.client.connect_userdata = bed;
    options.client.clock_ns = on_clock;
    options.client.clock_userdata = bed;
    options.boottime_ns = on_clock;
    options.boottime_userdata = bed;
    if (bed->change)
        bed->change(&options);
    if (coco_vmm_new(&options, &bed->vmm) < 0)
        return false;
    for (unsigned i = 0; i < BED_VCPUS; i++) {
        if (first)
            bed->kvm[i] = kvm_model_add_vcpu(bed->vm, i * 2);
        if (!bed->kvm[i] || coco_vcpu_attach(bed->vmm, i, i * 2, &bed->vcpu[i]) < 0)
            return false;
    }
    return true;
}

bool bed_init(struct bed *bed, enum kvm_model_type type,
              void (*change)(struct coco_vmm_options *options))
{
    memset(bed, 0, sizeof(*bed));
    bed->now_ns = NS_PER_MS * 1000 * 1000;
    bed->features = COCO_FEATURE_NOTIFY | COCO_FEATURE_LEASE;
    bed->budget_ms = COCO_BUSY_BUDGET_MS;
    bed->table_size = 5000;
    bed->quote_size = 5006;
    memset(bed->table, 0x5c, sizeof(bed->table));
    bed->lease_fd = memfd_create("table", MFD_CLOEXEC);
    bed->vm = kvm_model_new(type);
    if (bed->lease_fd < 0 || !bed->vm || !fill_memory(bed))
        return false;
    if (type == KVM_MODEL_SNP && kvm_model_enable_req_certs(bed->vm) < 0)
        return false;

    bed->change = change;
    return make_vmm(bed, true);
}

void bed_done(struct bed *bed)
{
    for (unsigned i = 0; i < BED_VCPUS; i++)
        coco_vcpu_detach(bed->vcpu[i]);
    coco_vmm_free(bed->vmm);
    bed_crash(bed);
    kvm_model_free(bed->vm);
    close(bed->lease_fd);
}

bool bed_migrate(struct bed *bed)
{
    bool good = coco_vmm_quiesce(bed->vmm, 0) == 0;

    for (unsigned i = 0; i < BED_VCPUS; i++)
        coco_vcpu_detach(bed->vcpu[i]);
    coco_vmm_free(bed->vmm);
    return make_vmm(bed, false) && good;
}

/* --- cocod ----------------------------------------------------------------------------------- */

unsigned bed_leases(const struct bed *bed)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    unsigned n = 0;
    char path[64];

    /* A description of its own, or its locks would be ours. One byte after the other. */
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", bed->lease_fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (;;) {
        struct flock at = lock;
        if (fd < 0 || fcntl(fd, F_OFD_GETLK, &at) < 0 || at.l_type == F_UNLCK ||
            at.l_len != 1) /* the write lock of an updater */
            break;
        n++;
        lock.l_start = at.l_start + 1;
    }
    if (fd >= 0)
        close(fd);
    return n;
}

static bool say_hello(struct bed *bed, int fd, const struct fake_request *q)
{
    struct coco_hello hello;
    char path[64];

    if (bed->hello_status) {
        (void)fake_reply(fd, COCO_HELLO_REPLY, q->header.id, bed->hello_status, NULL, 0);
        return false;
    }
    if (coco_hello_decode(q->payload, q->header.length, &hello) < 0)
        return false;
    struct coco_hello_reply reply = fake_hello(hello.features & bed->features);
    reply.busy_budget_ms = bed->budget_ms;
    bool lease = reply.features & COCO_FEATURE_LEASE;
    if (lease)
        reply.lease_base += (uint64_t)bed->connections * 16;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", bed->lease_fd);
    int lease_fd = lease ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int r = fake_reply_hello(fd, &reply, lease_fd);
    if (lease_fd >= 0)
        close(lease_fd);
    return r == 0;
}

static bool answer_certs(struct bed *bed, int fd, const struct fake_request *q)
{
    struct coco_certs_get certs;

    bed->certs_seen++;
    bed->last_timeout_ms = q->header.timeout_ms;
    bed->leases_at_certs += bed_leases(bed);
    if (coco_certs_get_decode(q->payload, q->header.length, &certs) < 0)
        return false;
    if (bed->mute)
        return true;
    if (bed->certs_status && bed->certs_status != COCO_ENOSPC)
        return fake_reply(fd, COCO_CERTS_REPLY, q->header.id, bed->certs_status, NULL, 0) == 0;
    bool fits = bed->table_size == COCO_SNP_EMPTY_TABLE_SIZE ||
                certs.npages >= (bed->table_size + 4095) / 4096;
    if (bed->table_size == COCO_SNP_EMPTY_TABLE_SIZE)
        memset(bed->table, 0, bed->table_size);
    return fake_reply_certs(fd, q->header.id, 7, fits ? bed->table : NULL, bed->table_size) == 0;
}

static bool give_quote(struct bed *bed, int fd, const struct fake_request *q)
{
    struct coco_quote_get get;

    if (coco_quote_get_decode(q->payload, q->header.length, &get) < 0)
        return false;
    bed->quote_max = get.quote_max;
    memcpy(bed->tdreport, get.tdreport, sizeof(bed->tdreport));
    if (bed->quote_status)
        return fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, bed->quote_status, NULL, 0) == 0;
    if (bed->make_quote) {
        static _Thread_local uint8_t made[32768];
        size_t size = bed->make_quote(bed, get.tdreport, made, sizeof(made));
        return fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, 0, made, size) == 0;
    }
    if (bed->quote_size > get.quote_max)
        return fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, COCO_EMSGSIZE, NULL, 0) == 0;
    uint8_t *quote = malloc(bed->quote_size);
    if (!quote)
        return false;
    memset(quote, get.tdreport[128], bed->quote_size); /* recognised by the REPORTDATA */
    int r = fake_reply(fd, COCO_QUOTE_REPLY, q->header.id, 0, quote, bed->quote_size);
    free(quote);
    return r == 0;
}

static bool answer_quote(struct bed *bed, int fd, const struct fake_request *q)
{
    bed->quotes_seen++;
    bed->last_timeout_ms = q->header.timeout_ms;
    if (bed->mute)
        return true;
    if (!bed->slow || bed->n_held == BED_QUOTES)
        return give_quote(bed, fd, q);
    bed->held[bed->n_held].fd = fd;
    bed->held[bed->n_held++].request = *q;
    return true;
}

static void drop_held(struct bed *bed, int fd)
{
    unsigned n = 0;

    for (unsigned i = 0; i < bed->n_held; i++)
        if (bed->held[i].fd != fd)
            bed->held[n++] = bed->held[i];
    bed->n_held = n;
}

static bool answer(struct bed *bed, int fd)
{
    struct fake_request q;

    if (fake_recv(fd, &q) <= 0)
        return false;
    switch (q.header.type) {
    case COCO_HELLO:
        return say_hello(bed, fd, &q);
    case COCO_CERTS_GET:
        return answer_certs(bed, fd, &q);
    case COCO_QUOTE_GET:
        return answer_quote(bed, fd, &q);
    case COCO_CANCEL:
        bed->cancels_seen++;
        return true;
    case COCO_GUEST_EVENT:
        bed->events_seen++;
        return true;
    default:
        return true;
    }
}

void bed_serve(struct bed *bed)
{
    for (unsigned i = 0; i < bed->n_servers;) {
        bool alive = true;
        while (alive && fake_pending(bed->servers[i]))
            alive = answer(bed, bed->servers[i]);
        if (alive) {
            i++;
            continue;
        }
        drop_held(bed, bed->servers[i]);
        close(bed->servers[i]);
        bed->servers[i] = bed->servers[--bed->n_servers];
    }
    while (!bed->slow && bed->n_held > 0) {
        bed->n_held--;
        /* A client that has gone is seen at the next turn. */
        (void)give_quote(bed, bed->held[bed->n_held].fd, &bed->held[bed->n_held].request);
    }
}

void bed_crash(struct bed *bed)
{
    bed->n_held = 0;
    while (bed->n_servers > 0)
        close(bed->servers[--bed->n_servers]);
}

void bed_advance_ms(struct bed *bed, uint64_t ms)
{
    bed->now_ns += ms * NS_PER_MS;
}

/* --- driving --------------------------------------------------------------------------------- */

int bed_finish_snp(struct bed *bed, unsigned vcpu, int act)
{
    for (unsigned turns = 0; act == COCO_ACT_WAIT && turns < 10000; turns++) {
        unsigned before = bed->certs_seen + bed->connections;
        bed_serve(bed);
        act = coco_vcpu_process(bed->vcpu[vcpu]);
        if (act == COCO_ACT_WAIT && before == bed->certs_seen + bed->connections)
            bed_advance_ms(bed, 1);
    }
    return act;
}

void bed_drive(struct bed *bed, uint64_t ms)
{
    const uint64_t until_ns = bed->now_ns + ms * NS_PER_MS;
    struct coco_vmm_stats stats;

    for (;;) {
        bed_serve(bed);
        coco_vmm_process(bed->vmm);
        bed_serve(bed);
        coco_vmm_process(bed->vmm);
        coco_vmm_stats(bed->vmm, &stats);
        if (stats.quotes_in_flight == 0 || bed->now_ns >= until_ns)
            return;
        int next_ms = coco_vmm_timeout_ms(bed->vmm);
        uint64_t left_ms = (until_ns - bed->now_ns + NS_PER_MS - 1) / NS_PER_MS;
        bed_advance_ms(bed, next_ms > 0 && (uint64_t)next_ms < left_ms ? (uint64_t)next_ms : 1);
    }
}

struct coco_snp_exit *bed_snp_exit(struct bed *bed, unsigned vcpu, uint64_t gpa, uint64_t npages)
{
    static const struct snp_report_request request;

    kvm_vcpu_snp_guest_request(bed->kvm[vcpu], &request, true, gpa, npages);
    return (struct coco_snp_exit *)(void *)&kvm_vcpu_run_area(bed->kvm[vcpu])->u.snp_req_certs;
}

struct coco_tdx_exit *bed_tdx_exit(struct bed *bed, unsigned vcpu, uint64_t leaf, uint64_t r12,
                                   uint64_t r13)
{
    kvm_vcpu_tdvmcall(bed->kvm[vcpu], leaf, r12, r13);
    return (struct coco_tdx_exit *)(void *)&kvm_vcpu_run_area(bed->kvm[vcpu])->u.tdx;
}
