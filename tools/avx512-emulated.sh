#!/usr/bin/env bash
# Runs the kernels' tests with AVX-512, and with AVX-512 BF16, on a processor that has neither: inside Bochs, a full
# emulator, under a small Linux. It shows whether results are right and says nothing of speed: a minute or two to start,
# then some hundred times slower than a processor. Tests of many large shapes take hours (gemm, conv): name tests.
#
#   tools/avx512-emulated.sh avx512bf16 bf16 lib            the file tests/bf16.rs, and the unit tests
#   tools/avx512-emulated.sh avx512 winograd pool:maximum   of pool.rs, the tests whose names contain "maximum"
#
# Everything comes from Debian packages: apt-get install build-essential isolinux syslinux-common xorriso busybox-static
# cpio vgabios bochsbios. Bochs is built from its Debian source, so apt needs a deb-src line; AVX-512 BF16 needs Bochs
# 3.0 or later (Debian 13), for which two mistakes are corrected here.
set -euo pipefail
cd "$(dirname "$0")/.."
isa=${1:?usage: tools/avx512-emulated.sh avx512|avx512bf16 TEST[:FILTER]...}
shift
root=$PWD
target=x86_64-unknown-linux-gnu
work=${CARGO_TARGET_DIR:-$root/target}/avx512-emulated
mkdir -p "$work"
work=$(cd "$work" && pwd)

build_bochs() {
    mkdir -p "$work/source" && cd "$work/source"
    apt-get source --download-only bochs
    tar -xf bochs_*.orig.tar.* --strip-components=1
    if [ -f cpu/avx/avx512_bf16.cc ]; then
        # vdpbf16ps reads a whole vector from memory, so its short displacements count in vectors, not in words.
        sed -i '/BX_IA_EVEX_VDPBF16PS_VpsHdqWdq_Kmask,/s/OP_mVdq32/OP_mVdq/' cpu/decoder/ia_opcodes_evex.def
        # This model starts Linux without trouble, but has no CPUID leaf that could name BF16.
        sed -i '/::get_std_cpuid_leaf_7(/,/^}/{
            s/leaf->eax = 0; \/\* report max/leaf->eax = 1; \/* report max/
            s/  switch(subfunction) {/  switch(subfunction) {\n  case 1:\n    leaf->eax = is_cpu_extension_supported(BX_ISA_AVX512_BF16) ? 1 << 5 : 0;\n    leaf->ebx = leaf->ecx = leaf->edx = 0;\n    return;/
        }' cpu/cpudb/intel/corei7_skylake-x.cc
    fi
    ./configure --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex --enable-pci --enable-repeat-speedups \
        --enable-fast-function-calls --enable-handlers-chaining --disable-docbook --with-nogui > configure.log 2>&1
    make -j"$(nproc)" > make.log 2>&1
    cp bochs "$work/bochs"
}

fetch_linux() {
    cd "$work"
    apt-get download "$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')"
    dpkg-deb -x linux-image-*.deb linux
    cp linux/boot/vmlinuz-* vmlinuz
}

# The path of a test's program, linked statically: the small Linux has no libraries.
program() {
    local which=(--test "$1")
    [ "$1" = lib ] && which=(--lib)
    RUSTFLAGS="-C target-feature=+crt-static" cargo test --release -p percept-kernels --target "$target" \
        "${which[@]}" --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p'
}

[ -x "$work/bochs" ] || (build_bochs)
[ -f "$work/vmlinuz" ] || (fetch_linux)

rm -rf "$work/files" "$work/disc"
mkdir -p "$work"/files/{bin,proc,sys,dev} "$work/disc"
cp /bin/busybox "$work/files/bin/"
{
    echo '#!/bin/busybox sh'
    echo 'B=/bin/busybox; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys; echo 1 > /proc/sys/kernel/printk'
    for test in "$@"; do
        name=${test%%:*} filter=
        [ "$name" = "$test" ] || filter=${test#*:}
        cp "$(cd "$root" && realpath "$(program "$name")")" "$work/files/bin/test-$name"
        echo "echo 'test $test'; PERCEPT_ISA=$isa /bin/test-$name $filter 2>&1; echo \"$test ended with \$?\""
    done
    echo 'echo all tests ended; $B sleep 1; $B poweroff -f'
} > "$work/files/init"
chmod +x "$work/files/init"

cd "$work"
(cd files && find . | cpio --quiet -o -H newc | gzip -1 > ../disc/files.gz)
cp vmlinuz /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 disc/
cat > disc/isolinux.cfg << 'END'
default linux
label linux
  kernel /vmlinuz
  append initrd=/files.gz console=ttyS0,115200 nokaslr mitigations=off lsm=none apparmor=0
END
xorriso -as mkisofs -quiet -o disc.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table disc
features=
[ "$isa" = avx512bf16 ] && features=', add_features="avx512bf16"'
cat > bochsrc << END
display_library: nogui
cpu: model=corei7_skylake_x, count=1, ips=100000000$features
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=output.txt
log: bochs.log
error: action=ignore
panic: action=fatal
END
: > output.txt
tail -f output.txt &
tail=$!
trap 'kill "$tail"' EXIT
./bochs -q -f bochsrc < /dev/null > /dev/null 2>&1 || true
sleep 1
grep -q 'all tests ended' output.txt && ! grep -E 'ended with [1-9]' output.txt
