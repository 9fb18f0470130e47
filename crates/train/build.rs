//! Lets the binaries find libtorch where it was found at build time, and keeps its CUDA half linked.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys passes this on, unless it was asked to do without libtorch (`doc-only`).
    let Ok(libtorch) = env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // Where `make install` puts libtorch, should the checkout be gone.
    let beside = if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos") {
        "@executable_path/../lib/tradepipe"
    } else {
        "$ORIGIN/../lib/tradepipe"
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{beside}");
    // Where `make install` puts it, beside the binary.
    let here = if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        "@executable_path"
    } else {
        "$ORIGIN"
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{here}/../lib/tradepipe");
    // Nothing calls CUDA's symbols by name, so a linker that drops unneeded libraries would drop it silently.
    if Path::new(&libtorch).join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}
