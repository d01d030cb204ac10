/* SPDX-License-Identifier: MIT */
/* For vmm.rs: a VM whose callbacks are Rust's; what a VMM has bindgen for. */
#include <coco/coco.h>

int peer_vmm_new(const char *path, void *memory, int (*read)(void *, uint64_t, void *, size_t),
                 int (*write)(void *, uint64_t, const void *, size_t),
                 int (*store64_release)(void *, uint64_t, uint64_t), struct coco_vmm **ret)
{
    struct coco_vmm_options options;

    coco_vmm_options_init(&options);
    options.ops.read = read;
    options.ops.write = write;
    options.ops.store64_release = store64_release;
    options.userdata = memory;
    options.client.path = path;
    options.client.vm_name = "rust";
    return coco_vmm_new(&options, ret);
}
