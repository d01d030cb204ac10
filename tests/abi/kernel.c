/* SPDX-License-Identifier: MIT */
/*
 * The product before a released kernel's own headers, which this file alone is compiled with: exits
 * are written into that kernel's struct kvm_run and read back from it, ioctls arrive in its
 * structures, and /dev/sev's firmware is played with them. So a layout is right only where a field
 * arrives by the kernel's name for it.
 *
 * Prints a line for each that holds or does not; the exit status is the number of those that do
 * not.
 */
#include "coco/coco.h"
#include "sev/device.h"
#include "sev/vlek.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <linux/psp-sev.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned failed;

static void holds(bool good, const char *what)
{
    printf("  %-5s %s\n", good ? "ok" : "FAIL", what);
    failed += !good;
}

/* --- exits ------------------------------------------------------------------------------------ */

#define TABLE_GPA 0x123000ull

static union {
    struct kvm_run run;
    uint8_t page[4096];
} area;

static struct {
    uint64_t write_gpa, attr_gpa, attr_bytes, boottime_ns;
    size_t written;
    int make_private;
    uint32_t fatal;
    struct coco_fatal_event event;
} seen;

static int on_read(void *userdata, uint64_t gpa, void *to, size_t bytes)
{
    (void)userdata, (void)gpa;
    memset(to, 0, bytes);
    return 0;
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t bytes)
{
    (void)userdata, (void)from;
    seen.write_gpa = gpa;
    seen.written = bytes;
    return 0;
}

static int on_store(void *userdata, uint64_t gpa, uint64_t value)
{
    (void)userdata, (void)gpa, (void)value;
    return 0;
}

static int on_attributes(void *userdata, uint64_t gpa, uint64_t bytes, int make_private)
{
    (void)userdata;
    seen.attr_gpa = gpa;
    seen.attr_bytes = bytes;
    seen.make_private = make_private;
    return 0;
}

static int on_interrupt(void *userdata, uint32_t apic_id, uint32_t vector)
{
    (void)userdata, (void)apic_id, (void)vector;
    return 0;
}

static void on_fatal(void *userdata, const struct coco_fatal_event *event)
{
    (void)userdata;
    seen.fatal++;
    seen.event = *event;
}

static int no_cocod(void *userdata)
{
    (void)userdata;
    return -ECONNREFUSED;
}

static uint64_t boottime(void *userdata)
{
    (void)userdata;
    return seen.boottime_ns;
}

static struct coco_vmm *vmm;
static struct coco_vcpu *vcpu;

static bool make_vm(void)
{
    struct coco_vmm_options options;

    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store;
    options.ops.set_memory_attributes = on_attributes;
    options.ops.interrupt = on_interrupt;
    options.ops.fatal = on_fatal;
    options.client.connect = no_cocod;
    options.boottime_ns = boottime;
    options.exit_wait_ms = 1;
    options.busy_budget_ms = 10;
    seen.boottime_ns = 1;
    return coco_vmm_new(&options, &vmm) == 0 && coco_vcpu_attach(vmm, 0, 0, &vcpu) == 0;
}

static int handle(uint32_t reason)
{
    area.run.exit_reason = reason;
    return coco_vmm_handle_exit(vmm, vcpu, &area.run);
}

/* cocod is away: BUSY while the budget lasts, then the empty table, where the guest wants it. */
static void try_snp(uint32_t reason, const char *name)
{
    struct kvm_exit_snp_req_certs *exit = &area.run.snp_req_certs;
    char what[128];

    memset(&area, 0, sizeof(area));
    *exit = (struct kvm_exit_snp_req_certs){.gpa = TABLE_GPA, .npages = 4, .ret = 99};
    bool good = handle(reason) == COCO_ACT_RUN && exit->ret == EAGAIN && exit->npages == 4;
    seen.boottime_ns += 20000000;
    seen.written = 0;
    exit->ret = 99;
    good &= handle(reason) == COCO_ACT_RUN && exit->ret == 0 && exit->npages == 4 &&
            exit->gpa == TABLE_GPA && seen.write_gpa == TABLE_GPA && seen.written == 24;
    (void)snprintf(what, sizeof(what), "%s (%u) through snp_req_certs", name, reason);
    holds(good, what);
}

