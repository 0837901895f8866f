#!/usr/bin/env bash
# Tests WebAssembly under Node: the kernels' own tests with simd128, and a training and predictions without files.
#
#   rustup target add wasm32-wasip1 wasm32-unknown-unknown
#   tools/wasm.sh
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="-C target-feature=+simd128"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/wasm}
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node $PWD/tools/wasm/run.mjs"

cargo test --release -p percept-kernels --lib --tests --target wasm32-wasip1
cargo build --release -p percept --example webassembly --target wasm32-unknown-unknown
node tools/wasm/learn.mjs "$CARGO_TARGET_DIR/wasm32-unknown-unknown/release/examples/webassembly.wasm"
