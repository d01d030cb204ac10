// SPDX-License-Identifier: MIT

//! The sample of docs/vmm-guide.md on kvm-ioctls and vm-memory: a VM of the real KVM, whose guest halts, and then exits
//! as an SNP guest's do, by what is written into the kvm_run that kvm-ioctls has mapped.
//!
//!     vmm SOCKET EXIT TABLE    the table that cocod serves goes to the file TABLE, by way of guest memory

use kvm_bindings::{kvm_run, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use std::ffi::{c_char, c_int, c_void, CString};
use std::ptr::{addr_of_mut, null_mut};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

#[deny(warnings)]
mod guide {
    include!("../../guide.rs");
}
use guide::{after_run, store64_release, CocoVcpu, CocoVmm, KvmRun};

const COCO_ACT_UNHANDLED: c_int = 0;
const COCO_ACT_RUN: c_int = 1;
const COCO_ACT_RUN_IMMEDIATE: c_int = 2;

type Read = unsafe extern "C" fn(*mut c_void, u64, *mut c_void, usize) -> c_int;
type Write = unsafe extern "C" fn(*mut c_void, u64, *const c_void, usize) -> c_int;
type Store = unsafe extern "C" fn(*mut c_void, u64, u64) -> c_int;

extern "C" {
    fn peer_vmm_new(
        path: *const c_char,
        memory: *mut c_void,
        read: Read,
        write: Write,
        store: Store,
        ret: *mut *mut CocoVmm,
    ) -> c_int;
    fn coco_vmm_free(vmm: *mut CocoVmm);
    fn coco_vcpu_attach(
        vmm: *mut CocoVmm,
        index: u32,
        apic_id: u32,
        ret: *mut *mut CocoVcpu,
    ) -> c_int;
    fn coco_vcpu_detach(vcpu: *mut CocoVcpu);
}

struct Ram(GuestMemoryMmap);

impl guide::Memory for Ram {
    fn host_address(&self, gpa: u64, bytes: usize) -> Option<*mut u8> {
        let slice = self.0.get_slice(GuestAddress(gpa), bytes).ok()?;
        Some(slice.ptr_guard_mut().as_ptr())
    }
}

unsafe extern "C" fn read(ram: *mut c_void, gpa: u64, to: *mut c_void, bytes: usize) -> c_int {
    let to = std::slice::from_raw_parts_mut(to as *mut u8, bytes);
    (*(ram as *const Ram))
        .0
        .read_slice(to, GuestAddress(gpa))
        .map_or(-14, |()| 0)
}

unsafe extern "C" fn write(ram: *mut c_void, gpa: u64, from: *const c_void, bytes: usize) -> c_int {
    let from = std::slice::from_raw_parts(from as *const u8, bytes);
    (*(ram as *const Ram))
        .0
        .write_slice(from, GuestAddress(gpa))
        .map_or(-14, |()| 0)
}

/// What KVM writes at KVM_EXIT_SNP_REQ_CERTS: three numbers in kvm_run's union.
unsafe fn ask(run: *mut kvm_run, exit: u32, gpa: u64, npages: u64) -> *mut u64 {
    let request = addr_of_mut!((*run).__bindgen_anon_1) as *mut u64;
    (*run).exit_reason = exit;
    request.write(gpa);
    request.add(1).write(npages);
    request.add(2).write(99);
    request
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = CString::new(arguments[1].as_str()).unwrap();
    let exit: u32 = arguments[2].parse().unwrap();
    // Two regions that are neighbours for the guest, and not for the host.
    let ram = Ram(GuestMemoryMmap::from_ranges(&[
        (GuestAddress(0), 0x10000),
        (GuestAddress(0x10000), 0x1000),
    ])
    .unwrap());
    let userdata = &ram as *const Ram as *mut c_void;

    let vm = Kvm::new().unwrap().create_vm().unwrap();
    let region = kvm_userspace_memory_region {
        memory_size: 0x10000,
        userspace_addr: ram.0.get_host_address(GuestAddress(0)).unwrap() as u64,
        ..Default::default()
    };
    unsafe { vm.set_user_memory_region(region).unwrap() };
    ram.0.write_obj(0xf4u8, GuestAddress(0)).unwrap(); // hlt
    let mut fd = vm.create_vcpu(0).unwrap();
    let mut sregs = fd.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    fd.set_sregs(&sregs).unwrap();
    let mut regs = fd.get_regs().unwrap();
    (regs.rip, regs.rflags) = (0, 2);
    fd.set_regs(&regs).unwrap();

    unsafe {
        let (mut vmm, mut vcpu) = (null_mut(), null_mut());
        assert_eq!(
            peer_vmm_new(
                path.as_ptr(),
                userdata,
                read,
                write,
                store64_release::<Ram>,
                &mut vmm
            ),
            0
        );
        assert_eq!(coco_vcpu_attach(vmm, 0, 0, &mut vcpu), 0);

        assert!(matches!(fd.run().unwrap(), VcpuExit::Hlt));
        let run = fd.get_kvm_run() as *mut kvm_run;
        assert_eq!(
            after_run(vmm, vcpu, run as *mut KvmRun, true),
            COCO_ACT_UNHANDLED
        );

        // Too few pages: how many are needed.
        let request = ask(run, exit, 0x4000, 1);
        assert_eq!(
            after_run(vmm, vcpu, run as *mut KvmRun, true),
            COCO_ACT_RUN,
            "for an exit {exit}"
        );
        assert_eq!(
            (request.add(1).read(), request.add(2).read()),
            (2, 28),
            "npages, ret"
        ); // ENOSPC
           // The table, and the lease until KVM_RUN has returned.
        ask(run, exit, 0x4000, 2);
        assert_eq!(
            after_run(vmm, vcpu, run as *mut KvmRun, true),
            COCO_ACT_RUN_IMMEDIATE
        );
        assert_eq!(request.add(2).read(), 0, "ret");
        fd.set_kvm_immediate_exit(1);
        assert_eq!(fd.run().unwrap_err().errno(), 4, "KVM_RUN"); // EINTR
        assert_eq!(
            after_run(vmm, vcpu, run as *mut KvmRun, false),
            COCO_ACT_RUN
        );
        // Another number is none of libcoco's, and nothing is written.
        ask(run, 0x7fff, 0x4000, 2);
        assert_eq!(
            after_run(vmm, vcpu, run as *mut KvmRun, true),
            COCO_ACT_UNHANDLED
        );
        assert_eq!(request.add(2).read(), 99);
        coco_vcpu_detach(vcpu);
        coco_vmm_free(vmm);

        // The callback alone: eight bytes, all of them in one region.
        assert_eq!(
            store64_release::<Ram>(userdata, 0x8000, 0x1122334455667788),
            0
        );
        assert_eq!(
            ram.0.read_obj::<[u8; 8]>(GuestAddress(0x8000)).unwrap(),
            0x1122334455667788u64.to_le_bytes()
        );
        assert_eq!(store64_release::<Ram>(userdata, 0x11000, 1), -14);
        assert_eq!(store64_release::<Ram>(userdata, 0x10ffc, 1), -14);
        assert_eq!(store64_release::<Ram>(userdata, 0xfffc, 1), -14);
    }
    let mut table = vec![0; 0x2000];
    ram.0.read_slice(&mut table, GuestAddress(0x4000)).unwrap();
    std::fs::write(&arguments[3], table).unwrap();
    println!(
        "VcpuExit is {:?} where it does not know the exit",
        VcpuExit::Unsupported(exit)
    );
}