static void try_tdx(void)
{
    struct kvm_run *run = &area.run;

    memset(&area, 0, sizeof(area));
    run->tdx.nr = 0x10002;
    run->tdx.get_quote.gpa = 0x1001;
    run->tdx.get_quote.size = 8192;
    bool good = handle(KVM_EXIT_TDX) == COCO_ACT_RUN &&
                run->tdx.get_quote.ret == 0x8000000000000002 && run->tdx.get_quote.gpa == 0x1001;
    run->tdx.get_quote.gpa = 0x1000;
    run->tdx.get_quote.size = 0;
    good &= handle(KVM_EXIT_TDX) == COCO_ACT_RUN && run->tdx.get_quote.ret == 0x8000000000000000 &&
            run->tdx.get_quote.size == 0;
    holds(good, "KVM_EXIT_TDX through tdx.get_quote");

    memset(&area, 0, sizeof(area));
    run->tdx.nr = 0x10000;
    run->tdx.get_tdvmcall_info.leaf = 1;
    run->tdx.get_tdvmcall_info.r12 = run->tdx.get_tdvmcall_info.r14 = 77;
    run->tdx.get_tdvmcall_info.ret = 77;
    good = handle(KVM_EXIT_TDX) == COCO_ACT_RUN && run->tdx.get_tdvmcall_info.ret == 0 &&
           run->tdx.get_tdvmcall_info.r11 == 2 && run->tdx.get_tdvmcall_info.r12 == 0 &&
           run->tdx.get_tdvmcall_info.r13 == 0 && run->tdx.get_tdvmcall_info.r14 == 0;
    holds(good, "KVM_EXIT_TDX through tdx.get_tdvmcall_info");

    memset(&area, 0, sizeof(area));
    run->tdx.nr = 0x10004;
    run->tdx.setup_event_notify.vector = 31;
    good = handle(KVM_EXIT_TDX) == COCO_ACT_RUN &&
           run->tdx.setup_event_notify.ret == 0x8000000000000000;
    run->tdx.setup_event_notify.vector = 32;
    good &= handle(KVM_EXIT_TDX) == COCO_ACT_RUN && run->tdx.setup_event_notify.ret == 0;
    holds(good, "KVM_EXIT_TDX through tdx.setup_event_notify");

    memset(&area, 0x5a, sizeof(area));
    run->tdx.nr = 0x10099;
    const struct kvm_run before = *run;
    good = handle(KVM_EXIT_TDX) == COCO_ACT_UNHANDLED;
    holds(good && memcmp(&run->tdx, &before.tdx, sizeof(run->tdx)) == 0,
          "a TDVMCALL of some later kernel is left alone");
}

static void try_map_gpa(void)
{
    struct kvm_run *run = &area.run;

    memset(&area, 0, sizeof(area));
    run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
    run->hypercall.args[0] = 0x200000;
    run->hypercall.args[1] = 512;
    run->hypercall.args[2] = KVM_MAP_GPA_RANGE_PAGE_SZ_2M | KVM_MAP_GPA_RANGE_ENCRYPTED;
    run->hypercall.ret = 99;
    run->hypercall.flags = 0x1234;
    bool good = handle(KVM_EXIT_HYPERCALL) == COCO_ACT_RUN && run->hypercall.ret == 0 &&
                run->hypercall.flags == 0x1234 && seen.attr_gpa == 0x200000 &&
                seen.attr_bytes == 0x200000 && seen.make_private == 1;
    run->hypercall.args[2] = KVM_MAP_GPA_RANGE_PAGE_SZ_1G | KVM_MAP_GPA_RANGE_DECRYPTED;
    good &= handle(KVM_EXIT_HYPERCALL) == COCO_ACT_RUN && run->hypercall.ret == 0 &&
            seen.make_private == 0;
    run->hypercall.args[2] = KVM_MAP_GPA_RANGE_ENC_STAT(2);
    good &= handle(KVM_EXIT_HYPERCALL) == COCO_ACT_RUN && run->hypercall.ret == EINVAL;
    holds(good, "KVM_EXIT_HYPERCALL through hypercall, every flag of KVM_HC_MAP_GPA_RANGE");
}

