// SPDX-License-Identifier: MIT

// Links libcoco.a and the options (options.c), which rust.sh has put beside this.
fn main() {
    println!("cargo:rustc-link-search=native=.");
    println!("cargo:rustc-link-arg-bin=vmm=options.o");
    println!("cargo:rustc-link-arg-bin=vmm=libcoco.a");
}
