//! Lets the binary, the examples and the tests find libtorch where they were linked with it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Ok(libtorch) = std::env::var("LIBTORCH") else {
        return;
    };
    // A run path: LD_LIBRARY_PATH still goes first, so another libtorch (one with CUDA, say)
    // of the same version can be put in its place.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib");
    // Nothing refers to a symbol of libtorch.so, so the linker would leave it out. In a build
    // with CUDA it is that library which brings in libtorch_cuda.so, and with it the GPU.
    println!("cargo:rustc-link-arg=-L{libtorch}/lib");
    println!("cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch,--pop-state");
}