static void try_events(void)
{
    struct kvm_run *run = &area.run;

    memset(&area, 0, sizeof(area));
    run->system_event.type = KVM_SYSTEM_EVENT_SEV_TERM;
    run->system_event.ndata = 1;
    run->system_event.data[0] = 0x00051100;
    bool good = handle(KVM_EXIT_SYSTEM_EVENT) == COCO_ACT_FATAL && seen.fatal == 1 &&
                seen.event.reason_set == 1 && seen.event.reason_code == 5;
    run->system_event.type = KVM_SYSTEM_EVENT_TDX_FATAL;
    run->system_event.ndata = 16;
    run->system_event.data[12] = 0x42;
    memcpy(&run->system_event.data[14], "panic", 5);
    good &= handle(KVM_EXIT_SYSTEM_EVENT) == COCO_ACT_FATAL && seen.fatal == 2 &&
            seen.event.error_code == 0x42 && strcmp(seen.event.text, "panic") == 0;
    run->system_event.type = KVM_SYSTEM_EVENT_RESET;
    good &= handle(KVM_EXIT_SYSTEM_EVENT) == COCO_ACT_UNHANDLED && seen.fatal == 2;
    holds(good, "KVM_EXIT_SYSTEM_EVENT through system_event");
}

/* --- ioctls of /dev/kvm ------------------------------------------------------------------------
 * */

