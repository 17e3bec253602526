#!/usr/bin/env bash
# switch-asm on UEFI: assembles both flavours of the text, then builds the test program and runs it in QEMU.
#
# Needs the rustup target x86_64-unknown-uefi, QEMU and OVMF, and gets what is missing: the packages are unpacked into the target
# directory and the system stays as it is. Prints `skipped: <why>` and succeeds where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-uefi
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target_dir/uefi-tools
export CARGO_TARGET_DIR=$target_dir/uefi
# The program has its own flags, which the variable would hide.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS

# --- Both flavours of the text go through their assembler.
cargo build --quiet -p switch-asm --no-default-features
echo "uefi: the System V flavour assembles"
if ! rustc --print target-libdir --target $target | xargs test -d && ! rustup --quiet target add $target; then
    echo "skipped: the rustup target $target cannot be had"
    exit 0
fi
cargo build --quiet -p switch-asm --no-default-features --target $target
echo "uefi: the UEFI flavour assembles"

# --- The machine: QEMU's emulator (TCG; OVMF dies under some nested KVMs) and its firmware.
qemu=(qemu-system-x86_64)
share=/usr/share
if ! command -v "${qemu[0]}" >/dev/null || ! test -f $share/OVMF/OVMF_CODE_4M.fd; then
    share=$tools/root/usr/share
    if ! test -f "$tools/complete"; then
        mkdir -p "$tools/packages/partial" "$tools/root"
        if ! { apt-get install --yes --quiet --no-install-recommends --download-only \
            -o Dir::Cache::archives="$tools/packages" qemu-system-x86 ovmf ||
            { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends --download-only \
                -o Dir::Cache::archives="$tools/packages" qemu-system-x86 ovmf; }; } >"$tools/apt.log" 2>&1; then
            echo "skipped: the packages qemu-system-x86 and ovmf cannot be had: $(tail -n 1 "$tools/apt.log")"
            exit 0
        fi
        for package in "$tools"/packages/*.deb; do dpkg --extract "$package" "$tools/root"; done
        touch "$tools/complete"
    fi
    libraries=$tools/root/usr/lib/x86_64-linux-gnu:$tools/root/lib/x86_64-linux-gnu
    qemu=(env "LD_LIBRARY_PATH=$libraries" "$tools/root/usr/bin/${qemu[0]}" -L "$share/qemu" -L "$share/seabios")
fi

# --- The program, both ways the compiler lays out frames.
run() {
    local profile=$1 program=$2 status=0
    local disk=$CARGO_TARGET_DIR/disk-$profile log=$CARGO_TARGET_DIR/$profile.log
    mkdir -p "$disk/EFI/BOOT"
    cp "$program" "$disk/EFI/BOOT/BOOTX64.EFI"
    cp "$share/OVMF/OVMF_VARS_4M.fd" "$CARGO_TARGET_DIR/vars.fd"
    timeout 120 "${qemu[@]}" \
        -machine q35 -accel tcg -m 256 -display none -serial null -monitor none -no-reboot -nic none \
        -drive if=pflash,format=raw,readonly=on,file="$share/OVMF/OVMF_CODE_4M.fd" \
        -drive if=pflash,format=raw,file="$CARGO_TARGET_DIR/vars.fd" \
        -drive format=raw,file=fat:rw:"$disk" \
        -device isa-debug-exit,iobase=0xf4,iosize=0x04 \
        -chardev file,id=console,path="$log" -device isa-debugcon,iobase=0xe9,chardev=console || status=$?
    sed "s/^/uefi $profile: /" "$log"
    # The exit device turns the program's 0x10 into 33.
    if [ "$status" != 33 ]; then
        echo "uefi: FAILED in $profile with status $status (33 is success, 35 a panic, 124 a timeout)"
        exit 1
    fi
}
tests=$(grep -cE '(operations|walks)::[a-z_]+\)?,$' switch-asm/tests/uefi/src/main.rs)
for profile in debug release; do
    flag=(); [ $profile = debug ] || flag=(--release)
    (cd switch-asm/tests/uefi && cargo build --quiet --locked "${flag[@]}")
    run $profile "$CARGO_TARGET_DIR/$target/$profile/switch-asm-uefi-test.efi"
    grep -q "^$tests tests passed" "$CARGO_TARGET_DIR/$profile.log" || { echo "uefi: not all $tests tests ran"; exit 1; }
done

# --- The hand-written unwind codes of that program, beside those that `unwind_info` makes of the same frames.
log=$CARGO_TARGET_DIR/twin.log
export SWITCH_ASM_UEFI_PROGRAM=$CARGO_TARGET_DIR/$target/release/switch-asm-uefi-test.efi
export CARGO_TARGET_DIR=$target_dir
cargo test --quiet -p switch-asm --features unwind-info --test unwind_twin -- --nocapture bytes_in_a_uefi_program | tee "$log"
grep -q '^[1-9][0-9]* functions$' "$log" || { echo "uefi: the unwind codes were not compared"; exit 1; }