static struct kvm_device_attr asked;
static struct kvm_sev_cmd commanded;
static bool has, gets;

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    const uint64_t one = 1;
    va_list args;

    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    (void)fd;
    if (request == KVM_HAS_DEVICE_ATTR || request == KVM_GET_DEVICE_ATTR) {
        memcpy(&asked, arg, sizeof(asked));
        has |= request == KVM_HAS_DEVICE_ATTR;
        gets |= request == KVM_GET_DEVICE_ATTR;
        if (request == KVM_GET_DEVICE_ATTR)
            memcpy((void *)(uintptr_t)asked.addr, &one, sizeof(one));
        return 0;
    }
    if (request == KVM_MEMORY_ENCRYPT_OP) {
        memcpy(&commanded, arg, sizeof(commanded));
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

static void try_switch(void)
{
    bool good = coco_snp_probe(3) == 1 && has && gets;

    holds(good && asked.group == KVM_X86_GRP_SEV && asked.attr == KVM_X86_SEV_SNP_REQ_CERTS,
          "coco_snp_probe through struct kvm_device_attr");
    good = coco_snp_enable(3) == 0;
    holds(good && commanded.id == KVM_SEV_SNP_ENABLE_REQ_CERTS && commanded.data == 0,
          "coco_snp_enable through struct kvm_sev_cmd");
}

/* --- /dev/sev ----------------------------------------------------------------------------------
 * */

#define REPORTED_TCB 0xd516000000000004ull /* a Milan's 4.0.22.213 */

static struct {
    bool fails, loaded;
    unsigned loads;
    uint8_t hashstick[sizeof(struct sev_user_data_snp_wrapped_vlek_hashstick)];
} firmware;

static int sev_open(const char *path, int flags)
{
    (void)flags;
    return strcmp(path, "/dev/sev") == 0 ? 4711 : -1;
}

static int sev_close(int fd)
{
    return fd == 4711 ? 0 : -1;
}

static bool sev_cpu(uint32_t *ret_family, uint32_t *ret_model)
{
    *ret_family = 0x19;
    *ret_model = 0x01;
    return true;
}

static void fill_status(struct sev_user_data_snp_status *status)
{
    memset(status, 0xff, sizeof(*status));
    status->state = 1;
    status->mask_chip_id = 1;
    status->mask_chip_key = 0;
    status->vlek_en = firmware.loaded;
    status->current_tcb_version = 0xdb18000000000004;
    status->reported_tcb_version = REPORTED_TCB;
}

static void fill_id(struct sev_user_data_get_id2 *id2)
{
    uint8_t *out = (uint8_t *)(uintptr_t)id2->address;

    for (unsigned i = 0; i < 64 && i < id2->length; i++)
        out[i] = (uint8_t)(i + 1);
}

static void load_vlek(const struct sev_user_data_snp_vlek_load *load)
{
    firmware.loads++;
    firmware.loaded = load->len == sizeof(*load) && load->vlek_wrapped_version == 0 &&
                      load->rsvd[0] == 0 && load->rsvd[1] == 0 && load->rsvd[2] == 0;
    memcpy(firmware.hashstick, (const void *)(uintptr_t)load->vlek_wrapped_address,
           sizeof(firmware.hashstick));
}

static int sev_ioctl(int fd, unsigned long request, void *argument)
{
    struct sev_issue_cmd *issue = argument;
    void *data = (void *)(uintptr_t)issue->data;

    if (fd != 4711 || request != SEV_ISSUE_CMD || firmware.fails) {
        issue->error = SEV_RET_BAD_SVN;
        errno = firmware.fails ? EIO : EINVAL;
        return -1;
    }
    switch (issue->cmd) {
    case SNP_PLATFORM_STATUS:
        fill_status(data);
        return 0;
    case SEV_GET_ID2:
        fill_id(data);
        return 0;
    case SNP_VLEK_LOAD:
        load_vlek(data);
        return 0;
    default:
        errno = EINVAL;
        return -1;
    }
}

static void try_sev(void)
{
    struct sev_platform platform = {0};
    uint32_t fw_error = 0;
    uint8_t id[64] = {0};

    sev_calls = (struct sev_calls){sev_open, sev_ioctl, sev_close, sev_cpu};
    bool good = sev_device_status(4711, &platform, &fw_error) == 0 &&
                platform.flags == (COCO_SEV_MASK_CHIP_ID | COCO_SEV_SNP_INIT) &&
                platform.current_tcb == 0xdb18000000000004 && platform.reported_tcb == REPORTED_TCB;
    firmware.loaded = true;
    good &= sev_device_status(4711, &platform, &fw_error) == 0 &&
            platform.flags == (COCO_SEV_MASK_CHIP_ID | COCO_SEV_VLEK_EN | COCO_SEV_SNP_INIT);
    firmware.loaded = false;
    holds(good, "SNP_PLATFORM_STATUS through struct sev_user_data_snp_status");
    good = sev_device_chip_id(4711, id, sizeof(id), &fw_error) == 0 && id[0] == 1 && id[63] == 64;
    holds(good, "SEV_GET_ID2 through struct sev_user_data_get_id2");
    firmware.fails = true;
    good = sev_device_status(4711, &platform, &fw_error) == -EIO && fw_error == SEV_RET_BAD_SVN;
    firmware.fails = false;
    holds(good, "the firmware's error through struct sev_issue_cmd");
}

static void try_vlek(const char *path)
{
    struct sev_user_data_snp_wrapped_vlek_hashstick stick;
    const uint64_t tcb = REPORTED_TCB;
    struct why why;

    memset(stick.data, 0xa7, sizeof(stick.data));
    memset(stick.data + 0x00c, 0, 4);
    memcpy(stick.data + 0x190, &tcb, sizeof(tcb));
    memset(stick.data + 0x198, 0, 8);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(&stick, sizeof(stick), 1, f) == 1;
    good &= f && fclose(f) == 0;
    good &= vlek_load(path, &why) == 0 && firmware.loads == 1 && firmware.loaded &&
            memcmp(firmware.hashstick, stick.data, sizeof(stick.data)) == 0;
    (void)unlink(path);
    holds(good, "SNP_VLEK_LOAD through struct sev_user_data_snp_vlek_load");
}

/* Every status that the kernel's header names: its name, or none. Generated from that header. */
static const struct {
    int status;
    const char *name;
} statuses[] = {
#include "sev_ret.inc"
};

static void try_statuses(void)
{
    unsigned named = 0;
    bool good = true;

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        const char *text = coco_sev_fw_error_text((uint32_t)statuses[i].status);
        size_t n = strlen(statuses[i].name);
        if (strcmp(text, "a status without a name here") == 0 ||
            strcmp(text, "the firmware was not called") == 0)
            continue;
        named++;
        bool same = strncmp(text, statuses[i].name, n) == 0 && (text[n] == ':' || text[n] == 0);
        if (!same)
            printf("        %#x is %s, called \"%s\" here\n", (unsigned)statuses[i].status,
                   statuses[i].name, text);
        good &= same;
    }
    holds(good && named == 14,
          "the firmware's statuses by the kernel's names for them (SEV_RET_*)");
}

int main(int argc, char **argv)
{
    if (argc != 2 || !make_vm())
        return 99;
    try_snp(KVM_EXIT_SNP_REQ_CERTS, "KVM_EXIT_SNP_REQ_CERTS");
    try_snp(42, "the number of the posted series");
    try_tdx();
    try_map_gpa();
    try_events();
    try_switch();
    try_sev();
    try_vlek(argv[1]);
    try_statuses();
    coco_vcpu_detach(vcpu);
    coco_vmm_free(vmm);
    return (int)failed;
}
